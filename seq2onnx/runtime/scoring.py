"""Inference on any number of sequences, in batches of similar length that several threads run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.runtime.inputs import Input, Rows, by_layer, by_name, read_rows
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.outputs import Lengths, Output
from seq2onnx.runtime.parallel import Workers, finish
from seq2onnx.runtime.progress import Progress
from seq2onnx.runtime.unlike_training import Sample
from seq2onnx.runtime.whole import lengths_of, run_batch
from seq2onnx.sequences import PaddingPolicy, by_size, chunk

if TYPE_CHECKING:
    from concurrent.futures import Future

SEQUENCES_IN_A_PART = 4096
BYTES_IN_A_PART = 2**25
NUMBERS_IN_A_BATCH = 2**18  # steps times the width of the network; 1 MB
USUAL_WIDTH = 256
STEPS_IN_A_BATCH = 4000
ROWS_IN_A_BATCH = 8
ROWS_WHERE_PADDING_COUNTS = 32


@dataclasses.dataclass(frozen=True)
class Scoring:
    """Inference on whole sequences.

    Attributes:
        model: the model.
        outputs: the outputs to return.
        policy: how sequences are padded.
        batch_size: sequences in one run. None: as many as run fastest.
        threads: how many batches run at the same time.
    """

    model: Model
    outputs: Sequence[Output]
    policy: PaddingPolicy
    batch_size: int | None
    threads: int

    def run(self, sequences: Any, progress: bool) -> tuple[dict[str, Any], str | None]:
        """Return the results of all sequences in order, by layer, and how they are unlike the training data.

        Generators and files are read in parts.
        """
        parts: list[dict[str, Any]] = []
        indices: list[NDArray[np.intp]] = []
        running: list[Future[object]] = []
        total = None if isinstance(sequences, Iterator) else _count(sequences)
        sample = Sample(self.model, total)
        with Progress(total, progress) as shown, Workers(self.threads) as workers:
            for rows, part in _read(self.model, sequences, _rows_that_count(self.policy, self.batch_size) or 1):
                indices.append(part)
                sample.add(rows, part)
                results, started = self._start(rows, workers, shown)
                parts.append(results)
                finish(running)  # while one part runs the next is read, and no more than that is in memory
                running = started
            finish(running)
        answers = {o.layer: _joined([part.pop(o.layer) for part in parts], indices) for o in self.outputs}
        return answers, sample.unlike()

    def run_rows(self, rows: Rows) -> dict[str, Any]:
        """Return the results of rows that have been read, in order, by layer."""
        with Workers(self.threads) as workers:
            results, started = self._start(rows, workers, Progress(None, False))
            finish(started)
        return results

    def _start(self, rows: Rows, workers: Workers, shown: Progress) -> tuple[dict[str, Any], list[Future[object]]]:
        """Start to run some sequences in batches of similar length; return the results, filled later, and the work."""
        count = len(rows[self.model.inputs[0].layer])
        results: dict[str, Any] = {
            output.layer: [None] * count if output.has_time else np.empty((count, *output.shape), output.dtype)
            for output in self.outputs
        }

        def work(batch: NDArray[np.intp]) -> None:
            indices = batch.tolist()
            some = {layer: [arrays[i] for i in indices] for layer, arrays in rows.items()}
            for layer, result in run_batch(self.model, some, self.outputs, self.policy).items():
                if isinstance(result, list):
                    for index, row in zip(indices, result, strict=True):
                        results[layer][index] = row
                else:
                    results[layer][batch] = result
            shown.add(len(indices))

        return results, workers.start(work, batches(self.model, rows, self.batch_size, self.policy))


def _count(sequences: Any) -> int | None:
    """The number of sequences, if it is known."""
    if isinstance(sequences, dict):
        sequences = next(iter(sequences.values()), None)
    return len(sequences) if hasattr(sequences, "__len__") else None


def _rows_that_count(policy: PaddingPolicy, batch_size: int | None) -> int | None:
    """Return the rows of a batch if results may depend on them, else None."""
    return (batch_size or ROWS_WHERE_PADDING_COUNTS) if policy.keeps_order else None


def _read(model: Model, sequences: Any, rows_in_a_batch: int) -> Iterator[tuple[Rows, NDArray[np.intp]]]:
    """Yield the sequences in parts that fit in memory and do not cut a batch, with their indices."""
    sequences = by_name(sequences, model.inputs)
    if isinstance(sequences, Iterator):
        first = 0
        for part in _in_parts(sequences, rows_in_a_batch):
            indices = np.arange(first, first + len(part))
            yield (
                read_rows(_by_layer(part, model.inputs, first), model.inputs, model.contract, indices.tolist()),
                indices,
            )
            first += len(part)
    elif getattr(sequences, "in_memory", True):
        rows = read_rows(sequences, model.inputs, model.contract)
        yield rows, np.arange(len(next(iter(rows.values()))))
    else:
        for indices in _parts_of_file(sequences, rows_in_a_batch):
            given = sequences.take(indices)
            if isinstance(given, tuple):  # a data set also gives the targets, which are not needed
                given = given[0].get("", given[0])
            yield read_rows(given, model.inputs, model.contract, indices.tolist()), indices


def _parts_of_file(sequences: Any, rows_in_a_batch: int) -> Iterator[NDArray[np.intp]]:
    """Yield the indices of the sequences that are read together."""
    sizes, shards = sequences.sizes, sequences.shards()
    if rows_in_a_batch == 1:
        for shard in shards:
            yield from by_size(shard, sizes, BYTES_IN_A_PART)
        return
    # Batches are those of the given order, whatever the shards are. The rows of a Ray task are only some of those that
    # have a size.
    order = np.sort(np.concatenate(shards))
    starts = np.arange(0, len(order), rows_in_a_batch)
    for batches in by_size(np.arange(len(starts)), np.add.reduceat(sizes[order], starts), BYTES_IN_A_PART):
        yield order[starts[batches[0]] : starts[batches[-1]] + rows_in_a_batch]


def _by_layer(part: list[Any], inputs: tuple[Input, ...], first: int) -> Any:
    """Turn a list of dicts into a list for each input; `first` is the index of the first sequence."""
    if part and not isinstance(part[0], Mapping):
        return part
    given = [by_layer(sequence, inputs, f"sequence {first + row}") for row, sequence in enumerate(part)]
    return {entry.layer: [sequence[entry.layer] for sequence in given] for entry in inputs}


def _in_parts(sequences: Iterator[Any], multiple: int = 1) -> Iterator[list[Any]]:
    """Yield what a generator gives in lists of a multiple of items, save the last; at least one, which may be empty."""
    part: list[Any] = []
    size, first = 0, True
    for sequence in sequences:
        part.append(sequence)
        # The usual case comes first: this line is much of what a generator costs compared with a list.
        size += sequence.nbytes if type(sequence) is np.ndarray else _bytes(sequence)
        if (len(part) >= SEQUENCES_IN_A_PART or size >= BYTES_IN_A_PART) and not len(part) % multiple:
            yield part
            part, size, first = [], 0, False
    if part or first:
        yield part


def _bytes(sequence: Any) -> int:
    """The size of a sequence, or of a dict of sequences."""
    values = sequence.values() if isinstance(sequence, Mapping) else [sequence]
    return sum(getattr(value, "nbytes", 0) for value in values)


def _joined(parts: list[Any], indices: list[NDArray[np.intp]]) -> Any:
    """Join the results of all parts in the order of their sequences: parts of a file are read in the order of the file.

    Each part is freed once it is copied, so that memory holds the results only once.
    """
    if len(parts) == 1 and (np.diff(indices[0]) > 0).all():
        return parts[0]
    if isinstance(parts[0], list):
        order = np.argsort(np.concatenate(indices))
        rows = [row for part in parts for row in part]
        return [rows[place] for place in order]
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    for part_indices in reversed(indices):
        whole[part_indices] = parts.pop()
    return whole


def batches(model: Model, rows: Rows, batch_size: int | None, policy: PaddingPolicy) -> list[NDArray[np.intp]]:
    """Return the indices of the sequences that run together, the longest first, so that threads end together.

    The result of a sequence does not depend on the number of threads, since the batches do not. Without `batch_size`,
    batches are limited by their steps, including padding: few enough that the data between operators stays in the
    cache of the processor, but with enough rows that its matrices are not thin. If results may depend on the other rows
    of a batch, batches are a fixed number of sequences in the given order.
    """
    lengths = lengths_of(model, rows)
    if fixed := _rows_that_count(policy, batch_size):
        return chunk(np.arange(len(lengths)), fixed)
    if isinstance(policy.sequence_length, int):
        lengths = np.minimum(lengths, policy.sequence_length)
    order = np.argsort(-lengths, kind="stable")
    # A file without lengths needs batches without padding: only sequences of equal length run together.
    ends: Any = [] if model.takes_lengths else np.flatnonzero(np.diff(lengths[order])) + 1
    # The file does not tell the width of its layers; the size of its states and inputs is a good estimate.
    width = sum(int(np.prod(info.shape)) for info in model.states) or USUAL_WIDTH
    width = max(width, *(int(np.prod(entry.shape)) for entry in model.inputs))
    steps = min(STEPS_IN_A_BATCH, NUMBERS_IN_A_BATCH // width)
    return [batch for group in np.split(order, ends) for batch in _cut(group, lengths, steps, batch_size)]


def _cut(order: NDArray[np.intp], lengths: Lengths, steps: int, size: int | None) -> Iterator[NDArray[np.intp]]:
    """Cut indices, the longest first, into batches of `size` rows, or of at most `steps` steps."""
    start = 0
    while start < len(order):
        end = start + (size or max(ROWS_IN_A_BATCH, steps // max(1, int(lengths[order[start]]))))
        yield order[start:end]
        start = end
