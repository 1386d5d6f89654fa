"""One step of many streams, in arrays that onnxruntime reads and writes in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seq2onnx.contract import LENGTHS
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.session import bind
from seq2onnx.runtime.slots import Indices
from seq2onnx.sequences import Array

_MAX_BINDINGS = 64


class StepBuffers:
    """Buffers for one step of up to `capacity` streams, for models that can bind steps.

    A step of n streams uses the first n rows. Their binding is made once for each n and kept.
    """

    def __init__(self, model: Model, capacity: int) -> None:
        (entry,), (self._output,) = model.inputs, model.outputs
        self._session = model.session
        self._x = np.zeros((capacity, *entry.shape), np.float32)
        self._y = np.zeros((capacity, *[1] * self._output.has_time, *self._output.shape), np.float32)
        self._old, self._new = model.zeros(capacity), model.zeros(capacity)
        self._reads: dict[str, Array] = {entry.tensor: self._x[:, None]}
        if model.takes_lengths:
            self._reads[LENGTHS] = np.ones(capacity, np.int32)
        self._reads |= {info.name: array for info, array in zip(model.states, self._old, strict=True)}
        self._writes: dict[str, Array] = {self._output.tensor: self._y}
        self._writes |= {info.new_name: array for info, array in zip(model.states, self._new, strict=True)}
        self._bindings: dict[int, Any] = {}

    def take(self, x: Any, count: int) -> bool:
        """Copy x [count, features] into the buffer; return False unless it has that shape and type and is finite."""
        if type(x) is not np.ndarray or x.dtype != np.float32 or x.shape != (count, *self._x.shape[1:]):
            return False
        self._x[:count] = x
        return bool(np.isfinite(self._x[:count]).all())

    def run(self, slots: Indices, states: Sequence[Array]) -> Array:
        """Return the answers [n, k] to the x taken last, and update the rows `slots` of the states [capacity, …]."""
        count = len(slots)
        if count not in self._bindings:
            if len(self._bindings) == _MAX_BINDINGS:
                self._bindings.clear()
            reads = {name: array[:count] for name, array in self._reads.items()}
            writes = {name: array[:count] for name, array in self._writes.items()}
            self._bindings[count] = bind(self._session, reads, writes)
        for state, old in zip(states, self._old, strict=True):
            # The slots exist. If `take` had to check them, it would write to a copy of the buffer first.
            state.take(slots, 0, old[:count], mode="clip")
        self._session.run_with_iobinding(self._bindings[count])
        for state, new in zip(states, self._new, strict=True):
            state[slots] = new[:count]
        y = self._y[:count].copy()
        return y[:, 0] if self._output.has_time else y
