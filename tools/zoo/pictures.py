"""Pictures that several recipes draw."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import seq2onnx as s2o
from seq2onnx import plots
from seq2onnx.runtime import Predictor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["confusion", "plt", "save"]  # plt is taken from here: with the backend that needs no screen


def save(ax: Axes, path: Path) -> None:
    """Write the figure that the axes are in, and close it."""
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def confusion(model: Predictor, test: s2o.SequenceDataset, folder: Path) -> dict[str, str]:
    """confusion.png, of the test data."""
    ax = plots.confusion_chart(test.labels, model.classify(test), test.classes or [])
    save(ax, folder / "confusion.png")
    return {
        "confusion.png": "Confusion matrix of the test data: one row for each true label, one column for each "
        "predicted label."
    }
