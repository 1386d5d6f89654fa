"""The results in a run folder: how many epochs they have, whether they are complete, and how to read them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import NamedTuple

import safetensors

from seq2onnx.building.module import SequenceModule
from seq2onnx.files import check_regular_file, read_own
from seq2onnx.training.history import History
from seq2onnx.training.run_loading import load_weights, read_weights

RESULTS = ("weights.safetensors", "metrics.json", "advice.json", "confusion.png", "curve.png", "history.csv")
"""The files of the results, in the order in which they are written."""


class RunResults(NamedTuple):
    """The epochs of the results in a run folder.

    A run that is killed while it writes them leaves new weights with old metrics, or with an old history, which is the
    last file.

    Attributes:
        epochs: the number of epochs that made weights.safetensors. 0: there are no weights.
        rows: the number of rows of history.csv. One more than epochs if the run diverged.
        kept: the epoch that metrics.json is about. None: there are no metrics.
    """

    epochs: int = 0
    rows: int = 0
    kept: float | None = None


def read_results(folder: Path) -> RunResults:
    """Read what the results say. A file that is missing or cannot be read counts as not there."""
    rows = len(_read_history(folder))
    try:
        place = folder / "weights.safetensors"
        check_regular_file(place, links=False)
        with safetensors.safe_open(place, "pt") as file:
            written = (file.metadata() or {}).get("epochs", "")
        # Weights of version 0.2 do not say it.
        epochs = int(written) if written.isdecimal() and len(written) < 10 else rows
    except (OSError, safetensors.SafetensorError):
        epochs = 0
    try:
        kept = json.loads(read_own(folder / "metrics.json"))["epoch"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        kept = None
    return RunResults(epochs, rows, kept)


def load_results(folder: Path, module: SequenceModule) -> History:
    """Load the weights into a module, if there are any, and return the history."""
    place = folder / "weights.safetensors"
    if place.is_file():
        load_weights(module, read_weights(place, sum(row[2] for row in module.network.table())), place)
    return _read_history(folder)


def _read_history(folder: Path) -> History:
    try:
        table = io.StringIO(read_own(folder / "history.csv").decode(), newline="")
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(table)]
    except (OSError, ValueError, TypeError, csv.Error):
        return []
