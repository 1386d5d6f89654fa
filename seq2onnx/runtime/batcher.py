"""The runs of a pool: chunks that wait, a turn for each stream, and no stream that holds up the others."""

from __future__ import annotations

import dataclasses
from collections import deque
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from seq2onnx.errors import StreamError
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.outputs import RowResults, unwrap
from seq2onnx.runtime.pieces import in_form, join_parts, most_steps, run_pieces
from seq2onnx.runtime.pool_states import PoolStates
from seq2onnx.runtime.slots import MAX_SLOTS, Indices, Slots
from seq2onnx.runtime.steps import StepBatch, read_step, read_steps
from seq2onnx.sequences import Array


@dataclasses.dataclass(eq=False, slots=True)
class Chunk:
    """A step or chunk of one stream that waits for its runs.

    Attributes:
        id: the stream.
        arrays: by input layer [time, …], or […] without time.
        single: whether it is one step, and so is the answer.
        steps: how many steps it has.
        answer: what `Stream.step` gives, when it is done.
        error: why it has no answer.
        dropped: whether nobody wants its answer any more.
        done: the steps that have run.
        parts: the answers to these steps, by layer.
        states: after these steps [1, …], while some are left. Those of the stream change when all have run.
    """

    id: int
    arrays: dict[str, Array]
    single: bool
    steps: int
    answer: Any = None
    error: Exception | None = None
    dropped: bool = False
    done: int = 0
    parts: list[dict[str, Array]] = dataclasses.field(default_factory=list)
    states: list[Array] | None = None

    def restart(self) -> None:
        """Forget the steps that have run."""
        self.done, self.parts, self.states = 0, [], None


class Batcher:
    """Runs the steps of the streams of a pool; the caller says when. It knows no event loop and no network.

    `step` runs steps now. `add` puts a chunk behind those that wait for the same stream, and each `turn` runs the first
    32 steps, or fewer, of the first chunk of each stream. So a turn takes a time that no client can lengthen much.

    A chunk takes effect as a whole, when its last steps have run. If the state of its stream is changed meanwhile, it
    starts over from the new state (`restart`).

    Args:
        model: the model of the pool.
        slots: the open streams.
        states: their states.
        lock: the lock of the pool. Calls from several threads take it; `add`, `turn` and `drop` are for one thread.
        most_waiting: the steps that may wait for a stream. A chunk alone may be longer.
    """

    def __init__(
        self, model: Model, slots: Slots, states: PoolStates, lock: AbstractContextManager[Any], most_waiting: int
    ) -> None:
        self._model, self._slots, self._states, self._lock = model, slots, states, lock
        self._most_waiting = most_waiting
        self._chunks: dict[int, deque[Chunk]] = {}  # that wait, by stream
        self._steps: dict[int, int] = {}  # of these chunks; a chunk without steps counts as one step
        self._begun: dict[int, Chunk] = {}  # whose first steps have run, by stream

    @property
    def is_waiting(self) -> bool:
        """Whether a chunk waits."""
        return bool(self._chunks)

    def step(self, ids: Any, x: Any) -> Any:
        """Do what `StreamPool.step` says."""
        given, slots = self._slots.find(ids)
        self.restart(slots)
        buffers = self._states.buffers
        answers = None if buffers is None else buffers.step(x, slots)
        if answers is None:
            answers = self.run(slots, read_steps(x, self._model.inputs, given), end=False)
        self._slots.mark_stepped(slots)
        return answers

    def run(self, slots: Indices, batch: StepBatch, end: bool) -> Any:
        """Run a batch, keep the new states of its finite rows, and return the answers in the form of `step`."""
        states = self._states
        if states.on_device is not None and batch.finite.any() and batch.lengths.max() <= most_steps(self._model):
            results = states.run_on_device(slots, batch, end)
        else:
            new = states.read(slots)
            results = run_pieces(self._model, batch, new, end)
            states.write(slots, new, batch, batch.finite)
        return unwrap({output.layer: in_form(output, results[output.layer], batch) for output in self._model.outputs})

    def add(self, id: int, x: Any) -> Chunk:
        """Check a step or chunk and let it wait behind those of the same stream. The errors are those of `push`."""
        self._slots.require_open(id)
        waiting = self._steps.get(id, 0)
        arrays, single = read_step(x, self._model.inputs, f"stream {id}")
        steps = next((len(arrays[entry.layer]) for entry in self._model.inputs if entry.has_time), 0)
        if waiting and waiting + steps > self._most_waiting:
            raise StreamError(
                f"stream {id}: {waiting} steps wait for it, and {self._most_waiting} may; this push has {steps}. Wait "
                "for the answers to earlier pushes, or make the pool with more waiting_steps"
            )
        chunk = Chunk(id, arrays, single, steps)
        self._steps[id] = waiting + max(steps, 1)
        self._chunks.setdefault(id, deque()).append(chunk)
        return chunk

    def drop(self, chunk: Chunk) -> None:
        """Leave out a chunk that has not fully run: its stream does not change."""
        with self._lock:
            chunk.dropped = True
            if self._chunks.get(chunk.id, [None])[0] is chunk:
                self._leave(chunk)

    def clear(self) -> None:
        """Forget all that waits."""
        with self._lock:
            for waiting in (self._chunks, self._steps, self._begun):
                waiting.clear()

    def restart(self, slots: Indices) -> None:
        """Let the chunks of these streams that have begun start over, because their state is used or changed now."""
        if self._begun:
            for id in [id for id in self._begun if id % MAX_SLOTS in slots]:
                self._begun.pop(id).restart()

    def turn(self) -> list[Chunk]:
        """Run the next steps of the first chunk of each stream; return the chunks that have an answer or error now."""
        with self._lock:
            first = []
            over: list[Chunk] = []
            for id, chunks in list(self._chunks.items()):
                try:
                    self._slots.require_open(id)  # it may have been closed meanwhile
                    first.append(chunks[0])
                except StreamError as error:
                    refused = [chunk for chunk in chunks if not chunk.dropped]
                    for chunk in refused:
                        chunk.error = error
                    over += refused
            steps = [chunk for chunk in first if chunk.steps == 1]
            for group in (steps, [chunk for chunk in first if chunk.steps != 1]):
                if group:
                    over += self._try(group)
            for chunk in over:
                self._leave(chunk)
            return over

    def _leave(self, chunk: Chunk) -> None:
        """Take the first chunk of a stream out of those that wait."""
        id = chunk.id
        self._chunks[id].popleft()
        self._steps[id] -= max(chunk.steps, 1)
        if self._begun.get(id) is chunk:
            del self._begun[id]
        while self._chunks[id] and self._chunks[id][0].dropped:
            self._steps[id] -= max(self._chunks[id].popleft().steps, 1)
        if not self._chunks[id]:
            del self._chunks[id], self._steps[id]

    def _try(self, group: list[Chunk]) -> list[Chunk]:
        """Run the next steps of these chunks; if the run fails, run each alone, so that only one of them fails."""
        try:
            return self._run_steps(group) if group[0].steps == 1 else self._run_chunks(group)
        except Exception as error:  # noqa: BLE001 (the error goes to the streams of the group)
            if len(group) > 1:
                return [chunk for one in group for chunk in self._try([one])]
            group[0].error = error
            return group

    def _run_steps(self, group: list[Chunk]) -> list[Chunk]:
        """Run chunks of one step each, with the buffers that are bound for steps."""
        x = self._together(group, lambda chunk, array: array, np.concatenate)
        results = self.step([chunk.id for chunk in group], unwrap(x))
        if len(self._model.outputs) == 1:
            results = {self._model.outputs[0].layer: results}
        # A chunk of one step went in as a step, and its answer is a chunk.
        timed = {o.layer: o.has_time and o.lengths_tensor is None for o in self._model.outputs}
        for row, chunk in enumerate(group):
            chunk.answer = unwrap(
                {
                    layer: y[row] if chunk.single or not timed[layer] else y[row : row + 1]
                    for layer, y in results.items()
                }
            )
        return group

    def _run_chunks(self, group: list[Chunk]) -> list[Chunk]:
        """Run the next steps of chunks, each from its own states if it has begun."""
        model, most = self._model, most_steps(self._model)
        slots = self._slots.find([chunk.id for chunk in group])[1]
        x = self._together(group, lambda chunk, array: array[chunk.done : chunk.done + most], list)
        counts = np.array([min(chunk.steps - chunk.done, most) for chunk in group], np.int32)
        batch = StepBatch(x, counts, False, True, np.ones(len(group), bool))
        ends = [chunk.done + count == chunk.steps for chunk, count in zip(group, counts.tolist(), strict=True)]
        results: dict[str, RowResults]
        if self._states.on_device is not None and all(chunk.steps <= most for chunk in group):
            results = self._states.run_on_device(slots, batch, end=False)
        else:
            states = self._states.read(slots)
            for row, chunk in enumerate(group):
                for state, own in zip(states, chunk.states or (), strict=False):
                    state[row] = own[0]
            results = run_pieces(model, batch, states, end=False)
            self._states.write(slots, states, batch, batch.finite & ends)
            for row in np.flatnonzero(~np.array(ends)).tolist():
                group[row].states = [state[row : row + 1].copy() for state in states]
        self._slots.mark_stepped(slots)
        over = []
        for row, (chunk, is_over) in enumerate(zip(group, ends, strict=True)):
            chunk.parts.append({layer: y[row] for layer, y in results.items()})
            chunk.done += int(counts[row])
            if is_over:
                chunk.answer = self._answer(chunk, bool(batch.finite[row]))
                over.append(chunk)
            else:
                self._begun[chunk.id] = chunk
        return over

    def _answer(self, chunk: Chunk, finite: bool) -> Any:
        """Return the answer to a chunk of which all steps have run."""
        one = StepBatch({}, np.array([chunk.steps], np.int32), False, True, np.array([finite]))
        by_layer = {}
        for output in self._model.outputs:
            values: RowResults = [join_parts(output, [part[output.layer] for part in chunk.parts])]
            by_layer[output.layer] = in_form(output, values, one)[0]
        return unwrap(by_layer)

    def _together(self, group: list[Chunk], part: Any, join: Any) -> dict[str, Any]:
        return {
            entry.layer: join([part(chunk, chunk.arrays[entry.layer]) for chunk in group])
            if entry.has_time
            else np.stack([chunk.arrays[entry.layer] for chunk in group])
            for entry in self._model.inputs
        }
