"""The comparison of an imported network with its source, run whole, in single steps and in chunks."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seq2onnx.errors import ImportRefused, NotStreamable
from seq2onnx.parity import TOLERANCE, ParityRow

if TYPE_CHECKING:
    from seq2onnx.building import SequenceModule

Array = NDArray[Any]
Answers = Mapping[str, tuple[Array, Array | None]]
"""For each output its numbers and how many steps of each row have a meaning: [B, T, K] and [B], or [B, K] and None."""
Source = Callable[[Array, Array | None], list[Array]]
"""Runs the source on x [B, T, …] and lengths [B] (None: all rows are whole). Each answer is [B, T, K] or [B, K]."""
Entering = Callable[[Any, Any], Any]
"""Makes of a chunk [B, T, …], and of the whole sequences that it is part of, what enters a network."""

# TOLERANCE: both sides calculate in float32 and round in other places. Random networks differ by at most 1e-6. Trained
# ones with hundreds of units sum more products; a mistake in a gate, bias or epsilon shows as 1e-4 or more.
LENGTHS, LONG, LONGEST = (1, 2, 7, 29), 1009, 20_011
"""Lengths of the sequences. The traced run has another one, so what depends on a length shows. The long ones show
whether the source cuts long sequences; they run whole only."""
ROWS = 3
MOST_NUMBERS = 1000
"""The most numbers of a step for which the long sequence has its full length."""
LARGE_STEPS, SCALES = 8, (0.5, 2.5)
"""The number of large steps in a row, and the exponents of 10 of their scales."""
MOST_IN_A_ROW = 2**22
"""The most numbers of the longest sequence."""
MOST_STEPS_IN_A_CHUNK = 5


class ProofFailed(ImportRefused):
    """The imported network differs from its source; `steps` is the length of the first sequence that differs."""

    def __init__(self, message: str, steps: int) -> None:
        super().__init__(message)
        self.steps = steps


@dataclasses.dataclass(frozen=True)
class Samples:
    """Inputs for the comparison: `draw` draws x [B, T, …] for (generator, rows, steps), `more` are those of the user.

    `lengths`: the source takes the lengths of the rows. `longest`: one of the sequences is as long as it may be.
    """

    draw: Callable[[np.random.Generator, int, int], Array]
    lengths: bool = False
    more: Sequence[Array] = ()
    longest: bool = False


@dataclasses.dataclass(frozen=True)
class SourceBatch:
    """Sequences x [B, T, …], their lengths (None: all rows are whole), and what the source answers to them."""

    x: Array
    lengths: Array | None
    expected: Mapping[str, Array]
    is_long: bool = False

    @property
    def steps(self) -> int:
        """The number of steps."""
        return int(self.x.shape[1])


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An imported network that must equal its source; `runs` yields for each batch and way to run it the answers.

    `wide` is the source, calculated in float64 as far as it can be. It is asked where they differ, because the source
    itself may have rounded too much, for example in a sum of 20,000 steps.
    """

    name: str
    runs: Callable[[Sequence[SourceBatch], np.random.Generator], Iterator[tuple[SourceBatch, str, Answers]]]
    hint: str = ""
    wide: Callable[[Array, Array | None], Mapping[str, Array]] | None = None


class _Difference(NamedTuple):
    """Both answers, the errors, the unit of each row, and where an error is too large."""

    y: Array
    want: Array
    error: Array
    unit: Array
    wrong: Array


@dataclasses.dataclass(frozen=True)
class Equivalence:
    """A comparison that holds, the lengths of its sequences, and which lengths the source refuses, and why."""

    rows: list[ParityRow] = dataclasses.field(default_factory=list)
    lengths: list[int] = dataclasses.field(default_factory=list)
    refusals: list[str] = dataclasses.field(default_factory=list)


def compare(
    candidate: Candidate,
    source: Callable[[Array, Array | None], Mapping[str, Array]],
    rng: np.random.Generator,
    short: Iterable[Array],
    long: Iterable[Array],
    lengths: bool = False,
) -> Equivalence:
    """Compare a candidate with its source, which runs x [B, T, …] and, with `lengths`, the lengths [B] of the rows.

    Whatever the source raises is a refusal of this length. So is NaN for each sequence of one step, as the unbiased
    deviation of one number is; lengths then begin at 2. All short sequences are compared, and the first of the long
    ones that the source takes. If they differ, ProofFailed says where.
    """
    made, least = Equivalence(), 1

    def asked(x: Array, is_long: bool = False) -> list[SourceBatch]:
        nonlocal least
        known = _ragged(rng, len(x), x.shape[1], least) if lengths else None
        try:
            batch = SourceBatch(x, known, source(x, known), is_long)
            if batch.steps == 1 and any(_are_nan(answer) for answer in batch.expected.values()):
                least = 2
                raise ValueError("the answer to each sequence contains NaN")
        except Exception as error:  # whatever the source raises for a length that it cannot run
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            made.refusals.append(f"{x.shape[1]} steps: {why}")
            return []
        made.lengths.append(batch.steps)
        return [batch]

    batches = [batch for x in short for batch in asked(x)]
    first_taken = itertools.islice(filter(None, (asked(x, True) for x in long)), 1)
    for several in filter(None, itertools.chain([batches], first_taken)):
        for batch, check, found in candidate.runs(several, rng):
            made.rows.extend(_compared(candidate, batch, check, found))
    return made


def _compared(candidate: Candidate, batch: SourceBatch, check: str, found: Answers) -> Iterator[ParityRow]:
    """Compare each row of a batch by the size of its own numbers."""
    text = f"{candidate.name} differs from the source. First difference: {check}, {batch.steps} steps"
    text += "" if batch.lengths is None else f", lengths {batch.lengths.tolist()}"
    for name, want in batch.expected.items():
        y, counts = found[name]
        if counts is not None:
            y = y[:, : counts.max()]
        if y.shape != want.shape:
            shapes = f"has the shape {list(y.shape)}, the source gives {list(want.shape)}"
            raise ProofFailed(f"{text}: {name} {shapes}", batch.steps)
        made = _difference(y, want, counts)
        if made.wrong.any() and candidate.wide is not None:
            with contextlib.suppress(Exception):  # whatever the source raises in another type
                other = _difference(y, candidate.wide(batch.x, batch.lengths)[name][:, : y.shape[1]], counts)
                made = made if other.wrong.any() else other
        y, want, error, unit, wrong = made
        if wrong.any():
            at = _first(wrong)
            if not np.isfinite(want[at]):
                raise ProofFailed(
                    f"the source itself answers NaN or infinity to random data of {batch.steps} steps", batch.steps
                )
            place = f"sequence {at[0]}" + (f", step {at[1]}" if y.ndim > 2 else "") + f", number {at[-1]}"
            raise ProofFailed(
                f"{text}: {name}, {place}: {y[at]:.6g}, the source gives {want[at]:.6g}{candidate.hint}"
                + ("; does the source read the padding of shorter rows?" if batch.lengths is not None else ""),
                batch.steps,
            )
        worst = float(error.max(initial=0)), float((error / unit).max(initial=0))
        yield ParityRow(f"{check}, {batch.steps} steps", name, *worst, TOLERANCE)


def _difference(y: Array, want: Array, counts: Array | None) -> _Difference:
    """Compare answers; `counts` says how many steps of each row have a meaning."""
    if counts is not None:
        known = (np.arange(y.shape[1]) < counts[:, None])[..., None]
        y, want = np.where(known, y, 0), np.where(known, want, 0)
    error = np.abs(y.astype(np.float64) - want)
    finite, axes = np.isfinite(want), tuple(range(1, want.ndim))
    unit = np.maximum(1.0, np.abs(want).max(axes, initial=0, keepdims=True, where=finite))
    return _Difference(y, want, error, unit, ~((error <= TOLERANCE * unit) & finite))


def _first(wrong: Array) -> tuple[int, ...]:
    places = np.argwhere(wrong)
    return tuple(int(i) for i in min(places.tolist(), key=lambda place: (place[1:2] * (len(place) > 2), place)))


def _are_nan(answers: Array) -> bool:
    """Whether the answer to each row contains NaN."""
    return bool(np.isnan(answers.reshape(len(answers), -1)).any(1).all())


def _ragged(rng: np.random.Generator, rows: int, steps: int, least: int) -> Array:
    """Draw lengths from longest to shortest, as packed sequences want them; the first row is whole."""
    drawn = rng.integers(min(least, steps), steps + 1, rows - 1)
    return np.sort(np.concatenate([[steps], drawn]))[::-1].astype(np.int64)


def sizes_of_chunks(rng: np.random.Generator, steps: int, most: int = MOST_STEPS_IN_A_CHUNK) -> Iterator[int]:
    """Draw the sizes of chunks, some of no steps, until they have all steps."""
    while steps > 0:
        size = int(rng.integers(0, most + 1))
        yield size
        steps -= size


def longest_steps(numbers: int) -> int:
    """Return how many steps the longest sequence has, if a step has so many numbers."""
    return min(LONGEST, MOST_IN_A_ROW // max(1, numbers))


def bends(lengths: Sequence[int], sizes: ArrayLike, rounding: float = 1.0) -> bool:
    """Whether numbers follow the number of steps otherwise at the end than before, as a bound does; strides round."""
    gaps, numbers = np.diff(lengths), np.asarray(sizes, float)
    rates = np.diff(numbers, axis=0) / gaps.reshape(-1, *[1] * (numbers.ndim - 1))
    pairs = zip(itertools.pairwise(rates), itertools.pairwise(rounding / gaps), strict=True)
    return any(
        (abs(after - before) > np.maximum(1, abs(before)) * sum(errors)).any() for (before, after), errors in pairs
    )


def halves(steps: int, least: int) -> Iterator[int]:
    """Yield a length, half of it and so on, down to `least` without it."""
    while steps > least:
        yield steps
        steps //= 2


def rare(rng: np.random.Generator, x: Array) -> Array:
    """Put rare events into all rows but the first; the last quarter stays as it is.

    A few steps of the first quarter are large, so that a state keeps what only such a step sets: in every second row
    they are positive, in the others negative. Then come zeros, a step that repeats, and steps of one sign.
    """
    steps = x.shape[1]
    quarter = steps // 4
    for number, row in enumerate(x[1:]):
        row[quarter + quarter // 2 : 2 * quarter] = row[quarter]
        if x.dtype.kind != "f":
            continue
        middle, sign = x[0].mean(0), 1 - 2 * (number % 2)
        at = rng.integers(0, max(1, quarter), LARGE_STEPS)
        scale = 10.0 ** rng.uniform(*SCALES, LARGE_STEPS).reshape(-1, *[1] * (row.ndim - 1))
        chosen = rng.uniform(size=row[at].shape) < rng.choice([0.2, 1.0], scale.shape)
        row[at] = np.where(chosen, middle + sign * scale * np.abs(row[at] - middle), row[at])
        row[quarter : quarter + quarter // 2] = 0
        row[2 * quarter : 3 * quarter] = middle - sign * np.abs(row[2 * quarter : 3 * quarter] - middle)
    return x


def prove(
    module: SequenceModule,
    source: Source,
    samples: Samples,
    wide: Source | None = None,
    entering: Entering | None = None,
    seed: int = 0,
) -> None:
    """Compare a lifted network with its source: whole sequences of several lengths, single steps, random chunks.

    Lengths that the source itself refuses are left out, unless it runs with none of the longer ones: ImportRefused.
    """
    rng, names = np.random.default_rng(seed), module.network.outputs
    draws = [samples.draw(rng, ROWS, steps) for steps in LENGTHS]
    numbers = draws[0][0].size
    long = LONG if numbers <= MOST_NUMBERS else LONG // 10
    draws.append(rare(rng, samples.draw(rng, ROWS, long)))
    longest = halves(longest_steps(numbers), long) if samples.longest else ()

    def named(run: Source, x: Array, lengths: Array | None) -> dict[str, Array]:
        return dict(zip(names, run(x, lengths), strict=True))

    made = compare(
        Candidate(
            "the lifted network",
            lambda batches, rng: _runs(module, batches, rng, entering or (lambda chunk, _: chunk)),
            wide=wide and functools.partial(named, wide),
        ),
        functools.partial(named, source),
        rng,
        [*draws, *samples.more],
        (rare(rng, samples.draw(rng, ROWS, steps)) for steps in longest),
        samples.lengths,
    )
    if len(made.lengths) < 2:
        raise ImportRefused(
            f"the source runs with one length only; with {'; with '.join(made.refusals)}. A network of layers takes "
            "every length: remove what fixes it"
        )


def _runs(
    module: SequenceModule, batches: Sequence[SourceBatch], rng: np.random.Generator, entering: Entering
) -> Iterator[tuple[SourceBatch, str, Answers]]:
    """Run a network whole, and if it can stream and all rows are whole, in steps and chunks."""
    import torch

    with torch.no_grad():
        for batch in batches:
            x = torch.from_numpy(batch.x)
            lengths = None if batch.lengths is None else torch.from_numpy(batch.lengths)
            yield batch, "whole", _answers(module, module(entering(x, x), lengths, return_state=False))
            try:
                module.network.states()
            except NotStreamable:
                continue
            if lengths is not None or batch.steps >= LONG // 10:
                continue
            for check in ("steps", "chunks"):
                state, pieces, at = None, [], 0
                for size in [1] * batch.steps if check == "steps" else sizes_of_chunks(rng, batch.steps):
                    result = module(entering(x[:, at : at + size], x), None, state)
                    pieces.append(_answers(module, result))
                    state, at = result[2], at + size
                yield batch, check, {name: _concatenated([piece[name] for piece in pieces]) for name in pieces[0]}


def _answers(module: SequenceModule, result: Any) -> Answers:
    """Return each output, flattened to [B, T, K] or [B, K], and its lengths."""
    y, y_lengths, _ = result
    names, found = module.network.outputs, {}
    for name in names:
        values, counts = (y, y_lengths) if len(names) == 1 else (y[name], y_lengths[name])
        has_time = module.network.signals[name].has_time
        found[name] = (values.flatten(1 + has_time).numpy(), counts.numpy() if has_time else None)
    return found


def _concatenated(chunks: Sequence[tuple[Array, Array | None]]) -> tuple[Array, Array | None]:
    """Join the answers to chunks; of answers for the whole sequence the last counts."""
    if chunks[-1][1] is None:
        return chunks[-1]
    parts = [y[:, : counts.max(initial=0)] for y, counts in chunks if counts is not None]
    return np.concatenate(parts, 1), np.sum([counts for _, counts in chunks if counts is not None], 0)
