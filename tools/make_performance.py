"""Make docs/performance.md and its pictures from results of bench.py.

    python tools/make_performance.py [FILE.json ...]

Each processor gets a column. The parts of a benchmark can be in several files from the same machine; if a figure is in
two, the last one counts. Without a file: those of tools/measured/.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from seq2onnx.files import write_atomically
from seq2onnx.plots import as_png

MEASURED = Path(__file__).resolve().parent / "measured"
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
    "edge": "One stream, step by step: forms in onnxruntime, and the C code of `package` (-O3); the network of above",
    "c": "A step of the C code of `package`, one thread",
    "imported": "One step of files that `add_states` and `from_torch` made, compared with what they were made from",
    "spectra": "Mel spectra of 16 kHz (frames of 400 samples, 80 bands): 10 ms of a stream, and 20 s at once",
    "alarm": "An `Alarm` with all options, 50,000 steps at once",
    "keyword": "From 20 ms of sound to an event: the network for a key word of models/",
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

{machines}

No figure was measured on a GPU.

![Each measured figure divided by its target](images/performance.png)

"""
ABOUT = (
    "- {processor}: seq2onnx {seq2onnx}; {cores} cores, with {threads} threads; Python {python}, numpy {numpy}, "
    "onnxruntime {onnxruntime}, torch {torch}"
)
MISSES = {
    "Stream.step / bound": (
        "On the Intel Xeon, a step took 5.6 µs more than the run of the bound buffers: `Stream.step` checks each step, "
        "and copies it and the result."
    ),
    "predict": (
        "On Intel processors with AVX-512, onnxruntime's LSTM takes most of the time. Measured on an Intel Xeon in one "
        "thread, in processor time: numpy reaches 121 GFLOP/s with products of [512, 512] · [512, 512], a plain run of "
        "a batch of 56 rows without padding 67 GFLOP/s. So the run alone takes 1.8 times the floor. A profile divides "
        "the time in onnxruntime's library: 73 % in its matrix product, the rest in many small functions. "
        "The LSTM node takes 95 % of a run, and the batches of `predict` contain 3 % padding. Batches of two to eight "
        "times as many steps change the time of `predict` by −3 to +6 %."
    ),
    "causal convolutions, add_states": (
        "A file with states reads and writes them, and keeps them if a chunk has no steps. The file that it came from "
        "does neither. Of the causal convolutions with 32 filters, a step of the source took 17.9 µs on the Intel "
        "Xeon, with states 1.12 times as long, and with the guard for chunks without steps, an If, 1.33 times. The "
        "share falls with the size of the network: 1.23 times with 64 filters, 1.13 with 128, 1.09 with 256. We "
        "measured seven other guards, and all of them take longer."
    ),
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
    "edge": (
        "The C code is that of version 0.3, measured on the AMD EPYC with cores of Zen 5. Earlier versions had another "
        "generator."
    ),
    "portable": (
        'A file with `form="portable"` runs in runtimes that ignore the lengths of sequences, and needs more nodes for '
        "that. This is its price in onnxruntime."
    ),
    "c": (
        'gcc 12.4 compiled all of it: "native" with `-O3 -march=native -ffp-contract=fast -std=gnu99`, -O2, -O3 and '
        '-Os with `-std=c99`. "floor" is a loop that multiplies and adds as many weights, from the first to the last. '
        '"before" is the package of version 0.2. "RTNeural" is RTNeural 1.0.0 with Eigen or xsimd, built with `-O3 '
        '-march=native -ffast-math`; the package does without -ffast-math. "onnxruntime" is a loop of its calls from '
        "Python, with bound buffers. The networks have 12 features and 9 classes; `keyword` is that of models/; the "
        'amplifier and the dilated stack have one number in and one out. int8 is `weights="int8"`.'
    ),
    "imported": (
        "The source's own run of one step keeps no state. Both sides run in onnxruntime with bound buffers, in one "
        "thread."
    ),
    "spectra": (
        '"kaldi-native-fbank" computes the same features in C++. "mel" are the bands of HTK, "kaldi\'s" those of '
        'Kaldi, which need a larger matrix. "full" and "sequence" are signatures; `Stream.step` gets 160 samples '
        "at a time."
    ),
    "keyword": ("The figures are milliseconds."),
    "alarm": ("The figures are microseconds for each step."),
    "export": ('"dynamo" is `torch.onnx.export(dynamo=True)`.'),
    "cold": (
        'Both processes import the libraries, load the model and compute one prediction. "torch" uses plain torch, '
        '"seq2onnx" uses the exported file.'
    ),
}


def main() -> None:
    """Write the page and its pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.json", help="a file that bench.py --json wrote")
    machines: dict[str, Machine] = {}
    for path in parser.parse_args().files or sorted(MEASURED.glob("*.json")):
        found = json.loads(path.read_bytes())
        machine = machines.setdefault(found["about"]["processor"], Machine(found["about"]))
        machine.figures.update({(row["part"], row["name"]): row for row in found["figures"]})
        machine.times.update({row["part"]: row["medians in seconds"] for row in found["times"]})
    names = {key for machine in machines.values() for key in machine.figures}
    order = {key: place for machine in machines.values() for place, key in enumerate(machine.figures)}
    names_in_order = sorted(names, key=lambda key: (list(PARTS).index(key[0]), order[key]))
    ratios = as_png(functools.partial(_against_targets, machines, names_in_order), (9, 0.31 * len(names) + 1.4))
    write_atomically(DOCS / "images" / "performance.png", ratios)
    stepped = sum("stream" in machine.times for machine in machines.values())
    step = as_png(functools.partial(_a_step, machines), (7, 0.6 + 2 * stepped))
    write_atomically(DOCS / "images" / "performance_step.png", step)
    about = "\n".join(ABOUT.format(**machine.about) for machine in machines.values())
    page = TEXT.format(machines=about) + "\n".join([*_sections(machines, names_in_order), *_training(machines)])
    write_atomically(DOCS / "performance.md", f"{page}\n".encode())


@dataclasses.dataclass
class Machine:
    """The measurements of one processor: figures by part and name, and the medians of each part in seconds."""

    about: dict[str, Any]
    figures: dict[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)
    times: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)


def _sections(machines: dict[str, Machine], names: list[tuple[str, str]]) -> Iterator[str]:
    for part, title in PARTS.items():
        rows = [key for key in names if key[0] == part]
        if not rows:
            continue
        measured = {name: machine for name, machine in machines.items() if machine.figures.keys() & {*rows}}
        yield from (
            f"## {title}",
            "",
            f"| ratio | {' | '.join(measured)} | target |",
            "|---" * (2 + len(measured)) + "|",
        )
        missed = set()
        for key in rows:
            found = [machine.figures.get(key) for machine in measured.values()]
            missed |= {key[1] for row in found if row and not row["met"]}
            target = next(row["target"] for row in found if row)
            yield f"| {key[1]} | {' | '.join(map(_cell, found))} | {target:.3g} |"
        yield ""
        if part == "stream":
            yield from ("![Microseconds for each step, for each way to run it](images/performance_step.png)", "")
        if part == "c":
            yield from _steps_in_c(measured)
        if part in NOTES:
            yield from (NOTES[part], "")
        for beginning, why in MISSES.items():
            if any(name.startswith(beginning) for name in missed):
                yield from (why, "")


def _steps_in_c(machines: dict[str, Machine]) -> Iterator[str]:
    """Give a table of the microseconds of a step of each network."""
    columns = ("floor", "-O2", "-O3", "-Os", "native", "native int8", "before -O3", "RTNeural EIGEN", "RTNeural XSIMD")
    for name, machine in machines.items():
        yield from (f"| {name}, µs | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|")
        for part, times in machine.times.items():
            if part.startswith("c: ") and "floor" in times:
                cells = [f"{1e6 * times[key]:.3g}" if key in times else "" for key in columns]
                yield f"| {part.removeprefix('c: ')} | {' | '.join(cells)} |"
        yield ""


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    spread = " ({:.3f} to {:.3f})".format(*row["quartiles"]) if "quartiles" in row else ""
    return f"{row['figure']:.3f}{spread}{'' if row['met'] else ': **missed**'}"


def _training(machines: dict[str, Machine]) -> Iterator[str]:
    for part, title in TRAINING.items():
        measured = {name: machine.times[part] for name, machine in machines.items() if part in machine.times}
        if measured:
            titles = " | ".join(f"{name}, ms | ratio to the first" for name in measured)
            yield from (f"## {title}", "", f"| | {titles} |", "|---" * (1 + 2 * len(measured)) + "|")
            for name in next(iter(measured.values())):
                cells = [f"{1e3 * t[name]:.1f} | {t[name] / next(iter(t.values())):.3f}" for t in measured.values()]
                yield f"| {name} | {' | '.join(cells)} |"
            yield ""


def _against_targets(machines: dict[str, Machine], names: list[tuple[str, str]], ax: Axes) -> None:
    """Draw each figure ÷ its target as a point, with a bar between the quartiles; a color for each processor."""
    for number, (processor, machine) in enumerate(machines.items()):
        label: str | None = processor
        for key, row in machine.figures.items():
            place = names.index(key) + 0.3 * (number - (len(machines) - 1) / 2)
            if "quartiles" in row:
                ax.plot([q / row["target"] for q in row["quartiles"]], [place, place], color="0.6", linewidth=3)
            marker = "o" if row["met"] else "D"
            ax.plot(row["figure"] / row["target"], place, marker, color=f"C{number}", label=label)
            label = None
    ax.legend()
    ax.axvline(1, color="black", linewidth=1)
    ax.set_yticks(range(len(names)), [f"{part}: {name}" for part, name in names], fontsize=9)
    ax.set(xscale="log", xlabel="measured ÷ target (diamond: missed)", ylim=(len(names) - 0.4, -0.6))
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(axis="x", alpha=0.3)


def _a_step(machines: dict[str, Machine], ax: Axes) -> None:
    """Draw the microseconds of a step, from the seconds of 1,000 steps."""
    medians = {
        f"{name} ({processor})" if len(machines) > 1 else name: 1e3 * seconds
        for processor, machine in machines.items()
        for name, seconds in machine.times.get("stream", {}).items()
    }
    ax.barh(list(medians), list(medians.values()), color="C0")
    most = max(medians.values())
    for place, value in enumerate(medians.values()):
        ax.text(value + 0.01 * most, place, f"{value:.1f}", va="center")
    ax.set(xlabel="µs a step", xlim=(0, 1.25 * most))
    ax.invert_yaxis()


if __name__ == "__main__":
    main()
