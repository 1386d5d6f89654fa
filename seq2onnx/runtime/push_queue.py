"""The asyncio side of a pool: pushes that arrive within a deadline run together."""

from __future__ import annotations

import asyncio
from typing import Any

from seq2onnx.errors import StreamError
from seq2onnx.runtime.batcher import Batcher, Chunk


class PushQueue:
    """The pushes of a pool that have no answer yet; the batcher runs them, a turn in each turn of the event loop.

    Runs are made in the thread of the event loop. In another thread the loop could continue meanwhile, but handing a
    run over takes as long as a run of 50 streams, and a `reset` or `close` from a coroutine would have to wait for
    a run. Here each of them comes before a run or after it.

    A push waits for others for so many `seconds`; 0: until the next turn of the event loop.
    """

    def __init__(self, batcher: Batcher, seconds: float) -> None:
        self._batcher, self._seconds = batcher, seconds
        self._answers: dict[Chunk, asyncio.Future[Any]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_scheduled = False

    async def push(self, id: int, chunk: Any) -> Any:
        """Do what `StreamPool.push` says."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._answers and self._loop is not None and not self._loop.is_closed():
                raise StreamError(
                    "push: another event loop is pushing to this pool; push from one event "
                    "loop only, or use step from threads"
                )
            self._batcher.clear()  # nothing waits for an answer in a closed loop
            self._answers, self._loop, self._is_scheduled = {}, loop, False
        waiting = self._batcher.add(id, chunk)
        answer = self._answers[waiting] = loop.create_future()
        if not self._is_scheduled:
            self._is_scheduled = True
            if self._seconds:
                loop.call_later(self._seconds, self._turn)
            else:
                loop.call_soon(self._turn)
        return await answer

    def _turn(self) -> None:
        # A coroutine notices its cancellation only after runs that are due; its future is cancelled at once.
        for chunk in [chunk for chunk, answer in self._answers.items() if answer.cancelled()]:
            del self._answers[chunk]
            self._batcher.drop(chunk)
        for chunk in self._batcher.turn():
            answer = self._answers.pop(chunk)
            if chunk.error is None:
                answer.set_result(chunk.answer)
            else:
                answer.set_exception(chunk.error)
        self._is_scheduled = self._batcher.is_waiting
        if self._is_scheduled and self._loop is not None:
            self._loop.call_soon(self._turn)
