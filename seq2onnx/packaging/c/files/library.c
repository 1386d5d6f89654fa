/* tanh: a rational function of x, 9 over 8; its largest error is 4e-7. It has no branch, so that compilers calculate
   several at once; NaN stays NaN. */
INLINE float tangent(float x) {
#ifdef @MACRO@_LIBM
    return tanhf(x);
#else
    x = x < -8.0f ? -8.0f : x;
    x = x > 8.0f ? 8.0f : x;
    const float s = x * x;
    const float above = (((1.5061874e-08f * s + 2.17732901e-05f) * s + 0.00356415873f) * s + 0.134381933f) * s;
    const float below = (((8.45368751e-07f * s + 0.000339918371f) * s + 0.0261360255f) * s + 0.467715141f) * s;
    return x * (above + 0.99999997f) / (below + 1.0f);
#endif
}

INLINE float sigmoid(float x) {
#ifdef @MACRO@_LIBM
    return 1.0f / (1.0f + expf(-x));
#else
    return 0.5f + 0.5f * tangent(0.5f * x);
#endif
}

INLINE double tangent_double(double x) {
    return tanh(x);
}

INLINE double sigmoid_double(double x) {
    return 1.0 / (1.0 + exp(-x));
}

INLINE float larger(float a, float b) {
    return a < b || b != b ? b : a;
}

INLINE float smaller(float a, float b) {
    return a > b || b != b ? b : a;
}

INLINE double larger_double(double a, double b) {
    return a < b || b != b ? b : a;
}

INLINE double smaller_double(double a, double b) {
    return a > b || b != b ? b : a;
}

INLINE int32_t larger_int32(int32_t a, int32_t b) {
    return a < b ? b : a;
}

INLINE int32_t smaller_int32(int32_t a, int32_t b) {
    return a > b ? b : a;
}

INLINE int64_t larger_int64(int64_t a, int64_t b) {
    return a < b ? b : a;
}

INLINE int64_t smaller_int64(int64_t a, int64_t b) {
    return a > b ? b : a;
}

INLINE int32_t remainder_of_int32(int32_t a, int32_t b) {
    return (a % b + b) % b;
}

INLINE int64_t remainder_of_int64(int64_t a, int64_t b) {
    return (a % b + b) % b;
}

/* A number without its fraction; what does not fit is the smallest number. */
INLINE int32_t whole_int32(float x) {
    return x > -2147483904.0f && x < 2147483648.0f ? (int32_t)x : INT32_MIN;
}

INLINE int64_t whole_int64(float x) {
    return x > -9223373136366403584.0f && x < 9223372036854775808.0f ? (int64_t)x : INT64_MIN;
}

INLINE int32_t whole_double_int32(double x) {
    return x > -2147483649.0 && x < 2147483648.0 ? (int32_t)x : INT32_MIN;
}

INLINE int64_t whole_double_int64(double x) {
    return x > -9223372036854777856.0 && x < 9223372036854775808.0 ? (int64_t)x : INT64_MIN;
}

static int is_finite(const float *values, int count) {
    float zero = 0.0f;
    for (int i = 0; i < count; ++i) {
        zero += values[i] * 0.0f; /* NaN if the number is not finite */
    }
    return zero == 0.0f;
}

static int is_finite_double(const double *values, int count) {
    double zero = 0.0;
    for (int i = 0; i < count; ++i) {
        zero += values[i] * 0.0;
    }
    return zero == 0.0;
}

/* The sum of numbers at equal distances, in four parts, which processors add at the same time. */
INLINE float sum_of(const float *x, int stride, int count) {
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    int i = 0;
    for (; i + 4 <= count; i += 4) {
        for (int k = 0; k < 4; ++k) {
            sum[k] += x[(i + k) * stride];
        }
    }
    for (; i < count; ++i) {
        sum[0] += x[i * stride];
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* The sum of products of numbers at equal distances. */
INLINE float dot_of(const float *x, int x_stride, const float *w, int w_stride, int count) {
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    int i = 0;
    for (; i + 4 <= count; i += 4) {
        for (int k = 0; k < 4; ++k) {
            sum[k] += x[(i + k) * x_stride] * w[(i + k) * w_stride];
        }
    }
    for (; i < count; ++i) {
        sum[0] += x[i * x_stride] * w[i * w_stride];
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

INLINE float squares_of(const float *x, int stride, int count) {
    return dot_of(x, stride, x, stride, count);
}

INLINE float largest_of(const float *x, int stride, int count) {
    float found[4] = {x[0], x[0], x[0], x[0]};
    int i = 0;
    for (; i + 4 <= count; i += 4) {
        for (int k = 0; k < 4; ++k) {
            found[k] = larger(found[k], x[(i + k) * stride]);
        }
    }
    for (; i < count; ++i) {
        found[0] = larger(found[0], x[i * stride]);
    }
    return larger(larger(found[0], found[1]), larger(found[2], found[3]));
}

INLINE float smallest_of(const float *x, int stride, int count) {
    float found[4] = {x[0], x[0], x[0], x[0]};
    int i = 0;
    for (; i + 4 <= count; i += 4) {
        for (int k = 0; k < 4; ++k) {
            found[k] = smaller(found[k], x[(i + k) * stride]);
        }
    }
    for (; i < count; ++i) {
        found[0] = smaller(found[0], x[i * stride]);
    }
    return smaller(smaller(found[0], found[1]), smaller(found[2], found[3]));
}

static void softmax(const float *x, int x_stride, int count, float *y, int y_stride) {
    float most = x[0], sum = 0.0f;
    for (int i = 1; i < count; ++i) {
        most = larger(most, x[i * x_stride]);
    }
    for (int i = 0; i < count; ++i) {
        const float e = expf(x[i * x_stride] - most);
        y[i * y_stride] = e;
        sum += e;
    }
    for (int i = 0; i < count; ++i) {
        y[i * y_stride] /= sum;
    }
}

static void normalize(const float *x, int count, float epsilon, const float *scale, const float *bias, float *y) {
    float mean = 0.0f, square = 0.0f;
    for (int i = 0; i < count; ++i) {
        mean += x[i];
    }
    mean /= (float)count;
    for (int i = 0; i < count; ++i) {
        square += (x[i] - mean) * (x[i] - mean);
    }
    const float factor = 1.0f / sqrtf(square / (float)count + epsilon);
    for (int i = 0; i < count; ++i) {
        y[i] = (x[i] - mean) * factor * scale[i] + (bias == NULL ? 0.0f : bias[i]);
    }
}
