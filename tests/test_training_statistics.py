"""What the training data was like: measured once, kept by module, run folder and file, written into the C header."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import seq2onnx as s2o
from seq2onnx.data import SequenceDataset
from seq2onnx.errors import ModelFileError
from seq2onnx.training import load_run

NETWORK = s2o.Network([s2o.SequenceInput(3, name="x"), s2o.GRU(4, "last"), s2o.FullyConnected(2), s2o.Softmax()])


def recordings(count: int = 7) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    made = [(rng.normal(k, 1 + k, (5 + 4 * k, 3)) * [1, 100, 0.01]).astype(np.float32) for k in range(count)]
    for x in made:
        x[:, 2] = 5
    return made


def dataset() -> SequenceDataset:
    return SequenceDataset(recordings(), ["a", "b"] * 3 + ["a"], sample_rate=50)


def test_the_numbers_are_those_of_numpy():
    found = dataset().training_statistics()
    every = np.concatenate(recordings()).astype(np.float64)
    assert (found.recordings, found.steps, found.sample_rate) == (7, len(every), 50)
    x = found.inputs[""]
    means = np.array([r.mean(0, np.float64) for r in recordings()])
    spreads = np.log([r.std(0, dtype=np.float64)[:2] for r in recordings()])
    distances = [np.abs(r - every.mean(0)).mean(0)[:2] / every.std(0, ddof=1)[:2] for r in recordings()]
    np.testing.assert_allclose(x.mean, every.mean(0), rtol=1e-6)
    np.testing.assert_allclose(x.std[:2], every[:, :2].std(0, ddof=1), rtol=1e-6)
    np.testing.assert_array_equal([x.min, x.max], [every.min(0), every.max(0)])
    np.testing.assert_allclose([x.mean_of_means, x.std_of_means], [means.mean(0), means.std(0)], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(x.mean_of_log_spreads[:2], spreads.mean(0), rtol=1e-5)
    np.testing.assert_allclose(x.std_of_log_spreads[:2], spreads.std(0), rtol=1e-5)
    np.testing.assert_allclose(x.distance[:2], np.max(distances, 0), rtol=1e-5)
    assert (x.std[2], x.mean_of_log_spreads[2], x.std_of_log_spreads[2], x.distance[2]) == (0, 0, 0, 0)


def test_they_do_not_depend_on_the_blocks_in_which_data_is_read(tmp_path, monkeypatch):
    """Data of a file is read in blocks; missing values and a channel without any are left out."""
    rows = recordings()
    rows[1][2, 0] = np.nan
    for x in rows:
        x[:, 1] = np.nan
    SequenceDataset(rows).save(tmp_path / "data.parquet")
    whole = SequenceDataset(rows).training_statistics().to_dict()
    monkeypatch.setattr("seq2onnx.data.columns.BLOCK_BYTES", 200)
    assert SequenceDataset.load(tmp_path / "data.parquet").training_statistics().to_dict() == whole
    assert whole["inputs"][""]["mean"][1] == 0


def test_build_and_train_give_them_to_the_file_and_its_c_header(tmp_path):
    """Also without normalization; and a run folder has them when it is read again."""
    data = dataset()
    expected = data.training_statistics().inputs[""]
    assert s2o.build(NETWORK, data).training_statistics.inputs["x"] == expected
    result = s2o.train(NETWORK, data, options=s2o.TrainingOptions(epochs=1), run_dir=tmp_path / "run")
    assert result.module.training_statistics.inputs["x"] == expected
    module = load_run(tmp_path / "run")
    s2o.export(module, tmp_path / "model.onnx")
    contract = s2o.load(tmp_path / "model.onnx").contract
    assert contract.training["recordings"] == 7
    assert contract.training["sample_rate"] == 50
    np.testing.assert_allclose(contract.training["inputs"]["x"]["std_of_means"], expected.std_of_means, rtol=1e-8)
    assert s2o.restore(tmp_path / "model.onnx").training_statistics == module.training_statistics
    s2o.package(tmp_path / "model.onnx", "c", tmp_path / "c")
    (header,) = [p.read_text() for p in (tmp_path / "c").glob("*.h") if "MODEL_STEPS" in p.read_text()]
    low = header.split("MODEL_MIN {")[1].split("}")[0].split(",")
    np.testing.assert_allclose([float(v.rstrip("f ")) for v in low], expected.min, rtol=1e-6)
    assert all(f"#define MODEL_{word} {{" in header for word in ("MEAN", "STD", "MAX"))


@pytest.mark.parametrize(
    "change",
    [
        {"recordings": 0},
        {"steps": "many"},
        {"sample_rate": -1},
        {"inputs": {"x": {}}},
        {"inputs": []},
        {"inputs": {"other": None}},
        {"inputs": {"x": "wide"}},
    ],
)
def test_a_file_with_wrong_statistics_is_refused(tmp_path, change):
    s2o.export(s2o.build(NETWORK, dataset()), tmp_path / "model.onnx")
    s2o.load(tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    entry = next(p for p in proto.metadata_props if p.key == "seq2onnx")
    metadata = json.loads(entry.value)
    columns = metadata["training"]["inputs"]["x"]
    if change == {"inputs": {"other": None}}:
        change = {"inputs": {"other": columns}}
    if change == {"inputs": {"x": "wide"}}:
        change = {"inputs": {"x": {name: values * 2 for name, values in columns.items()}}}
    metadata["training"] |= change
    entry.value = json.dumps(metadata)
    onnx.save(proto, tmp_path / "changed.onnx")
    with pytest.raises(ModelFileError, match="statistics"):
        s2o.load(tmp_path / "changed.onnx")
