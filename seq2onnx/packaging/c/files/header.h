/* @NAME@: one sequence that arrives step by step. C99; needs libm alone. Made by @WRITER@. */
#ifndef @MACRO@_H
#define @MACRO@_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define @MACRO@_VERSION @VERSION@
#define @MACRO@_CHECKSUM @CHECKSUM@ /* the first 16 digits of the SHA-256 of the ONNX file */
@SIZES@
#define @MACRO@_STACK @STACK@ /* bytes of stack of a step, at most, without those of libm */
#define @MACRO@_STATE @STATE_NUMBERS@ /* floats that @NAME@_get_state writes */
@FACTS@
/* A stream, @STREAM_BYTES@ bytes. Zeros mean the start. The fields are private: they change with the version. */
typedef struct {
@FIELDS@
} @NAME@_stream;

/* Start a stream, or start it again. */
void @NAME@_reset(@NAME@_stream *stream);

/* Run one call: @SHAPES@. The arrays must not overlap. Returns 0.
   @WRONG@, it returns 1,
   the results are @REFUSED@, and the stream stays as it was. */
int @NAME@_step(@NAME@_stream *stream, @DECLARED@);
@DECLARED_BLOCK@
/* Read or write all states, in the order of the step file. Whole numbers are copied bit by bit;
   those of 64 bits take the place of two floats. */
void @NAME@_get_state(const @NAME@_stream *stream, float *state);
void @NAME@_set_state(@NAME@_stream *stream, const float *state);

/* Run the sample in @NAME@_self_test.c. Returns 0 if the results are right, else the number of the
   first wrong call. */
int @NAME@_self_test(void);
@DECLARED_NAMES@
#ifdef __cplusplus
}
#endif

#endif
