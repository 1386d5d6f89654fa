"""Saved streams say which model they belong to, and files of strangers change nothing."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

import seq2onnx as s2o
from tests.conftest import built, random_data, small_network

FILES = Path(__file__).parent / "old_files"


@pytest.fixture
def saved(model_file, tmp_path):
    stream = s2o.load(model_file).stream()
    stream.step(np.ones((3, 4)))
    stream.save(tmp_path / "state.npz")
    return tmp_path / "state.npz"


def test_the_stream_of_a_model_with_other_weights_is_refused_and_changes_nothing(saved, tmp_path):
    other = tmp_path / "other.onnx"
    s2o.export(built(small_network(), random_data(), seed=5), other)
    stream = s2o.load(other).stream()
    before = stream.state
    with pytest.raises(s2o.StateError, match=r"state.npz: belongs to another model than .*other.onnx"):
        stream.load(saved)
    assert all(np.array_equal(stream.state[name], value) for name, value in before.items())


def test_the_same_weights_in_another_file_continue_the_stream(saved, model_file, tmp_path):
    """With other options of the export, the names and the meaning of the states are the same."""
    again = tmp_path / "again.onnx"
    s2o.export(s2o.restore(model_file), again, signature="stream", opset=19)
    expected, found = s2o.load(model_file).stream(), s2o.load(again).stream()
    expected.load(saved)
    found.load(saved)
    np.testing.assert_allclose(found.step(np.ones(4)), expected.step(np.ones(4)), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("file", "state", "value"), [("strided", "phase", 3), ("strided", "phase", -1), ("lookahead", "count", -1)]
)
def test_counters_out_of_range_are_refused(file, state, value):
    stream = s2o.load(FILES / f"{file}.onnx").stream()
    given = stream.state
    name = next(name for name in given if name.endswith(state))
    given[name] = np.array([[value]], np.int32)
    with pytest.raises(s2o.StateError, match=f"state {name}: expected counts from 0 to"):
        stream.state = given


def test_a_counter_that_int32_cannot_hold_is_refused():
    stream = s2o.load(FILES / "lookahead.onnx").stream()
    given = stream.state
    name = next(name for name in given if name.endswith("count"))
    given[name] = np.array([[2**32]], np.int64)
    with pytest.raises(s2o.StateError, match="expected counts"):
        stream.state = given


def test_a_small_file_that_unpacks_to_gigabytes_is_refused(model_file, tmp_path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**24,)})
        file.write(header.getvalue())
        for _ in range(64):
            file.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    with pytest.raises(s2o.StateError, match="bomb.npz: is not a state that Stream.save wrote: it unpacks to more"):
        s2o.load(model_file).stream().load(path)


@pytest.mark.parametrize("comment", [b"{", b"[" * 60_000, b"\xff", b"3", b'{"weights": "other"}'])
def test_a_file_with_another_comment_is_refused(saved, model_file, comment):
    with zipfile.ZipFile(saved, "a") as archive:
        archive.comment = comment
    with pytest.raises(s2o.StateError, match="state.npz: "):
        s2o.load(model_file).stream().load(saved)


def test_mutants_of_a_saved_stream_end_in_an_error_of_ours_or_in_numbers(saved, model_file):
    stream, content = s2o.load(model_file).stream(), saved.read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for _ in range(300):
        mutant = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            mutant[place] = rng.integers(0, 256)
        saved.write_bytes(mutant)
        before = stream.state
        try:
            stream.load(saved)
        except s2o.StateError:
            refused += 1
            assert all(np.array_equal(stream.state[name], array) for name, array in before.items())
        assert np.isfinite(stream.step(np.ones(4))).all()
    assert refused > 250


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_folders_and_pipes_are_refused(model_file, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(s2o.StateError, match="it is no file"):
            s2o.load(model_file).stream().load(path)
