"""StreamPool: thousands of streams in one process that step together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seq2onnx.errors import SpecError, StreamError
from seq2onnx.numbers import whole_number
from seq2onnx.runtime.buffers import PoolBuffers, finite_rows
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.outputs import Answer, join, unwrap
from seq2onnx.runtime.slots import MAX_SLOTS, Indices, Slots
from seq2onnx.runtime.states import check_state
from seq2onnx.runtime.steps import StepBatch, read_steps
from seq2onnx.sequences import Array


class StreamPool:
    """Many streams of one network; make it with `model.pool()`.

    Each state is one array with a slot for each stream. `step` gathers the states of the given streams, runs the
    network once on all of them and writes their new states back; no other stream changes. Several threads may use a
    pool: calls wait for each other. `push` is for the coroutines of one event loop.

    `len(pool)` is the number of open streams.

    Attributes:
        ids: the ids of the open streams, an array.
        capacity: the number of streams that there is room for now.
    """

    def __init__(
        self,
        model: Model,
        capacity: int,
        maximum: int | None,
        idle_seconds: float | None,
        gather_ms: float,
        on_evict: Callable[[list[int]], object] | None,
    ) -> None:
        from seq2onnx.runtime.push_queue import PushQueue  # importing asyncio takes 20 ms, which only pools need

        model.require_states()
        model.require_batches()
        capacity = whole_number(capacity, "capacity", most=MAX_SLOTS)
        maximum = MAX_SLOTS if maximum is None else whole_number(maximum, "maximum", most=MAX_SLOTS)
        if maximum < capacity:
            raise SpecError(f"maximum: must be at least the capacity, {capacity}, got {maximum}")
        for name, number in {"idle_seconds": idle_seconds, "gather_ms": gather_ms}.items():
            if number is not None and not 0 <= number < float("inf"):
                raise SpecError(f"{name}: must be at least 0, got {number!r}")
        self._model, self._maximum = model, maximum
        self._idle_seconds, self._on_evict = idle_seconds, on_evict
        self._lock = threading.RLock()
        self._slots = Slots(capacity)
        self._states = model.zeros(capacity)
        self._kept = {entry.layer: np.zeros((capacity, *entry.shape), entry.dtype) for entry in model.kept_inputs}
        self._pushes = PushQueue(model, self._slots, self._lock, self.step, gather_ms / 1000)
        # On the device all slots run, the others with no steps, so that their states need not be gathered.
        on_device = model.keeps_states_on_device and model.takes_lengths
        self._on_device = model.device_states() if on_device else None
        self._buffers = PoolBuffers(model, self._states, capacity) if model.can_bind_steps and not on_device else None

    def __len__(self) -> int:
        return len(self._slots)

    def __repr__(self) -> str:
        return f"StreamPool({str(self._model.path)!r}, {len(self)} streams, capacity {self.capacity})"

    @property
    def capacity(self) -> int:
        """The number of streams that there is room for now."""
        return self._slots.capacity

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids of the open streams."""
        ids = self._slots.ids
        return ids[ids >= 0]

    def open(self) -> int:
        """Open a stream at its start and return its id, which is never given twice.

        Raises:
            StreamError: `maximum` streams are open, and none of them is idle.
        """
        with self._lock:
            if len(self) == self.capacity:
                self._make_room()
            id, slot = self._slots.open()
            self._clear(np.array([slot]))
            return id

    def close(self, ids: int | ArrayLike) -> None:
        """Close one or several streams. Their ids become invalid and their slots free."""
        with self._lock:
            self._slots.close(self._find(ids))

    def reset(self, ids: int | ArrayLike) -> None:
        """Set one or several streams back to the start."""
        with self._lock:
            self._clear(self._find(ids))

    def step(self, ids: ArrayLike, x: Any) -> Array | Any:
        """Run one more step or chunk of each of these streams, together. After an error no stream has changed.

        If the x of a stream contains NaN or infinity (and values may not be missing), or is so large that its state
        would become infinite, its result is NaN (one row of NaN with strides or lookahead) and its state stays
        unchanged. The other streams run.

        Args:
            ids: [n], from `open`, in any order, each once. An array is fastest.
            x: [n, features], one step of each stream, fastest as float32; [n, time, features], a chunk of each; or a
                list of n steps or n chunks of any lengths. Images and tokens work in the same way. Words are a list of
                n words, or of n lists of words. With several inputs, x is a dict by input layer.

        Returns:
            The results of `Stream.step` for all streams in one array. For one step of each stream it is [n, k]. For
            chunks it is [n, time, k] if the network has an output per step, else [n, k]. A list of n arrays is
            returned for outputs per step from a list of chunks, and always with strides or lookahead. With several
            outputs, the result is a dict.

        Raises:
            StreamError: an id is closed, unknown, or given twice.
            ShapeError: a shape does not fit.
            DataError: values are not numbers.

        Example:
            >>> pool.step([a, b], np.zeros((2, 12)))
        """
        with self._lock:
            given, slots = self._slots.find(ids)
            answers = None if self._buffers is None else self._buffers.step(x, slots)
            if answers is None:
                answers = self._run(slots, read_steps(x, self._model.inputs, given), end=False)
            self._slots.mark_stepped(slots)
            return answers

    def finish(self, ids: ArrayLike) -> Array | Any:
        """End these sequences: return the results that lookahead has delayed, as `step` does, and reset the streams.

        Raises:
            NotStreamable: the file has no lookahead, so no results are pending.
            StreamError: an id is closed, unknown, or given twice.
        """
        self._model.require_lookahead()
        with self._lock:
            _, slots = self._slots.find(ids)
            count = len(slots)
            arrays = self._model.no_steps({layer: kept[slots] for layer, kept in self._kept.items()}, count)
            batch = StepBatch(arrays, np.zeros(count, np.int32), False, True, np.ones(count, bool))
            answers = self._run(slots, batch, end=True)
            self._clear(slots)
            return answers

    async def push(self, id: int, chunk: Any) -> Array | Any:
        """Return what `Stream.step(chunk)` gives, computed together with other pushes within `gather_ms`.

        Several pushes to one stream run in the order of their arrival. A push that is cancelled before its run does
        not change the stream. Errors reach only the coroutine whose push caused them.

        Args:
            id: the stream.
            chunk: as the x of `Stream.step`.

        Raises:
            StreamError: the stream is closed or unknown, or another event loop is pushing.
            ShapeError: the shape does not fit.
            DataError: values are not numbers, NaN or infinite.
        """
        return await self._pushes.push(id, chunk)

    def state(self, id: int) -> dict[str, Array]:
        """Return a copy of a stream's state: tensor of the ONNX file -> [1, …], as `Stream.state`."""
        with self._lock:
            slots = self._find(id)
            return {i.name: a[slots] for i, a in zip(self._model.stream_states, self._arrays(slots), strict=True)}

    def set_state(self, id: int, state: dict[str, ArrayLike]) -> None:
        """Set the state of a stream, to one from this or another stream, or from a `Stream`.

        Raises:
            StateError: names, shapes or types do not fit.
        """
        with self._lock:
            slots = self._find(id)
            given = check_state(self._model.stream_states, state)
            for array, value in zip(self._arrays(slots), given, strict=True):
                array[slots] = value

    def _find(self, ids: int | ArrayLike) -> Indices:
        return self._slots.find(np.atleast_1d(np.asarray(ids)))[1]

    def _arrays(self, slots: Indices) -> list[Array]:
        """The arrays of all that streams keep, in which those of these slots are the newest."""
        if self._on_device is not None:
            self._on_device.fetch(self._states)
        if self._buffers is not None:
            self._buffers.put_back(slots)
        return [*self._states, *self._kept.values()]

    def _clear(self, slots: Indices) -> None:
        for array in self._arrays(slots):
            array[slots] = 0

    def _make_room(self) -> None:
        """Close idle streams, or double the capacity."""
        if self._idle_seconds is not None:
            idle = self._slots.idle(self._idle_seconds)
            if idle.size:
                ids = self._slots.ids[idle].tolist()
                self._slots.close(idle)
                if self._on_evict is not None:
                    self._on_evict(ids)
                return
        if self.capacity == self._maximum:
            idle_rule = "" if self._idle_seconds is None else f", none of them idle for {self._idle_seconds:g} s"
            raise StreamError(
                f"pool: is full, {self.capacity} streams are open{idle_rule}; close some, or make the pool with a "
                "larger maximum or idle_seconds"
            )
        arrays = self._arrays(np.arange(self.capacity))
        self._slots.grow(min(2 * self.capacity, self._maximum))
        grown = [np.pad(array, [(0, self.capacity - len(array)), *[(0, 0)] * (array.ndim - 1)]) for array in arrays]
        self._states = grown[: len(self._states)]
        self._kept = dict(zip(self._kept, grown[len(self._states) :], strict=True))
        if self._buffers is not None:
            self._buffers = PoolBuffers(self._model, self._states, self.capacity)

    def _run(self, slots: Indices, batch: StepBatch, end: bool) -> Any:
        """Run a batch, keep the new states of its finite rows, and return the answers in the form of `step`."""
        if self._buffers is not None:
            self._buffers.put_back(slots)
        run = self._run_on_host if self._on_device is None else self._run_on_device
        answers = run(slots, batch, end)
        for layer, kept in self._kept.items():
            kept[slots[batch.finite]] = batch.arrays[layer][batch.finite]
        return unwrap({layer: _in_form(answer, batch) for layer, answer in answers.items()})

    def _run_on_host(self, slots: Indices, batch: StepBatch, end: bool) -> dict[str, Answer]:
        """Run all rows at once, or those of each length if the file takes no lengths."""
        model = self._model
        groups: list[Any] = [slice(None)]
        if not model.takes_lengths and (batch.lengths != batch.lengths[0]).any():
            groups = [np.flatnonzero(batch.lengths == length) for length in np.unique(batch.lengths)]
        runs = []
        for rows in groups:
            lengths = batch.lengths[rows]
            x = {layer: array[rows] for layer, array in batch.arrays.items()}
            x |= {entry.layer: x[entry.layer][:, : lengths.max()] for entry in model.inputs if entry.has_time}
            runs.append(model.run(x, lengths, [array[slots[rows]] for array in self._states], end))
        for rows, (_, states) in zip(groups, runs, strict=True):  # after all runs, so that an error changes nothing
            if states:
                batch.finite[rows] &= finite_rows(states)
            finite = batch.finite[rows]
            for array, new in zip(self._states, states, strict=True):
                array[slots[rows][finite]] = new[finite]
        if len(runs) == 1:
            return runs[0].answers
        return {o.layer: join(groups, [run.answers[o.layer] for run in runs]) for o in model.outputs}

    def _run_on_device(self, slots: Indices, batch: StepBatch, end: bool) -> dict[str, Answer]:
        """Run all slots; those of other streams have no steps."""
        finite = slots[batch.finite]
        lengths, ends = np.zeros(self.capacity, np.int32), np.zeros(self.capacity, np.int32)
        lengths[finite], ends[finite] = batch.lengths[batch.finite], end
        x = {layer: np.zeros((self.capacity, *a.shape[1:]), a.dtype) for layer, a in batch.arrays.items()}
        for layer, array in x.items():
            array[slots] = batch.arrays[layer]
        answers, _ = self._model.run(x, lengths, self._states, ends, on_device=self._on_device)
        return {layer: Answer(a.output, a.values[slots], a.lengths[slots]) for layer, a in answers.items()}


def _in_form(answer: Answer, batch: StepBatch) -> Any:
    """Return an answer in the form of `step`, with NaN for rows that were refused."""
    output, y, _ = answer
    refused = np.flatnonzero(~batch.finite) if output.dtype.kind == "f" else ()
    if len(refused):
        y[refused] = np.nan
    if output.lengths_tensor is not None:
        rows = [row[:length] for row, length in zip(y, answer.lengths, strict=True)]
        for i in refused:
            rows[i] = np.full((1, *rows[i].shape[1:]), np.nan, y.dtype)
        return rows
    if output.has_time and batch.single:
        return y[:, 0]
    if output.has_time and batch.ragged:
        return [row[:length] for row, length in zip(y, batch.lengths, strict=True)]
    return y
