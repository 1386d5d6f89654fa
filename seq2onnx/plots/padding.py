"""The padding in batches."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from seq2onnx.data.padding_report import PaddingReport
from seq2onnx.plots.axes import add_legend, new_axes

# The colours differ in grey too, and padding and cut steps are hatched.
KEPT, PADDED, CUT = "#3b6fb6", "#d9d9d9", "#f0a04b"


def padding_bars(report: PaddingReport, ax: Axes | None = None) -> Axes:
    """Draw a bar for each sequence, in the order of the batches: its data, its padding, and the steps that are cut.

    Args:
        report: the result of `padding_report`.
        ax: the axes to draw into; None: a new figure.

    Example:
        >>> padding_bars(padding_report(data, 27, "sorted")).figure.savefig("padding.png")
    """
    ax = ax or new_axes()
    right = report.policy.padding_direction == "right"
    edges = np.arange(len(report.kept) + 1)
    # With padding and cuts on the left, all sequences end at the same step.
    low = np.zeros_like(report.kept) if right else report.padded
    parts = [
        ("data", low, low + report.kept, KEPT, None),
        ("padding", report.kept if right else 0 * low, report.kept + report.padded if right else low, PADDED, "////"),
        ("cut", report.kept if right else -report.cut, report.kept + report.cut if right else 0 * low, CUT, "xxxx"),
    ]
    for label, begin, end, colour, hatch in parts:
        if np.any(end > begin):
            ax.stairs(end, edges, baseline=begin, fill=True, color=colour, label=label)
            if hatch:
                ax.stairs(end, edges, baseline=begin, fill=True, facecolor="none", hatch=hatch, edgecolor="white", lw=0)
    ends = np.cumsum([len(batch) for batch in report.batches])[:-1]
    if len(ends) <= 60:  # more would hide the bars
        ax.vlines(ends, *ax.get_ylim(), colors="black", linewidth=0.6)
    ax.set(xlabel=f"sequence, in {len(report.batches)} batches", ylabel="time step", xlim=(0, len(report.kept)))
    ax.set_title(f"{report.wasted:.0%} of the steps run are padding", fontsize=10)
    add_legend(ax, ncols=3)
    return ax
