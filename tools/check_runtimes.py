"""Run files of all layers, of all forms and of earlier versions in five versions of onnxruntime, and print a table.

    python tools/check_runtimes.py

Files run on servers and devices that are years behind. Each version has an environment of its own, which the first run
makes. It runs the files of tests/old_files and models/, and an export of each example of each layer, whole, as a ragged
batch, step by step, and in chunks, one of them empty. A file is right if all results are within 1e-4 of those of this
environment, relative to max(1, largest number). The graph of an old file cannot be changed: where it fails, as an old
graph does on a chunk of no steps, the runtime of seq2onnx must give the results in the same version.

The exit code is 1 if a file is wrong that is not in KNOWN. Files that take words are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("1.20.1", "1.22.1", "1.24.1", "1.28.0", "1.31.1")
NEEDED = ("numpy>=2.2", "pydantic>=2.8", "pyyaml>=6")
TOLERANCE = 1e-4
KNOWN = {("1.20.1", "old-dilated_opset_20")}
"""Its maximum fails on no steps there. seq2onnx needs 1.24.1, and new files have another graph."""
KINDS = {
    "old": "old files",
    "models": "models/",
    "dynamic": "dynamic",
    "opset": "dynamic, opset 21",
    "stream": "dynamic, without lengths",
    "portable": "portable",
    "step": "step",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "dynamic": {},
    "opset": {"opset": 21},  # the newest that onnxruntime 1.20 opens
    "stream": {"signature": "stream"},
    "portable": {"form": "portable"},
    "step": {"form": "step"},
}

Tensors = dict[str, NDArray[Any]]


def main() -> int:
    """Write the files and their results, run them in each version, print the table; 1 if a file is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", metavar="FOLDER", help="run the files of a folder in this environment, as JSON")
    arguments = parser.parse_args()
    if arguments.run:
        print(
            json.dumps({path.stem: why for path in sorted(Path(arguments.run).glob("*.npz")) if (why := wrong(path))})
        )
        return 0
    with tempfile.TemporaryDirectory() as folder:
        total = Counter(kind for kind, path in files(Path(folder)) if write_results(path))
        print("| onnxruntime | " + " | ".join(KINDS.values()) + " |\n|---|" + "---|" * len(KINDS))
        failed = False
        for version in VERSIONS:
            ran = subprocess.run(
                [str(environment(version)), __file__, "--run", folder],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            found: dict[str, str] = json.loads(ran.stdout.splitlines()[-1])
            right = total - Counter(name.partition("-")[0] for name in found)
            print(f"| {version} | " + " | ".join(f"{right[kind]} of {total[kind]}" for kind in KINDS) + " |")
            print("".join(f"{version}: {name}: {why}\n" for name, why in found.items()), end="", flush=True)
            failed |= any((version, name) not in KNOWN for name in found)
    return int(failed)


def environment(version: str) -> Path:
    """Make the environment of a version of onnxruntime, unless there is one; return its Python."""
    folder = ROOT / f".venv-onnxruntime-{version}"
    python, stamp = folder / ("Scripts" if os.name == "nt" else "bin") / "python", folder / "installed"
    if not stamp.exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"onnxruntime=={version}", *NEEDED], check=True)
        stamp.touch()
    return python


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Put all files into a folder; give the kind of each, with which its name begins."""
    import torch

    import seq2onnx as s2o

    sys.path.insert(0, str(ROOT))
    from seq2onnx.layers import KINDS as LAYERS
    from tests.networks import network_of

    kept = [("old", path, path.stem) for path in sorted((ROOT / "tests" / "old_files").glob("*.onnx"))]
    kept += [("models", path, path.parent.name) for path in sorted((ROOT / "models").glob("*/model.onnx"))]
    for kind, source, name in kept:
        path = folder / f"{kind}-{name}.onnx"
        path.write_bytes(source.read_bytes())
        yield kind, path
    for layer, cls in sorted(LAYERS.items()):
        for number, example in enumerate(cls.examples()):
            torch.manual_seed(number)
            module = s2o.build(network_of(example)).eval()
            for kind, options in OPTIONS.items():
                path = folder / f"{kind}-{layer}-{number}.onnx"
                try:
                    s2o.export(module, path, **options)
                except (s2o.SpecError, s2o.NotStreamable):
                    continue  # the network has no such form
                yield kind, path


def write_results(path: Path) -> bool:
    """Write the cases of a file beside it, with the results of this environment; False if it takes words."""
    from seq2onnx.errors import SpecError
    from seq2onnx.hosts.cases import make_cases
    from seq2onnx.modelfile import read_checked
    from seq2onnx.runtime.model import Model
    from seq2onnx.runtime.session import SessionSettings

    try:
        cases = make_cases(Model(read_checked(path), SessionSettings()))
    except SpecError:
        return False
    arrays: Tensors = {}
    for case in cases:
        arrays |= {f"{case.name}//state/{name}": values for name, values in case.states.items()}
        for number, run in enumerate(case.runs):
            for kind, tensors in (("in", run.inputs), ("out", run.expected)):
                arrays |= {f"{case.name}/{number:02}/{kind}/{name}": values for name, values in tensors.items()}
    np.savez(path.with_suffix(".npz"), **arrays)  # type: ignore[arg-type]
    return True


def wrong(path: Path) -> str:
    """Say what is wrong with the results of a file in this environment; nothing if they are right."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    cases: dict[str, dict[str, dict[str, Tensors]]] = {}
    with np.load(path) as archive:
        for key in archive:
            case, number, kind, name = key.split("/")
            cases.setdefault(case, {}).setdefault(number, {}).setdefault(kind, {})[name] = archive[key]
    file = path.with_suffix(".onnx")

    def plainly() -> Any:
        session = onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])
        return lambda feeds, names: dict(zip(names, session.run(names, feeds), strict=True))

    why = ""
    for make in (plainly, lambda: in_seq2onnx(file)) if path.name.startswith("old-") else (plainly,):
        try:
            why = difference(cases, make())
        except Exception as error:
            why = f"{error!s:.300}"
        if not why:
            break
    return why


def difference(cases: dict[str, dict[str, dict[str, Tensors]]], run: Any) -> str:
    """Run all cases; return the first result that differs, or nothing."""
    for case, runs in cases.items():
        states = runs.get("", {}).get("state", {})
        for number, tensors in sorted(runs.items()):
            if not number:
                continue
            expected = tensors["out"]
            found = run(tensors["in"] | states, list(expected))
            for name, values in expected.items():
                mine = np.asarray(found[name], np.float64)
                known = ~np.isnan(values.astype(np.float64))
                if mine.shape != values.shape:
                    return f"{case}, run {number}: {name} has the shape {list(mine.shape)}, not {list(values.shape)}"
                scale = max(1.0, np.abs(values[known]).max(initial=0))
                error = np.abs(mine - values)[known].max(initial=0) / scale
                if not error <= TOLERANCE:
                    return f"{case}, run {number}: {name} differs by {error:.1e}"
            states = {name: found[f"new_{name}"] for name in states}
    return ""


def in_seq2onnx(path: Path) -> Any:
    """Return what runs a file with the runtime of seq2onnx, as `difference` takes it."""
    from seq2onnx.modelfile import read_checked
    from seq2onnx.runtime.model import Model
    from seq2onnx.runtime.session import SessionSettings

    model = Model(read_checked(path), SessionSettings())
    outputs = [*model.outputs, *model.activations.values()]

    def run(feeds: Tensors, names: list[str]) -> Tensors:
        x = {entry.layer: feeds[entry.tensor] for entry in model.inputs}
        timed = next((x[entry.layer] for entry in model.inputs if entry.has_time), None)
        rows = len(next(iter(x.values())))
        lengths = feeds.get("lengths", np.full(rows, 0 if timed is None else timed.shape[1], np.int32))
        states = [feeds[state.name] for state in model.states] or None
        answers, new = model.run(x, lengths, states, feeds.get("end", np.ones(rows)), outputs)
        found = {answer.output.tensor: answer.values for answer in answers.values()}
        found |= {a.output.lengths_tensor: a.lengths for a in answers.values() if a.output.lengths_tensor}
        return found | {state.new_name: values for state, values in zip(model.states, new, strict=False)}

    return run


if __name__ == "__main__":
    sys.exit(main())
