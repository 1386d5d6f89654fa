"""The proof that a file with added states equals its source: whole, in batches, in single steps and in chunks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.equivalence import LONG, LONGEST, MOST_IN_A_ROW, rare
from seq2onnx.importing.onnx.graph import RunFailed, first_line
from seq2onnx.importing.onnx.graph_parts import Array
from seq2onnx.importing.onnx.source_runs import Source
from seq2onnx.importing.onnx.tracing import Draw
from seq2onnx.parity import TOLERANCE, Row, compare
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.scoring import Scoring
from seq2onnx.runtime.session import SessionSettings
from seq2onnx.runtime.stream import Stream
from seq2onnx.sequences import MASKED

LENGTHS = (1, 2, 7, 29)
SCALES = (1.0, 0.1, 5.0)
"""The rows of each batch are drawn at these scales, so that not all of them saturate."""
MOST_STEPS_IN_A_CHUNK = 5

Found = dict[str, Array]


def prove(path: Path, source: Source, draw: Draw, longest: bool = False, seed: int = 1) -> list[Row]:
    """Compare a file with its source.

    Args:
        path: the file.
        source: the foreign file.
        draw: draws x for (generator, shape).
        longest: whether to compare a sequence that is as long as it may be.
        seed: of the random numbers.

    Returns:
        The comparisons; all of them hold.

    Raises:
        ImportRefused: the answers differ; the message says where first.
    """
    try:
        return _prove(Model(path, SessionSettings()), source, draw, longest, np.random.default_rng(seed))
    except Exception as error:
        if isinstance(error, ImportRefused) or not type(error).__module__.startswith(("onnxruntime", "seq2onnx")):
            raise
        raise ImportRefused(
            f"the graph does not run with states: {first_line(error).replace(f'{path}: ', '')}"
        ) from None


def _prove(model: Model, source: Source, draw: Draw, longest: bool, rng: np.random.Generator) -> list[Row]:
    batches, refusals = [], []
    lengths = LENGTHS if source.steps is None else sorted({*(n for n in LENGTHS if n < source.steps), source.steps})
    for steps in lengths:
        x = draw(rng, (len(SCALES), steps, *model.inputs[0].shape))
        if x.dtype == np.float32:
            x *= np.array(SCALES, np.float32).reshape(-1, *[1] * (x.ndim - 1))
        try:
            batches.append((steps, x, source(x)))
        except RunFailed as error:
            refusals.append(f"{steps} steps: {error}")
    if len(batches) < min(2, len(lengths)):
        raise ImportRefused(f"onnxruntime runs the file with one length only; {'; '.join(refusals)}")
    whole = _whole(model, [x for _, x, _ in batches])
    rows: list[Row] = []
    for (steps, x, expected), answers in zip(batches, whole, strict=True):
        if not all(np.isfinite(y).all() for y in expected.values()):
            raise ImportRefused(f"the source itself answers NaN or infinity to random data of {steps} steps")
        checks = (
            (f"whole, {steps} steps", answers),
            (f"steps, {steps} steps", _in_steps(model, x)),
            (f"chunks, {steps} steps", _in_chunks(model, x, rng)),
        )
        for check, found in checks:
            rows += _compared(check, found, expected)
    rows += _long(model, source, draw, longest, rng)
    if not rows:
        raise ImportRefused("the file answers once a sequence and no length could be compared")
    return rows


def _long(model: Model, source: Source, draw: Draw, longest: bool, rng: np.random.Generator) -> Iterator[Row]:
    """Compare long sequences with what ordinary data seldom has; one is enough of those that the source takes."""
    if source.steps is not None or source.by_step:
        return
    shape = model.inputs[0].shape
    most = MOST_IN_A_ROW // max(1, math.prod(shape))
    steps = min(LONGEST if longest else LONG, most)
    while steps > LENGTHS[-1]:
        x = rare(rng, draw(rng, (len(SCALES), steps, *shape)))
        try:
            expected = source(x)
        except ImportRefused:
            steps //= 2
            continue
        checks = [("whole", _whole(model, [x])[0])]
        if longest:
            checks.append(("chunks", _in_chunks(model, x, rng, steps // 8)))
        for check, found in checks:
            for name, y in expected.items():  # each row has numbers of its own size
                pairs = zip(found[name], y, strict=True)
                rows = [_compared(f"{check}, {steps} steps", {name: a[None]}, {name: b[None]}) for a, b in pairs]
                yield max(itertools.chain(*rows), key=lambda row: row.max_rel)
        return


def _compared(check: str, found: Mapping[str, Array], expected: Mapping[str, Array]) -> Iterator[Row]:
    for row in compare(check, found, expected):
        if not row.ok:
            place = _first_difference(found[row.tensor], expected[row.tensor])
            raise ImportRefused(
                f"the file with states differs from the source. First difference: {check}: {row.tensor}{place}. "
                "Something in it depends on other steps than a state can hold"
            )
        yield row


def _first_difference(y: Array, reference: Array) -> str:
    if y.shape != reference.shape:
        return f" has the shape {list(y.shape)}, the source gives {list(reference.shape)}"
    limit = TOLERANCE * max(1.0, float(np.abs(reference).max(initial=0)))
    wrong = ~(np.abs(y.astype(np.float64) - reference) <= limit)
    step, row, *rest = np.argwhere(wrong.swapaxes(0, 1))[0].tolist()  # the earliest step first
    at = (row, step, *rest)
    place = f", sequence {row}" + (f", step {step}" if y.ndim > 2 else "") + f", number {at[-1]}"
    return f"{place}: {y[at]:.6g}, the source gives {reference[at]:.6g}"


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


def _in_steps(model: Model, x: Array) -> Found:
    """Run each sequence as a stream of single steps."""
    parts: dict[str, list[Array]] = {output.layer: [] for output in model.outputs}
    for sequence in x:
        stream = Stream(model)
        answers = [stream.step(step) for step in sequence]
        for output in model.outputs:
            mine = [answer[output.layer] if isinstance(answer, dict) else answer for answer in answers]
            parts[output.layer].append(np.stack(mine) if output.has_time else mine[-1])
    return {name: np.stack(arrays) for name, arrays in parts.items()}


def _in_chunks(model: Model, x: Array, rng: np.random.Generator, most: int = MOST_STEPS_IN_A_CHUNK) -> Found:
    """Run all rows together in chunks of random lengths, some of no steps, the last one among them."""
    (entry,) = model.inputs
    states, at = model.zeros(len(x)), 0
    parts: dict[str, list[Array]] = {output.layer: [] for output in model.outputs}
    while True:
        size = int(rng.integers(0, most + 1)) if at < x.shape[1] else 0
        lengths = np.full(len(x), size, np.int32)
        answers, states = model.run({entry.layer: x[:, at : at + size]}, lengths, states)
        for output in model.outputs:
            values = answers[output.layer].values
            parts[output.layer] = [*parts[output.layer], values] if output.has_time else [values]
        if at >= x.shape[1]:
            return {
                name: np.concatenate(arrays, 1) if has_time(model, name) else arrays[0]
                for name, arrays in parts.items()
            }
        at += size


def has_time(model: Model, layer: str) -> bool:
    """Whether an output has a row for each step."""
    return next(output.has_time for output in model.outputs if output.layer == layer)
