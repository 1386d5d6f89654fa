/* @NAME@. Made by @WRITER@. */

#include "@NAME@.h"

#include <math.h>
#include <string.h>

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
#define ALIGNED __attribute__((aligned(64))) /* for vector units */
#else
#define ALIGNED
#endif

/* ---- functions ---- */

@FUNCTIONS@

/* ---- weights ---- */

@ARRAYS@
/* ---- calls ---- */

void @NAME@_reset(@NAME@_stream *stream) {
    memset(stream, 0, sizeof *stream);
}

int @NAME@_step(@NAME@_stream *stream, @DEFINED@) {
@BODY@

    if (!(@CHECK@)) {
@REFUSE@
        return 1;
    }
@COMMITS@
    return 0;
}
@DEFINED_BLOCK@
void @NAME@_get_state(const @NAME@_stream *stream, float *state) {
@GET_STATE@
}

void @NAME@_set_state(@NAME@_stream *stream, const float *state) {
@SET_STATE@
}
@DEFINED_NAMES@
