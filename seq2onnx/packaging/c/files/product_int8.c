#if defined(__ARM_FEATURE_DSP) && !defined(__ARM_FEATURE_MVE)
#include <arm_acle.h>

/* The order of four numbers in which two of them meet the even, and then the odd bytes of a word of weights. */
#define PLACE(r) (((r) & ~3) | (((r) & 1) << 1) | (((r) >> 1) & 1))

/* sum + four weights times four numbers, which lie as PLACE says. */
INLINE int32_t add_four(const int8_t *w, int32_t even, int32_t odd, int32_t sum) {
    uint32_t four;
    memcpy(&four, w, 4);
    sum = __smlad(__sxtb16(four), even, sum);
    return __smlad(__sxtb16(__ror(four, 8)), odd, sum);
}
#else
#define PLACE(r) (r)
#endif

/* y += x w with w [columns, rows] of 8 bits and a scale for each column. The numbers of x are rounded to 16 bits, or to a
   few less where sums of 32 bits would overflow, with a scale of their own in each call; q has room for them. A number
   of x that is not finite makes all y NaN. */
static void add_product_int8(const int8_t *restrict w, const float *restrict scale, const float *restrict x, int rows,
                             int columns, float *restrict y, int16_t *restrict q) {
    const float fits = 16777216.0f / (float)rows - 1.0f; /* 2^31 / 128 / rows, rounded */
    const float most = fits < 32767.0f ? fits : 32767.0f;
    float largest = 1e-30f;
    for (int r = 0; r < rows; ++r) {
        const float size = fabsf(x[r]);
        largest = size > largest || size != size ? size : largest; /* NaN stays */
    }
    const int is_right = largest <= 3.4e38f;
    const float step = is_right ? largest / most : NAN, turned = most / largest;
    for (int r = 0; r < rows; ++r) {
        const float v = x[r] * turned;
        q[PLACE(r)] = (int16_t)(is_right ? v + (v < 0.0f ? -0.5f : 0.5f) : 0.0f);
    }
    int c = 0;
#if defined(__ARM_FEATURE_DSP) && !defined(__ARM_FEATURE_MVE)
    for (; c + 4 <= columns; c += 4, w += 4 * rows) {
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        int r = 0;
        for (; r + 4 <= rows; r += 4) {
            int32_t even, odd;
            memcpy(&even, q + r, 4);
            memcpy(&odd, q + r + 2, 4);
            s0 = add_four(w + r, even, odd, s0);
            s1 = add_four(w + rows + r, even, odd, s1);
            s2 = add_four(w + 2 * rows + r, even, odd, s2);
            s3 = add_four(w + 3 * rows + r, even, odd, s3);
        }
        for (; r < rows; ++r) {
            const int32_t one = q[PLACE(r)];
            s0 += w[r] * one;
            s1 += w[rows + r] * one;
            s2 += w[2 * rows + r] * one;
            s3 += w[3 * rows + r] * one;
        }
        y[c] += scale[c] * step * (float)s0;
        y[c + 1] += scale[c + 1] * step * (float)s1;
        y[c + 2] += scale[c + 2] * step * (float)s2;
        y[c + 3] += scale[c + 3] * step * (float)s3;
    }
#endif
    for (; c < columns; ++c, w += rows) {
        int32_t sum = 0;
        int r = 0;
        for (; r + 16 <= rows; r += 16) {
            for (int k = 0; k < 16; ++k) {
                sum += (int32_t)w[r + k] * q[PLACE(r + k)];
            }
        }
        for (; r < rows; ++r) {
            sum += (int32_t)w[r] * q[PLACE(r)];
        }
        y[c] += scale[c] * step * (float)sum;
    }
}
