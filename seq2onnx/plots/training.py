"""The training curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seq2onnx.plots.axes import legend_below, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def training_curve(history: Sequence[dict[str, float]], ax: Axes | None = None) -> Axes:
    """Loss, on a logarithmic axis, and accuracy where there is one, over epochs.

    Args:
        history: `result.history` of `train`
        ax: drawn into; without one into a new figure
    Returns: the axes with the loss
    Example: >>> training_curve(result.history).figure.savefig("curve.png")
    """
    from matplotlib.ticker import MaxNLocator

    ax = ax or new_axes()
    epochs = [row["epoch"] for row in history]
    lines: list[Any] = []
    for prefix, style in (("", "-"), ("validation_", "--")):
        if f"{prefix}loss" in history[0]:
            label = f"{prefix.replace('_', ' ')}loss"
            lines += ax.plot(epochs, [row[f"{prefix}loss"] for row in history], f"C0{style}", label=label)
    ax.set(xlabel="epoch", ylabel="loss", yscale="log", xlim=(epochs[0], max(epochs[-1], epochs[0] + 1)))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(alpha=0.3)
    if "accuracy" in history[0]:
        right = ax.twinx()
        for prefix, style in (("", "-."), ("validation_", ":")):
            if f"{prefix}accuracy" in history[0]:
                label = f"{prefix.replace('_', ' ')}accuracy"
                values = [row[f"{prefix}accuracy"] for row in history]
                lines += right.plot(epochs, values, f"C1{style}", label=label, linewidth=2)
        right.set(ylabel="accuracy", ylim=(0, 1.03))
    legend_below(ax, handles=lines, ncols=4)
    return ax
