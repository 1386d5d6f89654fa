"""What training shows while it runs."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bar, TextColumn, TimeRemainingColumn


class Progress:
    """A bar on a terminal, ten plain lines elsewhere, on standard error; nothing where not wanted."""

    def __init__(self, epochs: int, wanted: bool) -> None:
        self._epochs = epochs
        self._console = Console(stderr=True)
        self._bar: Bar | None = None
        self._lines = wanted and not self._console.is_terminal
        if wanted and self._console.is_terminal:
            self._bar = Bar(
                TextColumn("epoch"),
                MofNCompleteColumn(),
                BarColumn(bar_width=8),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=epochs)

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, row: dict[str, float]) -> None:
        """Show the row of an epoch that has ended."""
        figures = ["loss", "accuracy", "validation_loss", "validation_accuracy"]
        if self._bar and "validation_accuracy" in row:
            figures.remove("accuracy")  # with the bar it must go into 80 columns
        text = "  ".join(f"{name.replace('_', ' ')} {row[name]:.4f}" for name in figures if name in row)
        text += f"  rate {row['learning_rate']:.2g}"
        epoch = int(row["epoch"])
        if self._bar:
            for long, short in (("validation loss", "val"), ("validation accuracy", "acc"), ("accuracy", "acc")):
                text = text.replace(long, short)
            self._bar.update(self._task, advance=1, description=text)
        elif self._lines and (epoch == self._epochs or epoch % max(1, self._epochs // 10) == 0):
            print(f"epoch {epoch}/{self._epochs}  {text}", file=sys.stderr, flush=True)
