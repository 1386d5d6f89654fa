"""Mutants of model files, foreign files and saved streams, opened in every way.

Each must end in an error of ours, or in a file whose stream gives what the whole sequence gives. A graph that was
rewired may open: then `verify` must find it out.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path

import numpy as np
import torch

import seq2onnx as s2o
from seq2onnx.cli.inspect import inspect
from seq2onnx.runtime.random_rows import random_sequences
from tests import foreign, small_networks, test_add_states as added
from tests.data_mutants import check_message

ROOT = Path(__file__).parent.parent
LENGTHS = (7, 5)
TOLERANCE = 1e-4
"""Ten times that of verify, which runs other sequences."""


LARGE_WEIGHT = 1e4


class StreamDiffers(Exception):
    """The stream of a file differs from the whole, and verify passes."""


def shipped(folder: Path) -> None:
    for path in ROOT.glob("models/*/model.onnx"):
        shutil.copy(path, folder / f"{path.parent.name}.onnx")


def of_0_1(folder: Path) -> None:
    for path in ROOT.glob("tests/old_files/*.onnx"):
        shutil.copy(path, folder)


def of_today(folder: Path) -> None:
    """Files of this version, whose graph `restore` compares with that of their network."""
    names = ("tcn", "strided", "pooled", "lookahead_network", "two_sensors", "text_network")
    cases = [(name, getattr(small_networks, name)(), {}) for name in names]
    forecaster = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(3), s2o.GRU(3), s2o.FullyConnected(2)])
    cases += [
        ("loop", forecaster, {"closed_loop": 3}),
        ("activations", forecaster, {"activations": True}),
        ("words", small_networks.text_network(), {"words": True}),
        ("step", small_networks.pooled(), {"form": "step"}),
        ("portable", small_networks.strided(), {"form": "portable"}),
        ("int8", forecaster, {"weights": "int8"}),
    ]
    for name, network, options in cases:
        torch.manual_seed(0)
        lookahead = name == "lookahead_network"
        s2o.export(s2o.build(network).eval(), folder / f"{name}.onnx", **options | {"lookahead": lookahead})


def sources(folder: Path) -> None:
    """Files of other programs."""
    gru = foreign.Graph()
    y = gru.time_first(gru.squeeze(gru.lstm(gru.time_first(gru.input("x", ["batch", "time", 3])), op="GRU")[0], 1))
    gru.op("ReduceMean", y, axes=[1], keepdims=0, out=gru.output("mean"))
    graphs = {"lstm": foreign.plain_lstm(), "conv": added.causal_conv("pad", 3), "mean": gru}
    for name, graph in graphs.items():
        (folder / name).mkdir()
        (graph.save(folder / name)).rename(folder / f"{name}.onnx")
        (folder / name).rmdir()


def of_add_states(folder: Path) -> None:
    (folder / "sources").mkdir()
    sources(folder / "sources")
    for path in sorted((folder / "sources").iterdir()):
        with contextlib.suppress(s2o.ImportRefused):
            s2o.add_states(path, folder / path.name)
    shutil.rmtree(folder / "sources")


def saved_streams(folder: Path) -> None:
    """Folders with a file and the state of a stream of it."""
    for number, path in enumerate(sorted(ROOT.glob("tests/old_files/*.state.npz"))):
        place = folder / path.name.removesuffix(".state.npz")
        place.mkdir()
        model = shutil.copy(path.with_name(f"{place.name}.onnx"), place / "model.onnx")
        if number % 2:
            shutil.copy(path, place / "state.npz")
        else:
            s2o.load(model).stream().save(place / "state.npz")


def open_model(path: Path) -> str:
    """Open a file in every way.

    Returns:
        "opened"; or "flagged" if its stream differs from the whole, or its graph from its network, and verify says so.

    Raises:
        Seq2OnnxError: it is not opened.
        StreamDiffers: its stream differs from the whole and verify passes, or it restores and verify fails.
    """
    model = s2o.load(path)
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        _ours(lambda: inspect(path))
    assert shown.getvalue().replace("\n", "").isprintable(), "inspect prints control characters"
    found: list[str] = []
    _ours(lambda: found.append(_run(model)))
    proof = _ours(lambda: s2o.verify(path))
    restored = _ours(lambda: s2o.restore(path))
    passes = proof is not None and proof.ok
    if found and found[0] and passes:
        raise StreamDiffers(f"{found[0]}, and verify passes")
    if restored is not None and proof is not None and not proof.ok and _are_usual(restored):
        raise StreamDiffers(f"restore accepts it, and verify does not: {proof}")
    return "opened" if passes and not any(found) else "flagged"


def _are_usual(module) -> bool:
    """Whether all weights are numbers for which torch and onnxruntime agree: both overflow, in other ways, beyond."""
    return all(float(weights.abs().max()) < LARGE_WEIGHT for weights in module.parameters() if weights.numel())


def open_state(folder: Path) -> str:
    stream = s2o.load(folder / "model.onnx").stream()
    before = stream.state
    try:
        stream.load(folder / "state.npz")
    except s2o.StateError:
        assert all(np.array_equal(before[name], value) for name, value in stream.state.items()), "the state has changed"
        raise
    answers = _steps(stream._model, stream, _sequences(stream._model), 0, 1)
    assert all(np.isfinite(y).all() for y in answers.values()), "a state gives NaN"
    return "opened"


def _ours(call):
    """Call, and check the message of an error of ours; errors of others are the caller's."""
    try:
        return call()
    except s2o.Seq2OnnxError as error:
        check_message(error)
        return None


def _sequences(model):
    return random_sequences(model, np.random.default_rng(1), LENGTHS)


def _run(predictor) -> str:
    """Run a file in every way; return where the results differ."""
    model, rows = predictor.model, _sequences(predictor.model)
    several = len(rows) > 1
    x = rows if several else next(iter(rows.values()))
    _ours(lambda: predictor.predict(x))
    if predictor.classes:
        _ours(lambda: predictor.classify(x))
    whole = predictor.predict(x, sequence_length="longest", mask_padding=True)
    whole = whole if isinstance(whole, dict) else {model.outputs[0].layer: whole}
    if predictor.signature == "sequence":
        return ""
    _ours(lambda: predictor.forecast(x, 3))
    ways = {"steps": lambda row: _steps(model, predictor.stream(), rows, row, 1)}
    ways["chunks"] = lambda row: _steps(model, predictor.stream(), rows, row, 3)
    ways["a pool"] = lambda row: _pooled(model, predictor.pool(2), rows, row)
    for name, way in ways.items():
        for row in range(len(LENGTHS)):
            found = _ours(lambda way=way, row=row: way(row))
            for output in model.outputs if found is not None and not predictor.closed_loop else ():
                expected = np.asarray(whole[output.layer][row], np.float64)
                got = np.asarray(found[output.layer], np.float64)
                if got.shape != expected.shape:
                    return f"{name} give {got.shape} instead of {expected.shape}"
                error = np.abs(got - expected).max(initial=0)
                if not error <= TOLERANCE * max(1, np.abs(expected).max(initial=0)):
                    return f"{name} differ from the whole by {error:.2g}"
    return ""


def _steps(model, stream, rows, row: int, size: int) -> dict[str, np.ndarray]:
    """Return what a stream gives of one row, in single steps or in chunks."""
    answers = []
    for at in range(0, LENGTHS[row], size):
        parts = {
            entry.layer: _part(entry, rows, row, at if size == 1 else slice(at, at + size)) for entry in model.inputs
        }
        answers.append(stream.step(parts if len(parts) > 1 else next(iter(parts.values()))))
    if model.lookahead:
        answers.append(stream.finish())
    return _joined(model, answers)


def _part(entry, rows, row, place):
    array = rows[entry.layer][row]
    return array[place] if entry.has_time else array


def _pooled(model, pool, rows, row: int) -> dict[str, np.ndarray]:
    """Return what a pool gives of one row, beside a stream that reads the same."""
    ids, answers = [pool.open(), pool.open()], []
    for at in range(LENGTHS[row]):
        parts = {entry.layer: [_part(entry, rows, row, at)] * 2 for entry in model.inputs}
        parts = {name: np.stack(two) for name, two in parts.items()}
        answers.append(pool.step(ids, parts if len(parts) > 1 else next(iter(parts.values()))))
    if model.lookahead:
        answers.append(pool.finish(ids))
    first = [{n: y[0] for n, y in a.items()} if isinstance(a, dict) else a[0] for a in answers]
    return _joined(model, first)


def _joined(model, answers) -> dict[str, np.ndarray]:
    found = {}
    for output in model.outputs:
        mine = [a[output.layer] if isinstance(a, dict) else a for a in answers]
        parts = [np.asarray(a).reshape(-1, *output.shape) for a in mine]
        found[output.layer] = np.concatenate(parts) if output.has_time else parts[-1][-1]
    return found
