#include <bnorm/bnorm.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    static float x[2 * 4 * 3] = { 1, 2, 3, 4 }, y[2 * 4 * 3];
    static float running_mean[3], running_var[3] = { 1, 1, 1 };
    bnorm_shape shape = bnorm_nhwc(2, 3, 4); /* 2 images, 3 channels, 4 points each */
    bnorm_train_params params = bnorm_train_defaults(); /* epsilon 1e-5, momentum 0.1 */
    params.running_mean = running_mean;
    params.running_var = running_var;
    size_t size;
    bnorm_status status = bnorm_workspace_size(&shape, BNORM_OP_TRAIN, NULL, &size);
    void *workspace = status ? NULL : malloc(size);
    if (!status) /* a NULL workspace is a status, too */
        status = bnorm_train(&shape, &params, x, y, workspace, size, NULL);
    printf("%s: y[0] = %f, running mean %f\n", bnorm_status_string(status), y[0], running_mean[0]);
    free(workspace);
    return status;
}
