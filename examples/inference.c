#include <bnorm/bnorm.h>
#include <stdio.h>

int main(void)
{
    static float x[2 * 3 * 4] = { 1, 2, 3, 4 }, y[2 * 3 * 4];
    static const float mean[3] = { 1, 0, 0 }, var[3] = { 4, 1, 1 };
    bnorm_shape shape = bnorm_nchw(2, 3, 4); /* 2 images, 3 channels, 4 points each */
    bnorm_epilogue relu = bnorm_epilogue_defaults();
    bnorm_infer_params params = bnorm_infer_defaults(); /* epsilon 1e-5 */
    relu.activation = BNORM_ACT_RELU;
    params.mean = mean;
    params.var = var;
    params.epilogue = &relu;
    bnorm_status status = bnorm_infer(&shape, &params, x, y, NULL); /* NULL: on this thread */
    printf("%s on %s: y[1] = %f\n", bnorm_status_string(status), bnorm_isa(), y[1]);
    return status;
}
