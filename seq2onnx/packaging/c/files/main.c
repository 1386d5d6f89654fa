/* Reads one step per line from standard input, as numbers with commas between, and writes its result: the label, if there
   are classes, and the scores. A first line without a number is a header. A line that is no step gives nan and exit code
   2. Where each call takes several steps, the lines before the last of them give an empty line. */

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "@NAME@.h"

#define MAY_LACK_VALUES @MAY_LACK_VALUES@ /* whether values may be missing: an empty cell, or nan */

static char line[32 * @MACRO@_FEATURES + 1024];
static const char *const channels[] = {@CHANNELS@};
static int column[@MACRO@_FEATURES];
static int width = @MACRO@_FEATURES;

/* Cut a line at its commas; returns the cells, of which at most `most` are stored. */
static int cut(char *text, char **cells, int most) {
    int count = 0;
    for (char *cell = text; cell != NULL; ++count) {
        char *comma = strchr(cell, ',');
        if (comma != NULL) {
            *comma = '\0';
        }
        while (isspace((unsigned char)*cell)) {
            ++cell;
        }
        for (char *end = cell + strlen(cell); end > cell && isspace((unsigned char)end[-1]);) {
            *--end = '\0';
        }
        if (count < most) {
            cells[count] = cell;
        }
        cell = comma == NULL ? NULL : comma + 1;
    }
    return count;
}

static int is_number(const char *cell, float *value) {
    char *end;
    *value = strtof(cell, &end);
    return end != cell && *end == '\0';
}

/* Whether a line is a header. The columns are then those of the channels, if they have names; 2: one is missing. */
static int read_header(char **cells, int count) {
    float value;
    int is_empty = 1;
    for (int i = 0; i < count; ++i) {
        if (is_number(cells[i], &value)) {
            return 0;
        }
        is_empty = is_empty && cells[i][0] == '\0';
    }
    if (is_empty) {
        return 0;
    }
    for (int i = 0; channels[0] != NULL && i < @MACRO@_FEATURES; ++i) {
        column[i] = 0;
        while (column[i] < count && strcmp(cells[column[i]], channels[i]) != 0) {
            ++column[i];
        }
        if (column[i] == count) {
            fprintf(stderr, "line 1: has no column %s\n", channels[i]);
            return 2;
        }
    }
    width = count;
    return 1;
}

static void write_result(const @RESULT_TYPE@ *y) {
@WRITE_LABEL@
    for (int i = 0; i < @MACRO@_OUTPUTS; ++i) {
        printf("%.7g%s", (double)y[i], i + 1 < @MACRO@_OUTPUTS ? "," : "\n");
    }
}

int main(void) {
    static @NAME@_stream stream;
    static @TYPE@ x[@MACRO@_STEPS * @MACRO@_FEATURES];
    static @RESULT_TYPE@ y[@MACRO@_RESULTS * @MACRO@_OUTPUTS];
    static char *cells[16 * @MACRO@_FEATURES + 64];
    const int most = (int)(sizeof cells / sizeof *cells);
    int number = 0, code = 0, step = 0;
    @NAME@_reset(&stream);
    for (int i = 0; i < @MACRO@_FEATURES; ++i) {
        column[i] = i;
    }
    while (fgets(line, sizeof line, stdin) != NULL) {
        ++number;
        if (strchr(line, '\n') == NULL && !feof(stdin)) {
            fprintf(stderr, "line %d: is longer than %d characters\n", number, (int)sizeof line - 2);
            return 2;
        }
        const int count = cut(line, cells, most);
        if (count == 1 && cells[0][0] == '\0') {
            continue;
        }
        const int header = number == 1 && count <= most ? read_header(cells, count) : 0;
        if (header == 2) {
            return 2;
        }
        if (header == 1) {
            continue;
        }
        int is_step = count == width && count <= most;
        if (!is_step) {
            fprintf(stderr, "line %d: expected %d numbers, got %d\n", number, width, count);
        }
        for (int i = 0; is_step && i < @MACRO@_FEATURES; ++i) {
            float value = NAN;
            const int lacks = MAY_LACK_VALUES && cells[column[i]][0] == '\0';
            is_step = lacks || is_number(cells[column[i]], &value);
            if (!is_step) {
                fprintf(stderr, "line %d: expected a number, got %s\n", number, cells[column[i]]);
            } else if (!MAY_LACK_VALUES && !isfinite(value)) {
                is_step = 0;
                fprintf(stderr, "line %d: contains NaN or infinity\n", number);
            } else {
                x[step * @MACRO@_FEATURES + i] = (@TYPE@)value;
            }
        }
        if (!is_step) {
            for (int i = 0; i < @MACRO@_OUTPUTS; ++i) {
                y[i] = @REFUSED_VALUE@;
            }
            write_result(y);
            code = 2;
        } else if (++step < @MACRO@_STEPS) {
            puts("");
        } else {
            step = 0;
            if (@NAME@_step(&stream, x, y) != 0) {
                fprintf(stderr, "line %d: makes the state infinite\n", number);
                code = 2;
            }
            for (int i = 0; i < @MACRO@_RESULTS; ++i) {
                write_result(y + i * @MACRO@_OUTPUTS);
            }
        }
        fflush(stdout);
    }
    return code;
}
