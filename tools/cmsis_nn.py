"""An LSTM of CMSIS-NN with random weights of 8 bits, with the calls of a package for C: to compare with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HEADER = """\
#include <stdint.h>
#define NET_FEATURES INPUTS
#define NET_STEPS 1
#define NET_RESULTS 1
#define NET_OUTPUTS SIZE
typedef struct {
    int16_t c[SIZE];
    int8_t h[SIZE];
} net_stream;
void net_reset(net_stream *stream);
int net_step(net_stream *stream, const int8_t *x, float *y);
"""
CODE = """\
#include "net.h"
#include <string.h>
#include "arm_nnfunctions.h"

ARRAYS
static int16_t gate[SIZE], other[SIZE];
static const cmsis_nn_lstm_params params = {1, 1, 1, INPUTS, SIZE, 0, 1073741824, -14, 1073741824, -14, 32767, -12,
                                            1073741824, -21, 0, GATES};

void net_reset(net_stream *stream) {
    memset(stream, 0, sizeof *stream);
}

int net_step(net_stream *stream, const int8_t *x, float *y) {
    int8_t out[SIZE];
    cmsis_nn_lstm_context buffers = {gate, other, stream->c, stream->h};
    arm_lstm_unidirectional_s8(x, out, &params, &buffers);
    for (int i = 0; i < SIZE; ++i) {
        y[i] = out[i];
    }
    return 0;
}
"""


def write_lstm(folder: Path, inputs: int, size: int) -> None:
    """Write net.h and net.c of one LSTM into a folder; x is int8."""
    generator, arrays, gates = np.random.default_rng(0), list[str](), list[str]()
    for gate in ("forget", "input", "cell", "output"):
        for part, count in {"w": inputs * size, "r": size * size}.items():
            arrays.append(_array("int8_t", f"{gate}_{part}", generator.integers(-127, 128, count)))
        for part in ("b", "c"):
            arrays.append(_array("int32_t", f"{gate}_{part}", generator.integers(-1000, 1000, size)))
        kind = "ARM_TANH" if gate == "cell" else "ARM_SIGMOID"
        gates.append(f"{{1518500250, -4, {gate}_w, {gate}_b, 1518500250, -5, {gate}_r, {gate}_c, {gate}_b, {kind}}}")
    marks = {"ARRAYS": "\n".join(arrays), "GATES": ", ".join(gates), "INPUTS": str(inputs), "SIZE": str(size)}
    for file, text in {"net.h": HEADER, "net.c": CODE}.items():
        for mark, value in marks.items():
            text = text.replace(mark, value)
        (folder / file).write_text(text, encoding="utf-8")


def _array(kind: str, name: str, values: NDArray[np.int64]) -> str:
    return f"static const {kind} {name}[] = {{{', '.join(map(str, values))}}};"
