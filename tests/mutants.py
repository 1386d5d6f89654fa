"""Mutants of all files that a user can be handed, opened in a process that another one watches.

`python -m tests.mutants KIND SEED FIRST COUNT FOLDER` prints a line of JSON for each: its number, the outcome or the
class of the error, its text, and the megabytes that it took. The mutant that is being opened is in FOLDER, so that the
process that watches finds it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import random
import resource
import shutil
import sys
import warnings
from pathlib import Path

import seq2onnx as s2o
from tests import data_mutants
from tests.data_mutants import Kind, check_message

MODELS = {
    "shipped models": "shipped",
    "files of 0.1": "of_0_1",
    "files of today": "of_today",
    "files of add_states": "of_add_states",
    "sources of imports": "onnx_sources",
}
CHANGES = {"bytes": "change_bytes", "graph": "change_structure"}
STREAMS = "saved streams"
PACKAGES = "packages"
KERAS = "sources of from_keras"
NAMES = [*(f"{files}, {change}" for files in MODELS for change in CHANGES), STREAMS, PACKAGES, KERAS]
NAMES += data_mutants.KINDS


def kind_of(name: str) -> Kind:
    """Return a kind by its name: torch and onnx are imported only for those that need them."""
    if name in data_mutants.KINDS:
        return data_mutants.KINDS[name]
    from tests import import_mutants as imports, model_changes, model_mutants as models, package_mutants as packages

    if name == STREAMS:
        return Kind("", models.saved_streams, models.open_state, "state.npz")
    if name == PACKAGES:
        return Kind("", packages.files, packages.open_packages, mutate=packages.change)
    if name == KERAS:
        return Kind("", imports.keras_sources, imports.open_keras, mutate=imports.change_keras)
    files, change = name.split(", ")
    mutate = getattr(model_changes, CHANGES[change])
    if files.startswith("sources"):
        return Kind("", imports.onnx_sources, imports.open_onnx, mutate=mutate)
    return Kind("", getattr(models, MODELS[files]), models.open_model, mutate=mutate)


MOST_BYTES = 2**33
"""The most memory that the process gets, so that no mutant stops the machine."""


def peak_megabytes() -> int:
    """The most memory that this process has used since `forget_peak`.

    Linux counts the memory of the parent in ru_maxrss, which a process keeps when it starts another program.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def forget_peak() -> None:
    with contextlib.suppress(OSError):  # Linux alone can
        Path("/proc/self/clear_refs").write_text("5")


def outcome(kind: Kind, path: Path) -> str:
    """Open a mutant.

    Raises:
        Exception: something that must not happen.
    """
    try:
        return kind.open(path) or "opened"
    except s2o.Seq2OnnxError as error:
        check_message(error)
        return "refused"


def main(name: str, seed: int, first: int, count: int, folder: Path) -> None:
    """Open mutants of a kind; with the name "all", of each kind in turn."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, resource.RLIM_INFINITY))
    (folder / "mutant").mkdir()
    for number in range(first, first + count):
        this = NAMES[number % len(NAMES)] if name == "all" else name
        kind, seeds = _prepared(this, folder)
        if number == first:
            print("started", flush=True)
        rng = random.Random(f"{this} {seed} {number}")
        path = _copy(seeds, folder / "mutant", rng)
        target = path / kind.part
        target.write_bytes(kind.mutate(target.read_bytes(), rng))
        forget_peak()
        try:
            what, text = outcome(kind, path), ""
        except Exception as error:
            what, text = type(error).__name__, f"{this}: {error!r}"[:400]
        print(json.dumps([number, what, text, peak_megabytes()]), flush=True)


@functools.cache
def _prepared(name: str, folder: Path) -> tuple[Kind, Path]:
    """Write the files to mutate, and open one of them as it is. Return the kind, and the folder with the files."""
    kind, seeds = kind_of(name), folder / "seeds" / name
    seeds.mkdir(parents=True)
    kind.write(seeds / kind.name)
    kind.open(_copy(seeds, folder / "mutant", random.Random(0)))
    return kind, seeds


def _copy(seeds: Path, folder: Path, rng: random.Random) -> Path:
    """Copy one of the seeds into an empty folder."""
    shutil.rmtree(folder)
    folder.mkdir()
    seed = rng.choice(sorted(seeds.iterdir()))
    copy = shutil.copytree if seed.is_dir() else shutil.copy
    return Path(copy(seed, folder / seed.name))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]), Path(sys.argv[5]))
