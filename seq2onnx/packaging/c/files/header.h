/* @TITLE@: one sequence that arrives step by step. C99; needs libm alone. Made by @WRITER@. */
#ifndef @MACRO@_H
#define @MACRO@_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define @MACRO@_FEATURES @FEATURES@ /* numbers of a step */
#define @MACRO@_STEPS @STEPS@ /* steps that each call takes */
#define @MACRO@_RESULTS @RESULTS@ /* results that each call gives */
#define @MACRO@_OUTPUTS @OUTPUTS@ /* numbers of a result */
#define @MACRO@_STACK @STACK@ /* bytes of stack that @NAME@_step takes at most, without those of libm */

/* The state of a stream, @STATE_BYTES@ bytes. Zeros mean the start. */
typedef struct {
    struct {
@STATES@
    } state[2]; /* read and written in turn */
    int32_t turn;
} @NAME@_stream;

/* Start a stream, or start it again. */
void @NAME@_reset(@NAME@_stream *stream);

/* Run @STEPS@ step@S@: x [@STEPS@ * @FEATURES@], y [@RESULTS@ * @OUTPUTS@]. Returns 0. @X_IS_WRONG@ makes
   the state infinite, it returns 1, y is NaN, and the state stays as it was. */
int @NAME@_step(@NAME@_stream *stream, const float *x, float *y);
@DECLARED_LABELS@
#ifdef __cplusplus
}
#endif

#endif
