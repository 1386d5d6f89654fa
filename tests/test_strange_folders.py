"""Run folders of strangers, left-overs, options and lengths that are made to do harm: a clear error, nothing lost."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors
import safetensors.torch

import seq2onnx as s2o
from seq2onnx.data.formats import parquet
from seq2onnx.errors import DataError, ModelFileError, SpecError
from seq2onnx.files import atomic_file, atomic_folder, locked, write_atomically
from seq2onnx.limits import PADDED_BYTES
from seq2onnx.sequences import PaddingPolicy
from seq2onnx.training import load_run
from tests.command import run
from tests.conftest import random_data, small_network
from tests.test_files import writer

pytestmark = pytest.mark.usefixtures("in_this_process")

MINE = b"mine"


def options(**more):
    return s2o.TrainingOptions(**({"epochs": 2, "progress": False, "device": "cpu", "threads": 1} | more))


@pytest.fixture
def finished(tmp_path):
    folder = tmp_path / "run"
    s2o.train(small_network(), random_data(), random_data(seed=2), options=options(), run_dir=folder, logger=False)
    return folder


@pytest.fixture
def other(tmp_path):
    """A file of the user, to which a stranger's folder has links."""
    path = tmp_path / "other"
    path.write_bytes(MINE)
    return path


# Links ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exists", [True, False])
def test_a_lock_is_no_link(tmp_path, other, exists):
    target = other if exists else tmp_path / "missing"
    link = tmp_path / "lock"
    link.symlink_to(target)
    with pytest.raises(OSError, match="Is a link, expected a file"), locked(link):
        pass
    assert link.is_symlink()
    assert other.read_bytes() == MINE
    assert not (tmp_path / "missing").exists()


def test_a_file_of_the_user_with_the_name_of_a_lock_stays(tmp_path):
    path = tmp_path / "lock"
    path.write_bytes(MINE)
    with locked(path):
        pass
    assert path.read_bytes() == MINE


def test_training_in_a_folder_of_links_changes_no_other_file(finished, other):
    names = [path.name for path in finished.iterdir()]
    assert {"metrics.json", "history.csv", "curve.png", "checkpoint.safetensors", "confusion.png"} <= set(names)
    for name in names:
        (finished / name).unlink()
        (finished / name).symlink_to(other)
    s2o.train(small_network(), random_data(), random_data(seed=2), options=options(), run_dir=finished, logger=False)
    assert other.read_bytes() == MINE
    assert not [path.name for path in finished.iterdir() if path.is_symlink()]


@pytest.mark.parametrize("name", ["network.yaml", "options.yaml", "weights.safetensors"])
def test_the_module_of_a_run_folder_is_not_read_through_a_link(finished, tmp_path, name):
    (finished / name).rename(tmp_path / name)
    (finished / name).symlink_to(tmp_path / name)
    with pytest.raises(OSError, match=f"Is a link, expected a file: .*{name}"):
        load_run(finished)


@pytest.mark.parametrize("name", ["metrics.json", "history.csv", "curve.png", "confusion.png"])
def test_a_report_shows_no_file_behind_a_link(finished, other, name):
    (finished / name).unlink()
    (finished / name).symlink_to(other)
    _, errors = run("report", finished, code=2)
    assert errors.splitlines()[-1] == f"seq2onnx: {finished / name}: is a link, expected a file"
    assert not (finished / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", b"[1]"),
        ("metrics.json", b'{"loss": "x"}'),
        ("metrics.json", b"\xff"),
        ("metrics.json", b"{}{"),
        ("history.csv", b"epoch,loss\n1,x\n"),
        ("history.csv", b"epoch\n1,2,3\n"),
        ("history.csv", b"\xff"),
    ],
)
def test_a_report_of_a_damaged_run_names_the_file(finished, name, content):
    (finished / name).write_bytes(content)
    assert f"{name}: is not " in run("report", finished, code=2)[1]


def test_resume_reads_no_checkpoint_through_a_link(finished, tmp_path):
    path = finished / "checkpoint.safetensors"
    path.rename(tmp_path / "away")
    path.symlink_to(tmp_path / "away")
    with pytest.raises(OSError, match="Is a link, expected a file"):
        s2o.train(small_network(), random_data(), options=options(), run_dir=finished, resume=True, logger=False)


def test_training_follows_no_link_to_a_folder_of_tensorboard(finished, tmp_path):
    away = tmp_path / "away"
    away.mkdir()
    (away / "events.out.tfevents.1").write_bytes(MINE)
    (finished / "tensorboard").symlink_to(away)
    with pytest.raises(SpecError, match="tensorboard: is a link"):
        s2o.train(small_network(), random_data(), options=options(), run_dir=finished)
    assert (away / "events.out.tfevents.1").read_bytes() == MINE


# Left-overs ----------------------------------------------------------------------------------------------------------

USERS_OWN = [".file.backup.tmp", ".file.tmp", ".file.0123456789ab.tmp", f".file.{'0' * 20}.tmp", ".file.a.tmp"]


@pytest.mark.parametrize("how", [atomic_file, atomic_folder])
def test_only_what_this_package_has_left_is_removed(tmp_path, how):
    """The third name is that of a left-over of version 0.1: it stays, and does no harm."""
    path = tmp_path / "file"
    with writer(path, how.__name__) as killed:
        killed.wait()
    (left,) = tmp_path.iterdir()
    (tmp_path / left.name.replace(".file.", ".fil.")).write_bytes(MINE)
    for name in USERS_OWN:
        (tmp_path / name).write_bytes(MINE)
    kept = {entry.name for entry in tmp_path.iterdir()} - {left.name}
    with how(path):
        pass
    assert {entry.name for entry in tmp_path.iterdir()} == kept | {"file"}
    (tmp_path / left.name).symlink_to(tmp_path / USERS_OWN[0])
    if how is atomic_file:
        write_atomically(path, b"new")
    assert all((tmp_path / name).read_bytes() == MINE for name in kept)


def test_training_keeps_the_files_of_the_user_in_its_folder(finished):
    names = [".history.csv.backup", ".checkpoint.safetensors.old.tmp", ".curve.png.swp"]
    for name in names:
        (finished / name).write_bytes(MINE)
    s2o.train(small_network(), random_data(), options=options(), run_dir=finished, logger=False)
    assert all((finished / name).read_bytes() == MINE for name in names)


# Options, lengths, checkpoints ---------------------------------------------------------------------------------------

BOMB = "{a: &a [x,x,x,x,x,x,x,x,x,x]," + ",".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("value", ["[" * 5000, "[" * 300 + "]" * 300, BOMB + "}", "&a [*a]", "1e400", "!!int x", "{"])
def test_a_value_of_set_that_does_harm_is_refused_at_once(tmp_path, value):
    small_network().save(tmp_path / "network.yaml")
    random_data(2).save(tmp_path / "data.npz")
    arguments = ["train", tmp_path / "network.yaml", tmp_path / "data.npz", "--out", tmp_path / "run"]
    _, errors = run(*arguments, "--set", f"class_weights={value}", code=2)
    assert "class_weights" in errors
    assert len(errors) < 3000


@pytest.mark.parametrize("name", ["threads", "workers"])
def test_numbers_of_processes_and_threads_that_no_machine_has_are_refused(name):
    with pytest.raises(SpecError, match=f"options.{name}: must be .*1024; got 1000000000000"):
        options(**{name: 10**12})


@pytest.mark.parametrize("length", [10**12, 2**31, 2**64])
def test_a_sequence_length_beyond_every_file_is_refused(tmp_path, model_file, length):
    for given in (length, ("split", length)):
        with pytest.raises(SpecError, match=r"sequence_length.*from 1 to 2147483647, got"):
            PaddingPolicy(given)
        with pytest.raises(SpecError, match="sequence_length"):
            s2o.train(small_network(), random_data(2), options=options(sequence_length=given))
    with pytest.raises(SpecError, match="sequence_length"):
        s2o.load(model_file).predict(random_data(2), sequence_length=length, mask_padding=False)


def test_padding_that_fills_the_memory_is_refused(model_file):
    data = random_data(2)
    for steps in (10**9, PADDED_BYTES // 16 + 1):
        with pytest.raises(SpecError, match=f"pads a sequence to {steps:,} steps"):
            s2o.load(model_file).predict(data, sequence_length=steps, mask_padding=False)
        with pytest.raises(SpecError, match=f"pads a sequence to {steps:,} steps"):
            s2o.train(small_network(), data, options=options(sequence_length=steps, mask_padding=False))
    long = [np.zeros((PADDED_BYTES // 16 + 1, 4), np.float32)]
    padded, _ = PaddingPolicy(len(long[0]), mask_padding=False).pad(long)
    assert padded.shape[1] == len(long[0])  # no more than the data


def no_loss(run):
    del run["history"][0]["loss"]


def no_epoch(run):
    del run["history"][1]["epoch"]


def repeated(run):
    run["history"].append(run["history"][1])


def no_rate(run):
    del run["history"][0]["learning_rate"]


@pytest.mark.parametrize("change", [no_loss, no_epoch, repeated, no_rate, None])
def test_a_checkpoint_with_a_damaged_history_is_refused(finished, change):
    path = finished / "checkpoint.safetensors"
    with safetensors.safe_open(path, "pt") as file:
        tensors, text = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()["run"]  # noqa: SIM118
    if change is None:
        text = text.replace('"epoch": 1.0', '"epoch": 1.0, "epoch": 1.0')  # a key twice
    else:
        state = json.loads(text)
        change(state)
        text = json.dumps(state)
    path.write_bytes(safetensors.torch.save(tensors, {"run": text}))
    before = path.read_bytes()
    with pytest.raises(ModelFileError, match="is not a checkpoint, or is incomplete: "):
        s2o.train(
            small_network(), random_data(), random_data(seed=2), options=options(epochs=4), run_dir=finished,
            resume=True, logger=False,
        )  # fmt: skip
    assert path.read_bytes() == before


def test_a_parquet_file_whose_lengths_are_not_those_of_its_rows_is_refused_at_once(tmp_path):
    import pyarrow.parquet as pq

    random_data(5).save(tmp_path / "data.parquet")
    table = pq.read_table(tmp_path / "data.parquet")
    name = json.loads(table.schema.metadata[parquet.KEY])["lengths"]
    place = table.schema.get_field_index(name)
    lengths = table[name].to_numpy().copy()
    lengths[3] = 2**31 - 1
    import pyarrow as pa

    pq.write_table(table.set_column(place, table.schema.field(name), pa.array(lengths)), tmp_path / "data.parquet")
    with pytest.raises(DataError, match=r"row 3: has \d+ steps, but its saved length is 2147483647"):
        s2o.data.read(tmp_path / "data.parquet")
