"""Work on several threads: onnxruntime lets go of Python's lock while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor


class Workers:
    """Threads that work as long as the block lasts; with one, all runs where it is asked for.

    However the block ends, its threads end with it. After an error, or Ctrl-C, what has not begun is dropped.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._executor: ThreadPoolExecutor | None = None
        self._failed = False

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._failed = error is not None
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def start(self, work: Callable[[Any], object], items: Iterable[Any]) -> list[Future[None]]:
        """Begin `work` on each item, in their order; `finish` waits for it."""
        if self._threads == 1:
            for item in items:
                work(item)
            return []
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor  # takes 10 ms, which a first prediction need not wait for

            self._executor = ThreadPoolExecutor(self._threads, "seq2onnx")
        return [self._executor.submit(self._work, work, item) for item in items]

    def _work(self, work: Callable[[Any], object], item: Any) -> None:
        """`work`, unless some of it failed before: then nobody will see what comes of it."""
        if self._failed:
            return
        try:
            work(item)
        except BaseException:
            self._failed = True
            raise


def finish(started: list[Future[None]]) -> None:
    """Wait until all of it is done; raises what the first of it raised."""
    for future in started:
        future.result()
