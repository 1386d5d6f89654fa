/* Numbers of 16 bits: 1 bit of sign, 5 of exponent, 10 of fraction. They are finite. */
#if defined(__GNUC__) && defined(__ARM_FP) && __ARM_ARCH_PROFILE == 'M' /* a Cortex-M that converts them */

INLINE float low_of(float two) {
    float low;
    __asm__("vcvtb.f32.f16 %0, %1" : "=t"(low) : "t"(two));
    return low;
}

INLINE float high_of(float two) {
    float high;
    __asm__("vcvtt.f32.f16 %0, %1" : "=t"(high) : "t"(two));
    return high;
}

/* y[0 ... width) += x w[:, 0 ... width) for an even width that the compiler knows. */
INLINE void add_halves(const uint16_t *restrict w, const float *restrict x, int rows, int columns, float *restrict y,
                       const int width) {
    float sum[16];
    memcpy(sum, y, (size_t)width * sizeof(float));
    for (int r = 0; r < rows; ++r, w += columns) {
        const float factor = x[r];
#pragma GCC unroll 8
        for (int c = 0; c < width; c += 2) {
            float two;
            memcpy(&two, w + c, sizeof two);
            sum[c] += low_of(two) * factor;
            sum[c + 1] += high_of(two) * factor;
        }
    }
    memcpy(y, sum, (size_t)width * sizeof(float));
}

/* y += x w with w [rows, columns]: sums in registers. */
static void add_product_float16(const uint16_t *restrict w, const float *restrict x, int rows, int columns,
                                float *restrict y) {
    int c = 0;
    for (; c + 16 <= columns; c += 16) {
        add_halves(w + c, x, rows, columns, y + c, 16);
    }
    for (; c + 4 <= columns; c += 4) {
        add_halves(w + c, x, rows, columns, y + c, 4);
    }
    for (; c < columns; ++c) {
        for (int r = 0; r < rows; ++r) {
            float two = 0.0f;
            memcpy(&two, w + r * columns + c, sizeof *w);
            y[c] += low_of(two) * x[r];
        }
    }
}

#else

INLINE float of_float16(uint16_t half) {
    const uint32_t bits = (uint32_t)(half & 0x8000u) << 16 | (uint32_t)(half & 0x7fffu) << 13;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value * 5.192296858534828e33f; /* 2^112: the exponents begin elsewhere */
}

/* y += x w with w [rows, columns]: four rows and sixteen columns at once. */
static void add_product_float16(const uint16_t *restrict w, const float *restrict x, int rows, int columns,
                                float *restrict y) {
    int r = 0;
    for (; r + 4 <= rows; r += 4, w += 4 * columns) {
        const uint16_t *restrict w1 = w + columns, *restrict w2 = w1 + columns, *restrict w3 = w2 + columns;
        const float x0 = x[r], x1 = x[r + 1], x2 = x[r + 2], x3 = x[r + 3];
        int c = 0;
        for (; c + 16 <= columns; c += 16) {
            for (int k = 0; k < 16; ++k) {
                y[c + k] += of_float16(w[c + k]) * x0 + of_float16(w1[c + k]) * x1 + of_float16(w2[c + k]) * x2 +
                            of_float16(w3[c + k]) * x3;
            }
        }
        for (; c < columns; ++c) {
            y[c] += of_float16(w[c]) * x0 + of_float16(w1[c]) * x1 + of_float16(w2[c]) * x2 + of_float16(w3[c]) * x3;
        }
    }
    for (; r < rows; ++r, w += columns) {
        for (int c = 0; c < columns; ++c) {
            y[c] += of_float16(w[c]) * x[r];
        }
    }
}

#endif
