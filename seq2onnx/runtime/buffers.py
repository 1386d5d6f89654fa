"""One step in arrays that onnxruntime reads and writes in place, for models that can bind steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seq2onnx.contract import LENGTHS
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.session import bind, cannot_run
from seq2onnx.runtime.slots import Indices
from seq2onnx.sequences import Array

_MAX_BINDINGS = 64
_FACTORS = np.full(2**14, 1e-20, np.float32)
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
        states = self._model.states
        reads = self._reads | {info.name: array for info, array in zip(states, old, strict=True)}
        writes = self._writes | {info.new_name: array for info, array in zip(states, new, strict=True)}
        first = ({name: array[:count] for name, array in arrays.items()} for arrays in (reads, writes))
        return bind(self._model.session, *first)


class StreamBuffers(NamedTuple):
    """The arrays of one stream: a step, and two sets of states, of which one is read and the other written, in turn.

    The numbers of x lie between those of the two sets, so one dot product checks x and the states of a set.

    Attributes:
        step: x and y.
        states: the two sets.
        checked: for each set its numbers and those of x, as one array.
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
            found = []
            for info, size in zip(model.states, sizes, strict=True):
                found.append(memory[at : at + math.prod(info.shape)].reshape(info.shape) if size else info.zeros(1))
                at += size
            return found

        step = StepBuffers(model, 1, memory[held : held + math.prod(shape)].reshape(shape))
        return cls(step, [states(0), states(held + width)], [memory[: held + width], memory[held:]])


class PoolBuffers:
    """One step of some streams of a pool; the binding for each number of streams is made once and kept."""

    def __init__(self, model: Model, capacity: int) -> None:
        self._step = StepBuffers(model, capacity)
        self._run, self._path = model.session.run_with_iobinding, model.path
        self._old, self._new = model.zeros(capacity), model.zeros(capacity)
        self._bindings: dict[int, Any] = {}

    def take(self, x: Any, count: int) -> bool:
        """Copy x [count, features] into the buffer; return False unless it has that shape and type and is finite."""
        buffer = self._step.x[:count]
        if type(x) is not np.ndarray or x.dtype != np.float32 or x.shape != buffer.shape:
            return False
        buffer[:] = x
        return _is_finite(buffer)

    def run(self, slots: Indices, states: Sequence[Array]) -> Array:
        """Return the answers [n, k] to the x taken last, and update the rows `slots` of the states [capacity, …].

        Where a state would become infinite or NaN, the answer is NaN and the states stay.
        """
        count = len(slots)
        if count not in self._bindings:
            if len(self._bindings) == _MAX_BINDINGS:
                self._bindings.clear()
            self._bindings[count] = self._step.bind(count, self._old, self._new)
        for state, old in zip(states, self._old, strict=True):
            # The slots exist. If `take` had to check them, it would write to a copy of the buffer first.
            state.take(slots, 0, old[:count], mode="clip")
        try:
            self._run(self._bindings[count])
        except Exception as error:
            raise cannot_run(self._path, error) from None
        written, answers = [new[:count] for new in self._new], self._step.y[:count].copy()
        if not all(_is_finite(new) for new in written if new.dtype.kind == "f"):
            finite = finite_rows(written)
            answers[~finite] = np.nan
            slots, written = slots[finite], [new[finite] for new in written]
        for state, new in zip(states, written, strict=True):
            state[slots] = new
        return answers


def finite_rows(arrays: Sequence[Array]) -> NDArray[np.bool_]:
    """Return for each row whether it is finite in all arrays [rows, …]."""
    finite = np.ones(len(arrays[0]), bool)
    for array in arrays:
        finite &= np.isfinite(array.reshape(len(array), -1)).all(1)
    return finite


def _is_finite(array: Array) -> bool:
    """Whether all numbers are finite: NaN and infinity carry over to a dot product, and the factors prevent overflow.

    For a few streams this takes less time than numpy's isfinite. Unlike dot, vdot does not warn of infinities.
    """
    numbers, most = array.reshape(-1), len(_FACTORS)
    if numbers.size <= most:
        return math.isfinite(np.vdot(numbers, _FACTORS[: numbers.size]))
    return all(_is_finite(numbers[at : at + most]) for at in range(0, numbers.size, most))


def _room(shape: tuple[int, ...]) -> int:
    return -(-math.prod(shape) // _ALIGNED) * _ALIGNED
