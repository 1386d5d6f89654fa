/* @NAME@: a sample with its results, and the comparison. A program that does not call it does not contain it. */

#include <math.h>
#include <stddef.h>

#include "@NAME@.h"

#define CALLS @CALLS@
#define TOLERANCE @TOLERANCE@ /* times the number, or 1 */

@SAMPLES@
int @NAME@_self_test(void) {
    static @NAME@_stream stream;
@ROOM@
    @NAME@_reset(&stream);
    for (int call = 0; call < CALLS; ++call) {
        if (@NAME@_step(&stream, @PASSED@) != 0) {
            return call + 1;
        }
@COMPARISONS@
    }
    return 0;
}
