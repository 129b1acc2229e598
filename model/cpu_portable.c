/* cpu_portable.c: the row kernels in plain C, for processors without AVX2. */
#include <math.h>
#include <string.h>

#define TARGET
#define LANES                   1
#define V                       float
#define V_LOAD(p)               (*(p))
#define V_STORE(p, v)           (*(p) = (v))
#define V_LOAD_PART(p, n, fill) ((void)(n), (void)(fill), *(p))
#define V_STORE_PART(p, n, v)   ((void)(n), (void)(*(p) = (v)))
#define V_SET(f)                ((float)(f))
#define V_ADD(a, b)             ((a) + (b))
#define V_SUB(a, b)             ((a) - (b))
#define V_MUL(a, b)             ((a) * (b))
#define V_DIV(a, b)             ((a) / (b))
#define V_FMA(a, b, c)          ((a) * (b) + (c))
#define V_MAX(a, b)             ((a) > (b) ? (a) : (b))
#define V_SQRT(a)               sqrtf(a)
#define V_SUM(a)                (a)
#define V_SUM_FOUR(to, v)       memcpy(to, v, 4 * sizeof(float))
#define V_HMAX(a)               (a)
#define V_EXP(a)                expf(a)

#include "model/cpu_kernels.inc"

const struct model__cpu_kernels model__cpu_kernels_portable = KERNEL_TABLE("portable");
