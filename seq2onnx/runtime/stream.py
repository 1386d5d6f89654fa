"""Stream: one sequence, a step or a chunk at a time, at the speed of onnxruntime."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seq2onnx.errors import DataError, ShapeError, StateError
from seq2onnx.sequences import Floats, as_floats

if TYPE_CHECKING:
    from seq2onnx.runtime.predictor import Predictor


class Stream:
    """A network that remembers: `step` gives what the next step, or the next chunk, brings.

    All buffers are bound once. Two bindings take turns: what one writes as the new state, the other reads
    as the state, so a step allocates and copies nothing but x and y. Make it with `model.stream()`; use
    it from one thread at a time.
    """

    def __init__(self, model: Predictor) -> None:
        self._model = model
        self._run = model.session.run_with_iobinding
        # Two buffers for each state, in turn the one that is read and the one that is written.
        self._buffers = [[state.zeros(1) for state in model.states] for _ in range(2)]
        self._turn = 0
        self._x, self._y, self._bindings = self._bind(1)
        self._entry = self._x[0, 0]
        self._answer = self._y.reshape(self._y.shape[-1])
        self._shape = self._entry.shape
        self._small = np.full(self._shape, 1e-20, np.float32)

    def step(self, x: ArrayLike, copy: bool = True) -> NDArray[np.float32]:
        """The answer after one more step, or chunk.

        Args:
            x: [features], one step; or [time, features], a chunk of any length
            copy: False gives the buffer of the answer itself for one step, which the next step overwrites
        Returns: [k] for one step; for a chunk [time, k] where the network answers per step, else [k]
        Raises: ShapeError, DataError (not numbers; NaN or infinity). The state is then what it was.
        """
        if type(x) is not np.ndarray or x.dtype != np.float32:
            x = as_floats(x, "step")
        if x.shape != self._shape:
            return self._step_chunk(x)
        # One product is the quickest look: NaN or infinity in x is in it too, and the factor rules out overflow.
        if not math.isfinite(x.dot(self._small)):
            raise DataError(_NOT_FINITE)
        self._entry[...] = x
        self._run(self._bindings[self._turn])
        self._turn ^= 1
        return self._answer.copy() if copy else self._answer

    def _step_chunk(self, x: Floats) -> NDArray[np.float32]:
        features = self._model.features
        if x.ndim != 2 or x.shape[1] != features:
            raise ShapeError(
                f"step: expected [{features}] or [time, {features}], got {list(x.shape)}; "
                f"the network's input size is {features}"
            )
        if not np.isfinite(x).all():
            raise DataError(_NOT_FINITE)
        old, new = self._buffers[self._turn], self._buffers[self._turn ^ 1]
        states = self._model.states
        feeds: dict[str, NDArray[Any]] = {"x": x[None]}
        if self._model.takes_lengths:
            feeds["lengths"] = np.array([len(x)], np.int32)
        feeds.update({state.name: buffer for state, buffer in zip(states, old, strict=True)})
        y, *results = self._model.session.run(["y", *(state.new_name for state in states)], feeds)
        for buffer, result in zip(new, results, strict=True):
            buffer[...] = result
        self._turn ^= 1
        answer: NDArray[np.float32] = y[0]
        return answer

    def reset(self) -> None:
        """Back to the start."""
        for buffer in self._buffers[self._turn]:
            buffer.fill(0)

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """All that the stream remembers, a copy: name in the ONNX file -> [1, …]. It can be set."""
        current = self._buffers[self._turn]
        return {s.name: buffer.copy() for s, buffer in zip(self._model.states, current, strict=True)}

    @state.setter
    def state(self, state: dict[str, ArrayLike]) -> None:
        names = [info.name for info in self._model.states]
        if not isinstance(state, dict) or set(state) != set(names):
            got = list(state) if isinstance(state, dict) else type(state).__name__
            raise StateError(f"state: expected a dict with the states {names}, got {got}")
        arrays = [np.asarray(state[name]) for name in names]
        for info, array in zip(self._model.states, arrays, strict=True):
            if array.shape != info.shape or array.dtype.kind != info.dtype.kind:
                raise StateError(
                    f"state {info.name}: expected {info.dtype} {list(info.shape)}, "
                    f"got {array.dtype} {list(array.shape)}"
                )
            if not np.isfinite(array).all():
                raise StateError(f"state {info.name}: has NaN or infinity in it; a stream could not recover from it")
        for buffer, array in zip(self._buffers[self._turn], arrays, strict=True):
            buffer[...] = array

    def _bind(self, steps: int) -> tuple[Floats, Floats, list[Any]]:
        """x and y for `steps` steps, and the two bindings that use them."""
        model = self._model
        x = np.zeros((1, steps, model.features), np.float32)
        y = np.zeros([1, *([steps] if model.answers_per_step else []), model.answer_size], np.float32)
        fixed: dict[str, NDArray[Any]] = {"x": x}
        if model.takes_lengths:
            fixed["lengths"] = np.full(1, steps, np.int32)
        self._fixed = fixed  # the bindings hold addresses, not references
        bindings = []
        for turn in (0, 1):
            binding = model.session.io_binding()
            reads = dict(zip((s.name for s in model.states), self._buffers[turn], strict=True))
            writes = dict(zip((s.new_name for s in model.states), self._buffers[turn ^ 1], strict=True))
            for name, array in {**fixed, **reads}.items():
                binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
            for name, array in {"y": y, **writes}.items():
                binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
            bindings.append(binding)
        return x, y, bindings


_NOT_FINITE = (
    "step: x has NaN or infinity in it; it was refused, and the state is what it was: fill the gap, or skip the step"
)
