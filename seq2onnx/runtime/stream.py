"""Stream: one sequence, a step or a chunk at a time, at the speed of onnxruntime."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seq2onnx.errors import DataError, NotStreamable, ShapeError, StateError
from seq2onnx.runtime.inputs import by_layer
from seq2onnx.sequences import Array, check_steps

if TYPE_CHECKING:
    from seq2onnx.runtime.predictor import Predictor

_NOT_FINITE = (
    "step: x has NaN or infinity in it; it was refused, and the state is what it was: fill the gap, or skip the step"
)


class Stream:
    """A network that remembers: `step` gives what the next step, or the next chunk, brings.

    For networks of one input, one output and no stride all buffers are bound once. Two bindings take
    turns: what one writes as the new state, the other reads as the state, so a step allocates and copies
    nothing but x and y. Make it with `model.stream()`; use it from one thread at a time.
    """

    def __init__(self, model: Predictor) -> None:
        self._model = model
        self._run = model.session.run_with_iobinding
        # Two buffers for each state, in turn the one that is read and the one that is written.
        self._buffers = [[state.zeros(1) for state in model.states] for _ in range(2)]
        self._turn = 0
        # What was last given of a whole sequence: `finish` has nothing else to go by.
        self._features: dict[str, Array] = {}
        self._counts = [name for name in (f"{output}_lengths" for output in model.outputs) if name in model.shapes]
        self._shape: tuple[int, ...] | None = None
        (entry, *more), (output, *others) = model.inputs, model.outputs
        if not (more or others or self._counts or entry.is_tokens or model.lookahead):
            self._bind_one_step(entry.tensor, entry.shape, output)

    def step(self, x: Any, copy: bool = True) -> Any:
        """The answer after one more step, or chunk.

        Args:
            x: [features], one step; or [time, features], a chunk of any length; likewise images and tokens;
                with several inputs a dict by input layer
            copy: False gives the buffer of the answer itself for one step, which the next step overwrites
        Returns: [k] for one step; for a chunk [time, k] where the network answers per step, else [k]. With
            strides or lookahead always what came out, [n, k], and n may be 0. From a file with a closed loop the K
            steps that follow, [K, k]; the state is then that before the last of them: step(y[-1]) goes on. With
            several outputs a dict.
        Raises: ShapeError, DataError (not numbers; NaN or infinity). The state is then what it was.
        """
        if self._shape is None or type(x) is not np.ndarray or x.dtype != np.float32 or x.shape != self._shape:
            return self._step_any(x, copy)
        # One product is the quickest look: NaN or infinity in x is in it too, and the factor rules out overflow.
        if not math.isfinite(x.reshape(-1).dot(self._small)):
            raise DataError(_NOT_FINITE)
        self._entry[...] = x
        self._run(self._bindings[self._turn])
        self._turn ^= 1
        return self._answer.copy() if copy else self._answer

    def finish(self) -> Any:
        """In files with lookahead, what still waited for steps to come, as `step` gives it; then back to the start.

        Raises: NotStreamable where nothing waits: every step has been answered
        """
        if not self._model.lookahead:
            raise NotStreamable(
                f"{self._model.path}: was exported without lookahead, so nothing waits; every step has been answered"
            )
        chunk = {
            entry.layer: np.zeros((0, *entry.shape), entry.dtype)
            if entry.has_time
            else self._features.get(entry.layer, np.zeros(entry.shape, entry.dtype))
            for entry in self._model.inputs
        }
        answer = self._run_chunk(chunk, False, end=True)
        self.reset()
        return answer

    def reset(self) -> None:
        """Back to the start."""
        for buffer in self._buffers[self._turn]:
            buffer.fill(0)
        self._features = {}

    @property
    def state(self) -> dict[str, Array]:
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
        with np.errstate(over="ignore"):
            arrays = [
                a.astype(i.dtype) if a.dtype.kind == "f" == i.dtype.kind else a
                for i, a in zip(self._model.states, arrays, strict=True)
            ]
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

    def _step_any(self, x: Any, copy: bool) -> Any:
        """A step or chunk of any kind, after it has been checked."""
        inputs = self._model.inputs
        given = by_layer(x, inputs, "step")
        where = {entry.layer: f"step of {entry.layer}" if len(inputs) > 1 else "step" for entry in inputs}
        # One word is one step; a list of words is a chunk, and so would a text be, which is refused.
        given = {e.layer: np.asarray(x) if _is_word(x := given[e.layer], e.words) else x for e in inputs}
        arrays = {entry.layer: entry.convert(given[entry.layer], where[entry.layer]) for entry in inputs}
        single = any(entry.has_time and arrays[entry.layer].shape == entry.shape for entry in inputs)
        for entry in inputs:
            array, name = arrays[entry.layer], where[entry.layer]
            if entry.has_time and not single:
                try:
                    check_steps(array, name, entry.shape)
                except ShapeError as error:
                    one = list(entry.shape) or "one token"
                    raise ShapeError(str(error).replace("expected [", f"expected {one} or [", 1)) from None
            elif array.shape != entry.shape:
                raise ShapeError(f"{name}: expected {list(entry.shape)}, got {list(array.shape)}")
            if not np.isfinite(array).all():
                raise DataError(_NOT_FINITE)
        lengths = {entry.layer: len(arrays[entry.layer]) for entry in inputs if entry.has_time and not single}
        if len(set(lengths.values())) > 1:
            raise ShapeError(f"step: expected as many steps for each input, got {lengths}")
        if single and self._shape is not None:
            return self.step(next(iter(arrays.values())), copy)
        if single:
            arrays = {e.layer: arrays[e.layer][None] if e.has_time else arrays[e.layer] for e in inputs}
        return self._run_chunk(arrays, single, end=False)

    def _run_chunk(self, arrays: dict[str, Array], single: bool, end: bool) -> Any:
        """[time, …] of each input, run; `single`: it is one step, and so is the answer."""
        model = self._model
        self._features = {entry.layer: arrays[entry.layer] for entry in model.inputs if not entry.has_time}
        old, new = self._buffers[self._turn], self._buffers[self._turn ^ 1]
        feeds: dict[str, Array] = {entry.tensor: arrays[entry.layer][None] for entry in model.inputs}
        steps = next((len(arrays[entry.layer]) for entry in model.inputs if entry.has_time), 0)
        if model.takes_lengths:
            feeds["lengths"] = np.array([steps], np.int32)
        if model.lookahead:
            feeds["end"] = np.array([end], np.int32)
        feeds.update({state.name: buffer for state, buffer in zip(model.states, old, strict=True)})
        names = [*model.outputs, *self._counts, *(state.new_name for state in model.states)]
        found = dict(zip(names, model.session.run(names, feeds), strict=True))
        for state, buffer in zip(model.states, new, strict=True):
            buffer[...] = found[state.new_name]
        self._turn ^= 1
        answers = {}
        for output in model.outputs:
            answer: NDArray[np.float32] = found[output][0]
            if f"{output}_lengths" in found:
                answer = answer[: int(found[f"{output}_lengths"][0])]
            elif single and model.has_time(output):
                answer = answer[0]
            answers[output.removeprefix("y_")] = answer
        return answers if len(answers) > 1 else next(iter(answers.values()))

    def _bind_one_step(self, tensor: str, shape: tuple[int, ...], output: str) -> None:
        """Buffers of one step, and the two bindings that use them."""
        model = self._model
        x = np.zeros((1, 1, *shape), np.float32)
        y = np.zeros([1 if isinstance(size, str) else size for size in model.shapes[output]], np.float32)
        fixed: dict[str, Array] = {tensor: x}
        if model.takes_lengths:
            fixed["lengths"] = np.ones(1, np.int32)
        self._fixed = fixed  # the bindings hold addresses, not references
        self._bindings = []
        for turn in (0, 1):
            binding = model.session.io_binding()
            reads = dict(zip((s.name for s in model.states), self._buffers[turn], strict=True))
            writes = dict(zip((s.new_name for s in model.states), self._buffers[turn ^ 1], strict=True))
            for name, array in {**fixed, **reads}.items():
                binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
            for name, array in {output: y, **writes}.items():
                binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
            self._bindings.append(binding)
        self._shape, self._entry = shape, x[0, 0]
        self._answer = y[0, 0] if model.has_time(output) else y[0]
        self._small = np.full(x.size, 1e-20, np.float32)


def _is_word(x: Any, words: dict[str, int] | None) -> bool:
    return isinstance(x, str) and (len(x.split()) < 2 or x in (words or {}))
