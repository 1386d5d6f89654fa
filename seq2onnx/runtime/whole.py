"""A batch of whole sequences, from their start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import NotStreamable, SpecError
from seq2onnx.runtime.inputs import Rows
from seq2onnx.sequences import Array, PaddingPolicy, is_finite

if TYPE_CHECKING:
    from seq2onnx.runtime.predictor import Predictor

Counts = NDArray[np.integer[Any]]

Answers = dict[str, list[Array] | Array]  # by name: of an output with time a list of [time, …], else [batch, …]


def run_batch(model: Predictor, rows: Rows, names: Sequence[str], policy: PaddingPolicy) -> Answers:
    """Run a few sequences from the start: for each name a result for each sequence, unpadded."""
    limit = policy.limit(lengths_of(model, rows))
    if limit is not None:
        timed = [entry.layer for entry in model.inputs if entry.has_time]
        rows = rows | {layer: [policy.cut(x, limit) for x in rows[layer]] for layer in timed}
    feeds, steps, finite = feeds_of(model, rows, policy)
    counts = [f"{name}_lengths" for name in names if f"{name}_lengths" in model.shapes]
    if policy.chunk is None or not model.states or model.closed_loop:
        found = _run(model, [*names, *counts], feeds | {state.name: state.zeros(len(steps)) for state in model.states})
        answers = {name: _unpadded(model, name, found, steps) for name in names}
    else:
        answers = _run_in_chunks(model, names, counts, feeds, steps, policy.chunk)
    if not policy.mask_padding:
        answers = _without_padding(model, names, answers, feeds, lengths_of(model, rows), policy)
    for result in answers.values():
        for row in np.flatnonzero(~finite).tolist():
            if result[row].dtype.kind == "f":
                result[row] = np.full_like(result[row], np.nan)
    return answers


def lengths_of(model: Predictor, rows: Rows) -> Counts:
    """The steps of each sequence; zeros where no input has time."""
    timed = next((entry.layer for entry in model.inputs if entry.has_time), None)
    count = len(rows[model.inputs[0].layer])
    return np.zeros(count, np.int32) if timed is None else np.array([len(x) for x in rows[timed]], np.int32)


def feeds_of(model: Predictor, rows: Rows, policy: PaddingPolicy) -> tuple[dict[str, Array], Counts, NDArray[np.bool_]]:
    """What a run reads but for states, the steps of each row that are data, and which rows are finite."""
    finite = np.ones(len(rows[model.inputs[0].layer]), bool)
    feeds: dict[str, Array] = {}
    steps: Counts = np.zeros(len(finite), np.int32)
    for entry in model.inputs:
        if entry.has_time:
            word = entry.spell(int(policy.padding_value)).item() if entry.takes_words else None
            batch, steps = policy.pad(rows[entry.layer], word=word)
        else:
            batch = np.stack(rows[entry.layer])
        if not is_finite(batch):
            finite &= np.isfinite(batch.reshape(len(batch), -1)).all(1)
        feeds[entry.tensor] = batch
    if not finite.all():
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


def _unpadded(model: Predictor, name: str, found: dict[str, Array], steps: Counts) -> list[Array] | Array:
    """A result for each row: of an output with time the steps that came out."""
    if not model.has_time(name):
        return found[name]
    counts = found.get(f"{name}_lengths", steps).tolist()
    return [row[:n] for row, n in zip(found[name], counts, strict=True)]


def _run_in_chunks(
    model: Predictor, names: Sequence[str], counts: Sequence[str], feeds: dict[str, Array], steps: Counts, size: int
) -> Answers:
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
        name: [np.concatenate(row) for row in rows] if model.has_time(name) else np.stack([row[-1] for row in rows])
        for name, rows in parts.items()
    }


def _without_padding(
    model: Predictor,
    names: Sequence[str],
    answers: Answers,
    feeds: dict[str, Array],
    real: Counts,
    policy: PaddingPolicy,
) -> Answers:
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
