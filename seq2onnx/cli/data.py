"""seq2onnx data: describe and convert data files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from seq2onnx.cli.options import Quiet, say
from seq2onnx.data import SequenceDataset, padding_report, read
from seq2onnx.data.formats import readable, writable

data = typer.Typer(no_args_is_help=True, help="Describe and convert data files.")

Source = Annotated[Path, typer.Argument(metavar="DATA", help=f"What to read: {readable()}.")]
FeaturesByTime = Annotated[
    bool,
    typer.Option("--features-by-time", help="The matrices of a .mat file, or the CSV files, have one row per feature."),
]
Sequences = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The variable of a .mat file, or column of a .parquet file, with the sequences."),
]
Targets = Annotated[
    str | None, typer.Option(metavar="NAME", help='The variable or column with the targets; "" for none.')
]


@data.command()
def inspect(
    source: Source, features_by_time: FeaturesByTime = False, sequences: Sequences = None, targets: Targets = None
) -> None:
    """Show the number and lengths of the sequences, their channels, labels and gaps."""
    typer.echo(describe(read(source, features_by_time=features_by_time, sequences=sequences, targets=targets)))


@data.command()
def convert(
    source: Source,
    out: Annotated[Path, typer.Argument(metavar="OUT", help=f"The file to write: {writable()}.")],
    features_by_time: FeaturesByTime = False,
    sequences: Sequences = None,
    targets: Targets = None,
    quiet: Quiet = False,
) -> None:
    """Write a data set as .parquet, .h5 or .npz.

    .parquet and .h5 files are read in parts, so they may be larger than memory.
    """
    found = read(source, features_by_time=features_by_time, sequences=sequences, targets=targets)
    found.save(out)
    say(f"{out}: {found}", quiet)


def describe(found: SequenceDataset) -> str:
    """Describe a data set as text."""
    lengths = found.lengths
    lines = [
        f"sequences  {len(found):,}, {lengths.sum():,} steps",
        f"lengths    {lengths.min()} to {lengths.max()}, median {np.median(lengths):g}",
        *(f"           {line}" for line in histogram(lengths)),
    ]
    if len(found) > 1:
        costs = (f"{padding_report(found, 128, order).wasted:.0%} {order}" for order in ("random", "bucket", "sorted"))
        lines.append(f"padding    in batches of 128, by shuffle: {', '.join(costs)}")
    for name, part in found.parts.items():
        if part.dtype.kind != "f":
            continue
        statistics = found.channel_statistics(name)
        gaps = f"NaN or infinity in {statistics.gaps:,} sequences" if statistics.gaps else "none"
        lines += [f"gaps       {gaps}" + (f" of {name}" if name else "")]
        lines += ["", "channel        mean         std         min         max"]
        for channel, figures in enumerate(zip(*statistics.summary().values(), strict=True)):
            known = figures if statistics.count[channel] else (np.nan,) * 4
            lines.append(f"{channel:>7}" + "".join(f"{figure:12.4g}" for figure in known))
    if found.classes is not None and found.targets is not None:
        counts = found.class_counts()
        unit = "steps" if found.per_step else "sequences"
        lines += ["", f"label      {unit}"]
        lines += [f"{label!s:<10} {count:,}" for label, count in zip(found.classes, counts, strict=True)]
    elif found.targets is not None:
        lines += ["", f"targets    numbers, one row per {'step' if found.per_step else 'sequence'}"]
    else:
        lines += ["", "targets    none"]
    return "\n".join(lines)


def histogram(lengths: np.ndarray, bins: int = 8, width: int = 40) -> list[str]:
    """A line with a bar for each range of lengths."""
    counts, edges = np.histogram(lengths, min(bins, int(np.ptp(lengths)) + 1))
    return [
        f"{int(np.ceil(low)):>6}  {count:>7,}  {'#' * round(width * count / counts.max())}".rstrip()
        for low, count in zip(edges, counts, strict=False)
    ]
