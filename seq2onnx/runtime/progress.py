"""The progress that predict shows."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """A progress bar on a terminal; elsewhere, or without rich, a line every few seconds and one at the end.

    It is written to standard error. Any thread may call `add`.
    """

    def __init__(self, total: int | None, wanted: bool) -> None:
        self._total, self._wanted = total, wanted
        self._bar = _bar(total) if wanted and sys.stderr.isatty() else None
        self._lock = threading.Lock()
        self._done, self._start = 0, time.monotonic()
        self._last_line = self._start

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._bar:
            self._bar.stop()
        elif self._wanted and error is None:
            self._print()

    def add(self, count: int) -> None:
        """Count more sequences as done."""
        if not self._wanted:
            return
        with self._lock:
            self._done += count
            if self._bar:
                self._bar.advance(self._bar.task_ids[0], count)
            elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
                self._last_line = time.monotonic()
                self._print()

    def _print(self) -> None:
        total = "" if self._total is None else f" of {self._total:,}"
        seconds = time.monotonic() - self._start
        print(f"predict: {self._done:,}{total} sequences, {seconds:.1f} s", file=sys.stderr, flush=True)


def _bar(total: int | None) -> Bar | None:
    """A bar for `total` sequences, or an unknown number; None if rich is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        return None
    columns = (TextColumn("predict"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True))
    bar.add_task("", total=total)
    return bar
