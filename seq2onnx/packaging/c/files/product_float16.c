/* A number of 16 bits: 1 bit of sign, 5 of exponent, 10 of fraction. It is finite. */
INLINE float of_float16(uint16_t half) {
    const uint32_t bits = (uint32_t)(half & 0x8000u) << 16 | (uint32_t)(half & 0x7fffu) << 13;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value * 5.192296858534828e33f; /* 2^112: the exponents begin elsewhere */
}

/* y += x w with w [rows, columns]: four rows at once. */
static void add_product_float16(const uint16_t *restrict w, const float *restrict x, int rows, int columns,
                                float *restrict y) {
    int r = 0;
    for (; r + 4 <= rows; r += 4, w += 4 * columns) {
        const uint16_t *restrict w1 = w + columns, *restrict w2 = w1 + columns, *restrict w3 = w2 + columns;
        const float x0 = x[r], x1 = x[r + 1], x2 = x[r + 2], x3 = x[r + 3];
        for (int c = 0; c < columns; ++c) {
            y[c] += of_float16(w[c]) * x0 + of_float16(w1[c]) * x1 + of_float16(w2[c]) * x2 + of_float16(w3[c]) * x3;
        }
    }
    for (; r < rows; ++r, w += columns) {
        for (int c = 0; c < columns; ++c) {
            y[c] += of_float16(w[c]) * x[r];
        }
    }
}
