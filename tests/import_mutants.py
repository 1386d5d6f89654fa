"""Mutants of networks of other programs, brought in by every way that takes them.

Each must end in an error of ours, or in a file whose stream gives what the source gives. The source of an ONNX file is
the file itself in onnxruntime, that of a Keras file the documented equations of its layers.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import onnx
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state

import seq2onnx as s2o
from seq2onnx.importing.keras.file import read_file
from seq2onnx.importing.keras.graph import read_model
from seq2onnx.importing.keras.reference import evaluate
from tests import data_mutants
from tests.data_mutants import NASTY, check_message
from tests.keras_files import archive
from tests.model_changes import change_json
from tests.model_mutants import TOLERANCE, StreamDiffers, sources
from tests.test_from_onnx import export
from tests.torch_modules import LIFTED

STEPS = (7, 5)
TORCH = ("LstmLastStep", "GruTimeFirst", "RnnStacked", "ConvPoolClassifier", "SqueezeExcite")
KERAS = ("gru_after.keras", "conv_strided.keras", "lstm.h5", "tcn.h5")


def onnx_sources(folder: Path) -> None:
    """Eight files: three written node by node, and five by torch's exporter."""
    sources(folder)
    for name in TORCH:
        export(LIFTED[name], folder / f"{name}.onnx")


def keras_sources(folder: Path) -> None:
    with archive("keras3") as file:
        for name in KERAS:
            file.extract(name, folder)


def open_onnx(path: Path) -> str:
    """Bring an ONNX file in as layers, and with its own graph.

    Raises:
        Seq2OnnxError: both ways refuse it.
        StreamDiffers: a stream differs from the source.
    """

    def lift(out: Path) -> None:
        s2o.export(s2o.from_onnx(path), out)

    def keep(out: Path) -> None:
        s2o.add_states(path, out)

    def source(x: np.ndarray) -> list[np.ndarray]:
        model = onnx.load(path)
        for entry in [*model.graph.input, *model.graph.output]:  # declared sizes of batch and time do not count
            entry.type.tensor_type.ClearField("shape")
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        # A Squeeze without axes may remove a batch of one, and initial states may allow no other.
        name, batches, answers = session.get_inputs()[0].name, [np.stack([x, x[::-1]]), x[None]], []
        for batch in batches:
            with contextlib.suppress(onnxruntime_pybind11_state.Fail):
                answers += session.run(None, {name: batch})
        # The order of axes in the answers is the mutant's own.
        rows = [np.take(y, 0, axis) for y in answers for axis in range(y.ndim) if y.shape[axis] in (1, 2)]
        return [row.transpose(order) for row in rows for order in itertools.permutations(range(row.ndim))]

    refusals = []
    for way in (lift, keep):
        try:
            _bring_in(way, source, path)
        except s2o.Seq2OnnxError as error:
            check_message(error)
            refusals.append(error)
    if len(refusals) == 2:
        raise refusals[0]
    return "opened"


def open_keras(path: Path) -> str:
    """Bring a Keras file in as layers; one with a link must be refused.

    Raises:
        Seq2OnnxError: it is refused.
        StreamDiffers: its stream differs from the source.
    """

    def lift(out: Path) -> None:
        s2o.export(s2o.from_keras(path), out)

    def source(x: np.ndarray) -> list[np.ndarray]:
        model, _ = read_model(read_file(path), path)
        x = x if x.dtype.kind == "i" else np.moveaxis(x, 1, -1)  # channels last
        return [y for y, _ in evaluate(model, x[None], None, None)]

    _bring_in(lift, source, path)
    assert not _has_links(path), "a link in the file is followed"
    return "opened"


def _bring_in(way: Callable[[Path], None], source: Callable[[np.ndarray], list[np.ndarray]], path: Path) -> None:
    """Bring a file in, and compare the stream of the result with the source."""
    out = path.with_name("brought in.onnx")
    out.unlink(missing_ok=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            way(out)
    except Exception:
        assert not out.exists(), "it left a file that it refused"
        raise
    predictor, rng = s2o.load(out), np.random.default_rng(2)
    (entry,) = predictor.model.inputs
    for steps in STEPS:
        if entry.dtype.kind == "i":
            x = rng.integers(0, 5, steps)
        else:
            x = rng.normal(size=(steps, *entry.shape)).astype(np.float32)
        wanted = source(x)
        whole = predictor.predict([x])
        _compare("whole", [y[0] for y in (whole.values() if isinstance(whole, dict) else [whole])], wanted)
        if predictor.signature != "sequence" and not predictor.model.lookahead:
            stream = predictor.stream()
            answers = [stream.step(part) for part in x]
            by_output = zip(*(a.values() if isinstance(a, dict) else [a] for a in answers), strict=True)
            found = [
                np.concatenate([np.reshape(y, (-1, *output.shape)) for y in ys]) if output.has_time else ys[-1]
                for ys, output in zip(by_output, predictor.model.outputs, strict=True)
            ]
            _compare("single steps", found, wanted)


def _compare(check: str, found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    """Each answer must be one of the source: final states, for example, are left out."""
    for i, y in enumerate(found):
        y = np.asarray(y, np.float64).ravel()
        alike = [np.asarray(w, np.float64).ravel() for w in wanted if np.size(w) == y.size]
        errors = [np.abs(y - w).max(initial=0) / max(1, np.abs(w).max(initial=0)) for w in alike]
        if not min(errors, default=np.inf) <= TOLERANCE:
            raise StreamDiffers(f"{check}, output {i}: differs from every output of the source: {errors}")


# Changes of Keras files ----------------------------------------------------------------------------------------------


def change_keras(content: bytes, rng: random.Random) -> bytes:
    """Change a member of a .keras file, the structure of HDF5, or a few bytes."""
    if rng.random() < 0.2:
        return data_mutants.mutate(content, rng) if content[:2] != b"PK" else _bytes_of_archive(content, rng)
    if content[:2] != b"PK":
        return _change_hdf5(content, rng)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            member = old.read(name)
            if name != chosen:
                new.writestr(name, member)
            elif rng.random() < 0.1:
                new.writestr(rng.choice(["../" + name, "/tmp/" + name, name + "\0", ""]) or "x", member)
            else:
                new.writestr(name, _change_hdf5(member, rng) if name.endswith("h5") else _change_text(member, rng))
    return out.getvalue()


def _bytes_of_archive(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 3])):
        changed[rng.choice([rng.randrange(len(changed)), -1 - rng.randrange(200)])] = rng.randrange(256)
    return bytes(changed)


def _change_text(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return data_mutants.mutate_words(content, rng)
    data = json.loads(content)
    change_json(data, rng)
    return json.dumps(data).encode()


def _change_hdf5(content: bytes, rng: random.Random) -> bytes:
    """Change one object, link or attribute of an HDF5 file."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = rng.choice(names)
        kind = rng.randrange(6)
        if kind == 0:
            del file[name]
        elif kind == 1:
            other = rng.choice(names)
            links = [h5py.SoftLink(f"/{other}"), h5py.ExternalLink("other.h5", name), h5py.SoftLink("/nowhere")]
            del file[name]
            file[name] = rng.choice(links)
        elif kind == 2:
            with contextlib.suppress(ValueError):  # the file has the new name already
                file.move(name, rng.choice([f"{name}_2", f"deep/{rng.choice(NASTY[:20]).strip('/') or 'x'}"]))
        elif kind == 3 and any(len(file[n].attrs) for n in ["/", *names]):
            owner = file[rng.choice([n for n in ["/", *names] if len(file[n].attrs)])]
            key = rng.choice(list(owner.attrs))
            value = owner.attrs[key]
            if isinstance(value, str | bytes) and value[:1] in ("{", b"{") and rng.random() < 0.8:
                owner.attrs[key] = _change_text(value.encode() if isinstance(value, str) else value, rng)
            else:
                owner.attrs[key] = rng.choice([0, "x", [1, 2], b"\xff", np.nan, [b"a", b"b"]])
        else:
            datasets = [n for n in names if isinstance(file[n], h5py.Dataset)]
            name = rng.choice(datasets)
            array = file[name][()]
            new = [array[None], array.ravel(), array[:0], array.astype("f8"), array.astype("i4"), np.float32(1)]
            new += [np.zeros(array.shape, "S3"), array * np.nan, array * 1e30, array[::-1], array + 1j, -array]
            del file[name]
            file[name] = rng.choice(new)
    return buffer.getvalue()


def _has_links(path: Path) -> bool:
    """Whether a file that opens has a link to another place or file in the groups of its weights."""
    content = path.read_bytes()
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            content = file.read("model.weights.h5")
    found: list[bool] = []
    with h5py.File(io.BytesIO(content)) as file:
        names = ["/"]
        with contextlib.suppress(RuntimeError):  # a part that nothing reads may be damaged
            file.visit(names.append)
        groups = [file[name] for name in names if isinstance(file[name], h5py.Group)]
        found = [type(group.get(n, getlink=True)) is not h5py.HardLink for group in groups for n in group]
    return any(found)
