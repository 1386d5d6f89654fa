"""seq2onnx bench: how fast a model is on this machine, a step or a sequence at a time and many at once."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from seq2onnx.cli.measurements import Measurement, in_words, measure, surroundings
from seq2onnx.cli.options import ModelFile, Quiet, say
from seq2onnx.errors import SpecError
from seq2onnx.files import write_atomically

STEPS = 100


def bench(
    file: ModelFile,
    seconds: Annotated[float, typer.Option(help="For each measurement.")] = 0.75,
    threads: Annotated[int, typer.Option(help="How many batches predict runs at the same time.")] = 1,
    lengths: Annotated[
        str | None,
        typer.Option(
            "--lengths", "--steps", metavar="N or N-M", help="Steps of a sequence, or from N to M; 100 unless given."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="The same in a file, in seconds.")] = None,
    quiet: Quiet = False,
) -> None:
    """Measure a model on this machine, on random input scaled like its training data.

    A line for each of Stream.step, predict of one sequence and of batches, and a step of so many streams in a pool: how
    long a run takes (half of them take p50 at most, 99 of 100 p99), and how many sequences and steps a second that
    makes.
    """
    from seq2onnx.runtime import load

    if not 0 < seconds < math.inf:
        raise SpecError(f"--seconds: must be above 0, got {seconds}")
    model = load(file, threads=threads)
    lowest, highest = _read_lengths(lengths, model.metadata["min_length"])
    found, left_out = measure(model, lowest, highest, seconds)
    about = {
        "model": str(file),
        "bytes": file.stat().st_size,
        "signature": model.signature,
        "closed_loop": model.closed_loop,
        "lengths": [lowest, highest],
        "threads": threads,
        "seconds": seconds,
        **surroundings(),
    }
    say("\n".join(_table(about, found, left_out)), quiet)
    if out is not None:
        rows = [dataclasses.asdict(row) for row in found]
        content = json.dumps(about | {"measurements": rows, "left_out": left_out}, indent=2, ensure_ascii=False)
        write_atomically(out, f"{content}\n".encode())


def _read_lengths(text: str | None, least: int) -> tuple[int, int]:
    """The shortest and the longest sequence."""
    if text is None:
        return max(STEPS, least), max(STEPS, least)
    lowest, dash, highest = text.partition("-")
    try:
        found = int(lowest), int(highest if dash else lowest)
    except ValueError:
        raise SpecError(f"--lengths: expected a number of steps such as 100, or 20-200, got {text!r}") from None
    if not max(least, 1) <= found[0] <= found[1]:
        raise SpecError(f"--lengths: the network needs at least {max(least, 1)} steps, and N-M rises, got {text}")
    return found


def _table(about: dict[str, Any], found: list[Measurement], left_out: dict[str, str]) -> Iterator[str]:
    lowest, highest = about["lengths"]
    steps = f"{lowest}" if lowest == highest else f"{lowest} to {highest}"
    loop = f", closed loop of {about['closed_loop']} steps" if about["closed_loop"] else ""
    threads = f"{about['threads']} thread{'s' * (about['threads'] > 1)}"
    yield f"{about['model']}: {about['bytes']:,} bytes, signature {about['signature']}{loop}"
    yield f"onnxruntime {about['onnxruntime']}, {threads}, sequences of {steps} steps"
    yield f"{about['processor']}, {about['cores']} cores\n"
    yield f"{'':<11} {'at once':>7} {'p50':>8} {'p90':>8} {'p99':>8} {'max':>8} {'sequences/s':>11} {'steps/s':>11}"
    for row in found:
        times = " ".join(f"{in_words(value):>8}" for value in (row.p50, row.p90, row.p99, row.max))
        sequences = "" if row.sequences_per_second is None else _rate(row.sequences_per_second)
        yield f"{row.of:<11} {row.at_once:>7,} {times} {sequences:>11} {_rate(row.steps_per_second):>11}"
    if left_out:
        yield ""
    for what, why in left_out.items():
        yield f"left out: {what}: {why}"


def _rate(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
