#ifdef __ARM_FEATURE_DSP
#include <arm_acle.h>

#define PIECE 4

#ifdef __GNUC__
#define CHANGES(number) __asm__("" : "+r"(number)) /* hides from the compiler that it does not */

INLINE int32_t odd_of(uint32_t four) {
    int32_t two;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(two) : "r"(four));
    return two;
}
#else
#define CHANGES(number)
#define odd_of(four) __sxtb16((int32_t)__ror(four, 8))
#endif

/* sum + four weights times four numbers, of which the second and third have changed places. */
INLINE int32_t add_piece(const int8_t *w, const int16_t *q, int32_t sum) {
    uint32_t four;
    int32_t even, odd;
    memcpy(&four, w, 4);
    memcpy(&even, q, 4);
    memcpy(&odd, q + 2, 4);
    return __smlad(odd_of(four), odd, __smlad(__sxtb16((int32_t)four), even, sum));
}
#else
#define PIECE 16
#define CHANGES(number)

/* sum + sixteen weights times sixteen numbers. */
INLINE int32_t add_piece(const int8_t *w, const int16_t *q, int32_t sum) {
    for (int k = 0; k < PIECE; ++k) {
        sum += w[k] * q[k];
    }
    return sum;
}
#endif

/* A number below 2^22 as the next whole number: the low bits of a sum in which one bit is 1. */
INLINE int16_t rounded(float v) {
    const float sum = v + 12582912.0f;
    int32_t bits;
    memcpy(&bits, &sum, 4);
    return (int16_t)bits;
}

/* y += x w with w [columns, rows] of 8 bits and a scale for each column. The numbers of x are rounded to 16 bits, or to a
   few less where sums of 32 bits would overflow, with a scale of their own in each call; q has room for them. A number
   of x that is not finite makes all y NaN. */
static void add_product_int8(const int8_t *restrict w, const float *restrict scale, const float *restrict x, int rows,
                             int columns, float *restrict y, int16_t *restrict q) {
    const float fits = 16777216.0f / (float)rows - 1.0f; /* 2^31 / 128 / rows, rounded */
    const float most = fits < 32767.0f ? fits : 32767.0f;
    int32_t bits = 0x0da24260; /* of 1e-30: the bits of larger numbers are larger */
    for (int r = 0; r < rows; ++r) {
        int32_t size;
        memcpy(&size, x + r, 4);
        size &= 0x7fffffff;
        bits = size > bits ? size : bits;
    }
    float largest;
    memcpy(&largest, &bits, 4);
    const int is_right = largest <= 3.4e38f;
    const float step = is_right ? largest / most : NAN, turned = is_right ? most / largest : 0.0f;
    const int whole = rows - rows % PIECE;
    int c = 0, r = 0;
#ifdef __ARM_FEATURE_DSP
    for (; r < whole; r += 4) {
        q[r] = rounded(x[r] * turned);
        q[r + 2] = rounded(x[r + 1] * turned);
        q[r + 1] = rounded(x[r + 2] * turned);
        q[r + 3] = rounded(x[r + 3] * turned);
    }
#endif
    for (; r < rows; ++r) {
        q[r] = rounded(x[r] * turned);
    }
    for (; c + 4 <= columns; c += 4, w += 4 * rows) {
        const int8_t *w0 = w, *w1 = w + rows;
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, twice = 2 * rows;
        for (r = 0; r < whole; r += PIECE, w0 += PIECE, w1 += PIECE) {
            CHANGES(twice); /* or else the compiler uses four pointers, for which there are too few registers */
            s0 = add_piece(w0, q + r, s0);
            s1 = add_piece(w1, q + r, s1);
            s2 = add_piece(w0 + twice, q + r, s2);
            s3 = add_piece(w1 + twice, q + r, s3);
        }
        for (; r < rows; ++r) {
            const int32_t one = q[r];
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
    for (; c < columns; ++c, w += rows) {
        int32_t sum = 0;
        for (r = 0; r < whole; r += PIECE) {
            sum = add_piece(w + r, q + r, sum);
        }
        for (; r < rows; ++r) {
            sum += w[r] * q[r];
        }
        y[c] += scale[c] * step * (float)sum;
    }
}
