"""StreamPool: thousands of streams in one process that step together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seq2onnx.errors import SpecError, StreamError
from seq2onnx.integers import whole_number
from seq2onnx.runtime.batcher import Batcher
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.pool_states import PoolStates
from seq2onnx.runtime.slots import MAX_SLOTS, Indices, Slots
from seq2onnx.runtime.states import check_state
from seq2onnx.runtime.steps import StepBatch
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
        waiting_steps: int,
    ) -> None:
        from seq2onnx.runtime.push_queue import PushQueue  # importing asyncio takes 20 ms, which only pools need

        model.require_states()
        model.require_batches()
        capacity = whole_number(capacity, "capacity", most=MAX_SLOTS)
        maximum = MAX_SLOTS if maximum is None else whole_number(maximum, "maximum", most=MAX_SLOTS)
        waiting_steps = whole_number(waiting_steps, "waiting_steps")
        if maximum < capacity:
            raise SpecError(f"maximum: must be at least the capacity, {capacity}, got {maximum}")
        for name, number in {"idle_seconds": idle_seconds, "gather_ms": gather_ms}.items():
            if number is not None and not 0 <= number < float("inf"):
                raise SpecError(f"{name}: must be at least 0, got {number!r}")
        self._model, self._maximum = model, maximum
        self._idle_seconds, self._on_evict = idle_seconds, on_evict
        self._lock = threading.RLock()
        self._slots = Slots(capacity)
        self._states = PoolStates(model, capacity)
        self._batcher = Batcher(model, self._slots, self._states, self._lock, waiting_steps)
        self._pushes = PushQueue(self._batcher, gather_ms / 1000)

    def __len__(self) -> int:
        return len(self._slots)

    def __bool__(self) -> bool:
        """True, also without open streams."""
        return True

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

        Chunks of like lengths run together, at most 32 steps of them in a run. Pushes that wait for these streams come
        after it.

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
            return self._batcher.step(ids, x)

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
            arrays = self._model.no_steps(self._states.kept(slots), count)
            batch = StepBatch({**arrays}, np.zeros(count, np.int32), False, False, np.ones(count, bool))
            answers = self._batcher.run(slots, batch, end=True)
            self._clear(slots)
            return answers

    async def push(self, id: int, chunk: Any) -> Array | Any:
        """Return what `Stream.step(chunk)` gives, computed together with other pushes within `gather_ms`.

        Several pushes to one stream run in the order of their arrival. A long chunk runs 32 steps at a time, between
        those of other streams, and takes effect as a whole after its last step: if it is cancelled or fails before, the
        stream has not changed. `step`, `finish`, `reset` and `set_state` come before pushes that have not finished; one
        that is half done starts over. Errors reach only the coroutine whose push caused them.

        Args:
            id: the stream.
            chunk: as the x of `Stream.step`. An array of float32 is not copied; do not change it before the answer.

        Raises:
            StreamError: the stream is closed or unknown, more than `waiting_steps` steps wait for it, or another event
                loop is pushing.
            ShapeError: the shape does not fit.
            DataError: values are not numbers, NaN or infinite.
        """
        return await self._pushes.push(id, chunk)

    def state(self, id: int) -> dict[str, Array]:
        """Return a copy of a stream's state: tensor of the ONNX file -> [1, …], as `Stream.state`."""
        with self._lock:
            slots = self._find(id)
            arrays = self._states.arrays(slots)
            return {info.name: array[slots] for info, array in zip(self._model.stream_states, arrays, strict=True)}

    def set_state(self, id: int, state: dict[str, ArrayLike]) -> None:
        """Set the state of a stream, to one from this or another stream, or from a `Stream`.

        Raises:
            StateError: names, shapes or types do not fit.
        """
        with self._lock:
            slots = self._find(id)
            given = check_state(self._model.stream_states, state)
            self._batcher.restart(slots)
            for array, value in zip(self._states.arrays(slots), given, strict=True):
                array[slots] = value

    def _find(self, ids: int | ArrayLike) -> Indices:
        return self._slots.find(np.atleast_1d(np.asarray(ids)))[1]

    def _clear(self, slots: Indices) -> None:
        self._batcher.restart(slots)
        self._states.clear(slots)

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
        self._slots.grow(min(2 * self.capacity, self._maximum))
        self._states.grow(self.capacity)
