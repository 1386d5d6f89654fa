"""Mutants of model files of which packages are built: no text and no graph of a file becomes code.

For each target, a file that opens must give an error of ours or a folder. The C code is compiled with all warnings as
errors and with the sanitizers; its example must print what onnxruntime gives.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

import seq2onnx as s2o
from seq2onnx.packaging import TARGETS
from seq2onnx.packaging.web import RUNTIME
from tests import small_networks
from tests.data_mutants import check_message
from tests.model_changes import change_structure
from tests.model_mutants import LARGE_WEIGHT, StreamDiffers
from tests.test_packages import rows_of

TEXTS = ["*/ int bad[-1]; /*", "@NAME@", "@CHANNELS@", '"', "\\", "\\n", "a\nb", "${x}", "`", "</script>", "??/"]
TEXTS += ["=HYPERLINK(1)", "'", "%s%n", "-->", "<b>", "[x](javascript:1)", "```", "\x1b[31m", "\ud800", "\u2028"]
TEXTS += ["main", "host", "int", "math", "", "x" * 3000, "op_library_filename"]
FLAGS = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
TOLERANCE = 1e-4
"""Of the C code, relative to max(1, largest number): mutants have larger weights than trained networks."""


def files(folder: Path) -> None:
    """Files with classes, channel names and words."""
    names = ("strided", "pooled", "gappy", "text_network", "two_sensors")
    for name in names:
        torch.manual_seed(0)
        module = s2o.build(getattr(small_networks, name)()).eval()
        s2o.export(module, folder / f"{name}.onnx")
    plain = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(3, "last"), s2o.FullyConnected(2), s2o.Softmax()])
    s2o.export(s2o.build(plain).eval(), folder / "plain.onnx", classes=["a", "b"])


def change(content: bytes, rng: random.Random) -> bytes:
    """Put a nasty text into a name or label, or into any text of the metadata; seldom change the graph."""
    kind = rng.random()
    if kind < 0.1:
        return change_structure(content, rng)
    model = onnx.load_from_string(content)
    entry = next(p for p in model.metadata_props if p.key == "seq2onnx")
    if kind < 0.2:
        return _renamed(model, f"state_00_{rng.choice(TEXTS)}", rng)
    data = json.loads(entry.value)
    if "channels" in data:
        data["channels"] = data["channels"] or {"sequence_input_1": [f"c{i}" for i in range(5)]}
    free = [place for key in ("classes", "channels", "vocabulary") for place in _texts([data.get(key) or []])]
    free += [(data, "writer"), (data["network"], "name")]
    for _ in range(rng.choice([1, 1, 3])):
        owner, key = rng.choice(free if rng.random() < 0.9 else list(_texts(data)))
        text, before = rng.choice(TEXTS), str(owner.get(key, "") if isinstance(owner, dict) else owner[key])
        owner[key] = rng.choice([text, before + text, text + before])
    entry.value = json.dumps(data)
    for flat in (p for p in model.metadata_props if p.key == "classes"):
        flat.value = json.dumps(data.get("classes"))
    return model.SerializeToString()


def _renamed(model: onnx.ModelProto, text: str, rng: random.Random) -> bytes:
    """Give a layer another name, wherever it is written."""
    layers = sorted(
        {entry.name.split("_", 2)[2].rsplit("_", 1)[0] for entry in model.graph.input if "state" in entry.name}
    )
    old = rng.choice(layers or ["lstm_1"])
    for entry in model.metadata_props:
        entry.value = entry.value.replace(old, json.dumps(text)[1:-1])
    text = text.encode(errors="replace").decode()
    for node in model.graph.node:
        node.input[:] = [name.replace(old, text) for name in node.input]
        node.output[:] = [name.replace(old, text) for name in node.output]
    for named in [*model.graph.input, *model.graph.output, *model.graph.initializer]:
        named.name = named.name.replace(old, text)
    return model.SerializeToString()


def _texts(data: Any) -> Iterator[tuple[Any, Any]]:
    """Give the place of each text in JSON."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        if isinstance(value, str):
            yield data, key
        elif isinstance(value, dict | list):
            yield from _texts(value)


def open_packages(path: Path) -> str:
    """Build all packages of a file.

    Raises:
        Seq2OnnxError: the file does not open, or no package can be built of it.
        StreamDiffers: the C code prints something else than onnxruntime gives.
    """
    model, refusals = s2o.load(path), []
    for target in TARGETS:
        folder = path.with_name(f"for {target}")
        more = {"runtime_folder": _runtime(path.parent)} if target == "web" else {}
        try:
            s2o.package(path, target, folder, **more)
        except s2o.Seq2OnnxError as error:
            assert not folder.exists(), "a package that failed left its folder"
            check_message(error)
            refusals.append(error)
            continue
        for document in (p for p in folder.rglob("*") if p.suffix in (".md", ".txt", ".pbtxt", ".h", ".json", ".js")):
            text = document.read_text(encoding="utf-8")
            assert text.replace("\n", "").replace("\t", "").isprintable(), f"{document.name} has control characters"
        if target == "c":
            _run_c(folder)
        if target == "web" and shutil.which("node"):
            subprocess.run(["node", "--check", folder / "seq2onnx.js"], check=True, capture_output=True)
    if len(refusals) == len(TARGETS):
        raise refusals[0]
    return "opened" if model.classes is None or len(set(map(str, model.classes))) == len(model.classes) else "flagged"


def _run_c(folder: Path) -> None:
    command = ["gcc", *FLAGS, *sorted(path.name for path in folder.glob("*.c")), "-o", "program", "-lm"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert made.returncode == 0, f"gcc: {made.stderr[:300]}"
    text = (folder / "sample_input.csv").read_text()
    command, more = [folder / "program"], {"capture_output": True, "text": True}
    ran = subprocess.run(command, input=text, preexec_fn=_without_limit, check=False, **more)
    assert ran.returncode == 0, f"the C code ended with {ran.returncode}: {ran.stderr[:300]}"
    found, wanted = (_numbers(rows) for rows in (ran.stdout, (folder / "expected_output.csv").read_text()))
    scale = max(1.0, float(np.abs(wanted).max(initial=0)))
    agree = found.shape == wanted.shape and np.abs(found - wanted).max(initial=0) <= TOLERANCE * scale
    if not agree and scale < LARGE_WEIGHT:  # beyond, and with NaN, both overflow in other ways
        raise StreamDiffers("the C code gives other numbers than onnxruntime")


def _without_limit() -> None:
    """The address sanitizer reserves terabytes."""
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _numbers(text: str) -> np.ndarray:
    return np.array([cell for row in rows_of(text) for cell in row if isinstance(cell, float)])


def _runtime(folder: Path) -> Path:
    """Return a folder that stands for onnxruntime-web, whose files are only copied."""
    dist = folder / "runtime" / "dist"
    dist.mkdir(parents=True, exist_ok=True)
    for name in RUNTIME:
        (dist / name).write_text("// the runtime\n")
    (dist.parent / "package.json").write_text('{"version": "1.0.0"}')
    return dist.parent
