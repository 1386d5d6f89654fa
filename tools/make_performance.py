"""Make docs/performance.md and its pictures from results of bench.py.

    python tools/make_performance.py FILE.json ...

The parts of a benchmark can be in several files from the same machine; if a part is in two, the last one counts.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from seq2onnx.files import write_atomically
from seq2onnx.plots import as_png

DOCS = Path(__file__).resolve().parent.parent / "docs"
# What each part of the bench measures, in the order of the page.
PARTS = {
    "stream": "One stream, step by step: 12 features, LSTM 100, 9 classes, one thread",
    "pool": "1,000 streams, one step of each in one run: the same network",
    "predict": "2,000 sequences of lognormal length (median 33, up to 600): 13 features, LSTM 128",
    "generator": "1,000,000 short sequences from a generator: 4 features, LSTM 16",
    "forecast": "A closed loop of 100 steps: 12 features, LSTM 100, 12 outputs",
    "graph": "The exported graph in plain onnxruntime, compared with the graph of torch.onnx.export(dynamo=False)",
    "portable": "Japanese Vowels in batches of 27: a portable file in onnxruntime, one thread",
    "export": "Export of 12 features, LSTM 100, 9 classes",
    "cold": "From the start of a process to its first prediction",
    "storage": "Files with weights stored as float16 or int8: 12 features, LSTM 100, 9 classes",
}
# Parts without targets: times, and ratios to the first row.
TRAINING = {
    "training": "Training: one epoch of Japanese Vowels, LSTM 100, batches of 27, in plain torch and in seq2onnx",
    "bucketing": "Training: one epoch of 2,000 sequences of lognormal length, in random batches and in buckets",
    "cells": "Training: one update of a recurrent layer, by state and gate activation; 100 units, 100 steps, batch 32",
}
TEXT = """# Performance

This page shows how fast seq2onnx is, compared with plain onnxruntime and plain torch. To measure your own model on your
machine, run `seq2onnx bench model.onnx`.

`tools/bench.py` measured the figures, and `tools/make_performance.py` generates this page. A figure without a unit is
the ratio of two median times. "A / B: 0.5" means that A takes half of the time of B. The two times were measured
alternately, in several rounds. The brackets contain the quartiles of the ratios of the rounds. Smaller is better. A
figure meets its target if it is at most as large as the target.

The machine: {processor}, {cores} cores, with {threads} threads; Python {python}, numpy {numpy}, onnxruntime
{onnxruntime}, torch {torch}. No figure was measured on a GPU.

![Each measured figure divided by its target](images/performance.png)

"""
MISSES = {
    "stream, 1 steps": (
        "`stream` files keep their state if a chunk has no steps. For this guarantee, the graph has a few small nodes "
        "before each LSTM, which the graph of torch does not have. They take 1 to 2 µs for each run: a tenth of the "
        "time of a run of one step, and little for a run of fifty steps. We found no cheaper way, and the guarantee "
        "is more important than this time."
    ),
}
NOTES = {
    "stream": (
        '`Stream.step` runs one step of one sequence and keeps the state. "session.run" is a loop of plain '
        'onnxruntime calls that return new arrays. "bound buffers, bare" is a loop of onnxruntime calls whose inputs '
        'and outputs are bound to fixed buffers (IOBinding). "torch module" calls the torch module once for each '
        "step."
    ),
    "pool": (
        '`pool.step` runs one step of 1,000 streams. "session.run" is one plain onnxruntime call with a batch of '
        '1,000 rows. In "half of 2,000", the pool has 2,000 streams, and 1,000 of them have data. "Stream.step" is a '
        "loop over 1,000 single streams."
    ),
    "predict": (
        "The floor is the time that numpy takes for the matrix products of the network alone, on the same number of "
        "threads. It is measured with products of [512, 512] · [512, 512], and with products of the sizes of this "
        "network."
    ),
    "generator": (
        "`predict` reads the sequences from a generator. The first row is its peak memory without the results. The "
        "second row compares the time with that of a list of the same sequences."
    ),
    "forecast": (
        '"one Stream.step of a loop" is one call of a file with `closed_loop=100`. "100 Stream.step" are 100 calls of '
        "a file without a loop."
    ),
    "graph": (
        '"full" and "stream" are the [signatures](onnx-contract.md#inputs-and-outputs) of the seq2onnx file. "torch" '
        "is the file that `torch.onnx.export` writes for the same network."
    ),
    "portable": (
        'A file with `form="portable"` runs in runtimes that ignore the lengths of sequences, and needs more nodes for '
        "that. This is its price in onnxruntime."
    ),
    "export": ('"dynamo" is `torch.onnx.export(dynamo=True)`.'),
    "cold": (
        'Both processes import the libraries, load the model and compute one prediction. "torch" uses plain torch, '
        '"seq2onnx" uses the exported file.'
    ),
}


def main() -> None:
    """Write the page and its pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json", help="a file that bench.py --json wrote")
    found = [json.loads(path.read_bytes()) for path in parser.parse_args().files]
    figures = list({(row["part"], row["name"]): row for one in found for row in one["figures"]}.values())
    figures.sort(key=lambda row: list(PARTS).index(row["part"]))
    times = {row["part"]: row["medians in seconds"] for one in found for row in one["times"]}
    ratios = as_png(functools.partial(_against_targets, figures), (9, 0.31 * len(figures) + 1.4))
    write_atomically(DOCS / "images" / "performance.png", ratios)
    step = as_png(functools.partial(_a_step, times["stream"]), (7, 2.6))
    write_atomically(DOCS / "images" / "performance_step.png", step)
    page = TEXT.format(**found[0]["about"]) + "\n".join([*_sections(figures), *_training(times)])
    write_atomically(DOCS / "performance.md", f"{page}\n".encode())


def _sections(figures: list[dict[str, Any]]) -> Iterator[str]:
    for part, title in PARTS.items():
        rows = [row for row in figures if row["part"] == part]
        if not rows:
            continue
        yield from (f"## {title}", "", "| ratio | measured | target |", "|---|---|---|")
        for row in rows:
            spread = " ({:.3f} to {:.3f})".format(*row["quartiles"]) if "quartiles" in row else ""
            missed = "" if row["met"] else ": **missed**"
            yield f"| {row['name']} | {row['figure']:.3f}{spread} | {row['target']:.3g}{missed} |"
        yield ""
        if part == "stream":
            yield from ("![Microseconds for each step, for each way to run it](images/performance_step.png)", "")
        if part in NOTES:
            yield from (NOTES[part], "")
        for beginning, why in MISSES.items():
            if any(row["name"].startswith(beginning) and not row["met"] for row in rows):
                yield from (why, "")


def _training(times: dict[str, dict[str, float]]) -> Iterator[str]:
    for part, title in TRAINING.items():
        if part in times:
            yield from (f"## {title}", "", "| | ms | ratio to the first |", "|---|---|---|")
            first = next(iter(times[part].values()))
            for name, seconds in times[part].items():
                yield f"| {name} | {1e3 * seconds:.1f} | {seconds / first:.3f} |"
            yield ""


def _against_targets(figures: list[dict[str, Any]], ax: Axes) -> None:
    """Draw each figure ÷ its target as a point, with a bar between the quartiles."""
    for place, row in enumerate(figures):
        if "quartiles" in row:
            ax.plot([q / row["target"] for q in row["quartiles"]], [place, place], color="0.6", linewidth=3)
        ax.plot(row["figure"] / row["target"], place, "o" if row["met"] else "D", color="C0" if row["met"] else "C3")
    ax.axvline(1, color="black", linewidth=1)
    ax.set_yticks(range(len(figures)), [f"{row['part']}: {row['name']}" for row in figures], fontsize=9)
    ax.set(xscale="log", xlabel="measured ÷ target (below 1: met)", ylim=(len(figures) - 0.4, -0.6))
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(axis="x", alpha=0.3)


def _a_step(medians: dict[str, float], ax: Axes) -> None:
    """Draw the microseconds of a step, from the seconds of 1,000 steps."""
    names, values = list(medians), [1e3 * seconds for seconds in medians.values()]
    ax.barh(names, values, color="C0")
    for place, value in enumerate(values):
        ax.text(value + 0.01 * max(values), place, f"{value:.1f}", va="center")
    ax.set(xlabel="µs a step", xlim=(0, 1.15 * max(values)))
    ax.invert_yaxis()


if __name__ == "__main__":
    main()
