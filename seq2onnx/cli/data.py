"""seq2onnx data: what a data set holds, and other files of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from seq2onnx.cli.options import Quiet, say
from seq2onnx.data import SequenceDataset, read
from seq2onnx.data.hdf5 import write_hdf5
from seq2onnx.errors import SpecError

data = typer.Typer(no_args_is_help=True, help="Look at data files, and convert them.")

Source = Annotated[
    Path, typer.Argument(metavar="DATA", help="An .npz, .h5, .mat or .ts file, or a folder of CSV files.")
]
FeaturesByTime = Annotated[
    bool, typer.Option("--features-by-time", help="Matrices of a .mat file, or CSV files, have a row a feature.")
]
Sequences = Annotated[str | None, typer.Option(metavar="NAME", help="The variable of a .mat file with the sequences.")]
Targets = Annotated[str | None, typer.Option(metavar="NAME", help='And with their targets; "" for none.')]


@data.command()
def inspect(
    source: Source, features_by_time: FeaturesByTime = False, sequences: Sequences = None, targets: Targets = None
) -> None:
    """Show how many sequences there are, how long, of which channels, with which labels and gaps."""
    typer.echo(describe(read(source, features_by_time=features_by_time, sequences=sequences, targets=targets)))


@data.command()
def convert(
    source: Source,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The .npz or .h5 file to write.")],
    features_by_time: FeaturesByTime = False,
    sequences: Sequences = None,
    targets: Targets = None,
    quiet: Quiet = False,
) -> None:
    """Write a data set as .npz or .h5."""
    if out.suffix not in (".npz", ".h5", ".hdf5"):
        raise SpecError(f"{out}: data is written as .npz or .h5, got {out.suffix!r}")
    found = read(source, features_by_time=features_by_time, sequences=sequences, targets=targets)
    if out.suffix == ".npz":
        found.save(out)
    else:
        write_hdf5(found, out)
    say(f"{out}: {found}", quiet)


def describe(found: SequenceDataset) -> str:
    """The text of `inspect`."""
    values = np.concatenate(next(iter(found.parts.values())))
    lengths = found.lengths
    lines = [
        f"sequences  {len(found):,}, {lengths.sum():,} steps",
        f"lengths    {lengths.min()} to {lengths.max()}, median {np.median(lengths):g}",
        *(f"           {line}" for line in histogram(lengths)),
    ]
    gaps = [int((~np.isfinite(sequence)).any()) for sequence in next(iter(found.parts.values()))]
    lines.append(f"gaps       NaN or infinity in {sum(gaps):,} sequences" if sum(gaps) else "gaps       none")
    if values.ndim == 2:
        with np.errstate(invalid="ignore"):
            finite = np.where(np.isfinite(values), values, np.nan)
        lines += ["", "channel        mean         std         min         max"]
        for channel in range(values.shape[1]):
            column = finite[:, channel][~np.isnan(finite[:, channel])].astype(np.float64)
            figures = (column.mean(), column.std(), column.min(), column.max()) if len(column) else (np.nan,) * 4
            lines.append(f"{channel:>7}" + "".join(f"{figure:12.4g}" for figure in figures))
    if found.classes is not None and found.targets is not None:
        flat = np.concatenate(list(found.targets)) if found.per_step else np.asarray(found.targets)
        counts = np.bincount(flat[flat >= 0], minlength=len(found.classes))
        unit = "steps" if found.per_step else "sequences"
        lines += ["", f"label      {unit}"]
        lines += [f"{label!s:<10} {count:,}" for label, count in zip(found.classes, counts, strict=True)]
    elif found.targets is not None:
        lines += ["", f"targets    numbers, one row a {'step' if found.per_step else 'sequence'}"]
    else:
        lines += ["", "targets    none"]
    return "\n".join(lines)


def histogram(lengths: np.ndarray, bins: int = 8, width: int = 40) -> list[str]:
    """A line for each range of lengths, with a bar."""
    counts, edges = np.histogram(lengths, min(bins, int(np.ptp(lengths)) + 1))
    return [
        f"{int(np.ceil(low)):>6}  {count:>7,}  {'#' * round(width * count / counts.max())}".rstrip()
        for low, count in zip(edges, counts, strict=False)
    ]
