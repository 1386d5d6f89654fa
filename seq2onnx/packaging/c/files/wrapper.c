
/* The calls of @NAME@.h. */

#include <math.h>

#include "@NAME@.h"

static int @NAME@_is_finite(const float *values, int32_t count) {
    for (int32_t i = 0; i < count; ++i) {
        if (!(values[i] - values[i] == 0.0f)) {
            return 0;
        }
    }
    return 1;
}

void @NAME@_reset(@NAME@_stream *stream) {
    static const @NAME@_stream start = {0};
    *stream = start;
}

int @NAME@_step(@NAME@_stream *stream, const float *x, float *y) {
    const int32_t now = stream->turn, next = 1 - now;
    int is_finite = @NAME@_is_finite(x, @CHECKED@); /* 0: NaN in x is a missing value */
    if (is_finite) {
@RUN@
@CHECKS@
    }
    if (!is_finite) {
        for (int32_t i = 0; i < @MACRO@_RESULTS * @MACRO@_OUTPUTS; ++i) {
            y[i] = NAN;
        }
        return 1;
    }
    stream->turn = next;
    return 0;
}
@DEFINED_LABELS@
