"""Stream: one sequence, a step or a chunk at a time, at the speed of onnxruntime."""

from __future__ import annotations

import contextlib
import io
import math
import threading
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seq2onnx.errors import DataError, StateError, StreamError
from seq2onnx.files import write_atomically
from seq2onnx.runtime.device import DeviceStates
from seq2onnx.runtime.session import bind, check_state
from seq2onnx.runtime.steps import not_finite, read_step
from seq2onnx.sequences import Array

if TYPE_CHECKING:
    from seq2onnx.runtime.predictor import Predictor

_IN_USE = "stream: another thread is using it; give each thread a stream of its own, or hold a lock around the calls"


class Stream:
    """A network that remembers: `step` gives what the next step, or the next chunk, brings.

    For networks of one input, one output and no stride all buffers are bound once. Two bindings take
    turns: what one writes as the new state, the other reads as the state, so a step allocates and copies
    nothing but x and y. Make it with `model.stream()`. Where two threads use one stream at the same moment, the
    second gets a StreamError and nothing happens; the order of their steps would be left to chance.
    """

    def __init__(self, model: Predictor) -> None:
        self._model = model
        self._run = model.session.run_with_iobinding
        self._in_use = threading.Lock()
        # Two buffers for each state, in turn the one that is read and the one that is written.
        self._buffers = [[state.zeros(1) for state in model.states] for _ in range(2)]
        self._turn = 0
        # What was last given of a whole sequence, with lookahead: `finish` has nothing else to go by.
        self._features = [info.zeros(1) for info in model.memory[len(model.states) :]]
        self._shape: tuple[int, ...] | None = None
        self._device = DeviceStates(model) if model.keeps_states_on_device else None
        if model.is_plain and self._device is None:
            self._bind_one_step()

    def step(self, x: Any, copy: bool = True) -> Any:
        """The answer after one more step, or chunk.

        Args:
            x: [features], one step; or [time, features], a chunk of any length; likewise images and tokens, a word
                or a list of them; with several inputs a dict by input layer
            copy: False gives the buffer of the answer itself for one step, which the next step overwrites
        Returns: [k] for one step; for a chunk [time, k] where the network answers per step, else [k]. With
            strides or lookahead always what came out, [n, k], and n may be 0. From a file with a closed loop the K
            steps that follow, [K, k]; the state is then that before the last of them: step(y[-1]) goes on. With
            several outputs a dict.
        Raises: ShapeError, DataError (not numbers; NaN or infinity), StreamError (another thread is using the
            stream). The state is then what it was.
        """
        if not self._in_use.acquire(False):
            raise StreamError(_IN_USE)
        try:
            if self._shape is None or type(x) is not np.ndarray or x.dtype != np.float32 or x.shape != self._shape:
                arrays, single = read_step(x, self._model.inputs, "step")
                if self._shape is None or not single:
                    return self._run_chunk(arrays, single, end=False)
                ((x,),) = arrays.values()
            self._entry[...] = x
            # One product is the quickest look: NaN or infinity in x is in it too, and the factor rules out overflow.
            if not math.isfinite(self._numbers.dot(self._small)):
                raise DataError(not_finite("step"))
            self._run(self._bindings[self._turn])
            self._turn ^= 1
            return self._answer.copy() if copy else self._answer
        finally:
            self._in_use.release()

    def finish(self) -> Any:
        """In files with lookahead, what still waited for steps to come, as `step` gives it; then back to the start.

        Raises: NotStreamable where nothing waits: every step has been answered
        """
        model = self._model
        model.must_have_lookahead()
        with self._alone():
            features = iter(self._features)
            chunk = {
                entry.layer: np.zeros((0, *entry.shape), entry.dtype) if entry.has_time else next(features)[0].copy()
                for entry in model.inputs
            }
            answer = self._run_chunk(chunk, False, end=True)
            self._clear()
            return answer

    def reset(self) -> None:
        """Back to the start."""
        with self._alone():
            self._clear()

    def clone(self) -> Stream:
        """Another stream that goes on from here; the two do not meet again."""
        other = Stream(self._model)
        other.state = self.state
        return other

    @property
    def state(self) -> dict[str, Array]:
        """All that the stream remembers, a copy: name in the ONNX file -> [1, …]. It can be set.

        With lookahead the vectors of a FeatureInput are in it too, which `finish` needs.
        """
        with self._alone():
            return {info.name: array.copy() for info, array in zip(self._model.memory, self._memory, strict=True)}

    @state.setter
    def state(self, state: Mapping[str, ArrayLike]) -> None:
        arrays = check_state(self._model.memory, state)
        with self._alone():
            for buffer, array in zip(self._memory, arrays, strict=True):
                buffer[...] = array

    def save(self, path: str | Path) -> None:
        """Write the state to a file, .npz, from which `load` goes on."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **self.state)
        write_atomically(path, buffer.getvalue())

    def load(self, path: str | Path) -> None:
        """Go on from the state that `save` wrote, of this stream or of another of the same network.

        Raises: StateError (not such a file, or states of other names and shapes), FileNotFoundError
        """
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                state = {name: archive[name] for name in archive.files}
        except (ValueError, TypeError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
            raise StateError(f"{path}: is not a state that Stream.save wrote: {error}") from None
        try:
            self.state = state
        except StateError as error:
            raise StateError(f"{path}: {error}") from None

    @property
    def _memory(self) -> list[Array]:
        """The arrays that hold it now; from the device it comes into them first."""
        if self._device is not None:
            self._device.fetch(self._buffers[self._turn])
        return self._buffers[self._turn] + self._features

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else uses the stream meanwhile, or a StreamError."""
        if not self._in_use.acquire(False):
            raise StreamError(_IN_USE)
        try:
            yield
        finally:
            self._in_use.release()

    def _clear(self) -> None:
        for array in self._memory:
            array.fill(0)

    def _run_chunk(self, arrays: dict[str, Array], single: bool, end: bool) -> Any:
        """[time, …] of each input, run; `single`: it is one step, and so is the answer."""
        model = self._model
        old, new = self._buffers[self._turn], self._buffers[self._turn ^ 1]
        feeds: dict[str, Array] = {entry.tensor: arrays[entry.layer][None] for entry in model.inputs}
        steps = next((len(arrays[entry.layer]) for entry in model.inputs if entry.has_time), 0)
        if model.takes_lengths:
            feeds["lengths"] = np.array([steps], np.int32)
        if model.lookahead:
            feeds["end"] = np.array([end], np.int32)
        names = [*model.outputs, *model.counts]
        if self._device is not None:
            found = self._device.run(feeds, names, old)
        else:
            feeds.update({state.name: buffer for state, buffer in zip(model.states, old, strict=True)})
            names += [state.new_name for state in model.states]
            found = dict(zip(names, model.session.run(names, feeds), strict=True))
            for state, buffer in zip(model.states, new, strict=True):
                buffer[...] = found[state.new_name]
            self._turn ^= 1
        for info, features in zip(model.memory[len(model.states) :], self._features, strict=True):
            features[...] = feeds[info.name]
        answers = {}
        for output in model.outputs:
            answer: NDArray[np.float32] = found[output][0]
            if f"{output}_lengths" in found:
                answer = answer[: int(found[f"{output}_lengths"][0])]
            elif single and model.has_time(output):
                answer = answer[0]
            answers[output.removeprefix("y_")] = answer
        return answers if len(answers) > 1 else next(iter(answers.values()))

    def _bind_one_step(self) -> None:
        """Buffers of one step, and the two bindings that use them."""
        model, (entry,), (output,) = self._model, self._model.inputs, self._model.outputs
        x = np.zeros((1, 1, *entry.shape), np.float32)
        y = np.zeros([1 if isinstance(size, str) else size for size in model.shapes[output]], np.float32)
        fixed: dict[str, Array] = {entry.tensor: x}
        if model.takes_lengths:
            fixed["lengths"] = np.ones(1, np.int32)
        self._fixed = fixed  # the bindings hold addresses, not references
        self._bindings = []
        for turn in (0, 1):
            reads = dict(zip((s.name for s in model.states), self._buffers[turn], strict=True))
            writes = dict(zip((s.new_name for s in model.states), self._buffers[turn ^ 1], strict=True))
            self._bindings.append(bind(model.session, fixed | reads, {output: y} | writes))
        self._shape, self._entry, self._numbers = entry.shape, x[0, 0], x.reshape(-1)
        self._answer = y[0, 0] if model.has_time(output) else y[0]
        self._small = np.full(x.size, 1e-20, np.float32)
