"""StreamPool: thousands of streams in one process, which step together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seq2onnx.errors import SpecError, StreamError
from seq2onnx.runtime.buffers import StepBuffers
from seq2onnx.runtime.device import DeviceStates
from seq2onnx.runtime.session import check_state
from seq2onnx.runtime.slots import MOST, Places, Slots
from seq2onnx.runtime.steps import Steps, read_steps
from seq2onnx.sequences import Array

if TYPE_CHECKING:
    from seq2onnx.runtime.predictor import Predictor


class StreamPool:
    """Many streams of one network. Their states lie in one array per state, a slot for each stream.

    `step` gathers the states of the streams that it is given, runs the network once on all of them, and writes
    their new states back; no other stream is touched. Make it with `model.pool()`. It may be used from several
    threads: calls wait for each other. `push` is for coroutines, of one event loop.

    Attributes: ids (of the open streams, an array), capacity (streams that there is room for now);
        len(pool) is how many are open
    """

    def __init__(
        self,
        model: Predictor,
        capacity: int,
        maximum: int | None,
        idle_seconds: float | None,
        gather_ms: float,
        on_evict: Callable[[list[int]], object] | None,
    ) -> None:
        from seq2onnx.runtime.pushes import Pushes  # asyncio takes 20 ms to be imported, which only pools need

        for name, value in {"capacity": capacity, "maximum": maximum}.items():
            if value is not None and (not isinstance(value, int) or not 1 <= value <= MOST):
                raise SpecError(f"{name}: must be a whole number from 1 to {MOST:,}, got {value!r}")
        if maximum is not None and maximum < capacity:
            raise SpecError(f"maximum: must be at least the capacity, {capacity}, got {maximum}")
        for name, number in {"idle_seconds": idle_seconds, "gather_ms": gather_ms}.items():
            if number is not None and not 0 <= number < float("inf"):
                raise SpecError(f"{name}: must be at least 0, got {number!r}")
        self.model, self._maximum = model, MOST if maximum is None else maximum
        self._idle_seconds, self._on_evict = idle_seconds, on_evict
        self.lock = threading.RLock()
        self.slots = Slots(capacity)
        self._states = {info.name: info.zeros(capacity) for info in model.memory}
        self._pushes = Pushes(self, gather_ms / 1000)
        # On the device all slots run, those of other streams no step long: so their states need not be gathered.
        self._device = DeviceStates(model) if model.keeps_states_on_device and model.takes_lengths else None
        self._buffers = StepBuffers(model, capacity) if model.is_plain and self._device is None else None

    def __len__(self) -> int:
        return len(self.slots)

    def __repr__(self) -> str:
        return f"StreamPool({str(self.model.path)!r}, {len(self)} streams, capacity {self.capacity})"

    @property
    def capacity(self) -> int:
        """How many streams there is room for now."""
        return self.slots.capacity

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids of the open streams."""
        ids = self.slots.ids
        return ids[ids >= 0]

    def open(self) -> int:
        """The id of a new stream, at its start. No id is given twice.

        Raises: StreamError (as many streams as `maximum` are open, and none of them is idle)
        """
        with self.lock:
            if len(self) == self.capacity:
                self._make_room()
            id, slot = self.slots.open()
            self._clear(slot)
            return id

    def close(self, ids: int | ArrayLike) -> None:
        """End one stream, or several: their ids are never valid again, their slots serve others."""
        with self.lock:
            self.slots.close(self._find(ids))

    def reset(self, ids: int | ArrayLike) -> None:
        """One stream, or several, back to the start."""
        with self.lock:
            self._clear(self._find(ids))

    def step(self, ids: ArrayLike, x: Any) -> Any:
        """The answers after one more step, or chunk, of each of these streams, in one run.

        Args:
            ids: [n], as `open` gave them, in any order, each once; an array is quickest, and so is x of float32
            x: [n, features], one step of each; [n, time, features], a chunk of each; or a list of n steps or n
                chunks of any lengths; likewise images and tokens, of which words are a list of n words or of n lists
                of them; with several inputs a dict by input layer
        Returns: for each stream what `Stream.step` gives, as one array: [n, k] for one step; for chunks [n, time, k]
            where the network answers per step, else [n, k]. Answers of several lengths are a list of n arrays: those
            per step to a list of chunks, and with strides or lookahead all. With several outputs a dict.
            A stream with NaN or infinity in its x is answered with NaN (one row of it, with strides or lookahead)
            and keeps its state; the others step.
        Raises: StreamError (an id that is closed, unknown, or there twice), ShapeError, DataError (not numbers).
            All streams are then as they were.
        Example: >>> pool.step([a, b], np.zeros((2, 12)))
        """
        with self.lock:
            given, slots = self.slots.find(ids)
            if self._buffers is not None and self._buffers.take(x, len(slots)):
                answers = self._buffers.run(slots, self._states)
            else:
                steps = read_steps(x, self.model.inputs, given)
                answers = self._answers(self._run(slots, steps, end=False), steps)
            self.slots.touch(slots)
            return answers

    def finish(self, ids: ArrayLike) -> Any:
        """In files with lookahead, what still waited in these streams, as `step` gives it; then back to the start.

        Raises: NotStreamable where nothing waits: every step has been answered
        """
        model = self.model
        model.must_have_lookahead()
        with self.lock:
            _, slots = self.slots.find(ids)
            count = len(slots)
            arrays: dict[str, Array] = {
                entry.layer: np.zeros((count, 0, *entry.shape), entry.dtype)
                if entry.has_time
                else self._states[entry.tensor][slots]
                for entry in model.inputs
            }
            steps = Steps(arrays, np.zeros(count, np.int32), False, True, np.ones(count, bool))
            answers = self._answers(self._run(slots, steps, end=True), steps)
            self._clear(slots)
            return answers

    async def push(self, id: int, chunk: Any) -> Any:
        """What `Stream.step(chunk)` gives, computed together with what others push within `gather_ms`.

        Several pushes to one stream run in the order in which they came. One that is cancelled before its run is
        not stepped.

        Raises: as `Stream.step`, and StreamError; what is wrong with a push is said to whoever awaits it alone
        """
        return await self._pushes.push(id, chunk)

    def state(self, id: int) -> dict[str, Array]:
        """All that a stream remembers, a copy: name in the ONNX file -> [1, …], as `Stream.state` has it."""
        with self.lock:
            slots = self._find(id)
            self._fetch()
            return {name: array[slots] for name, array in self._states.items()}

    def set_state(self, id: int, state: dict[str, ArrayLike]) -> None:
        """Go on from such a state, of this stream, another, or a `Stream`.

        Raises: StateError
        """
        with self.lock:
            slots = self._find(id)
            self._fetch()
            for info, array in zip(self.model.memory, check_state(self.model.memory, state), strict=True):
                self._states[info.name][slots] = array

    def _find(self, ids: int | ArrayLike) -> Places:
        return self.slots.find(np.atleast_1d(np.asarray(ids)))[1]

    def _fetch(self) -> None:
        """Have the states in the host's arrays."""
        if self._device is not None:
            self._device.fetch([self._states[info.name] for info in self.model.states])

    def _clear(self, slots: int | Places) -> None:
        self._fetch()
        for array in self._states.values():
            array[slots] = 0

    def _make_room(self) -> None:
        """Close what is idle, or double the capacity."""
        if self._idle_seconds is not None:
            idle = self.slots.idle(self._idle_seconds)
            if idle.size:
                ids = self.slots.ids[idle].tolist()
                self.slots.close(idle)
                if self._on_evict is not None:
                    self._on_evict(ids)
                return
        if self.capacity == self._maximum:
            idle_rule = "" if self._idle_seconds is None else f", none of them idle for {self._idle_seconds:g} s"
            raise StreamError(
                f"pool: is full, {self.capacity} streams are open{idle_rule}; close some, or make the pool with a "
                "larger maximum or idle_seconds"
            )
        self._fetch()
        self.slots.grow(min(2 * self.capacity, self._maximum))
        for info in self.model.memory:
            before = self._states[info.name]
            self._states[info.name] = info.zeros(self.capacity)
            self._states[info.name][: len(before)] = before
        if self._buffers is not None:
            self._buffers = StepBuffers(self.model, self.capacity)

    def _run(self, slots: Places, steps: Steps, end: bool) -> dict[str, Array]:
        """Any steps in one run; in one for each length where the file takes none. Nothing moves until all have run."""
        if self._device is not None:
            return self._run_on_device(self._device, slots, steps, end)
        model, names = self.model, [*self.model.outputs, *self.model.counts]
        runs: list[tuple[Any, dict[str, Array]]] = []
        for rows in self._groups(steps.lengths):
            lengths = steps.lengths[rows]
            feeds: dict[str, Array] = {info.name: self._states[info.name][slots[rows]] for info in model.states}
            for entry in model.inputs:
                array = steps.arrays[entry.layer][rows]
                feeds[entry.tensor] = array[:, : lengths.max()] if entry.has_time else array
            if model.takes_lengths:
                feeds["lengths"] = lengths
            if model.lookahead:
                feeds["end"] = np.full(len(lengths), end, np.int32)
            wanted = [*names, *(info.new_name for info in model.states)]
            runs.append((rows, dict(zip(wanted, model.session.run(wanted, feeds), strict=True))))
        for rows, found in runs:
            good = steps.good[rows]
            for info in model.states:
                self._states[info.name][slots[rows][good]] = found[info.new_name][good]
        for entry in model.inputs:
            if entry.tensor in self._states:
                self._states[entry.tensor][slots[steps.good]] = steps.arrays[entry.layer][steps.good]
        if len(runs) == 1:
            return runs[0][1]
        return {name: _joined([(rows, found[name]) for rows, found in runs], len(slots)) for name in names}

    def _run_on_device(self, device: DeviceStates, slots: Places, steps: Steps, end: bool) -> dict[str, Array]:
        model, good = self.model, slots[steps.good]
        lengths = np.zeros(self.capacity, np.int32)
        lengths[good] = steps.lengths[steps.good]
        feeds: dict[str, Array] = {"lengths": lengths}
        for entry in model.inputs:
            array = steps.arrays[entry.layer]
            feeds[entry.tensor] = np.zeros((self.capacity, *array.shape[1:]), array.dtype)
            feeds[entry.tensor][slots] = array
        if model.lookahead:
            feeds["end"] = np.zeros(self.capacity, np.int32)
            feeds["end"][good] = end
        states = [self._states[info.name] for info in model.states]
        found = device.run(feeds, [*model.outputs, *model.counts], states)
        for entry in model.inputs:
            if entry.tensor in self._states:
                self._states[entry.tensor][good] = steps.arrays[entry.layer][steps.good]
        return {name: array[slots] for name, array in found.items()}

    def _groups(self, lengths: NDArray[np.int32]) -> list[Any]:
        """The rows of each run."""
        if self.model.takes_lengths or (lengths == lengths[0]).all():
            return [slice(None)]
        return [np.flatnonzero(lengths == length) for length in np.unique(lengths)]

    def _answers(self, found: dict[str, Array], steps: Steps) -> Any:
        """What came out, as `step` gives it."""
        answers: dict[str, Any] = {}
        for output in self.model.outputs:
            y: Any = found[output]
            refused = np.flatnonzero(~steps.good) if y.dtype.kind == "f" else ()
            if len(refused):
                y[refused] = np.nan
            if f"{output}_lengths" in found:
                y = [row[:n] for row, n in zip(y, found[f"{output}_lengths"], strict=True)]
                for i in refused:
                    y[i] = np.full((1, *y[i].shape[1:]), np.nan, y[i].dtype)
            elif self.model.has_time(output) and steps.single:
                y = y[:, 0]
            elif self.model.has_time(output) and steps.ragged:
                y = [row[:n] for row, n in zip(y, steps.lengths, strict=True)]
            answers[output.removeprefix("y_")] = y
        return answers if len(answers) > 1 else next(iter(answers.values()))


def _joined(parts: list[tuple[Any, Array]], count: int) -> Array:
    """The rows of several runs in one array, zeros on the right."""
    first = parts[0][1]
    sizes = np.max([array.shape[1:] for _, array in parts], axis=0).astype(int)
    whole = np.zeros((count, *sizes), first.dtype)
    for rows, array in parts:
        whole[(rows, *map(slice, array.shape[1:]))] = array
    return whole
