#if (defined(__SSE2__) || defined(__ARM_NEON) || defined(__ARM_FEATURE_MVE)) && !defined(__OPTIMIZE_SIZE__)
/* A vector unit: long rows. */

#ifdef __clang__ /* would unroll the loop over sixteen, and take them from rows that lie apart */
#pragma clang diagnostic ignored "-Wpass-failed"
#define SIXTEEN _Pragma("clang loop vectorize_width(16) unroll(disable)")
#else
#define SIXTEEN
#endif

/* y += x w with w [rows, columns], row after row: four at once. */
static void add_rows(const float *restrict w, const float *restrict x, int rows, int columns, float *restrict y) {
    int r = 0;
    for (; r + 4 <= rows; r += 4, w += 4 * columns) {
        const float *restrict w1 = w + columns, *restrict w2 = w1 + columns, *restrict w3 = w2 + columns;
        const float x0 = x[r], x1 = x[r + 1], x2 = x[r + 2], x3 = x[r + 3];
        for (int c = 0; c < columns; ++c) {
            y[c] += w[c] * x0 + w1[c] * x1 + w2[c] * x2 + w3[c] * x3;
        }
    }
    for (; r < rows; ++r, w += columns) {
        for (int c = 0; c < columns; ++c) {
            y[c] += w[c] * x[r];
        }
    }
}

/* y += x w. First in w are blocks of four rows and sixteen columns, so that it is read from the first number to the last:
   with four rows that lie apart, a processor waits for its cache. Then come the last columns, and then the last rows. */
static void add_product(const float *restrict w, const float *restrict x, int rows, int columns, float *restrict y) {
    int r = 0;
    for (; r + 4 <= rows; r += 4) {
        const float x0 = x[r], x1 = x[r + 1], x2 = x[r + 2], x3 = x[r + 3];
        int c = 0;
        for (; c + 16 <= columns; c += 16, w += 64) {
            SIXTEEN
            for (int k = 0; k < 16; ++k) {
                y[c + k] += w[k] * x0 + w[16 + k] * x1 + w[32 + k] * x2 + w[48 + k] * x3;
            }
        }
    }
    const int rest = columns % 16;
    add_rows(w, x, r, rest, y + columns - rest);
    add_rows(w + r * rest, x + r, rows - r, columns, y);
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
    float sum[4];
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

/* y += x w with w [rows, columns], row after row. */
static void add_rows(const float *restrict w, const float *restrict x, int rows, int columns, float *restrict y) {
    int c = 0;
    for (; c + 4 <= columns; c += 4) {
        add_columns(w + c, x, rows, columns, y + c, 4);
    }
    for (; c < columns; ++c) {
        add_columns(w + c, x, rows, columns, y + c, 1);
    }
}

/* y += x w. First in w are blocks of four rows and sixteen columns, then come the last columns, then the last rows. */
static void add_product(const float *restrict w, const float *restrict x, int rows, int columns, float *restrict y) {
    const int whole = rows - rows % 4, rest = columns % 16, wide = columns - rest;
    for (int c = 0; c < wide; c += 16) {
        float sum[16];
        UNROLLED
        for (int k = 0; k < 16; ++k) {
            sum[k] = y[c + k];
        }
        const float *restrict block = w + 4 * c;
        for (int r = 0; r < whole; r += 4, block += 4 * wide) {
            UNROLLED
            for (int i = 0; i < 4; ++i) {
                const float factor = x[r + i];
                UNROLLED
                for (int k = 0; k < 16; ++k) {
                    sum[k] += block[16 * i + k] * factor;
                }
            }
        }
        UNROLLED
        for (int k = 0; k < 16; ++k) {
            y[c + k] = sum[k];
        }
    }
    w += whole * wide;
    if (rest) {
        add_rows(w, x, whole, rest, y + wide);
    }
    if (rows > whole) {
        add_rows(w + whole * rest, x + whole, rows - whole, columns, y);
    }
}

#endif
