"""Whole sequences, from their start, in batches of like length: what `predict` runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import NotStreamable, SpecError
from seq2onnx.padding import PaddingPolicy
from seq2onnx.runtime.inputs import Rows, read_rows
from seq2onnx.sequences import Array, by_size, chunk

if TYPE_CHECKING:
    from seq2onnx.runtime.predictor import Predictor

Counts = NDArray[np.integer[Any]]

SEQUENCES_IN_A_PART = 4096
BYTES_IN_A_PART = 32 * 2**20


def run_all(
    model: Predictor, sequences: Any, names: Sequence[str], batch_size: int, policy: PaddingPolicy
) -> dict[str, Any]:
    """The results of each sequence, in order, by name; of generators and files a part after another."""
    least = model.metadata["min_length"]
    if isinstance(sequences, Iterator):
        parts = []
        first = 0
        while (part := _next_part(sequences)) or not first:
            places = range(first, first + len(part))
            first += len(part)
            rows = read_rows(_by_layer(part), model.inputs, least, places)
            parts.append(run_sorted(model, rows, names, batch_size, policy))
        joined = {name: [part[name] for part in parts] for name in names}
        return {n: list(itertools.chain(*p)) if model.has_time(n) else np.concatenate(p) for n, p in joined.items()}
    in_memory = getattr(sequences, "in_memory", True)
    if in_memory:
        return run_sorted(model, read_rows(sequences, model.inputs, least), names, batch_size, policy)
    found: dict[str, Any] = {name: [None] * len(sequences) for name in names}
    for window in sequences.windows():
        for indices in by_size(window, sequences.sizes, BYTES_IN_A_PART):
            given = sequences.take(indices)
            if isinstance(given, tuple):  # of a data set with the targets, which do not matter here
                given = given[0].get("", given[0])
            rows = read_rows(given, model.inputs, least, indices.tolist())
            for name, result in run_sorted(model, rows, names, batch_size, policy).items():
                for index, row in zip(indices, result, strict=True):
                    found[name][index] = row
    return {name: found[name] if model.has_time(name) else np.stack(found[name]) for name in names}


def _next_part(sequences: Iterator[Any]) -> list[Any]:
    """As many sequences as make a part; none at the end."""
    part: list[Any] = []
    size = 0
    for sequence in sequences:
        part.append(sequence)
        values = sequence.values() if isinstance(sequence, Mapping) else [sequence]
        size += sum(getattr(value, "nbytes", 64 * len(value)) for value in values)
        if len(part) == SEQUENCES_IN_A_PART or size >= BYTES_IN_A_PART:
            break
    return part


def _by_layer(part: list[Any]) -> Any:
    """A list for each input, where the sequences that came were dicts."""
    if not part or not isinstance(part[0], Mapping):
        return part
    return {name: [sequence[name] for sequence in part] for name in part[0]}


def run_sorted(
    model: Predictor, rows: Rows, names: Sequence[str], batch_size: int, policy: PaddingPolicy
) -> dict[str, Any]:
    """Run in batches of like length, and put the results back in order: stacked, or per step a list."""
    count = len(rows[model.inputs[0].layer])
    found: dict[str, list[Array]] = {name: [np.empty(0)] * count for name in names}
    for batch in batches(model, rows, batch_size, policy):
        results = run_batch(model, {layer: [arrays[i] for i in batch] for layer, arrays in rows.items()}, names, policy)
        for name, result in results.items():
            for index, row in zip(batch, result, strict=True):
                found[name][index] = row
    return {name: found[name] if model.has_time(name) else np.stack(found[name]) for name in names}


def batches(model: Predictor, rows: Rows, batch_size: int, policy: PaddingPolicy) -> list[NDArray[np.intp]]:
    """The sequences that run together, by their indices."""
    lengths = _lengths(model, rows)
    order = np.argsort(lengths, kind="stable")
    if model.takes_lengths or not policy.mask_padding:
        return chunk(order, batch_size)
    # A file without lengths takes batches without padding: only sequences of one length run together.
    same = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
    return [batch for group in same for batch in chunk(group, batch_size)]


def run_batch(model: Predictor, rows: Rows, names: Sequence[str], policy: PaddingPolicy) -> dict[str, list[Array]]:
    """Run a few sequences from the start: for each name a result for each sequence, unpadded."""
    limit = policy.limit(_lengths(model, rows))
    timed = [entry.layer for entry in model.inputs if entry.has_time]
    rows = {layer: [policy.cut(x, limit) for x in given] if layer in timed else given for layer, given in rows.items()}
    feeds, steps, finite = feeds_of(model, rows, policy)
    counts = [f"{name}_lengths" for name in names if f"{name}_lengths" in model.shapes]
    if policy.chunk is None or not model.states or model.closed_loop:
        found = _run(model, [*names, *counts], feeds | {state.name: state.zeros(len(steps)) for state in model.states})
        answers = {name: _unpadded(model, name, found, steps) for name in names}
    else:
        answers = _run_in_chunks(model, names, counts, feeds, steps, policy.chunk)
    real = _lengths(model, rows)
    if not policy.mask_padding:
        answers = _without_padding(model, names, answers, feeds, real, policy)
    for result in answers.values():
        for row in np.flatnonzero(~finite):
            if result[row].dtype.kind == "f":
                result[row] = np.full_like(result[row], np.nan)
    return answers


def _lengths(model: Predictor, rows: Rows) -> Counts:
    timed = next((entry.layer for entry in model.inputs if entry.has_time), None)
    count = len(rows[model.inputs[0].layer])
    return np.zeros(count, np.int32) if timed is None else np.array([len(x) for x in rows[timed]], np.int32)


def feeds_of(model: Predictor, rows: Rows, policy: PaddingPolicy) -> tuple[dict[str, Array], Counts, NDArray[np.bool_]]:
    """What a run reads but for states, the steps of each row that are data, and which rows are finite."""
    finite = np.ones(len(rows[model.inputs[0].layer]), bool)
    feeds: dict[str, Array] = {}
    steps: Counts = np.zeros(len(finite), np.int32)
    for entry in model.inputs:
        arrays = rows[entry.layer]
        finite &= np.array([bool(np.isfinite(array).all()) for array in arrays])
        if entry.has_time:
            feeds[entry.tensor], steps = policy.pad(arrays)
        else:
            feeds[entry.tensor] = np.stack(arrays)
    for entry in model.inputs:
        # onnxruntime's recurrent operators make finite numbers of NaN; they must not pass for an answer.
        feeds[entry.tensor][~finite] = 0
    if model.takes_lengths:
        feeds["lengths"] = steps
    if model.lookahead:
        feeds["end"] = np.ones(len(steps), np.int32)
    return feeds, steps, finite


def _run(model: Predictor, names: Sequence[str], feeds: dict[str, Array]) -> dict[str, Array]:
    return dict(zip(names, model.session.run(list(names), feeds), strict=True))


def _unpadded(model: Predictor, name: str, found: dict[str, Array], steps: Counts) -> list[Array]:
    """A result for each row: of an output with time the steps that came out."""
    if not model.has_time(name):
        return list(found[name])
    return [row[:n] for row, n in zip(found[name], found.get(f"{name}_lengths", steps), strict=True)]


def _run_in_chunks(
    model: Predictor, names: Sequence[str], counts: Sequence[str], feeds: dict[str, Array], steps: Counts, size: int
) -> dict[str, list[Array]]:
    """The same as one run, a chunk of steps after another, the state carried on."""
    timed = [entry.tensor for entry in model.inputs if entry.has_time]
    states = {state.name: state.zeros(len(steps)) for state in model.states}
    parts: dict[str, list[list[Array]]] = {name: [[] for _ in steps] for name in names}
    for start in range(0, max(int(steps.max()), 1), size):
        here = np.clip(steps - start, 0, size).astype(np.int32)
        chunked = feeds | states | {name: feeds[name][:, start : start + size] for name in timed}
        if model.takes_lengths:
            chunked["lengths"] = here
        if model.lookahead:
            chunked["end"] = (steps <= start + size).astype(np.int32)
        found = _run(model, [*names, *counts, *(state.new_name for state in model.states)], chunked)
        states = {state.name: found[state.new_name] for state in model.states}
        for name in names:
            for row, answer in enumerate(_unpadded(model, name, found, here)):
                if start < steps[row] or start == 0:  # a row that has ended says nothing more
                    parts[name][row].append(answer)
    return {
        name: [np.concatenate(row) if model.has_time(name) else row[-1] for row in rows] for name, rows in parts.items()
    }


def _without_padding(
    model: Predictor,
    names: Sequence[str],
    answers: dict[str, list[Array]],
    feeds: dict[str, Array],
    real: Counts,
    policy: PaddingPolicy,
) -> dict[str, list[Array]]:
    """Of answers to padding as data those that stand where the real steps are."""
    kept = dict(answers)
    for name in names:
        if not model.has_time(name):
            continue
        counts: Counts = real
        if f"{name}_lengths" in model.shapes:
            if not model.takes_lengths:
                raise SpecError(
                    f"mask_padding: {model.path} takes no lengths, so which of its steps are real cannot be told; "
                    'export it with signature="full" or "sequence"'
                )
            # How many steps come of the real ones, the file itself can say.
            states = {state.name: state.zeros(len(real)) for state in model.states}
            counts = _run(model, [f"{name}_lengths"], feeds | states | {"lengths": real})[f"{name}_lengths"]
        kept[name] = [row[policy.place(len(row), int(n))] for row, n in zip(answers[name], counts, strict=True)]
    return kept


def check_policy(model: Predictor, policy: PaddingPolicy) -> PaddingPolicy:
    """The policy, if the file can follow it."""
    if policy.chunk is not None and not model.states and model.signature == "sequence":
        raise NotStreamable(
            f"{model.path}: was exported with signature 'sequence', which has no states to carry from chunk to chunk; "
            "export it with signature='full' or 'stream', or leave sequence_length at 'longest', which gives the same"
        )
    return policy
