"""Runs of many streams in pieces: like lengths together, and long chunks some steps at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.runtime.buffers import finite_rows
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.outputs import Answer, Output, RowResults
from seq2onnx.runtime.steps import MOST_STEPS, StepBatch
from seq2onnx.sequences import Array

_FEW_STEPS = 256  # padded steps of a run that takes about as long as its start: several runs would take longer


def most_steps(model: Model) -> int:
    """Return how many steps of a row one run may take; a file that forecasts takes whole chunks only."""
    return MOST_STEPS if model.closed_loop is None else 2**31 - 1


def run_pieces(model: Model, batch: StepBatch, states: list[Array], end: bool) -> dict[str, RowResults]:
    """Run the finite rows of a batch; no run gets a row longer than `most_steps`, or rows of unlike lengths.

    The other rows are in no run. Afterwards `batch.finite` is False for rows whose states have become infinite, too.

    Args:
        model: the model.
        batch: the steps.
        states: of each row, by state [rows, …]; the list and its arrays are changed to the new ones.
        end: whether the rows end.

    Returns:
        By layer the answer of each row: an array, or a list where the rows may have different lengths. Answers of rows
        that are not finite have no meaning.
    """
    most, count = most_steps(model), len(batch.lengths)
    parts: list[tuple[NDArray[np.intp], dict[str, Answer]]] = []
    for start in range(0, max(1, int(batch.lengths.max())), most):
        for rows in _groups(model, batch, start, most):
            lengths = np.minimum(batch.lengths[rows] - start, most).astype(np.int32)
            chosen = rows if len(rows) < count else slice(None)  # which copies nothing
            x = batch.piece(model.inputs, rows, start, int(lengths.max()))
            answers, new = model.run(x, lengths, [state[chosen] for state in states], end)
            if len(rows) == count:
                states[:] = new
            else:
                for state, value in zip(states, new, strict=True):
                    state[chosen] = value
            parts.append((rows, answers))
    if states:
        batch.finite &= finite_rows(states)
    return {output.layer: _join(output, batch, parts) for output in model.outputs}


def join_parts(output: Output, parts: Sequence[Array]) -> Array:
    """Return the answer to a chunk from the answers to its pieces."""
    return parts[-1] if len(parts) == 1 or not output.has_time else np.concatenate(parts)


def in_form(output: Output, values: RowResults, batch: StepBatch) -> Any:
    """Return the answers of one output in the form of `StreamPool.step`, with NaN for rows that are not finite."""
    if output.dtype.kind == "f":
        for row in np.flatnonzero(~batch.finite):
            shape = values[row].shape if output.lengths_tensor is None else (1, *output.shape)
            values[row] = np.full(shape, np.nan, output.dtype)
    return values[:, 0] if batch.single and isinstance(values, np.ndarray) and output.has_time else values


def _groups(model: Model, batch: StepBatch, start: int, most: int) -> list[NDArray[np.intp]]:
    """Return the rows of each run that begins at step `start` of their chunks."""
    left = batch.lengths - start
    rows = np.flatnonzero(batch.finite & ((left > 0) | (start == 0)))
    sizes = np.minimum(left[rows], most)
    if model.takes_lengths and len(rows):
        if len(rows) * int(sizes.max()) <= _FEW_STEPS:
            return [rows]
        # 0 and 1 step, 2, 3 and 4, 5 to 8, …: padding at most doubles the steps of a run.
        sizes = np.frexp(np.maximum(sizes, 1) - 0.5)[1]
    return [rows[sizes == size] for size in np.unique(sizes)]


def _join(output: Output, batch: StepBatch, parts: list[tuple[NDArray[np.intp], dict[str, Answer]]]) -> RowResults:
    """Return the answer of each row from those of the runs."""
    layer, count = output.layer, len(batch.lengths)
    as_rows = output.lengths_tensor is not None or (output.has_time and batch.ragged)
    if len(parts) == 1 and len(parts[0][0]) == count:
        answer = parts[0][1][layer]
        return answer.rows() if as_rows else answer.values
    if not output.has_time:
        values = np.zeros((count, *output.shape), output.dtype)
        for rows, answers in parts:
            values[rows] = answers[layer].values
        return values
    by_row: list[list[Array]] = [[] for _ in range(count)]
    for rows, answers in parts:
        for row, y in zip(rows.tolist(), answers[layer].rows(), strict=True):
            by_row[row].append(y)
    joined = [
        join_parts(output, some) if some else np.zeros((length, *output.shape), output.dtype)
        for some, length in zip(by_row, batch.lengths.tolist(), strict=True)
    ]
    return joined if as_rows else np.stack(joined)
