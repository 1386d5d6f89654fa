"""The proof that a lifted network equals its source, run whole, in single steps and in chunks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import ImportRefused, NotStreamable

if TYPE_CHECKING:
    from seq2onnx.building import SequenceModule

Array = NDArray[Any]
Source = Callable[[Array, Array | None], list[Array]]
"""Runs the source on x [B, T, …] and lengths [B] (None: all rows are whole). Each answer is [B, T, K] or [B, K]."""

# Both sides calculate in float32 and round in other places. Random networks differ by at most 1e-6. Trained ones with
# hundreds of units sum more products; a mistake in a gate, bias or epsilon shows as 1e-4 or more.
TOLERANCE = 1e-5
LENGTHS, LONG, LONGEST = (1, 2, 7, 29), 1009, 20_011
"""Lengths of the proof. The traced run has another one, so what depends on a length shows. The long ones show whether
the source cuts long sequences; they run whole only."""
ROWS = 3
MOST_NUMBERS = 1000
"""The most numbers of a step for which the long sequence has its full length."""
LARGE_STEPS, SCALES = 8, (0.5, 2.5)
"""How many steps of a row are large, and the exponents of 10 of their scales."""
MOST_IN_A_ROW = 2**22
"""The most numbers of the longest sequence."""


class ProofFailed(ImportRefused):
    """The lifted network differs from its source.

    Attributes:
        steps: the length of the first sequence that differs.
    """

    def __init__(self, message: str, steps: int) -> None:
        super().__init__(message)
        self.steps = steps


@dataclasses.dataclass(frozen=True)
class Samples:
    """Inputs for the proof.

    Attributes:
        draw: draws x [B, T, …] for (generator, rows, steps).
        lengths: whether the source takes the lengths of the rows.
        more: inputs of the user, each x [B, T, …].
        longest: whether one of the sequences is as long as it may be.
    """

    draw: Callable[[np.random.Generator, int, int], Array]
    lengths: bool = False
    more: Sequence[Array] = ()
    longest: bool = False


def prove(module: SequenceModule, source: Source, samples: Samples, seed: int = 0) -> float:
    """Compare a lifted network with its source: whole sequences of several lengths, single steps, random chunks.

    Lengths that the source itself refuses are left out, unless it runs with none of the longer ones.

    Returns:
        The largest error, over max(1, largest number of the source).

    Raises:
        ImportRefused: they differ; the message says where the first difference is. ProofFailed has the length.
    """
    rng, worst, refusals, proven = np.random.default_rng(seed), 0.0, [], 0
    draws = [samples.draw(rng, ROWS, steps) for steps in LENGTHS]
    numbers = draws[0][0].size
    long = LONG if numbers <= MOST_NUMBERS else LONG // 10
    draws.append(rare(rng, samples.draw(rng, ROWS, long)))
    growing = _growing(samples, rng, min(LONGEST, MOST_IN_A_ROW // numbers), long) if samples.longest else ()
    for x in [*draws, *samples.more, *growing]:
        lengths = _ragged(rng, len(x), x.shape[1]) if samples.lengths else None
        try:
            expected = source(x, lengths)
        except Exception as error:  # whatever the source raises for a length that it cannot run
            refusals.append(f"{x.shape[1]} steps: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
            continue
        proven += 1
        for check, found in _runs(module, rng, x, lengths):
            worst = max(worst, _compare(module, check, x.shape[1], found, expected, lengths))
        if x.shape[1] > long:
            break
    if proven < 2:
        raise ImportRefused(
            f"the source runs with one length only; with {'; with '.join(refusals)}. A network of layers takes every "
            "length: remove what fixes it"
        )
    return worst


def _growing(samples: Samples, rng: np.random.Generator, longest: int, long: int) -> Iterator[Array]:
    """Draw the longest sequences first: the first ones that the source takes are enough."""
    while longest > long:
        yield rare(rng, samples.draw(rng, ROWS, longest))
        longest //= 2


def rare(rng: np.random.Generator, x: Array) -> Array:
    """Put into all rows but the first what ordinary data seldom has; the last quarter stays as it is.

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


def _ragged(rng: np.random.Generator, rows: int, steps: int) -> Array:
    """Draw lengths from longest to shortest, as packed sequences want them; the first row is whole."""
    return np.sort(np.concatenate([[steps], rng.integers(1, steps + 1, rows - 1)]))[::-1].astype(np.int64)


def _runs(
    module: SequenceModule, rng: np.random.Generator, x: Array, lengths: Array | None
) -> Iterator[tuple[str, list[tuple[Array, Array | None]]]]:
    """Run the network whole, and if it can stream and all rows are whole, in steps and chunks."""
    import torch

    data = torch.from_numpy(x)
    rows = None if lengths is None else torch.from_numpy(lengths)
    with torch.no_grad():
        yield "whole", _answers(module, module(data, rows, return_state=False))
        try:
            module.network.states()
        except NotStreamable:
            return
        if lengths is not None or x.shape[1] >= LONG // 10:
            return
        for check in ("steps", "chunks"):
            state, pieces, at = None, [], 0
            while at < x.shape[1]:
                size = 1 if check == "steps" else int(rng.integers(0, 6))
                result = module(data[:, at : at + size], None, state)
                pieces.append(_answers(module, result))
                state, at = result[2], at + size
            yield check, [_concatenated(chunks) for chunks in zip(*pieces, strict=True)]


def _answers(module: SequenceModule, result: Any) -> list[tuple[Array, Array | None]]:
    """Return (y, y_lengths) of each output, y flattened to [B, T, K] or [B, K]."""
    y, y_lengths, _ = result
    names = module.network.outputs
    found = []
    for name in names:
        values, counts = (y, y_lengths) if len(names) == 1 else (y[name], y_lengths[name])
        has_time = module.network.signals[name].has_time
        found.append((values.flatten(1 + has_time).numpy(), counts.numpy() if has_time else None))
    return found


def _concatenated(chunks: Sequence[tuple[Array, Array | None]]) -> tuple[Array, Array | None]:
    """Join the answers to chunks; of answers for the whole sequence the last counts."""
    if chunks[-1][1] is None:
        return chunks[-1]
    parts = [y[:, : counts.max(initial=0)] for y, counts in chunks if counts is not None]
    return np.concatenate(parts, 1), np.sum([counts for _, counts in chunks if counts is not None], 0)


def _compare(
    module: SequenceModule,
    check: str,
    steps: int,
    found: Sequence[tuple[Array, Array | None]],
    expected: Sequence[Array],
    lengths: Array | None,
) -> float:
    worst = 0.0
    for name, (y, counts), want in zip(module.network.outputs, found, expected, strict=True):
        where = f"{check}, {steps} steps" + (f", lengths {lengths.tolist()}" if lengths is not None else "")
        if counts is not None:
            y = y[:, : counts.max()]
            want = want[:, : counts.max()] if lengths is not None else want
        if y.shape != want.shape:
            raise ProofFailed(
                f"the lifted network differs from the source. First difference: {where}: {name} has the shape "
                f"{list(y.shape)}, the source gives {list(want.shape)}",
                steps,
            )
        error = np.abs(y - want)
        if counts is not None:  # steps past the length of a row have no meaning
            error[np.arange(y.shape[1]) >= counts[:, None]] = 0
        limit = np.maximum(1.0, np.abs(want).max(tuple(range(1, want.ndim)), initial=0, keepdims=True))
        if not (error <= TOLERANCE * limit).all():
            at = _first(~(error <= TOLERANCE * limit))
            place = f"sequence {at[0]}" + (f", step {at[1]}" if y.ndim > 2 else "") + f", number {at[-1]}"
            raise ProofFailed(
                f"the lifted network differs from the source. First difference: {where}: {name}, {place}: "
                f"{y[at]:.6g}, the source gives {want[at]:.6g}"
                + ("; does the source read the padding of shorter rows?" if lengths is not None else ""),
                steps,
            )
        worst = max(worst, float((error / limit).max(initial=0)))
    return worst


def _first(wrong: Array) -> tuple[int, ...]:
    """Find the place of the first True, the earliest step first."""
    places = np.argwhere(wrong)
    return tuple(int(i) for i in min(places.tolist(), key=lambda place: (place[1:2] * (len(place) > 2), place)))
