#include <bnorm/bnorm.h>
#include <stdio.h>

int main(void)
{
    static float x[2 * 3 * 4] = { 1, 2, 3, 4 }, y[2 * 3 * 4], running_mean[3], running_var[3] = { 1, 1, 1 };
    static char workspace[1 << 16];
    bnorm_shape shape = bnorm_nchw(2, 3, 4); /* 2 images, 3 channels, 4 points; or bnorm_nhwc */
    bnorm_train_params params = bnorm_train_defaults(); /* epsilon 1e-5, momentum 0.1 */
    params.running_mean = running_mean;
    params.running_var = running_var;
    bnorm_status status = bnorm_train(&shape, &params, x, y, workspace, sizeof(workspace), NULL);
    printf("%s on %s: y[0] = %f\n", bnorm_status_string(status), bnorm_isa(), y[0]);
    return status;
}
