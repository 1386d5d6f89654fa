"""What needs neither torch nor onnx, on the files of tests/old_files: prediction, streams, pools, data and the command.

tools/check.py runs these tests a second time, where torch is not installed and all else is as old as pyproject allows.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

import seq2onnx as s2o
from tests.command import run
from tests.conftest import random_data
from tests.twins import Twins

pytestmark = pytest.mark.runtime

FILES = Path(__file__).parent / "old_files"
STREAMED = sorted(path.name.removesuffix(".state.npz") for path in FILES.glob("*.state.npz"))
# In files of version 0.1 onnxruntime before 1.32 fails on chunks without steps: tests/old_files/make.py
STREAMED.remove("space_axis")
FIXED = [Path(__file__).parent / "files" / name for name in ("pooling_over_width.onnx", "rnn.onnx")]
"""Files that work around errors of onnxruntime before 1.32, where chunks have no steps."""


@pytest.fixture
def sequences() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(length, 3)).astype("f") for length in (4, 9, 1, 30, 17)]


@pytest.mark.parametrize("path", [*(FILES / f"{name}.onnx" for name in STREAMED), *FIXED], ids=lambda path: path.stem)
def test_a_pool_answers_as_its_streams_alone(path):
    twins = Twins(s2o.load(path), 0)
    for _ in range(30):
        twins.act()
    twins.check_states()


def test_batches_threads_and_generators_give_the_same_answers(sequences):
    model = s2o.load(FILES / "full.onnx")
    expected = np.concatenate([model.predict([x]) for x in sequences])
    for size in (1, 2, 100):
        np.testing.assert_allclose(model.predict(sequences, batch_size=size), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(model.predict(x for x in sequences), expected, rtol=0, atol=1e-6)
    threads = s2o.load(FILES / "full.onnx", threads=3)
    np.testing.assert_allclose(threads.predict(sequences, batch_size=2), expected, rtol=0, atol=1e-6)


def test_nan_affects_only_its_own_result(sequences):
    model = s2o.load(FILES / "full.onnx")
    expected = model.predict(sequences)
    sequences[1][3] = np.nan
    found = model.predict(sequences)
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[[0, 2, 3, 4]], expected[[0, 2, 3, 4]])
    assert model.classify(sequences)[1] is None


def test_a_cached_session_gives_the_same_answers(sequences, tmp_path):
    expected = s2o.load(FILES / "full.onnx").predict(sequences)
    for _ in range(2):
        model = s2o.load(FILES / "full.onnx", cache=tmp_path)
        np.testing.assert_array_equal(model.predict(sequences), expected)


def test_a_saved_stream_continues(sequences, tmp_path):
    stream = s2o.load(FILES / "full.onnx").stream()
    stream.step(sequences[1])
    stream.save(tmp_path / "state.npz")
    other = s2o.load(FILES / "full.onnx").stream()
    other.load(tmp_path / "state.npz")
    np.testing.assert_array_equal(other.step(sequences[0]), stream.step(sequences[0]))


@pytest.mark.parametrize("suffix", ["npz", "h5", "parquet"])
def test_data_files_are_read_as_they_were_written(suffix, tmp_path):
    data = random_data()
    data.save(tmp_path / f"data.{suffix}")
    found = s2o.SequenceDataset.load(tmp_path / f"data.{suffix}")
    assert list(found.labels) == list(data.labels)
    for read, written in zip(found.sequences, data.sequences, strict=True):
        np.testing.assert_array_equal(read, written)


def test_matlab_files_are_converted(tmp_path):
    from tests.mat_writer import cells, write_v5, write_v73

    x = [np.arange(6.0).reshape(2, 3), np.ones((4, 3))]
    for write in (write_v5, write_v73):
        write(tmp_path / "data.mat", {"X": cells(x)})
        run("data", "convert", tmp_path / "data.mat", tmp_path / "data.npz", "--sequences", "X", "--targets", "")
        found = s2o.SequenceDataset.load(tmp_path / "data.npz").sequences
        assert [sequence.shape for sequence in found] == [(2, 3), (4, 3)]


def test_the_command_describes_verifies_predicts_and_streams(sequences, tmp_path):
    file = FILES / "full.onnx"
    expected = s2o.load(file).predict(sequences)
    assert "delay steps" in run("inspect", file)[0]
    assert "all comparisons passed" in run("verify", file)[0]
    s2o.SequenceDataset(sequences).save(tmp_path / "data.npz")
    rows = list(csv.DictReader(io.StringIO(run("predict", file, tmp_path / "data.npz")[0])))
    found = [[float(row[label]) for label in ("left", "right", "up")] for row in rows]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    steps = "".join(",".join(map(str, step)) + "\n" for step in sequences[0].tolist())
    last = run("stream", file, stdin=steps)[0].splitlines()[-1]
    np.testing.assert_allclose([float(field) for field in last.split(",")[1:]], expected[0], rtol=0, atol=1e-6)
