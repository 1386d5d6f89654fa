"""One step of many streams, on arrays that onnxruntime reads and writes in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seq2onnx.runtime.session import bind
from seq2onnx.runtime.slots import Places
from seq2onnx.sequences import Array

if TYPE_CHECKING:
    from seq2onnx.runtime.predictor import Predictor

_MOST_BINDINGS = 64


class StepBuffers:
    """Room for one step of up to `capacity` streams, for networks of one float input and one output (`is_plain`).

    A step of n streams takes the first n rows; their binding is made once for each n and kept.
    """

    def __init__(self, model: Predictor, capacity: int) -> None:
        (entry,), (self._output,) = model.inputs, model.outputs
        self._model, self._x = model, np.zeros((capacity, *entry.shape), np.float32)
        self._reads: dict[str, Array] = {entry.tensor: self._x[:, None]}
        if model.takes_lengths:
            self._reads["lengths"] = np.ones(capacity, np.int32)
        self._reads |= {info.name: info.zeros(capacity) for info in model.states}
        sizes = [1 if isinstance(size, str) else size for size in model.shapes[self._output][1:]]
        self._writes: dict[str, Array] = {self._output: np.zeros((capacity, *sizes), np.float32)}
        self._writes |= {info.new_name: info.zeros(capacity) for info in model.states}
        self._bindings: dict[int, Any] = {}

    def take(self, x: Any, count: int) -> bool:
        """Put x [count, features] in place, if it is one step of each as the network takes it, and finite."""
        if type(x) is not np.ndarray or x.dtype != np.float32 or x.shape != (count, *self._x.shape[1:]):
            return False
        self._x[:count] = x
        return bool(np.isfinite(self._x[:count]).all())

    def run(self, slots: Places, states: dict[str, Array]) -> Array:
        """The answers [n, k] to what was taken; `states` by name, [capacity, …], go on at `slots`."""
        model, count = self._model, len(slots)
        if count not in self._bindings:
            if len(self._bindings) == _MOST_BINDINGS:
                self._bindings.clear()
            reads = {name: array[:count] for name, array in self._reads.items()}
            writes = {name: array[:count] for name, array in self._writes.items()}
            self._bindings[count] = bind(model.session, reads, writes)
        for info in model.states:
            # The slots are there; told to check them, `take` would write to a copy of the buffer first.
            states[info.name].take(slots, 0, self._reads[info.name][:count], mode="clip")
        model.session.run_with_iobinding(self._bindings[count])
        for info in model.states:
            states[info.name][slots] = self._writes[info.new_name][:count]
        y = self._writes[self._output][:count].copy()
        return y[:, 0] if model.has_time(self._output) else y
