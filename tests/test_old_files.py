"""Files of earlier versions keep working: tests/old_files/README.md says what is in them and who wrote them."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import seq2onnx as s2o

ROOT = Path(__file__).parent.parent
FILES = ROOT / "tests" / "old_files"
OPTIONS = json.loads((FILES / "index.json").read_text())
MODELS = sorted(path.parent.name for path in (ROOT / "models").glob("*/network.yaml"))  # without guests
TOLERANCE = 1e-6  # relative to max(1, largest expected number): versions and processors round differently
# GlobalAvgPool1d had a sum, and has the mean since version 0.2.
OTHER_STATES = ("dilated", "dilated_opset_20", "model_digits_conv", "model_digits_tcn")
VECTORS = ("car",)  # input layers without a time axis
STEPS_BEFORE_SAVE = 4
STEPS_OF_MODELS = {"keyword": 64_000, "watch_windows": 1000}  # of others 40


class OldFile:
    """A file of tests/old_files with its sequences and the answers that its version gave."""

    def __init__(self, name: str) -> None:
        self.path = FILES / f"{name}.onnx"
        self.state_path = FILES / f"{name}.state.npz"
        with np.load(FILES / f"{name}.npz") as archive:
            self.arrays = dict(archive)
        self.x = self.by_layer("x")
        self.sequences = single(self.x)

    def by_layer(self, kind: str) -> dict[str, list[np.ndarray]]:
        """Arrays named kind/layer/number, by layer and in order."""
        found: dict[str, list[np.ndarray]] = {}
        for name in sorted(self.arrays):
            if name.startswith(f"{kind}/"):
                found.setdefault(name.split("/")[1], []).append(self.arrays[name])
        return found

    def steps(self, sizes: list[int] | None = None):
        """The last sequence in chunks of these sizes; None: in single steps without a time axis."""
        sequence = {layer: rows[-1] for layer, rows in self.x.items()}
        count = next(len(x) for layer, x in sequence.items() if layer not in VECTORS)
        starts = np.cumsum([0, *sizes[:-1]]).tolist() if sizes else range(count)
        for start, size in zip(starts, sizes or [None] * count, strict=True):
            index = start if size is None else slice(start, start + size)
            yield {layer: x if layer in VECTORS else x[index] for layer, x in sequence.items()}


@pytest.fixture(params=OPTIONS)
def old(request) -> OldFile:
    return OldFile(request.param)


@pytest.fixture(params=[name for name in OPTIONS if (FILES / f"{name}.state.npz").is_file()])
def old_streamed(request) -> OldFile:
    return OldFile(request.param)


@pytest.mark.runtime
def test_old_files_predict_the_same(old):
    check_predictions(s2o.load(old.path), old)


@pytest.mark.runtime
def test_old_files_stream_the_same(old_streamed):
    check_streams(s2o.load(old_streamed.path), old_streamed)


class NoEmptyArrays:
    """A session that fails on arrays of no steps, as graphs of version 0.1 do in onnxruntime before 1.32."""

    def __init__(self, session) -> None:
        self.session = session

    def run(self, names, feeds):
        assert all(array.size for array in feeds.values())
        return self.session.run(names, feeds)


@pytest.mark.runtime
def test_an_old_file_never_runs_no_steps_as_an_empty_array(old_streamed):
    model = s2o.load(old_streamed.path)
    whole = {layer: rows[-1] for layer, rows in old_streamed.x.items()}
    none = {layer: x if layer in VECTORS else x[:0] for layer, x in whole.items()}
    with_time = [output for output in model.model.outputs if output.has_time]
    if not (model.model.takes_lengths or (len(with_time) == len(model.model.outputs) and not model.lookahead)):
        return  # only the graph has the results
    stream = model.stream()
    stream.step(single(whole))
    before, expected = stream.state, by_output(stream.step(single(none)))
    model.model.session = NoEmptyArrays(model.session)
    for layer, answer in by_output(stream.step(single(none))).items():
        close(answer, expected[layer])
    for name, array in stream.state.items():
        close(array, before[name])


@pytest.mark.runtime
def test_old_files_step_the_same_in_a_pool(old_streamed):
    pool = s2o.load(old_streamed.path).pool(2)
    ids = [pool.open(), pool.open()]
    answers = [
        pool.step(ids, single({layer: np.stack([x, x]) for layer, x in step.items()})) for step in old_streamed.steps()
    ]
    for stream in (0, 1):
        mine = [{output: rows[stream] for output, rows in by_output(answer).items()} for answer in answers]
        check_joined(mine, old_streamed, "step")


@pytest.mark.runtime
def test_an_old_trained_file_keeps_its_labels_and_its_padding():
    model = s2o.load(FILES / "trained.onnx")
    assert model.classes == [10, 20, 30]
    policy = model.policy
    assert (policy.sequence_length, policy.padding_value) == (9, 0.5)
    assert (policy.padding_direction, policy.mask_padding) == ("left", False)


@pytest.mark.runtime
@pytest.mark.parametrize("name", MODELS)
def test_shipped_models_predict_the_same(name):
    check_shipped(name, s2o.load(unchanged(name)))


@pytest.mark.runtime
def test_old_files_are_small():
    assert sum(path.stat().st_size for path in FILES.rglob("*") if path.is_file()) < 2e6


def test_old_files_restore_and_export_again(old, tmp_path):
    module = s2o.restore(old.path)
    check_module(module, old)
    again = tmp_path / "again.onnx"
    s2o.export(module, again, **OPTIONS[old.path.stem])
    model = s2o.load(again)
    check_predictions(model, old)
    if old.state_path.is_file():
        check_streams(model, old)
        assert has_saved_states(model, old) == (old.path.stem not in OTHER_STATES)


def test_old_files_pass_verify(old):
    report = s2o.verify(old.path)
    assert report.ok, report
    # States are compared with those of torch, unless the layers of today have others.
    compared = any(row.tensor.startswith("new_state") for row in report.rows)
    model = s2o.load(old.path)
    assert compared == (model.signature != "sequence" and not model.lookahead and old.path.stem not in OTHER_STATES)


@pytest.mark.parametrize("name", OTHER_STATES)
def test_a_stream_saved_by_an_old_file_is_refused_by_a_new_export_with_other_states(name, tmp_path):
    old = OldFile(name)
    s2o.export(s2o.restore(old.path), tmp_path / "again.onnx")
    stream = s2o.load(tmp_path / "again.onnx").stream()
    with pytest.raises(s2o.StateError, match=r"state\.npz: state: expected a dict with the states .*_carry"):
        stream.load(old.state_path)
    assert not any(array.any() for array in stream.state.values())


@pytest.mark.parametrize("name", MODELS)
def test_shipped_models_restore_and_export_again(name, tmp_path):
    module = s2o.restore(unchanged(name))
    s2o.export(module, tmp_path / "again.onnx", signature=s2o.load(unchanged(name)).signature)
    check_shipped(name, s2o.load(tmp_path / "again.onnx"))


def test_an_old_run_folder_exports_again(tmp_path):
    from seq2onnx.training import load_run

    s2o.export(load_run(FILES / "run"), tmp_path / "again.onnx")
    check_predictions(s2o.load(tmp_path / "again.onnx"), OldFile("trained"))


def test_an_old_run_folder_trains_on(tmp_path):
    old = OldFile("trained")
    data = s2o.SequenceDataset(old.sequences, old.arrays["targets"].tolist(), [10, 20, 30])
    shutil.copytree(FILES / "run", tmp_path / "run")
    settings = yaml.safe_load((FILES / "run" / "options.yaml").read_text())["options"]
    network = s2o.Network.load(FILES / "run" / "network.yaml")
    options = s2o.TrainingOptions(**settings | {"epochs": 3})
    result = s2o.train(network, data, data, options=options, run_dir=tmp_path / "run", resume=True, logger=False)
    with (FILES / "run" / "history.csv").open(newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert [row["loss"] for row in result.history[:2]] == pytest.approx(losses)
    assert len(result.history) == 3


def unchanged(name: str) -> Path:
    """A shipped model, if it is the one whose answers models.npz has."""
    path = ROOT / "models" / name / "model.onnx"
    with np.load(FILES / "models.npz") as archive:
        same = str(archive[f"{name}/sha256"]) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert same, f"{path}: was trained again; tests/old_files/README.md says what to do"
    return path


def check_shipped(name: str, model: s2o.Predictor) -> None:
    """A shipped model answers as it did to the first sequences of its test slice."""
    with np.load(FILES / "models.npz") as archive:
        expected = [archive[key] for key in sorted(archive) if key.startswith(f"{name}/y/")]
    (data,) = (ROOT / "models" / name).glob("test_slice.*")
    column, steps = s2o.SequenceDataset.load(data).sequences, STEPS_OF_MODELS.get(name, 40)
    close_all(model.predict([np.asarray(column[i])[:steps] for i in range(len(expected))]), expected)


def check_predictions(model: s2o.Predictor, old: OldFile) -> None:
    """Answers, labels, activations and forecasts are what they were."""
    for output, rows in by_output(model.predict(old.sequences)).items():
        close_all(rows, old.by_layer("y")[output])
    if "labels" in old.arrays:
        assert np.array_equal(model.classify(old.sequences), old.arrays["labels"])
    activations = old.by_layer("activation")
    if activations:
        for layer, rows in model.predict(old.sequences, outputs=list(activations)).items():
            close_all(rows, activations[layer])
    forecasts = old.by_layer("forecast")
    if forecasts:
        close_all(model.forecast(old.sequences, len(forecasts["y"][0])), forecasts["y"])


def check_streams(model: s2o.Predictor, old: OldFile) -> None:
    """Chunks, single steps, and steps that follow the saved state are answered as they were."""
    stream = model.stream()
    answers = [stream.step(single(chunk)) for chunk in old.steps(old.arrays["chunks"].tolist())]
    if model.lookahead:
        answers.append(stream.finish())
    check_joined(answers, old, "chunk")
    stream.reset()
    steps = [single(step) for step in old.steps()]
    answers = [stream.step(step) for step in steps[:STEPS_BEFORE_SAVE]]
    resumed = stream.clone()
    if has_saved_states(model, old):
        resumed.load(old.state_path)
    check_joined(answers + [resumed.step(step) for step in steps[STEPS_BEFORE_SAVE:]], old, "step")


def has_saved_states(model: s2o.Predictor, old: OldFile) -> bool:
    """Whether a stream has the states that the old file saved."""
    with np.load(old.state_path) as archive:
        return set(archive.files) == set(model.stream().state)


def check_module(module, old: OldFile) -> None:
    """A restored module answers each sequence as it did."""
    import torch

    numbers = old.by_layer("numbers") or old.x
    found: dict[str, list[np.ndarray]] = {}
    for row in zip(*numbers.values(), strict=True):
        x = {layer: torch.from_numpy(array[None]) for layer, array in zip(numbers, row, strict=True)}
        with torch.no_grad():
            y, _, _ = module(single(x))
        for output, answer in by_output(y).items():
            found.setdefault(output, []).append(answer[0].numpy())
    expected = old.by_layer("torch")
    assert found.keys() == expected.keys()
    for output, rows in found.items():
        close_all(rows, expected[output])


def check_joined(answers: list, old: OldFile, kind: str) -> None:
    """The answers of all calls, one after another, are what they were."""
    for output in by_output(answers[0]):
        expected = old.arrays[f"{kind}/{output}"]
        mine = [np.asarray(by_output(answer)[output]) for answer in answers]
        close(np.concatenate([part.reshape(-1, expected.shape[-1]) for part in mine]), expected)


def single(by_layer: dict):
    """What predict and step take: of one input its array alone."""
    return by_layer if len(by_layer) > 1 else next(iter(by_layer.values()))


def by_output(answer) -> dict:
    """An answer by output; a network's only output is y."""
    return answer if isinstance(answer, dict) else {"y": answer}


def close_all(found, expected) -> None:
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        close(np.asarray(mine), theirs)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.max(np.abs(expected), initial=1.0))
