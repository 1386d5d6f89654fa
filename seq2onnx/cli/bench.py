"""seq2onnx bench: measure the latency and throughput of a model on this machine."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from seq2onnx import tables
from seq2onnx.cli.options import AllowChanged, ModelFile, Quiet, say, write_json
from seq2onnx.errors import SpecError
from seq2onnx.reporting.benchmark import Measurement, environment, format_seconds, measure

STEPS = 100
BATCH_SIZES = (1, 8, 32, 128, 512)
POOL_SIZES = (1, 10, 100, 1000, 10000)


def bench(
    file: ModelFile,
    seconds: Annotated[float, typer.Option(help="The duration of each measurement.")] = 0.75,
    threads: Annotated[int, typer.Option(help="How many batches predict runs in parallel.")] = 1,
    lengths: Annotated[
        str | None,
        typer.Option("--lengths", "--steps", metavar="N or N-M", help="Steps per sequence, or a range. Default: 100."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write the table to a JSON file, with times in seconds."),
    ] = None,
    allow_changed: AllowChanged = False,
    quiet: Quiet = False,
) -> None:
    """Measure the speed of a model on this machine.

    The input is random, scaled like the training data. The table has one line for Stream.step, one for each batch size
    of predict, and one for each number of streams in a pool. p50 is the median time of a run, p99 the 99th percentile.
    """
    from seq2onnx.runtime import load

    if not 0 < seconds < math.inf:
        raise SpecError(f"--seconds: must be above 0, got {seconds}")
    model = load(file, threads=threads, allow_changed=allow_changed)
    steps = _read_lengths(lengths, max(model.contract.min_length, 1))
    found, skipped = measure(model, steps, seconds, BATCH_SIZES, POOL_SIZES)
    about = {
        "model": str(file),
        "bytes": file.stat().st_size,
        "form": model.contract.form,
        "signature": model.signature,
        "closed_loop": model.closed_loop,
        "lengths": steps,
        "threads": threads,
        "seconds": seconds,
        **environment(),
    }
    say("\n".join(_table(about, found, skipped)), quiet)
    if out is not None:
        rows = [dataclasses.asdict(row) for row in found]
        write_json(out, about | {"measurements": rows, "left_out": skipped})


def _read_lengths(text: str | None, least: int) -> tuple[int, int]:
    """The lengths of the shortest and the longest sequence."""
    if text is None:
        return max(STEPS, least), max(STEPS, least)
    shortest, dash, longest = text.partition("-")
    try:
        found = int(shortest), int(longest if dash else shortest)
    except ValueError:
        raise SpecError(f"--lengths: expected a number of steps such as 100, or 20-200, got {text!r}") from None
    if found[0] < least:
        raise SpecError(f"--lengths: the network needs at least {least} steps, got {text}")
    if found[0] > found[1]:
        raise SpecError(f"--lengths: expected N-M with N at most M, got {text}")
    return found


def _table(about: dict[str, Any], found: list[Measurement], skipped: dict[str, str]) -> Iterator[str]:
    shortest, longest = about["lengths"]
    steps = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
    loop = f", closed loop of {about['closed_loop']} steps" if about["closed_loop"] else ""
    form = f"signature {about['signature']}" if about["form"] == "dynamic" else f"form {about['form']}"
    threads = f"{about['threads']} thread{'s' * (about['threads'] > 1)}"
    yield tables.about(about["model"], f"{about['bytes']:,} bytes, {form}{loop}")
    yield f"onnxruntime {about['onnxruntime']}, {threads}, sequences of {steps} steps"
    yield tables.about(about["processor"], f"{about['cores']} cores")
    yield ""
    yield f"{'':<11} {'at once':>7} {'p50':>8} {'p90':>8} {'p99':>8} {'max':>8} {'sequences/s':>11} {'steps/s':>11}"
    for row in found:
        times = " ".join(f"{format_seconds(value):>8}" for value in (row.p50, row.p90, row.p99, row.max))
        sequences = "" if row.sequences_per_second is None else _format_rate(row.sequences_per_second)
        yield f"{row.of:<11} {row.at_once:>7,} {times} {sequences:>11} {_format_rate(row.steps_per_second):>11}"
    if skipped:
        yield ""
    for name, reason in skipped.items():
        yield tables.about(f"skipped: {name}", reason)


def _format_rate(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
