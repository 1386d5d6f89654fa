"""A data set in words: its lengths, time stamps, channels, targets and gaps, and what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from seq2onnx.data.leaks import find_leaks
from seq2onnx.data.padding_report import padding_report
from seq2onnx.data.time_steps import TimeSteps
from seq2onnx.tables import about, text_table

if TYPE_CHECKING:
    from seq2onnx.data.dataset import SequenceDataset

MOST_ROWS = 12
"""Sequences of which the steps between time stamps are shown."""


def describe(found: SequenceDataset, steps: Sequence[TimeSteps] = ()) -> str:
    """Describe a data set, and the steps between its time stamps, as text."""
    lengths = found.lengths
    lines = [
        f"sequences  {len(found):,}, {lengths.sum():,} steps",
        f"lengths    {lengths.min()} to {lengths.max()}, median {np.median(lengths):g}",
        *(f"           {line}" for line in histogram(lengths)),
    ]
    if found.sample_rate is not None:
        lines.append(
            f"rate       {found.sample_rate:,g} a second, {lengths.sum() / found.sample_rate:,.1f} seconds in all"
        )
    if len(found) > 1:
        costs = (f"{padding_report(found, 128, order).wasted:.0%} {order}" for order in ("random", "bucket", "sorted"))
        lines.append(f"padding    in batches of 128, by shuffle: {', '.join(costs)}")
    if steps:
        lines += ["", _step_table(steps)]
    for name, part in found.parts.items():
        if part.dtype.kind != "f":
            continue
        statistics = found.channel_statistics(name)
        gaps = f"NaN or infinity in {statistics.gaps:,} sequences" if statistics.gaps else "none"
        lines += [f"gaps       {gaps}" + (f" of {name}" if name else "")]
        channels = found.channels.get(name) if isinstance(found.channels, dict) else found.channels
        names = channels or range(len(statistics.count))
        rows: list[tuple[object, ...]] = [("channel", "mean", "std", "min", "max", *["gaps"] * bool(statistics.gaps))]
        values = (int(lengths.sum()) if part.has_time else len(found)) * math.prod(part.shape[1:])  # of a channel
        for channel, count, *figures in zip(names, statistics.count, *statistics.summary().values(), strict=True):
            cells = [f"{figure:10.4g}" for figure in (figures if count else (np.nan,) * 4)]
            rows.append((channel, *cells, *[f"{values - int(count):,}"] * bool(statistics.gaps)))
        lines += ["", text_table(rows, range(1, len(rows[0])))]
    if found.classes is not None and found.targets is not None:
        counts = found.class_counts()
        unit = "steps" if found.per_step else "sequences"
        rows = [("label", unit), *((label, f"{count:,}") for label, count in zip(found.classes, counts, strict=True))]
        lines += ["", text_table(rows, (1,))]
    elif found.targets is not None:
        lines += ["", f"targets    numbers, one row per {'step' if found.per_step else 'sequence'}"]
    else:
        lines += ["", "targets    none"]
    for id, text in find_leaks(found):
        lines += ["", about(f"warning ({id})", text)]
    return "\n".join(lines)


def _step_table(steps: Sequence[TimeSteps]) -> str:
    """A line for the steps between the time stamps of each sequence; of many, those with most that is wrong."""
    shown = sorted(steps, key=lambda one: (one.holes + one.duplicates + one.back == 0, one.median))
    shown = sorted(shown[:MOST_ROWS], key=steps.index)
    rows: list[tuple[object, ...]] = [("time steps (s)", "median", "smallest", "largest", "holes", "repeated", "back")]
    for one in shown:
        figures = (f"{figure:.4g}" for figure in (one.median, one.smallest, one.largest))
        rows.append((one.name, *figures, *(f"{count:,}" for count in (one.holes, one.duplicates, one.back))))
    table = text_table(rows, range(1, len(rows[0])))
    return table if len(shown) == len(steps) else f"{table}\nand {len(steps) - len(shown):,} more"


def histogram(lengths: np.ndarray, bins: int = 8, width: int = 40) -> list[str]:
    """A line with a bar for each range of lengths."""
    counts, edges = np.histogram(lengths, min(bins, int(np.ptp(lengths)) + 1))
    return [
        f"{int(np.ceil(low)):>6}  {count:>7,}  {'#' * round(width * count / counts.max())}".rstrip()
        for low, count in zip(edges, counts, strict=False)
    ]
