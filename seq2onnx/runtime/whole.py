"""Inference on a batch of whole sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import SpecError
from seq2onnx.runtime.inputs import Rows
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.outputs import Lengths, Output, RowResults
from seq2onnx.sequences import Array, PaddingPolicy


class PaddedBatch(NamedTuple):
    """Padded sequences.

    Attributes:
        x: by input layer [batch, time, …], or [batch, …] without time. Rows that are not finite are zeros.
        lengths: the steps of each row that count as data.
        finite: whether the values of a row are finite, or may be missing.
    """

    x: dict[str, Array]
    lengths: Lengths
    finite: NDArray[np.bool_]


def run_batch(model: Model, rows: Rows, outputs: Sequence[Output], policy: PaddingPolicy) -> dict[str, RowResults]:
    """Run a few sequences from the start; return for each output, by layer, the result of each sequence."""
    limit = policy.limit(lengths_of(model, rows))
    if limit is not None:
        timed = [entry.layer for entry in model.inputs if entry.has_time]
        rows = rows | {layer: [policy.cut(x, limit) for x in rows[layer]] for layer in timed}
    batch = make_batch(model, rows, policy)
    if policy.chunk is None or not model.states or model.closed_loop:
        answers, _ = model.run(batch.x, batch.lengths, outputs=outputs)
        results = {layer: answer.rows() for layer, answer in answers.items()}
    else:
        results = _run_in_chunks(model, batch, outputs, policy.chunk)
    if not policy.mask_padding:
        for output in outputs:
            if output.has_time:
                results[output.layer] = _without_padding(model, output, results[output.layer], batch, rows, policy)
    refused = np.flatnonzero(~batch.finite).tolist()
    for output in outputs:
        if output.dtype.kind == "f":
            result = results[output.layer]
            for row in refused:
                result[row] = np.full_like(result[row], np.nan)
    return results


def lengths_of(model: Model, rows: Rows) -> Lengths:
    """Return the steps of each sequence; zeros if no input has time."""
    timed = next((entry.layer for entry in model.inputs if entry.has_time), None)
    count = len(rows[model.inputs[0].layer])
    return np.zeros(count, np.int32) if timed is None else np.array([len(x) for x in rows[timed]], np.int32)


def make_batch(model: Model, rows: Rows, policy: PaddingPolicy) -> PaddedBatch:
    """Pad sequences to one batch."""
    count = len(rows[model.inputs[0].layer])
    finite = np.ones(count, bool)
    x: dict[str, Array] = {}
    lengths: Lengths = np.zeros(count, np.int32)
    for entry in model.inputs:
        if entry.has_time:
            word = entry.spell(int(policy.padding_value)).item() if entry.takes_words else None
            x[entry.layer], lengths = policy.pad(rows[entry.layer], word=word)
        else:
            x[entry.layer] = np.stack(rows[entry.layer])
        finite &= entry.finite_rows(x[entry.layer])
    if not finite.all():
        for array in x.values():
            # onnxruntime's recurrent operators turn NaN into finite numbers, which must not pass for an answer.
            array[~finite] = 0
    return PaddedBatch(x, lengths, finite)


def _run_in_chunks(model: Model, batch: PaddedBatch, outputs: Sequence[Output], size: int) -> dict[str, RowResults]:
    """Run chunks of `size` steps one after another, carrying the states; the results are those of one run."""
    timed = {entry.layer for entry in model.inputs if entry.has_time}
    states = model.zeros(len(batch.lengths))
    parts: dict[str, list[list[Array]]] = {output.layer: [[] for _ in batch.lengths] for output in outputs}
    for start in range(0, max(int(batch.lengths.max()), 1), size):
        x = {layer: array[:, start : start + size] if layer in timed else array for layer, array in batch.x.items()}
        lengths = np.clip(batch.lengths - start, 0, size).astype(np.int32)
        answers, states = model.run(x, lengths, states, batch.lengths <= start + size, outputs)
        for layer, answer in answers.items():
            for row, result in enumerate(answer.rows()):
                if start < batch.lengths[row] or start == 0:  # the row has not ended before
                    parts[layer][row].append(result)
    return {
        output.layer: [np.concatenate(row) for row in parts[output.layer]]
        if output.has_time
        else np.stack([row[-1] for row in parts[output.layer]])
        for output in outputs
    }


def _without_padding(
    model: Model, output: Output, results: RowResults, batch: PaddedBatch, rows: Rows, policy: PaddingPolicy
) -> RowResults:
    """Return the steps of each result that belong to data, where padding counted as data in the run."""
    lengths = lengths_of(model, rows)
    if output.lengths_tensor is not None or output.stride > 1:
        if not model.takes_lengths:
            raise SpecError(
                f"mask_padding: {model.path} takes no lengths, so the steps of the result that belong to data are "
                'unknown; export it with signature="full" or "sequence"'
            )
        # The file itself can tell how many steps come from the data.
        lengths = model.run(batch.x, lengths, outputs=[output]).answers[output.layer].lengths
    return [row[policy.place(len(row), int(n))] for row, n in zip(results, lengths, strict=True)]
