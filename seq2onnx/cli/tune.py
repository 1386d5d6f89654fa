"""seq2onnx tune: find the threshold of an Alarm, and append it to a file."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from seq2onnx.cli.options import DataOptions, ModelFile, Quiet, say, show, with_data_options
from seq2onnx.data import SequenceDataset
from seq2onnx.data.events import runs_of
from seq2onnx.data.formats.csv_events import read_event_file
from seq2onnx.errors import DataError, SpecError
from seq2onnx.evaluation.predictions import column_names
from seq2onnx.tables import text_table

if TYPE_CHECKING:
    from seq2onnx.contract import Contract
    from seq2onnx.evaluation.alarm_tuning import AlarmTuning, Event

MOST_ROWS = 12


@with_data_options
def tune(
    file: ModelFile,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="Sequences that the network was not trained on. Formats: see `seq2onnx data inspect`."
        ),
    ],
    false_alarms: Annotated[
        float, typer.Option("--false-alarms", metavar="RATE", help="How many false alarms an hour are allowed.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="OUT", help="The ONNX file to write: FILE with the alarm at its end.")
    ],
    label: Annotated[
        str | None, typer.Option(help="The class of the events. Needed if FILE has several, or DATA has labels.")
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="A file with the columns file, start and end (seconds) of each event, and perhaps label. Default: "
            "DATA has a label for each step, and an event is a run of steps with the label.",
        ),
    ] = None,
    release: Annotated[
        float | None, typer.Option(help="The alarm ends where the score is below it. Default: the threshold.")
    ] = None,
    patience: Annotated[int, typer.Option(min=1, help="Steps in a row that must be high before an alarm begins.")] = 1,
    hold: Annotated[int, typer.Option(min=0, help="Steps in a row that may be low before the alarm ends.")] = 0,
    warm_up: Annotated[int, typer.Option(min=0, help="Steps after a start in which no score counts as high.")] = 0,
    rate: Annotated[
        float | None, typer.Option(help="Steps of the sequences per second. Default: the sample rate in FILE.")
    ] = None,
    *,
    options: DataOptions,
    quiet: Quiet = False,
) -> None:
    """Find the threshold that finds the most events with no more false alarms than are allowed, and append an Alarm.

    It prints a table: for each number of events found, the fewest false alarms, and how many there may be an hour on
    other data (95 % confidence). The fewer hours DATA has, the less is known of this. The new file answers events, and
    also outputs the scores.
    """
    from seq2onnx import append, export, load, restore, tune_alarm
    from seq2onnx.exporting.restorer import read_options

    if out.resolve() == file.resolve():
        raise SpecError(f"--out: name another file than {file}, which stays as it is")
    model = load(file)
    if model.contract.answer == "events" or len(model.outputs) > 1 or not model.model.outputs[0].has_time:
        raise SpecError(f"{file}: an alarm needs a file with one output, of scores for each step")
    rate = rate or model.contract.sample_rate
    if rate is None:
        raise SpecError(f"--rate: {file} does not know the steps of a sequence per second; write them")
    found = options.read(data, model.channels)
    scores = model.predict(found)
    size = model.model.outputs[0].shape[-1]
    classes = column_names(model)
    named = _class(label, classes) if size > 1 else None
    lengths = [len(row) for row in scores]
    if events is None:
        wanted = _runs(found, label, lengths)
    else:
        ids = found.ids or [str(index) for index in range(len(found))]
        wanted = [
            _steps(seconds, length, f"{events}: {id}", model.contract, rate)
            for seconds, length, id in zip(read_event_file(events, ids, label), lengths, ids, strict=True)
        ]
    tuned = tune_alarm(
        scores if size > 1 else [row.ravel() for row in scores],
        wanted,
        steps_per_second=rate / model.contract.time_stride,
        false_alarms_per_hour=false_alarms,
        release=release,
        patience=patience,
        hold=hold,
        warm_up=warm_up,
        label=named,
        classes=classes if size > 1 else None,
    )
    arguments = dataclasses.asdict(read_options(file))
    if arguments["activations"] is not True:
        arguments["activations"] = [*(arguments["activations"] or ()), *model.contract.output_layers]
    export(append(restore(file), [tuned.alarm]), out, **arguments)
    show(tuning_table(tuned))
    show(f"\n{tuned}")
    say(f"{out}: {out.stat().st_size:,} bytes", quiet)


def tuning_table(tuned: AlarmTuning) -> str:
    """Show for each number of events that can be found the threshold with the fewest false alarms."""
    from seq2onnx.evaluation.alarm_tuning import poisson_bound

    best: list[int] = []
    for index in np.lexsort((-tuned.found_at, tuned.false_alarms_at)):  # the fewest false alarms, then the most events
        if not best or tuned.found_at[index] > tuned.found_at[best[-1]]:
            best.append(int(index))
    counts = [(int(tuned.found_at[i]), int(tuned.false_alarms_at[i]), float(tuned.thresholds[i])) for i in best]
    place = next(i for i, (found, false, _) in enumerate(counts) if (found, false) == (tuned.found, tuned.false_alarms))
    counts[place] = (tuned.found, tuned.false_alarms, tuned.threshold)
    start = max(0, min(place - MOST_ROWS // 2, len(counts) - MOST_ROWS))
    rows: list[tuple[object, ...]] = [("threshold", "events found", "false alarms", "an hour", "at most (95 %)", "")]
    for index, (found, false, threshold) in list(enumerate(counts))[start : start + MOST_ROWS]:
        rates = (f"{count / tuned.hours:.4g}" for count in (false, poisson_bound(false)))
        chosen = "chosen" if index == place else ""
        rows.append((f"{threshold:.6g}", f"{found} of {tuned.events}", false, *rates, chosen))
    return text_table(rows, range(5))


def _class(label: str | None, classes: list[Any]) -> Any:
    """Return the class of this name; names of the command line are texts."""
    found = next((name for name in classes if str(name) == label), None)
    if found is None:
        raise SpecError(f"--label: expected one of {', '.join(map(str, classes))}, got {label!r}")
    return found


def _runs(found: SequenceDataset, label: str | None, lengths: list[int]) -> list[list[Event]]:
    if not found.per_step or found.classes is None or found.targets is None:
        raise DataError("targets: the data has no label for each step; give the events in seconds with --events")
    number = found.classes.index(_class(label, found.classes))
    runs = []
    for index, (target, length) in enumerate(zip(found.targets.take(range(len(found))), lengths, strict=True)):
        if len(target) != length:
            raise DataError(f"targets of sequence {index}: expected {length}, one for each result, got {len(target)}")
        runs.append(runs_of(np.asarray(target) == number))
    return runs


def _steps(seconds: list[tuple[float, float]], length: int, where: str, contract: Contract, rate: float) -> list[Event]:
    """Return the first and the last step that is known while an event lasts."""
    steps = []
    for start, end in seconds:
        first, last = (
            rounded((time * rate - 1 - contract.delay_steps) / contract.time_stride)
            for rounded, time in ((math.ceil, start), (math.floor, end))
        )
        first, last = max(first, 0), min(last, length - 1)
        if first > last:
            raise DataError(
                f"{where}: no result is known while the event from {start:g} to {end:g} s lasts; the sequence has "
                f"{length} results, one every {contract.time_stride / rate:g} s"
            )
        steps.append((first, last))
    return steps
