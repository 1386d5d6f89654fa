"""The asyncio front of a pool: what arrives within a deadline runs together."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from seq2onnx.errors import StreamError
from seq2onnx.runtime.steps import read_step
from seq2onnx.sequences import Array

if TYPE_CHECKING:
    from seq2onnx.runtime.pool import StreamPool


@dataclasses.dataclass(frozen=True)
class Push:
    """A step or chunk that waits for its run."""

    id: int
    arrays: dict[str, Array]
    single: bool
    answer: asyncio.Future[Any]


class Pushes:
    """What has been pushed and not yet run: for each stream its pushes in order.

    Runs are made in the thread of the event loop. Another thread would let the loop go on meanwhile, but a hand-over
    there and back takes as long as a run of 50 streams, and a `reset` or `close` from a coroutine would have to wait
    for a run that is underway; here each of them is before a run, or after it.
    """

    def __init__(self, pool: StreamPool, seconds: float) -> None:
        self._pool, self._seconds = pool, seconds
        self._waiting: dict[int, deque[Push]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def push(self, id: int, chunk: Any) -> Any:
        """As `StreamPool.push`."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._waiting and self._loop is not None and not self._loop.is_closed():
                raise StreamError("push: another event loop is pushing to this pool; push from one, step from threads")
            self._waiting, self._loop = {}, loop  # nobody waits in a loop that is closed
        self._pool.slots.must_be_open(id)
        arrays, single = read_step(chunk, self._pool.model.inputs, f"stream {id}")
        push = Push(id, arrays, single, loop.create_future())
        if not self._waiting and self._seconds:
            loop.call_later(self._seconds, self._run)
        elif not self._waiting:
            loop.call_soon(self._run)
        self._waiting.setdefault(id, deque()).append(push)
        return await push.answer

    def _run(self) -> None:
        """The first push of each stream in one run; what is left runs in the next turn of the loop."""
        first = [pushes.popleft() for pushes in self._waiting.values()]
        self._waiting = {id: pushes for id, pushes in self._waiting.items() if pushes}
        if self._waiting and self._loop is not None:
            self._loop.call_soon(self._run)
        with self._pool.lock:
            pushes = []
            for push in first:
                if push.answer.done():
                    continue  # cancelled
                try:
                    self._pool.slots.must_be_open(push.id)  # it may have been closed meanwhile
                    pushes.append(push)
                except StreamError as error:
                    push.answer.set_exception(error)
            if not pushes:
                return
            try:
                answers = self._step(pushes)
            except Exception as error:  # of the run: each push was checked when it came
                for push in pushes:
                    push.answer.set_exception(error)
                return
        for push, answer in zip(pushes, answers, strict=True):
            push.answer.set_result(answer)

    def _step(self, pushes: list[Push]) -> list[Any]:
        """The answer to each, as `Stream.step` gives it."""
        model, single = self._pool.model, all(push.single for push in pushes)
        x: dict[str, Any] = {}
        for entry in model.inputs:
            chunks = [push.arrays[entry.layer] for push in pushes]
            if entry.has_time:
                x[entry.layer] = np.concatenate(chunks) if single else chunks
            else:
                x[entry.layer] = np.stack(chunks)
        found = self._pool.step([push.id for push in pushes], x)
        outputs = found if len(model.outputs) > 1 else {model.outputs[0]: found}
        # Where all are chunks or have come as one array, a step is a row; among chunks it is a chunk of one.
        unpack = {
            name: not single and model.has_time(output) and f"{output}_lengths" not in model.counts
            for name, output in zip(outputs, model.outputs, strict=True)
        }
        answers = [
            {name: y[i][0] if unpack[name] and push.single else y[i] for name, y in outputs.items()}
            for i, push in enumerate(pushes)
        ]
        return answers if len(model.outputs) > 1 else [next(iter(answer.values())) for answer in answers]
