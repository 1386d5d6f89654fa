"""What predict shows while it runs."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """A bar on a terminal, else a plain line every few seconds and one at the end, on standard error.

    Without rich, which running does not need, lines are shown on a terminal too. `add` may be called by any thread.
    """

    def __init__(self, total: int | None, wanted: bool) -> None:
        self._total, self._wanted = total, wanted
        self._bar = _bar(total) if wanted and sys.stderr.isatty() else None
        self._lock = threading.Lock()
        self._done, self._began = 0, time.monotonic()
        self._said = self._began

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif self._wanted and error is None:
            self._say()

    def add(self, count: int) -> None:
        """So many more sequences are answered."""
        if not self._wanted:
            return
        with self._lock:
            self._done += count
            if self._bar:
                self._bar.advance(self._bar.task_ids[0], count)
            elif time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
                self._said = time.monotonic()
                self._say()

    def _say(self) -> None:
        total = "" if self._total is None else f" of {self._total:,}"
        seconds = time.monotonic() - self._began
        print(f"predict: {self._done:,}{total} sequences, {seconds:.1f} s", file=sys.stderr, flush=True)


def _bar(total: int | None) -> Bar | None:
    """A bar on its way to `total`, or to an end that is not known; None where rich is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        return None
    columns = (TextColumn("predict"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True))
    bar.add_task("", total=total)
    return bar
