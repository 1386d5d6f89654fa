"""Shared code of all subcommands: common arguments, options for data, and messages."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import functools
import inspect
import io
import json
import sys
import types
import typing
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from seq2onnx.data import SequenceDataset, formats
from seq2onnx.data.reading import read_timed
from seq2onnx.data.time_steps import TimeSteps
from seq2onnx.data.timing import Timing
from seq2onnx.errors import Seq2OnnxWarning, plain
from seq2onnx.files import write_atomically
from seq2onnx.sequences import Channels


def _silence(quiet: bool) -> bool:
    """Switch off the warnings of data and training with --quiet."""
    if quiet:
        warnings.filterwarnings("ignore", category=Seq2OnnxWarning)
    return quiet


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only results and errors.", callback=_silence)]
ModelFile = Annotated[Path, typer.Argument(metavar="FILE", help="An exported ONNX file.")]
DataWithTargets = Annotated[
    Path, typer.Argument(metavar="DATA", help="Sequences and targets. Formats: see `seq2onnx data inspect`.")
]
AllowChanged = Annotated[
    bool,
    typer.Option(
        "--allow-changed", help="Open FILE although another program has changed it. Only for files that you trust."
    ),
]


def say(text: object, quiet: bool) -> None:
    """Print a message unless `quiet` is set."""
    if not quiet:
        show(text)


def show(text: object, *, err: bool = False) -> None:
    """Print a text, which may quote a file, to standard output or error: without control characters."""
    with _named(err):
        typer.echo(plain(str(text), None), err=err)


def write_data(text: str) -> None:
    """Write data to standard output: as it is to a file or a program, without control characters to a terminal."""
    with _named():
        sys.stdout.write(plain(text, None) if sys.stdout.isatty() else text)


def write_row(cells: Iterable[object]) -> None:
    """Write a line of CSV to standard output, as `write_data` does."""
    csv.writer(types.SimpleNamespace(write=write_data), lineterminator="\n").writerow(cells)


def write_json(path: Path, value: object) -> None:
    """Write a value to a JSON file that people can read."""
    write_atomically(path, f"{json.dumps(value, indent=2, ensure_ascii=False)}\n".encode())


def flush() -> None:
    """Write what is waiting for standard output; raise OSError, which names it, if this fails."""
    with _named():
        sys.stdout.flush()


@contextmanager
def _named(err: bool = False) -> Iterator[None]:
    """Let an error of the system, such as a full disk, name standard output or error."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or ("standard error" if err else "standard output")
        raise


def set_encodings() -> None:
    """Let standard output be UTF-8, whatever the locale, for what reads it; a terminal gets what it can show."""
    codecs.register_error("seq2onnx", _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_data = stream is sys.stdout and not stream.isatty()
            stream.reconfigure(
                encoding="utf-8" if is_data else None, errors="seq2onnx" if is_data else "backslashreplace"
            )


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write the bytes of a file name that is not UTF-8 as they are, and what else is no text as an escape."""
    with suppress(UnicodeError):
        return codecs.lookup_error("surrogateescape")(error)
    return codecs.backslashreplace_errors(error)


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """The options that say how to read DATA; `with_data_options` adds them to a command."""

    sequences: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The variable of a .mat file, or column of a .parquet file, with the data."),
    ] = None
    targets: Annotated[
        str | None,
        typer.Option(metavar="NAME", help='The variable or column with the targets, or several: a,b. "" for none.'),
    ] = None
    features_by_time: Annotated[
        bool, typer.Option("--features-by-time", help="A .mat matrix, or a CSV file, has one row per feature.")
    ] = False
    channels: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="The columns with the features, such as ax,ay. Default: all others."),
    ] = None
    id: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column that tells the sequences of a CSV file apart.")
    ] = None
    time: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column with the time of a step, which is no feature.")
    ] = None
    labels: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="A file with the columns file and label, in the folder DATA or beside it."),
    ] = None
    per_step: Annotated[bool, typer.Option("--per-step", help="The targets in a CSV file are those of the steps.")] = (
        False
    )
    numbers: Annotated[bool, typer.Option("--numbers", help="Integers as targets are numbers, not labels.")] = False
    sample_rate: Annotated[
        float | None,
        typer.Option(metavar="HZ", help="Steps per second. Default: as DATA says, or as its time stamps show."),
    ] = None
    rate: Annotated[
        float | None,
        typer.Option(metavar="HZ", help="Resample each sequence to this many steps per second, by --time."),
    ] = None
    max_gap: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="With --rate, leave longer gaps open (NaN). Default: fill every gap."),
    ] = None
    trusted: Annotated[
        bool, typer.Option("--trusted", help="Lift the limits on the time and memory that reading DATA may take.")
    ] = False

    def read(self, path: Path, channels: Channels = None) -> SequenceDataset:
        """Read a data set. `channels`: those of a model, by which CSV is read if the options name none."""
        return self.read_timed(path, channels)[0]

    def read_timed(self, path: Path, channels: Channels = None) -> tuple[SequenceDataset, list[TimeSteps]]:
        """Read a data set as `read` does, and the steps between its time stamps."""
        if self.channels is not None:
            channels = next(csv.reader([self.channels]))
        elif not formats.takes(path, "channels"):  # other data is read whole; the model selects its channels
            channels = None
        names = {"sequences": _names(self.sequences), "targets": _names(self.targets), "channels": channels}
        given = vars(self) | names | {"per_step": self.per_step or None}
        timing = Timing(given.pop("sample_rate"), given.pop("rate"), given.pop("max_gap"), self.trusted)
        return read_timed(path, timing=timing, **given)


def _names(text: str | None) -> str | list[str] | None:
    """Return one name, or several that are separated by commas."""
    names = next(csv.reader([text])) if text else []
    return names if len(names) > 1 else text


def with_data_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter `options` of a command by the fields of DataOptions.

    A command with a rate of its own, as `tune` has, does not resample.
    """
    hints = typing.get_type_hints(DataOptions, include_extras=True)
    left_out = {"rate", "max_gap"} if "rate" in inspect.signature(command).parameters else set()
    fields = [field for field in dataclasses.fields(DataOptions) if field.name not in left_out]
    added = [inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default) for field in fields]

    @functools.wraps(command)
    def run(*args: Any, **arguments: Any) -> None:
        options = DataOptions(**{field.name: arguments.pop(field.name) for field in fields})
        command(*args, options=options, **arguments)

    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(command).parameters.values()
    ]
    place = [parameter.name for parameter in parameters].index("options")
    parameters[place : place + 1] = added
    own = typing.get_type_hints(command, include_extras=True)
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter.replace(annotation=(hints | own)[parameter.name]) for parameter in parameters]
    )
    run.__annotations__ = {name: kind for name, kind in (hints | own).items() if name != "options"}
    return run
