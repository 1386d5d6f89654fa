"""Work on several threads: onnxruntime releases the GIL while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor


class Workers(contextlib.ExitStack):
    """A context with threads for work; with one thread, work runs in the thread that starts it.

    The threads end with the block. After an error or Ctrl-C, work that has not begun is dropped.
    """

    def __init__(self, threads: int) -> None:
        super().__init__()
        self._threads = threads
        self._executor: ThreadPoolExecutor | None = None

    def start(self, work: Callable[[Any], object], items: Iterable[Any]) -> list[Future[object]]:
        """Start `work` on each item, in order; `finish` waits for it."""
        if self._threads == 1:
            for item in items:
                work(item)
            return []
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor  # importing it takes 10 ms

            self._executor = ThreadPoolExecutor(self._threads, "seq2onnx")
            self.callback(self._executor.shutdown, cancel_futures=True)
        return [self._executor.submit(work, item) for item in items]


def finish(started: list[Future[object]]) -> None:
    """Wait until all work is done; raise the first error in it."""
    for future in started:
        future.result()
