"""The padding in batches."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

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
    edges = np.arange(len(report.kept) + 1) + 0.5
    low = np.full_like(report.kept, 0.5, float)  # step 1 is from 0.5 to 1.5
    kept = low + report.kept
    parts = [
        ("data", low, kept, KEPT, None),
        ("padding", kept, kept + report.padded, PADDED, "////"),
        ("cut", kept, kept + report.cut, CUT, "xxxx"),
    ]
    for label, begin, end, colour, hatch in parts:
        if np.any(end > begin):
            ax.stairs(end, edges, baseline=begin, fill=True, color=colour, label=label)
            if hatch:
                ax.stairs(end, edges, baseline=begin, fill=True, facecolor="none", hatch=hatch, edgecolor="white", lw=0)
    top = max(1, *report.kept + report.padded + report.cut) + 0.5
    ends = np.cumsum([len(batch) for batch in report.batches])[:-1] + 0.5
    if len(ends) <= 60:  # more would hide the bars
        ax.vlines(ends, 0.5, top, colors="black", linewidth=0.6)
    # With padding and cuts on the left, all sequences end together, at the top.
    right = report.policy.padding_direction == "right"
    ax.set(
        xlabel=f"sequence, in {len(report.batches)} batches",
        ylabel="step" if right else "step, counted back from the last",
        xlim=(0.5, len(report.kept) + 0.5),
        ylim=(0.5, top) if right else (top, 0.5),
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    title = f"{report.wasted:.0%} of the steps run are padding"
    if report.cut.any():
        title += f", {report.cut.sum() / (report.cut + report.kept).sum():.0%} of the data are cut"
    ax.set_title(title, fontsize=10)
    add_legend(ax)
    return ax
