"""predict: any number of sequences, sorted into batches of like length, which several threads run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.runtime.inputs import Input, Rows, by_layer, read_rows
from seq2onnx.runtime.parallel import Workers, finish
from seq2onnx.runtime.progress import Progress
from seq2onnx.runtime.whole import Counts, lengths_of, run_batch
from seq2onnx.sequences import PaddingPolicy, by_size, chunk

if TYPE_CHECKING:
    from concurrent.futures import Future

    from seq2onnx.runtime.predictor import Predictor

SEQUENCES_IN_A_PART = 4096
BYTES_IN_A_PART = 2**25
NUMBERS_IN_A_BATCH = 2**18  # of steps times the width of the network; 1 MB
USUAL_WIDTH = 256
STEPS_IN_A_BATCH = 4000
ROWS_IN_A_BATCH = 8
ROWS_WHERE_PADDING_COUNTS = 32


@dataclasses.dataclass
class Part:
    """Sequences that are read together: what is found of them, and the work on it that was started."""

    count: int
    found: dict[str, Any]
    started: list[Future[None]]


def run_all(
    model: Predictor,
    sequences: Any,
    names: Sequence[str],
    batch_size: int | None,
    policy: PaddingPolicy,
    progress: bool,
) -> dict[str, Any]:
    """The results of each sequence, in order, by name; of generators and files a part after another."""
    parts: list[Part] = []
    places: list[NDArray[np.intp]] = []
    total = None if isinstance(sequences, Iterator) else _count(sequences)
    with Progress(total, progress) as shown, Workers(model.threads) as workers:
        for rows, indices in _read(model, sequences):
            places.append(indices)
            parts.append(_start(model, rows, names, batch_size, policy, workers, shown))
            # While one part runs the next is read, and no more than that is in memory.
            for part in parts[-2:-1]:
                finish(part.started)
        finish(parts[-1].started)
    order = np.concatenate(places)
    return {name: _in_order(_joined([part.found.pop(name) for part in parts]), order) for name in names}


def run_sorted(
    model: Predictor, rows: Rows, names: Sequence[str], batch_size: int | None, policy: PaddingPolicy
) -> dict[str, Any]:
    """The results of rows that are in memory, in order: stacked, or where there is time a list."""
    with Workers(model.threads) as workers:
        part = _start(model, rows, names, batch_size, policy, workers, Progress(None, False))
        finish(part.started)
    return part.found


def _count(sequences: Any) -> int | None:
    """How many there are, where that can be said."""
    if isinstance(sequences, dict):
        sequences = next(iter(sequences.values()), None)
    return len(sequences) if hasattr(sequences, "__len__") else None


def _read(model: Predictor, sequences: Any) -> Iterator[tuple[Rows, NDArray[np.intp]]]:
    """The sequences in parts, each of which fits in memory, and their numbers."""
    least = model.metadata["min_length"]
    if isinstance(sequences, Iterator):
        first = 0
        for part in _taken(sequences):
            places = np.arange(first, first + len(part))
            yield read_rows(_by_layer(part, model.inputs, first), model.inputs, least, places.tolist()), places
            first += len(part)
    elif getattr(sequences, "in_memory", True):
        rows = read_rows(sequences, model.inputs, least)
        yield rows, np.arange(len(next(iter(rows.values()))))
    else:
        for shard in sequences.shards():
            for indices in by_size(shard, sequences.sizes, BYTES_IN_A_PART):
                given = sequences.take(indices)
                if isinstance(given, tuple):  # of a data set with the targets, which do not matter here
                    given = given[0].get("", given[0])
                yield read_rows(given, model.inputs, least, indices.tolist()), indices


def _by_layer(part: list[Any], inputs: tuple[Input, ...], first: int) -> Any:
    """A list for each input, where the sequences that came were dicts; first: the number of the first of them."""
    if part and not isinstance(part[0], Mapping):
        return part
    given = [by_layer(sequence, inputs, f"sequence {first + row}") for row, sequence in enumerate(part)]
    return {entry.layer: [sequence[entry.layer] for sequence in given] for entry in inputs}


def _taken(sequences: Iterator[Any]) -> Iterator[list[Any]]:
    """What a generator yields, in lists; one at least, which may be empty."""
    part: list[Any] = []
    size, first = 0, True
    for sequence in sequences:
        part.append(sequence)
        # The usual case by itself: this is much of what a generator costs beyond a list.
        size += sequence.nbytes if type(sequence) is np.ndarray else _bytes(sequence)
        if len(part) == SEQUENCES_IN_A_PART or size >= BYTES_IN_A_PART:
            yield part
            part, size, first = [], 0, False
    if part or first:
        yield part


def _bytes(sequence: Any) -> int:
    """Of a sequence, or of those of several inputs."""
    values = sequence.values() if isinstance(sequence, Mapping) else [sequence]
    return sum(getattr(value, "nbytes", 0) for value in values)


def _start(
    model: Predictor,
    rows: Rows,
    names: Sequence[str],
    batch_size: int | None,
    policy: PaddingPolicy,
    workers: Workers,
    shown: Progress,
) -> Part:
    """Begin to run some sequences in batches of like length, whose results are put in order as they come."""
    count = len(rows[model.inputs[0].layer])
    found: dict[str, Any] = {name: [None] * count for name in names if model.has_time(name)}

    def work(batch: NDArray[np.intp]) -> None:
        places = batch.tolist()
        results = run_batch(
            model, {layer: [arrays[i] for i in places] for layer, arrays in rows.items()}, names, policy
        )
        for name, result in results.items():
            if isinstance(result, list):
                for place, row in zip(places, result, strict=True):
                    found[name][place] = row
            else:
                # Whichever thread is first makes the array of all; `setdefault` lets no other replace it.
                if name not in found:
                    found.setdefault(name, np.empty((count, *result.shape[1:]), result.dtype))
                found[name][batch] = result
        shown.add(len(places))

    return Part(count, found, workers.start(work, batches(model, rows, batch_size, policy)))


def _joined(parts: list[Any]) -> Any:
    """The results of all parts; each is let go of once it is in the whole, so that they are not there twice."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], list):
        return [row for part in parts for row in part]
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part
        end -= len(part)
    return whole


def _in_order(found: Any, order: NDArray[np.intp]) -> Any:
    """Results by the numbers of their sequences: a part of a file is read as it lies there."""
    if (np.diff(order) > 0).all():
        return found
    if isinstance(found, list):
        return [found[place] for place in np.argsort(order)]
    return found[np.argsort(order)]


def batches(model: Predictor, rows: Rows, batch_size: int | None, policy: PaddingPolicy) -> list[NDArray[np.intp]]:
    """The sequences that run together, by their indices; the longest first, so that threads end together.

    What a sequence is answered does not depend on the number of threads, as the batches do not. Without `batch_size`
    they are cut by the steps that are run, padding included: few enough that what an operator hands on stays in the
    processor's cache, but so many rows that its matrices are not thin.
    """
    lengths = lengths_of(model, rows)
    if not policy.mask_padding or policy.sequence_length == "shortest":
        # What a sequence is answered depends on its batch mates: so many of like length, from the shortest on.
        order = np.argsort(lengths, kind="stable")
        return chunk(order, batch_size or ROWS_WHERE_PADDING_COUNTS)[::-1]
    if isinstance(policy.sequence_length, int):
        lengths = np.minimum(lengths, policy.sequence_length)
    order = np.argsort(-lengths, kind="stable")
    # A file without lengths takes batches without padding: only sequences of one length run together.
    ends: Any = [] if model.takes_lengths else np.flatnonzero(np.diff(lengths[order])) + 1
    # How much a layer hands on is not in the file; what it carries for a row, and what it reads, say as much.
    carried = sum(int(np.prod(info.shape)) for info in model.states) or USUAL_WIDTH
    steps = min(
        STEPS_IN_A_BATCH, NUMBERS_IN_A_BATCH // max(carried, *(int(np.prod(entry.shape)) for entry in model.inputs))
    )
    return [batch for group in np.split(order, ends) for batch in _cut(group, lengths, steps, batch_size)]


def _cut(order: NDArray[np.intp], lengths: Counts, steps: int, size: int | None) -> Iterator[NDArray[np.intp]]:
    """An order from the longest down, in batches of `size`, or of as many as go into so many steps."""
    start = 0
    while start < len(order):
        end = start + (size or max(ROWS_IN_A_BATCH, steps // max(1, int(lengths[order[start]]))))
        yield order[start:end]
        start = end
