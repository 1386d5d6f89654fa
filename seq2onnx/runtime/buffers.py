"""One step in arrays that onnxruntime reads and writes in place, for models that can bind steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seq2onnx.contract import END, LENGTHS
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.outputs import Answer, unwrap
from seq2onnx.runtime.session import bind, cannot_run
from seq2onnx.runtime.slots import Indices
from seq2onnx.sequences import Array, is_finite

_MAX_BINDINGS = 64
_MOST_STAY = 0.75  # if fewer streams stay, it is faster to copy the states of all
_ALIGNED = 16  # each array begins at a multiple of 64 bytes after the first


class StepBuffers:
    """Arrays for one step of up to `capacity` streams, or for all steps of a run of a step file.

    Attributes:
        x: the step of each stream [capacity, features]; of a run of several steps [capacity, time, features].
        y: the answer to each [capacity, k], or [capacity, time, k].
    """

    def __init__(self, model: Model, capacity: int, x: Array | None = None) -> None:
        (entry,), (output,) = model.inputs, model.outputs
        steps = model.contract.chunk_steps
        x = np.zeros((capacity, steps, *entry.shape), np.float32) if x is None else x
        y = np.zeros((capacity, *[steps // output.stride] * output.has_time, *output.shape), np.float32)
        self.x, self.y = (x[:, 0], y[:, 0] if output.has_time else y) if steps == 1 else (x, y)
        self._model = model
        self._reads: dict[str, Array] = {entry.tensor: x}
        if model.takes_lengths:
            self._reads[LENGTHS] = np.ones(capacity, np.int32)
        self._writes: dict[str, Array] = {output.tensor: y}

    def bind(self, count: int, old: Sequence[Array], new: Sequence[Array]) -> Any:
        """Return a binding for the first `count` streams, which reads the states `old` and writes the states `new`.

        It holds only addresses: the caller must keep the buffers and the states.
        """
        return _bind_states(self._model, self._reads, self._writes, old, new, count)


class StreamBuffers(NamedTuple):
    """The arrays of one stream: a step, and two sets of states, of which one is read and the other written, in turn.

    The numbers of x lie between those of the two sets, so one dot product checks x and the states of a set.

    Attributes:
        step: x and y.
        states: the two sets.
        checked: for each set its numbers and those of x, as one array; without those of x if values may be missing.
    """

    step: StepBuffers
    states: list[list[Array]]
    checked: list[Array]

    @classmethod
    def of(cls, model: Model) -> StreamBuffers:
        """Make the arrays of a model that can bind steps."""
        shape = (1, model.contract.chunk_steps, *model.inputs[0].shape)
        sizes = [_room(info.shape) if info.dtype.kind == "f" else 0 for info in model.states]
        held, width = sum(sizes), _room(shape)
        memory = np.zeros(held + width + held, np.float32)

        def states(at: int) -> list[Array]:
            views = []
            for info, size in zip(model.states, sizes, strict=True):
                views.append(memory[at : at + math.prod(info.shape)].reshape(info.shape) if size else info.zeros(1))
                at += size
            return views

        step = StepBuffers(model, 1, memory[held : held + math.prod(shape)].reshape(shape))
        x = 0 if model.inputs[0].missing else width
        return cls(step, [states(0), states(held + width)], [memory[: held + x], memory[held + width - x :]])


class ChunkBuffers:
    """The bound arrays of a stream for chunks of one `shape` [time, features], whose answers have one shape, too."""

    def __init__(
        self, model: Model, x: Array, answers: Mapping[str, Answer], states: Sequence[Sequence[Array]]
    ) -> None:
        self.shape = x.shape[1:]
        self._x = np.zeros(x.shape, x.dtype)  # not of the order in memory that x has
        self._answers: dict[str, tuple[Array, Array | None]] = {}
        self._reads: dict[str, Array] = {model.inputs[0].tensor: self._x}  # the bindings do not keep the arrays
        if model.takes_lengths:
            self._reads[LENGTHS] = np.array([x.shape[1]], np.int32)
        if model.lookahead:
            self._reads[END] = np.zeros(1, np.int32)
        writes: dict[str, Array] = {}
        for layer, (output, values, lengths) in answers.items():
            writes[output.tensor] = y = np.zeros(values.shape, values.dtype)
            valid: Array | None = None
            if output.lengths_tensor is not None:
                writes[output.lengths_tensor] = valid = np.array(lengths)
            self._answers[layer] = y, valid
        here, there = states
        self._run = model.session.run_with_iobinding
        self._bindings = [
            _bind_states(model, self._reads, writes, here, there),
            _bind_states(model, self._reads, writes, there, here),
        ]

    def run(self, x: Array, turn: int) -> bool:
        """Run a chunk from the states of a turn, and write those of the other; False if its answers do not fit."""
        self._x[0] = x
        try:
            self._run(self._bindings[turn])
        except Exception:  # noqa: BLE001 (the run without bound buffers raises it again)
            return False
        return True

    def results(self) -> Any:
        """Return the results of the last run, a dict by layer if there are several outputs."""
        return unwrap(
            {
                layer: values[0].copy() if lengths is None else values[0, : lengths[0]].copy()
                for layer, (values, lengths) in self._answers.items()
            }
        )


class PoolBuffers:
    """One step of some streams of a pool; the bindings for each number of streams are made once and kept.

    The streams of the last step have their states in the first rows of two sets of arrays, which are read and written
    in turn. The states of all others are in the slots of the pool. So a step copies only the states of streams that
    were not in the step before, and of those that were and are not in this one.
    """

    def __init__(self, model: Model, homes: Sequence[Array], capacity: int) -> None:
        self._step, self._homes = StepBuffers(model, capacity), homes
        self._run, self._path = model.session.run_with_iobinding, model.path
        self._accepts = is_finite if not model.inputs[0].missing else lambda x: True
        self._sets, self._turn = (model.zeros(capacity), model.zeros(capacity)), 0
        self._bindings: dict[int, list[Any]] = {}
        self._count = 0  # rows that hold the state of a stream
        self._slots: Indices = np.zeros(capacity, np.int64)  # of each of these rows
        self._rows: Indices = np.full(capacity, -1)  # of each slot; -1: its state is in the pool
        self._last: tuple[Any, slice | Indices] = (None, slice(0))  # the slots of the last step, and their rows

    def step(self, x: Any, slots: Indices) -> Array | None:
        """Run x [n, features]; return the answers [n, k], or None if x has another shape or type.

        Where x is refused, or a state would become infinite or NaN, the answer is NaN and the states stay.
        """
        count = len(slots)
        buffer = self._step.x[:count]
        if type(x) is not np.ndarray or x.dtype != np.float32 or x.shape != buffer.shape:
            return None
        rows = self._rows_of(slots)
        buffer[rows] = x
        refused = None
        if not self._accepts(x):
            # A quantized file computes a row differently if its batch mates change: NaN must not be in the batch.
            refused = ~finite_rows([buffer])
            buffer[refused] = 0
        if count not in self._bindings:
            if len(self._bindings) == _MAX_BINDINGS:
                self._bindings.clear()
            here, there = self._sets
            self._bindings[count] = [self._step.bind(count, here, there), self._step.bind(count, there, here)]
        try:
            self._run(self._bindings[count][self._turn])
        except Exception as error:  # noqa: BLE001 (onnxruntime raises a dozen classes of errors)
            raise cannot_run(self._path, error) from None
        answers = np.array(self._step.y[rows])
        written = [new[:count] for new in self._sets[1 - self._turn]]
        if not all(map(is_finite, written)):
            refused = ~finite_rows(written) if refused is None else refused | ~finite_rows(written)
        if refused is not None:
            answers[refused[rows]] = np.nan
            for new, old in zip(written, self._sets[self._turn], strict=True):
                new[refused] = old[:count][refused]
        self._turn = 1 - self._turn
        return answers

    def put_back(self, slots: Indices) -> None:
        """Copy the states of these slots, so far as they are here, into the slots of the pool."""
        rows = self._rows.take(slots)
        rows = rows[rows >= 0]
        if len(rows):
            self._exchange(rows, slots[:0])

    def _rows_of(self, slots: Indices) -> slice | Indices:
        """Bring the states of these slots, and no others, into the first rows; return the row of each."""
        if slots is not self._last[0]:
            count, rows = len(slots), self._rows.take(slots)
            staying = rows[rows >= 0]
            if len(staying) < _MOST_STAY * max(count, self._count):
                self._exchange_all(slots)
                rows = np.arange(count)
            elif len(staying) < max(count, self._count):
                stays = np.zeros(self._count, bool)
                stays[staying] = True
                self._exchange(np.flatnonzero(~stays), slots[rows < 0])
                rows = self._rows.take(slots)
            in_order = not np.count_nonzero(rows != np.arange(count))
            self._last = slots, slice(count) if in_order else rows
        return self._last[1]

    def _exchange_all(self, coming: Indices) -> None:
        """Copy all states into the slots of the pool, and those of the coming slots into the first rows."""
        before, self._count, self._last = self._slots[: self._count], len(coming), (None, slice(0))
        for state, home in zip(self._sets[self._turn], self._homes, strict=True):
            home[before] = state[: len(before)]
            # The slots exist. If `take` had to check them, it would write to a copy first.
            home.take(coming, 0, state[: self._count], mode="clip")
        self._rows[before] = -1
        self._rows[coming] = np.arange(self._count)
        self._slots[: self._count] = coming

    def _exchange(self, leaving: Indices, coming: Indices) -> None:
        """Copy the states of these rows into the slots of the pool, and those of the coming slots into free rows."""
        before, after = self._count, self._count - len(leaving) + len(coming)
        self._count, self._last = after, (None, slice(0))
        left, stays = self._slots[leaving], np.ones(before, bool)
        stays[leaving] = False
        moving = after + np.flatnonzero(stays[after:])
        free = np.concatenate([np.flatnonzero(~stays[:after]), np.arange(before, after)])
        filled, free = free[: len(moving)], free[len(moving) :]
        for state, home in zip(self._sets[self._turn], self._homes, strict=True):
            home[left] = state[leaving]
            state[filled] = state[moving]
            state[free] = home[coming]
        self._rows[left] = -1
        self._slots[filled], self._slots[free] = self._slots[moving], coming
        self._rows[self._slots[:after]] = np.arange(after)


def finite_rows(arrays: Sequence[Array]) -> NDArray[np.bool_]:
    """Return for each row whether it is finite in all arrays [rows, …]."""
    finite = np.ones(len(arrays[0]), bool)
    for array in arrays:
        finite &= np.isfinite(array.reshape(len(array), -1)).all(1)
    return finite


def _bind_states(
    model: Model,
    reads: Mapping[str, Array],
    writes: Mapping[str, Array],
    old: Sequence[Array],
    new: Sequence[Array],
    rows: int | None = None,
) -> Any:
    """Bind inputs and outputs, the states that are read and those that are written: of all rows, or the first ones."""
    reads = {**reads, **{info.name: array for info, array in zip(model.states, old, strict=True)}}
    writes = {**writes, **{info.new_name: array for info, array in zip(model.states, new, strict=True)}}
    first = ({name: array[:rows] for name, array in arrays.items()} for arrays in (reads, writes))
    return bind(model.session, *first)


def _room(shape: tuple[int, ...]) -> int:
    return -(-math.prod(shape) // _ALIGNED) * _ALIGNED
