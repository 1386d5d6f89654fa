"""Stream: stateful inference on one sequence, one step or chunk at a time."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seq2onnx.errors import DataError, StateError, StreamError
from seq2onnx.runtime import saved_state
from seq2onnx.runtime.buffers import ChunkBuffers, StreamBuffers
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.outputs import Answer, unwrap
from seq2onnx.runtime.session import cannot_run
from seq2onnx.runtime.states import check_state
from seq2onnx.runtime.steps import check_step_file, not_finite, overflowed, read_step
from seq2onnx.runtime.unlike_training import RecentSteps
from seq2onnx.sequences import Array, is_finite
from seq2onnx.sequences.samples import is_surely_small

_MOST_BOUND = 2**16
"""The numbers of a chunk and its answers that are bound; the run of a larger one takes nearly all of the time."""
_IN_USE = "stream: another thread is using it; give each thread a stream of its own, or hold a lock around the calls"


class Stream:
    """Stateful inference on one sequence, one step or chunk at a time; make it with `model.stream()`.

    For networks of one input and one output, without strides or in a step file, all buffers are bound once. Two
    bindings take turns: the new state that one writes is the state that the other reads, so a step allocates and copies
    nothing but x and y. Chunks of one input are bound in the same way from the second one of the same shape on, as long
    as their answers have the same shape, too.

    If a second thread uses the stream during a call, it gets a StreamError and nothing changes: the order of their
    steps would otherwise be left to chance.
    """

    def __init__(self, model: Model) -> None:
        model.require_states()
        self._model = model
        self._run = model.session.run_with_iobinding
        self._in_use = threading.Lock()
        self._recent: RecentSteps | None = None
        # Two buffers for each state: one is read and the other written, in turn.
        self._buffers = [model.zeros(1), model.zeros(1)]
        self._turn = 0
        # The last values of inputs without time, which `finish` needs.
        self._kept = {entry.layer: np.zeros((1, *entry.shape), entry.dtype) for entry in model.kept_inputs}
        self._shape: tuple[int, ...] | None = None
        self._on_device = model.device_states() if model.keeps_states_on_device else None
        # Whether a chunk of the shape of the one before has its buffers bound, and these.
        self._binds_chunks = model.can_bind_chunks and self._on_device is None
        self._chunk_shape: tuple[int, ...] | None = None
        self._chunk: ChunkBuffers | None = None
        if model.can_bind_steps and self._on_device is None:
            self._bind_one_step()

    def __repr__(self) -> str:
        return f"Stream({str(self._model.path)!r})"

    def step(self, x: Any, copy: bool = True) -> Array | Any:
        """Run one more step or chunk. After an error the state has not changed.

        Args:
            x: [features], one step; or [time, features], a chunk of any length, in a file with form="step" a multiple
                of its time stride. Images and tokens work in the same way; a word is a step, and a list of words is a
                chunk. A data frame is a chunk, and a Series of pandas with names is a step; both are read by the names
                of the features. With several inputs, x is a dict by input layer.
            copy: False: for one step, return the output buffer itself, which the next step overwrites.

        Returns:
            [k] for one step. For a chunk, [time, k] if the network has an output per step, else [k]. With strides or
            lookahead, always the finished steps [n, k]; n may be 0. From a file with a closed loop, the next K steps
            [K, k]; the state is then the one before the last of these steps, so step(y[-1]) continues. With several
            outputs, the result is a dict.

        Raises:
            ShapeError: the shape of x does not fit.
            DataError: x has values that are not numbers, NaN or infinite (unless values may be missing), or so large
                that the state becomes infinite; or a step file cannot run this number of steps.
            StreamError: another thread is using the stream.
        """
        if not self._in_use.acquire(False):
            raise StreamError(_IN_USE)
        try:
            chunk = self._chunk
            if chunk is not None and type(x) is np.ndarray and x.dtype == np.float32 and x.shape == chunk.shape:
                if not is_surely_small(x):
                    read_step(x, self._model.inputs, "step")
                if self._run_same(chunk, x):
                    return chunk.results()
            if self._shape is None or type(x) is not np.ndarray or x.dtype != np.float32 or x.shape != self._shape:
                arrays, single = read_step(x, self._model.inputs, "step")
                check_step_file(self._model, arrays)
                x = next(iter(arrays.values()))[0 if single else slice(None)]
                if self._shape is None or x.shape != self._shape:
                    return self._run_chunk({layer: array[None] for layer, array in arrays.items()}, single, end=False)
            self._entry[...] = x
            try:
                self._run(self._bindings[self._turn])
            except Exception as error:  # noqa: BLE001 (onnxruntime raises a dozen classes of errors)
                raise cannot_run(self._model.path, error) from None
            # The new state is not yet that of the stream. One dot product is the fastest check of it and of x: NaN and
            # infinity carry over, and the factor rules out overflow.
            if not math.isfinite(self._checked[self._turn].dot(self._small)):
                is_valid = self._model.inputs[0].accepts(self._entry)
                raise DataError(overflowed("step") if is_valid else not_finite("step"))
            self._turn ^= 1
            return self._answer.copy() if copy else self._answer
        finally:
            self._in_use.release()

    def finish(self) -> Array | Any:
        """End the sequence: return the results that lookahead has delayed, as `step` does, and reset the stream.

        Raises:
            NotStreamable: the file has no lookahead, so no results are pending.
            StreamError: another thread is using the stream.
        """
        self._model.require_lookahead()
        with self._locked():
            answer = self._run_chunk(self._model.no_steps(self._kept, 1), False, end=True)
            self._clear()
            return answer

    def reset(self) -> None:
        """Go back to the start of a sequence."""
        with self._locked():
            self._clear()
            if self._recent is not None:
                self._recent.clear()

    def clone(self) -> Stream:
        """Return an independent copy of this stream."""
        other = Stream(self._model)
        other.state = self.state
        return other

    @property
    def foreign(self) -> Array | dict[str, Array]:
        """How far the last steps are from the training data in each channel [channels]; see `Predictor.foreign`.

        It is that of an exponential mean over 1,000 steps. Reading it for the first time begins to measure, which costs
        some time for each call of `step`; it is NaN until the next step. With several inputs of numbers, a dict.

        Raises:
            SpecError: no input takes numbers.
        """
        if self._recent is None:
            self._recent = RecentSteps(self._model)
            self.step = self._measured_step  # type: ignore[method-assign]  # no cost for streams without it
        found = self._recent.distances()
        return found if len(found) > 1 else next(iter(found.values()))

    def _measured_step(self, x: Any, copy: bool = True) -> Array | Any:
        answer = type(self).step(self, x, copy)
        assert self._recent is not None
        self._recent.add(read_step(x, self._model.inputs, "step")[0])
        return answer

    @property
    def state(self) -> dict[str, Array]:
        """A copy of the state: tensor of the ONNX file -> [1, …]. It can be set.

        With lookahead it includes the vectors of a FeatureInput, which `finish` needs.
        """
        with self._locked():
            arrays = self._arrays()
            return {info.name: array.copy() for info, array in zip(self._model.stream_states, arrays, strict=True)}

    @state.setter
    def state(self, state: Mapping[str, ArrayLike]) -> None:
        given = check_state(self._model.stream_states, state)
        with self._locked():
            for array, value in zip(self._arrays(), given, strict=True):
                array[...] = value

    def save(self, path: str | Path) -> None:
        """Write the state to an .npz file, which `load` reads. It says which model it belongs to."""
        saved_state.save(path, self.state, self._model)

    def load(self, path: str | Path) -> None:
        """Set the state from a file that `save` wrote, of this stream or another of the same model.

        Raises:
            StateError: it is not such a file, belongs to a model with other weights, or its states have other names,
                shapes or values.
            FileNotFoundError: there is no such file.
        """
        state = saved_state.load(path, self._model)
        try:
            self.state = state
        except StateError as error:
            raise StateError(f"{path}: {error}") from None

    def _arrays(self) -> list[Array]:
        """The arrays that hold the state, after it has been fetched from the device."""
        if self._on_device is not None:
            self._on_device.fetch(self._buffers[self._turn])
        return [*self._buffers[self._turn], *self._kept.values()]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Raise StreamError if another thread is using the stream."""
        if not self._in_use.acquire(False):
            raise StreamError(_IN_USE)
        try:
            yield
        finally:
            self._in_use.release()

    def _clear(self) -> None:
        for array in self._arrays():
            array.fill(0)

    def _run_same(self, chunk: ChunkBuffers, x: Array) -> bool:
        """Run a chunk whose buffers are bound; False if the shape of its answers has changed."""
        if not chunk.run(x, self._turn):
            self._binds_chunks, self._chunk = False, None
            return False
        if not all(map(is_finite, self._buffers[self._turn ^ 1])):
            raise DataError(overflowed("step"))
        self._turn ^= 1
        return True

    def _run_chunk(self, x: dict[str, Array], single: bool, end: bool) -> Any:
        """Run [1, time, …] of each input; `single`: it is one step, and so is the answer."""
        model, states = self._model, self._buffers[self._turn]
        steps = next((x[entry.layer].shape[1] for entry in model.inputs if entry.has_time), 0)
        answers, new = model.run(x, np.array([steps], np.int32), states, end, on_device=self._on_device)
        if not all(map(is_finite, new)):  # there are none if they stay on the device
            raise DataError(overflowed("step"))
        for state, value in zip(states, new, strict=False):
            state[...] = value
        for layer, kept in self._kept.items():
            kept[...] = x[layer]
        if self._binds_chunks and not (end or single):
            (chunk,) = x.values()
            sizes = [chunk.size, *(answer.values.size for answer in answers.values())]
            if chunk.shape == self._chunk_shape and all(sizes) and sum(sizes) <= _MOST_BOUND:
                self._chunk = ChunkBuffers(model, chunk, answers, self._buffers)
            self._chunk_shape = chunk.shape

        def row(answer: Answer) -> Array:
            y: Array = answer.values[0]
            if answer.output.lengths_tensor is not None:
                return y[: int(answer.lengths[0])]
            return y[0] if single and answer.output.has_time else y

        return unwrap({layer: row(answer) for layer, answer in answers.items()})

    def _bind_one_step(self) -> None:
        """Make the buffers of one step and the two bindings that use them."""
        self._step, self._buffers, checked = StreamBuffers.of(self._model)  # the bindings hold addresses only
        here, there = self._buffers
        self._bindings = [self._step.bind(1, here, there), self._step.bind(1, there, here)]
        self._checked = checked[::-1]  # in each turn, what is written
        self._entry, self._answer = self._step.x[0], self._step.y[0]
        self._shape = self._entry.shape
        self._small = np.full(checked[0].size, 1e-20, np.float32)
