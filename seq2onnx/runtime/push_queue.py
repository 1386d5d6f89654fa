"""The asyncio side of a pool: pushes that arrive within a deadline run together."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from seq2onnx.errors import StreamError
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.outputs import unwrap
from seq2onnx.runtime.slots import Slots
from seq2onnx.runtime.steps import read_step
from seq2onnx.sequences import Array


@dataclasses.dataclass(frozen=True)
class Push:
    """A step or chunk that waits for its run."""

    id: int
    arrays: dict[str, Array]
    single: bool
    answer: asyncio.Future[Any]


class PushQueue:
    """The pushes of a pool that have not run yet, for each stream in order.

    Runs are made in the thread of the event loop. In another thread the loop could continue meanwhile, but handing a
    run over takes as long as a run of 50 streams, and a `reset` or `close` from a coroutine would have to wait for
    a run. Here each of them comes before a run or after it.

    Args:
        model: the model of the pool.
        slots: the open streams.
        lock: the lock of the pool.
        step: `StreamPool.step`.
        seconds: how long a push waits for others. 0: until the next turn of the event loop.
    """

    def __init__(
        self,
        model: Model,
        slots: Slots,
        lock: AbstractContextManager[Any],
        step: Callable[[list[int], dict[str, Any]], Any],
        seconds: float,
    ) -> None:
        self._model, self._slots, self._lock, self._step, self._seconds = model, slots, lock, step, seconds
        self._waiting: dict[int, deque[Push]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def push(self, id: int, chunk: Any) -> Any:
        """Do what `StreamPool.push` says."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._waiting and self._loop is not None and not self._loop.is_closed():
                raise StreamError(
                    "push: another event loop is pushing to this pool; push from one event "
                    "loop only, or use step from threads"
                )
            self._waiting, self._loop = {}, loop  # nothing waits for an answer in a closed loop
        self._slots.require_open(id)
        arrays, single = read_step(chunk, self._model.inputs, f"stream {id}")
        push = Push(id, arrays, single, loop.create_future())
        if not self._waiting and self._seconds:
            loop.call_later(self._seconds, self._run)
        elif not self._waiting:
            loop.call_soon(self._run)
        self._waiting.setdefault(id, deque()).append(push)
        return await push.answer

    def _run(self) -> None:
        """Run the first push of each stream; the others run in the next turn of the loop."""
        first = [pushes.popleft() for pushes in self._waiting.values()]
        self._waiting = {id: pushes for id, pushes in self._waiting.items() if pushes}
        if self._waiting and self._loop is not None:
            self._loop.call_soon(self._run)
        with self._lock:
            pushes = []
            for push in first:
                if push.answer.done():
                    continue  # cancelled
                try:
                    self._slots.require_open(push.id)  # it may have been closed meanwhile
                    pushes.append(push)
                except StreamError as error:
                    push.answer.set_exception(error)
            if not pushes:
                return
            try:
                answers = self._answers(pushes)
            except Exception as error:  # the run failed; the pushes themselves were checked on arrival
                for push in pushes:
                    push.answer.set_exception(error)
                return
        for push, answer in zip(pushes, answers, strict=True):
            push.answer.set_result(answer)

    def _answers(self, pushes: list[Push]) -> list[Any]:
        """Return the answer to each push, in the form of `Stream.step`."""
        model, single = self._model, all(push.single for push in pushes)
        x: dict[str, Any] = {}
        for entry in model.inputs:
            chunks = [push.arrays[entry.layer] for push in pushes]
            if entry.has_time:
                x[entry.layer] = np.concatenate(chunks) if single else chunks
            else:
                x[entry.layer] = np.stack(chunks)
        found = self._step([push.id for push in pushes], x)
        if len(model.outputs) == 1:
            found = {model.outputs[0].layer: found}
        # Among chunks, a single step went in as a chunk of one step, and its answer is one.
        chunked = {o.layer: not single and o.has_time and o.lengths_tensor is None for o in model.outputs}
        return [
            unwrap({layer: y[i][0] if chunked[layer] and push.single else y[i] for layer, y in found.items()})
            for i, push in enumerate(pushes)
        ]
