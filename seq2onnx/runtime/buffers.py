"""One step in arrays that onnxruntime reads and writes in place, for models that can bind steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seq2onnx.contract import LENGTHS
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.session import bind, cannot_run
from seq2onnx.runtime.slots import Indices
from seq2onnx.sequences import Array

_MAX_BINDINGS = 64


class StepBuffers:
    """Arrays for one step of up to `capacity` streams.

    Attributes:
        x: the step of each stream [capacity, features].
        y: the answer to each [capacity, k].
    """

    def __init__(self, model: Model, capacity: int) -> None:
        (entry,), (output,) = model.inputs, model.outputs
        x = np.zeros((capacity, 1, *entry.shape), np.float32)
        y = np.zeros((capacity, *[1] * output.has_time, *output.shape), np.float32)
        self.x, self.y = x[:, 0], y[:, 0] if output.has_time else y
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
        return bool(np.isfinite(buffer).all())

    def run(self, slots: Indices, states: Sequence[Array]) -> Array:
        """Return the answers [n, k] to the x taken last, and update the rows `slots` of the states [capacity, …]."""
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
        for state, new in zip(states, self._new, strict=True):
            state[slots] = new[:count]
        return self._step.y[:count].copy()
