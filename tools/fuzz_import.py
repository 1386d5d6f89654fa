"""Import random networks of other frameworks and compare the files with their sources.

    python tools/fuzz_import.py --networks 500 --seed 1

Each random torch module goes through from_torch. torch's older exporter writes it to an ONNX file, which goes through
from_onnx and add_states. torch's newer exporter (dynamo) takes some seconds for a network, so only every tenth network
goes through it: see --dynamo. Each result becomes a file, which runs in onnxruntime, whole, in single steps and in
chunks, and is compared with the module in float64; if the module magnifies roundings, in float32, too.

Prints for each way in how many networks were brought over, refused and why, and the largest difference over max(1,
largest number of the source). The exit code is 1 after an error, a difference above 1e-6, or if from_torch lifted fewer
than 98 %. Creates .venv if needed.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import logging
import os
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from fuzzing import start

MOST_DIFFERENCE, LEAST_SHARE = 1e-6, 0.98


@dataclasses.dataclass
class Door:
    """A way in, and what came of the networks that went through it.

    Attributes:
        name: for people.
        refused: how often it gave each reason.
        networks: how many networks went through it.
        brought: how many it brought over.
        streams: how many of these stream.
        different: how many of these differ from their source.
        errors: how many ended in an error that is no refusal.
        largest: the largest difference.
        seconds: the time it took.
    """

    name: str
    refused: Counter[str] = dataclasses.field(default_factory=Counter)
    networks: int = 0
    brought: int = 0
    streams: int = 0
    different: int = 0
    errors: int = 0
    largest: float = 0.0
    seconds: float = 0.0

    def run(self, label: str, bring: Callable[[], dict[str, float]]) -> None:
        """Bring a network over; `bring` returns the largest difference of each comparison."""
        from seq2onnx.errors import ImportRefused

        began = time.monotonic()
        self.networks += 1
        try:
            found = bring()
        except Exception as error:
            if isinstance(error, ImportRefused) and "cannot be followed" not in str(error):
                self.refused[_reason(str(error))] += 1
            else:
                self.errors += 1
                print(f"ERROR in {label}, {self.name}: {type(error).__name__}: {error}", flush=True)
            return
        finally:
            self.seconds += time.monotonic() - began
        self.brought += 1
        self.streams += "steps" in found
        self.largest = max(self.largest, *found.values())
        if not max(found.values()) <= MOST_DIFFERENCE:
            self.different += 1
            print(f"DIFFERENCE in {label}, {self.name}: {found}", flush=True)


def _reason(text: str) -> str:
    """Shorten a refusal to what many networks have in common."""
    text = re.sub(r"^\S+\.onnx: | \(the axes of its input read as.*|\[code.*|\. The cause.*", "", text)
    text = re.sub(r"^\S+ \((\w+)\): ", r"\1: ", text)
    return re.sub(r"'[^']*'|\[[\d, ]*\]|\d+(\.\d+)?(e-?\d+)?", "…", text)[:110]


def fuzz(arguments: argparse.Namespace, folder: Path) -> int:
    """Import random networks; return 1 if the result is not good enough."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    began = time.monotonic()
    torch, lifted, stateful, dynamo_lifted, dynamo_stateful = doors = [
        Door("from_torch"),
        Door("ONNX → from_onnx"),
        Door("ONNX → add_states"),
        Door("dynamo → from_onnx"),
        Door("dynamo → add_states"),
    ]
    not_exported = {"ONNX": Counter[str](), "dynamo": Counter[str]()}
    every = arguments.dynamo
    if every and importlib.util.find_spec("onnxscript") is None:
        print("dynamo is left out: onnxscript is not installed")
        every = 0
    for number in range(arguments.networks):
        label = f"{arguments.seed} {number}"
        one = Network(label, folder)
        torch.run(label, one.from_torch)
        ways = [("ONNX", lifted, stateful)]
        ways += [("dynamo", dynamo_lifted, dynamo_stateful)] if every and number % every == 0 else []
        for exporter, first, second in ways:
            try:
                one.export(exporter == "dynamo")
            except Exception as error:  # whatever the exporter raises for a network that it cannot write
                not_exported[exporter][type(error).__name__] += 1
                continue
            first.run(label, one.from_onnx)
            second.run(label, one.add_states)
        if (number + 1) % 50 == 0:
            print(f"{number + 1} networks, {time.monotonic() - began:.0f} s", flush=True)
    _print(doors, not_exported)
    bad = any(door.errors or door.different for door in doors)
    return int(bad or torch.brought < LEAST_SHARE * torch.networks)


def _print(doors: list[Door], not_exported: dict[str, Counter[str]]) -> None:
    print(f"\n{'':<20} networks  brought over  stream  refused  different  errors  largest  s each")
    for door in doors:
        share = f"{door.brought} ({door.brought / max(1, door.networks):.1%})"
        print(
            f"{door.name:<20}{door.networks:>9}{share:>14}{door.streams:>8}{door.refused.total():>9}"
            f"{door.different:>11}{door.errors:>8}{door.largest:>9.1e}{door.seconds / max(1, door.networks):>8.2f}"
        )
    for exporter, kinds in not_exported.items():
        print(f"{exporter}: {kinds.total()} networks that torch does not export")
    for door in doors:
        if door.refused:
            print(f"\n{door.name}: refused")
            for reason, count in door.refused.most_common(12):
                print(f"{count:>6}  {reason}")


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Discard what is printed: torch's C++ code prints graphs that it cannot export."""
    sys.stdout.flush()
    saved = [(number, os.dup(number)) for number in (1, 2)]
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        for number, _ in saved:
            os.dup2(nothing, number)
        yield
    finally:
        for number, copy in saved:
            os.dup2(copy, number)
            os.close(copy)
        os.close(nothing)


class Network:
    """A random torch module, and the ways in that it can take."""

    def __init__(self, label: str, folder: Path) -> None:
        from tests.random_torch import random_network

        self.module = cast(Any, random_network(label).eval())
        self.axes = "BT" if self.module.axes == "tokens" else self.module.axes
        self.example = self.module.example()
        self.source, self.path = folder / "source.onnx", folder / "network.onnx"

    def export(self, dynamo: bool) -> None:
        """Write the module to an ONNX file with one of torch's two exporters."""
        import onnxruntime
        import torch

        given = self.example if isinstance(self.example, tuple) else (self.example,)
        inputs, more = self.module.inputs, dict[str, Any]()
        axes = [self.axes if has_time else "B" for has_time in inputs.values()] + ["B"]  # the last: of lengths
        free = [{axis: name for axis, name in enumerate(each) if name in "BT"} for each in axes[: len(given)]]
        if dynamo:
            dim = torch.export.Dim.AUTO  # DYNAMIC refuses networks whose sizes torch fixes
            shapes = tuple(dict.fromkeys(each, dim) for each in free)
            more = {"dynamic_shapes": shapes, "verbose": False, "external_data": False}
        else:
            names = [*inputs, "lengths"][: len(given)]
            more = {"input_names": names, "dynamic_axes": dict(zip(names, free, strict=True))}
        with _silent():
            torch.onnx.export(self.module, given, str(self.source), dynamo=dynamo, **more)
            onnxruntime.InferenceSession(self.source)  # some files of the newer exporter are not valid

    def _differences(self) -> dict[str, float]:
        from tests.torch_parity import file_differences

        found: dict[str, float] = file_differences(self.module, self.example, self.path, self.axes, double=True)
        if max(found.values()) > MOST_DIFFERENCE:
            # The source magnifies roundings. In float32, it must round as the file does.
            single = file_differences(self.module, self.example, self.path, self.axes)
            found = {check: min(value, single[check]) for check, value in found.items()}
        return found

    def from_torch(self) -> dict[str, float]:
        """Lift the module."""
        import seq2onnx as s2o

        s2o.export(s2o.from_torch(self.module, self.example, axes=self.axes), self.path)
        return self._differences()

    def from_onnx(self) -> dict[str, float]:
        """Lift the ONNX file."""
        import seq2onnx as s2o

        s2o.export(s2o.from_onnx(self.source, axes=self.axes), self.path)
        return self._differences()

    def add_states(self) -> dict[str, float]:
        """Give the ONNX file states."""
        import seq2onnx as s2o

        s2o.add_states(self.source, self.path, axes=self.axes)
        return self._differences()


if __name__ == "__main__":
    dynamo = {
        "type": int,
        "default": 10,
        "metavar": "N",
        "help": "every Nth network also goes through torch's newer exporter (default: 10; 0: none)",
    }
    sys.exit(start(__doc__, fuzz, 100, {"--dynamo": dynamo}))
