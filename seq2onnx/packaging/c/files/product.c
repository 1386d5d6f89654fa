#if (defined(__SSE2__) || defined(__ARM_NEON) || defined(__ARM_FEATURE_MVE)) && !defined(__OPTIMIZE_SIZE__)
/* A vector unit: long rows. */

/* y += x w with w [rows, columns]: four rows and sixteen columns at once. */
static void add_product(const float *restrict w, const float *restrict x, int rows, int columns, float *restrict y) {
    int r = 0;
    for (; r + 4 <= rows; r += 4, w += 4 * columns) {
        const float *restrict w1 = w + columns, *restrict w2 = w1 + columns, *restrict w3 = w2 + columns;
        const float x0 = x[r], x1 = x[r + 1], x2 = x[r + 2], x3 = x[r + 3];
        int c = 0;
        for (; c + 16 <= columns; c += 16) {
            for (int k = 0; k < 16; ++k) {
                y[c + k] += w[c + k] * x0 + w1[c + k] * x1 + w2[c + k] * x2 + w3[c + k] * x3;
            }
        }
        for (; c < columns; ++c) {
            y[c] += w[c] * x0 + w1[c] * x1 + w2[c] * x2 + w3[c] * x3;
        }
    }
    for (; r < rows; ++r, w += columns) {
        for (int c = 0; c < columns; ++c) {
            y[c] += w[c] * x[r];
        }
    }
}

#else /* a scalar unit: sums in registers */

#if defined(__GNUC__) && !defined(__clang__)
#define UNROLLED _Pragma("GCC unroll 16")
#else
#define UNROLLED
#endif

/* y[0 ... width) += x w[:, 0 ... width) for a width that the compiler knows. */
INLINE void add_columns(const float *restrict w, const float *restrict x, int rows, int columns, float *restrict y,
                        const int width) {
    float sum[16];
    UNROLLED
    for (int c = 0; c < width; ++c) {
        sum[c] = y[c];
    }
    for (int r = 0; r < rows; ++r, w += columns) {
        const float factor = x[r];
        UNROLLED
        for (int c = 0; c < width; ++c) {
            sum[c] += w[c] * factor;
        }
    }
    UNROLLED
    for (int c = 0; c < width; ++c) {
        y[c] = sum[c];
    }
}

/* y += x w with w [rows, columns]. */
static void add_product(const float *restrict w, const float *restrict x, int rows, int columns, float *restrict y) {
    int c = 0;
    for (; c + 16 <= columns; c += 16) {
        add_columns(w + c, x, rows, columns, y + c, 16);
    }
    for (; c + 4 <= columns; c += 4) {
        add_columns(w + c, x, rows, columns, y + c, 4);
    }
    for (; c < columns; ++c) {
        add_columns(w + c, x, rows, columns, y + c, 1);
    }
}

#endif
