"""Runs of a file with added states, which must equal its source: whole, in batches, in single steps and in chunks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing import equivalence
from seq2onnx.importing.onnx.graph import first_line
from seq2onnx.importing.onnx.graph_parts import Array
from seq2onnx.importing.onnx.source_runs import OnnxSource
from seq2onnx.importing.onnx.tracing import Draw
from seq2onnx.importing.states.sliding_windows import WindowSource
from seq2onnx.modelfile import read_checked
from seq2onnx.parity import ParityRow
from seq2onnx.parity.checks import run_streams
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.scoring import Scoring
from seq2onnx.runtime.session import SessionSettings
from seq2onnx.sequences import MASKED

SCALES = (1.0, 0.1, 5.0)
"""The rows of each batch are drawn at these scales, so that not all of them saturate."""

Found = dict[str, Array]


def compare_file(
    path: Path, source: OnnxSource, draw: Draw, longest: bool = False, window: int = 0, seed: int = 1
) -> list[ParityRow]:
    """Compare a file with its source, if `longest` also for a sequence that is as long as it may be.

    With a `window`, the file answers for each one of so many steps.

    Raises:
        ImportRefused: the answers differ; the message says where first.
    """
    try:
        model, rng = Model(read_checked(path), SessionSettings()), np.random.default_rng(seed)
        return _compare_file(model, source, draw, longest, window, rng)
    except Exception as error:
        if isinstance(error, ImportRefused) or not type(error).__module__.startswith(("onnxruntime", "seq2onnx")):
            raise
        raise ImportRefused(
            f"the graph does not run with states: {first_line(error).replace(f'{path}: ', '')}"
        ) from None


def _compare_file(
    model: Model, source: OnnxSource, draw: Draw, longest: bool, window: int, rng: np.random.Generator
) -> list[ParityRow]:
    shape, before = model.inputs[0].shape, max(window - 1, 0)
    allowed = equivalence.MOST_IN_A_ROW // max(1, math.prod(shape))
    if source.steps is not None and source.steps > allowed:
        raise ImportRefused(
            f"the input {source.data!r:.100} takes {source.steps:,} steps and no other number; at most {allowed:,} "
            "can be compared. Export the source with fewer steps, or with a dynamic number of steps"
        )
    lengths: Sequence[int] = equivalence.LENGTHS
    if window:
        lengths = [before + steps for steps in lengths]
    elif source.steps is not None:
        lengths = sorted({*(n for n in lengths if n < source.steps), source.steps})

    def short(steps: int) -> Array:
        x = draw(rng, (len(SCALES), steps, *shape))
        if x.dtype == np.float32:
            x *= np.array(SCALES, np.float32).reshape(-1, *[1] * (x.ndim - 1))
        return x

    long: Iterable[int] = ()
    if window:
        long = [before + equivalence.LONG // (1 if window * math.prod(shape) <= equivalence.MOST_NUMBERS else 10)]
    elif source.steps is None and not source.by_step:
        most = equivalence.longest_steps(math.prod(shape))
        long = equivalence.halves(most if longest else min(equivalence.LONG, most), equivalence.LENGTHS[-1])
    made = equivalence.compare(
        equivalence.Candidate(
            "the file with states",
            lambda batches, rng: _runs(model, batches, longest, before, rng),
            ". Something in it depends on other steps than a state can hold",
        ),
        WindowSource(source, window) if window else source,
        rng,
        map(short, lengths),
        (equivalence.rare(rng, draw(rng, (len(SCALES), steps, *shape))) for steps in long),
    )
    if len(set(made.lengths) & {*lengths}) < min(2, len(lengths)):
        raise ImportRefused(f"onnxruntime runs the file with one length only; {'; '.join(made.refusals)}")
    if not made.rows:
        raise ImportRefused("the file answers once a sequence and no length could be compared")
    return made.rows


def _runs(
    model: Model, batches: Sequence[equivalence.SourceBatch], longest: bool, before: int, rng: np.random.Generator
) -> Iterator[tuple[equivalence.SourceBatch, str, equivalence.Answers]]:
    """Run a file whole, in single steps and in chunks; of long sequences only the longest also in chunks.

    `before` steps come before the first answer.
    """
    has_time = {output.layer: output.has_time for output in model.outputs}
    for batch, whole in zip(batches, _whole(model, [batch.x for batch in batches]), strict=True):
        runs = [("whole", whole)]
        if not batch.is_long:
            chunks = _in_chunks(model, batch.x, equivalence.sizes_of_chunks(rng, batch.steps))
            runs += [("steps", _in_steps(model, batch.x, rng)), ("chunks", chunks)]
        elif longest:
            chunks = _in_chunks(model, batch.x, equivalence.sizes_of_chunks(rng, batch.steps, batch.steps // 8))
            runs.append(("chunks", chunks))
        counts = np.full(len(batch.x), batch.steps - before)
        for check, found in runs:
            flat = {name: y.reshape(*y.shape[: 1 + has_time[name]], -1) for name, y in found.items()}
            yield batch, check, {name: (y, counts if has_time[name] else None) for name, y in flat.items()}


def _whole(model: Model, batches: Sequence[Array]) -> list[Found]:
    """Run all sequences by one `predict`; return the answers of each batch."""
    (entry,) = model.inputs
    rows = [row for x in batches for row in x]
    found = Scoring(model, model.outputs, MASKED, None, 1).run_rows({entry.layer: rows})
    ends = np.cumsum([len(x) for x in batches])[:-1]
    parts = {name: np.split(np.arange(len(rows)), ends) for name in found}
    return [
        {name: np.stack([found[name][row] for row in parts[name][batch]]) for name in found}
        for batch in range(len(batches))
    ]


def _in_steps(model: Model, x: Array, rng: np.random.Generator) -> Found:
    """Run each sequence as a stream of single steps."""
    found = run_streams(model, {model.inputs[0].layer: list(x)}, rng, 1)
    return {o.layer: found[o.tensor].reshape(len(x), *[-1] * o.has_time, *o.shape) for o in model.outputs}


def _in_chunks(model: Model, x: Array, sizes: Iterable[int]) -> Found:
    """Run all rows together in chunks of these sizes, the last one of no steps."""
    (entry,) = model.inputs
    states, at = model.zeros(len(x)), 0
    parts: dict[str, list[Array]] = {output.layer: [] for output in model.outputs}
    for size in (*sizes, 0):
        lengths = np.full(len(x), size, np.int32)
        answers, states = model.run({entry.layer: x[:, at : at + size]}, lengths, states)
        for output in model.outputs:
            values, valid = answers[output.layer].values, answers[output.layer].lengths[0]
            values = values[:, :valid] if output.has_time else values
            parts[output.layer] = [*parts[output.layer], values] if output.has_time else [values]
        at += size
    return {output.layer: np.concatenate(parts[output.layer], 1) for output in model.outputs}
