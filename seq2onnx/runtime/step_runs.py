"""Runs of a step file, which takes one row and a fixed number of steps: batches row by row, rows from run to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from seq2onnx.contract import Contract
from seq2onnx.runtime.inputs import Input, check_chunk
from seq2onnx.runtime.outputs import Answer, Lengths, Output
from seq2onnx.runtime.states import StateInfo
from seq2onnx.sequences import Array

Run = Callable[[list[str], dict[str, Array]], list[Array]]
"""onnxruntime: from the names of outputs and the inputs by name to the outputs."""


def run_steps(
    run: Run,
    contract: Contract,
    inputs: Sequence[Input],
    outputs: Sequence[Output],
    infos: Sequence[StateInfo],
    x: Mapping[str, Array],
    lengths: Lengths,
    states: Sequence[Array],
) -> tuple[dict[str, Answer], list[Array]]:
    """Run every row of a batch from its states; return the answers by layer, padded with zeros, and the new states.

    A row without steps keeps its states. Its answers without time are zeros. A length that is not a multiple of the
    steps of a run is a DataError.
    """
    timed, count = any(entry.has_time for entry in inputs), contract.chunk_steps
    counts = lengths // count if timed else np.ones_like(lengths)
    most = int(counts.max(initial=0))
    values = {
        output.tensor: np.zeros(
            (len(lengths), *[most * count // output.stride] * output.has_time, *output.shape), output.dtype
        )
        for output in outputs
    }
    new_states = [state.copy() for state in states]
    names = [*values, *(info.new_name for info in infos)]
    for row, (length, runs) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
        check_chunk(length, contract, f"row {row}")
        feeds = {entry.tensor: x[entry.layer][row : row + 1] for entry in inputs}
        held = [state[row : row + 1] for state in states]
        for number in range(runs):
            feeds |= {info.name: array for info, array in zip(infos, held, strict=True)}
            for entry in inputs:
                if entry.has_time:
                    feeds[entry.tensor] = x[entry.layer][row : row + 1, number * count : (number + 1) * count]
            results = run(names, feeds)
            held = results[len(values) :]
            for output, value in zip(outputs, results, strict=False):
                steps = count // output.stride
                place = slice(number * steps, (number + 1) * steps) if output.has_time else slice(None)
                values[output.tensor][row][place] = value[0]
        for state, array in zip(new_states, held, strict=True):
            state[row] = array[0]
    return {
        output.layer: Answer(output, values[output.tensor], lengths // output.stride) for output in outputs
    }, new_states
