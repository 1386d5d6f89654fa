"""Progress of training, shown on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Show = Callable[[dict[str, float]], None]


@contextmanager
def epoch_progress(epochs: int, wanted: bool) -> Iterator[Show]:
    """Show a progress bar on a terminal, ten plain lines elsewhere; give a function that shows the row of an epoch."""
    console = Console(stderr=True)
    columns = TextColumn("epoch"), MofNCompleteColumn(), BarColumn(bar_width=8), TextColumn("{task.description}")
    if not wanted:
        yield lambda row: None
    elif console.is_terminal:
        with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
            task = bar.add_task("", total=epochs)
            yield lambda row: bar.update(task, advance=1, description=_short(row))
    else:
        yield lambda row: _print_line(row, epochs)


def _print_line(row: dict[str, float], epochs: int) -> None:
    epoch = int(row["epoch"])
    if epoch == epochs or epoch % max(1, epochs // 10) == 0:
        names = ("loss", "accuracy", "validation_loss", "validation_accuracy")
        labels = {name: name.replace("_", " ") for name in names}
        print(f"epoch {epoch}/{epochs}  {_text(row, labels)}", file=sys.stderr, flush=True)


def _short(row: dict[str, float]) -> str:
    """With the bar this must fit into 80 columns: one accuracy."""
    accuracy = "validation_accuracy" if "validation_accuracy" in row else "accuracy"
    return _text(row, {"loss": "loss", "validation_loss": "val", accuracy: "acc"})


def _text(row: dict[str, float], labels: dict[str, str]) -> str:
    figures = [f"{label} {row[name]:.4f}" for name, label in labels.items() if name in row]
    return "  ".join([*figures, f"rate {row['learning_rate']:.2g}"])
