/* Runs the sample. */

#include <stdio.h>

#include "@NAME@.h"

int main(void) {
    const int wrong = @NAME@_self_test();
    if (wrong != 0) {
        printf("call %d of the sample gives other results\n", wrong);
        return 1;
    }
    puts("the results of the sample are right");
    return 0;
}
