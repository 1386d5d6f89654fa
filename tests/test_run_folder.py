"""What training writes, what callbacks and loggers get, and what happens when the disk is full."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

import seq2onnx as s2o
from seq2onnx import plots
from seq2onnx.training import RunNotSaved, load_run, run_folder
from tests.conftest import random_data, small_network


def options(**more):
    return s2o.TrainingOptions(
        **({"epochs": 4, "batch_size": 4, "progress": False, "device": "cpu", "threads": 1} | more)
    )


class AfterEpoch(lightning.Callback):
    """Calls a function at the end of each epoch with the number of epochs before it."""

    def __init__(self, call):
        self.call = call

    def on_train_epoch_end(self, trainer, learner):
        self.call(len(learner.history))


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_history_and_curve_are_written_during_training(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "SECONDS_BETWEEN_PICTURES", 0)
    monkeypatch.setattr(run_folder, "SHARE_OF_PICTURES", 1e9)
    seen = []

    def check(epochs):
        if epochs:
            seen.append(len(rows(tmp_path / "history.csv")))
            assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")

    s2o.train(small_network(), random_data(), options=options(), run_dir=tmp_path, callbacks=[AfterEpoch(check)])
    assert seen == [1, 2, 3]
    assert len(rows(tmp_path / "history.csv")) == 4


def test_pictures_and_checkpoints_take_a_small_share_of_the_time(tmp_path, monkeypatch):
    """On a clock: a picture takes 1 second, a checkpoint 2, an epoch 3."""
    clock, pictures, checkpoints = [0.0], [], []

    def spend(seconds, times):
        times.append(clock[0])
        clock[0] += seconds

    monkeypatch.setattr(run_folder, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(run_folder, "save_history", lambda *_: spend(1, pictures))
    monkeypatch.setattr(run_folder.Checkpoints, "_write", lambda *_: spend(2, checkpoints))
    epoch = AfterEpoch(lambda _: spend(3, []))
    settings = options(epochs=100, batch_size=12)
    s2o.train(small_network(), random_data(), options=settings, run_dir=tmp_path, callbacks=[epoch], logger=False)
    pictures.pop()  # the one at the end
    assert len(pictures) <= 0.02 * clock[0] / 1 + 1
    assert len(pictures) > 0.015 * clock[0] / 1
    assert 2 * len(checkpoints[:-1]) <= 0.05 * clock[0] + 2
    assert 2 * len(checkpoints[:-1]) > 0.03 * clock[0]


def test_callbacks_and_loggers_get_each_row_by_the_names_of_history(tmp_path):
    stop, keep = EarlyStopping("validation_loss", patience=2), ModelCheckpoint(tmp_path, monitor="validation_loss")
    logger = CSVLogger(tmp_path, name="", version="log")
    result = s2o.train(
        small_network(),
        random_data(20),
        random_data(20, seed=3),
        options=options(epochs=200, learning_rate=0.05, batch_size=20),
        callbacks=[stop, keep, LearningRateMonitor()],
        logger=logger,
        run_dir=tmp_path / "run",
    )
    losses = [row["validation_loss"] for row in result.history]
    assert len(losses) < 200
    assert len(losses) - 1 - int(np.argmin(losses)) == 2
    assert float(keep.best_model_score) == pytest.approx(min(losses))
    logged = [row for row in rows(tmp_path / "log" / "metrics.csv") if row["loss"]]
    assert [float(row["validation_loss"]) for row in logged] == pytest.approx(losses)
    assert [float(row["step"]) for row in logged] == list(range(1, len(losses) + 1))
    assert not (tmp_path / "run" / "tensorboard").exists()
    # The last epoch is in the checkpoint although a callback stopped training.
    settings = options(epochs=len(losses), learning_rate=0.05, batch_size=20)
    data = random_data(20), random_data(20, seed=3)
    with pytest.warns(
        UserWarning, match=f"the run has {len(losses)} epochs, and epochs={len(losses)} asks for no more"
    ):
        again = s2o.train(small_network(), *data, options=settings, run_dir=tmp_path / "run", resume=True)
    assert again.history == result.history


def test_tensorboard_is_written_if_it_is_installed(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for epochs in (2, 4):
        result = s2o.train(small_network(), random_data(), options=options(epochs=epochs), run_dir=tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("loss")  # of the last run alone
    assert [(event.step, event.value) for event in events] == [
        (row["epoch"], pytest.approx(row["loss"])) for row in result.history
    ]
    s2o.train(small_network(), random_data(), options=options(), run_dir=tmp_path / "without", logger=False)
    assert not (tmp_path / "without" / "tensorboard").exists()


@pytest.fixture
def disk(monkeypatch):
    """A disk that is full while `disk.full` is True."""

    class Disk:
        full = False

    def fsync(handle):
        if Disk.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(run_folder, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    monkeypatch.setattr(run_folder, "SHARE_OF_CHECKPOINTS", 1e9)
    return Disk


def test_training_survives_a_disk_that_is_full_for_a_while(tmp_path, disk):
    """Training continues, the earlier checkpoint is kept without half-written files, and later ones are written."""
    held = []

    def fill(epochs):
        if disk.full:
            with safetensors_of(tmp_path) as file:
                held.append(len(json.loads(file.metadata()["run"])["history"]))
            assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
        disk.full = epochs in (2, 3)

    with pytest.warns(RuntimeWarning, match=r"checkpoint.safetensors: no space left on device. Make room") as told:
        result = s2o.train(
            small_network(), random_data(), options=options(epochs=6), run_dir=tmp_path, callbacks=[AfterEpoch(fill)]
        )
    (full,) = (warning for warning in told if warning.category is RuntimeWarning)
    assert "the checkpoint of epoch 2 is kept" in str(full.message)
    assert held == [2, 2]
    whole = s2o.train(small_network(), random_data(), options=options(epochs=6)).module.state_dict()
    assert all(torch.equal(w, whole[name]) for name, w in result.module.state_dict().items())
    assert all(torch.equal(w, whole[name]) for name, w in load_run(tmp_path).state_dict().items())


def safetensors_of(folder):
    import safetensors

    return safetensors.safe_open(folder / "checkpoint.safetensors", "pt")


def test_the_error_of_a_full_disk_at_the_end_has_the_result(tmp_path, disk):
    def fill(epochs):
        disk.full = epochs == 3

    with (
        pytest.warns(RuntimeWarning, match="the checkpoint of epoch 3 is kept"),
        pytest.raises(RunNotSaved, match="No space left on device, so the run is not saved. Make room") as raised,
    ):
        s2o.train(small_network(), random_data(), options=options(), run_dir=tmp_path, callbacks=[AfterEpoch(fill)])
    assert raised.value.filename == str(tmp_path / "weights.safetensors")
    assert len(raised.value.result.history) == 4
    disk.full = False
    again = s2o.train(small_network(), random_data(), options=options(), run_dir=tmp_path, resume=True)
    reached = raised.value.result.module.state_dict()
    assert all(torch.equal(w, reached[name]) for name, w in again.module.state_dict().items())


def test_the_error_of_a_full_disk_names_the_file(tmp_path, disk):
    from seq2onnx.files import write_atomically

    write_atomically(tmp_path / "file", b"before")
    disk.full = True
    with pytest.raises(OSError, match=f"{tmp_path}/file: no space left on device; it is not"):
        write_atomically(tmp_path / "file", b"after")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_the_checkpoint_has_the_layout_of_version_0_1(tmp_path):
    """Runs of version 0.1 resume, so these names must stay."""
    settings = options(epochs=2, learning_rate=0.5)
    s2o.train(small_network(), random_data(), random_data(seed=1), options=settings, run_dir=tmp_path)
    with safetensors_of(tmp_path) as file:
        names, run = set(file.keys()), json.loads(file.metadata()["run"])
    weights = {name.removeprefix("last.") for name in names if name.startswith("last.")}
    assert weights == set(load_run(tmp_path).state_dict())
    moments = {f"optimizer.{index}.{name}" for index in range(5) for name in ("step", "exp_avg", "exp_avg_sq")}
    best = set() if run["best_is_last"] else {f"best.{name}" for name in weights}
    assert names == {f"last.{name}" for name in weights} | best | moments | {"generator"}
    assert set(run) == {"history", "order", "options", "same", "best_is_last"}
    assert set(run["same"]) == {"network", "loss", "normalize_targets", "data", "validation", "channels"}
    assert run["same"]["data"].startswith("12 sequences, mark ")
    assert len(run["history"]) == 2
    assert run["order"]["bit_generator"] == "PCG64"


def test_a_second_training_in_a_run_folder_is_refused(tmp_path):
    refused = []

    def train_again(epochs):
        if epochs == 1:
            for resume in (False, True):
                with pytest.raises(s2o.SpecError, match=f"{tmp_path}: another process trains in this folder") as raised:
                    s2o.train(small_network(), random_data(), options=options(), run_dir=tmp_path, resume=resume)
                refused.append(raised)

    first = s2o.train(
        small_network(), random_data(), options=options(), run_dir=tmp_path, callbacks=[AfterEpoch(train_again)]
    )
    assert len(refused) == 2
    assert not (tmp_path / "lock").exists()
    weights = first.module.state_dict()
    assert all(torch.equal(w, weights[name]) for name, w in load_run(tmp_path).state_dict().items())
    s2o.train(small_network(), random_data(), options=options(epochs=5), run_dir=tmp_path, resume=True)


def contents(folder):
    """The files of a folder, with the times of their last change."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}


def interrupted_after(epochs):
    """A callback that is Ctrl-C within the epoch after this number of epochs."""

    class CtrlC(lightning.Callback):
        def on_train_batch_end(self, trainer, learner, *_):
            if len(learner.history) == epochs:
                raise KeyboardInterrupt

    return [CtrlC()]


def same_weights(module, other):
    found = other.state_dict()
    return all(torch.equal(tensor, found[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("keep", ["last", "best"])
def test_what_ctrl_c_keeps_is_never_replaced_by_older_weights(tmp_path, keep):
    """No checkpoint was due after the first epoch, as in a run of short epochs."""
    training = small_network(), random_data(20), random_data(8, seed=3)
    settings = {"keep": keep, "learning_rate": 0.05}

    def run(epochs, **more):
        return s2o.train(*training, options=options(epochs=epochs, **settings), **more)

    with pytest.warns(UserWarning, match="stopped after 6 of 9 epochs, which are kept; the same call with resume=True"):
        stopped = run(9, run_dir=tmp_path, callbacks=interrupted_after(6))
    assert same_weights(load_run(tmp_path), stopped.module)
    before = contents(tmp_path)
    for epochs in (1, 2, 6):
        with pytest.warns(UserWarning, match=f"nothing is left to do.*6 epochs, and epochs={epochs} asks for no more"):
            again = run(epochs, run_dir=tmp_path, resume=True)
        assert contents(tmp_path) == before
        assert again.history == stopped.history
        assert same_weights(again.module, stopped.module)
    assert same_weights(run(9, run_dir=tmp_path, resume=True).module, run(9).module)


@pytest.mark.parametrize("by_version_0_2", [False, True])
def test_weights_that_are_newer_than_the_checkpoint_stay(tmp_path, by_version_0_2):
    """As after a full disk, or after Ctrl-C in version 0.2, whose weights do not say how many epochs made them."""
    import safetensors.torch

    training = small_network(), random_data(20), random_data(8, seed=3)
    s2o.train(*training, options=options(epochs=2), run_dir=tmp_path)
    checkpoint = (tmp_path / "checkpoint.safetensors").read_bytes()
    newest = s2o.train(*training, options=options(epochs=5), run_dir=tmp_path, resume=True)
    (tmp_path / "checkpoint.safetensors").write_bytes(checkpoint)
    if by_version_0_2:
        weights = (tmp_path / "weights.safetensors").read_bytes()
        (tmp_path / "weights.safetensors").write_bytes(safetensors.torch.save(safetensors.torch.load(weights)))
    before = contents(tmp_path)
    for epochs in (1, 3, 5):
        with pytest.warns(UserWarning, match="nothing is left to do.*the run has 5 epochs"):
            again = s2o.train(*training, options=options(epochs=epochs), run_dir=tmp_path, resume=True)
        assert contents(tmp_path) == before
        assert again.history == newest.history
        assert same_weights(again.module, newest.module)
    with (
        pytest.warns(UserWarning, match="training was stopped after 3 of"),
        pytest.warns(UserWarning, match="still has the results of 5 epochs, as training has come to 3 only"),
    ):
        s2o.train(*training, options=options(epochs=6), run_dir=tmp_path, resume=True, callbacks=interrupted_after(3))
    for name in ("weights.safetensors", "history.csv", "metrics.json", "curve.png", "confusion.png"):
        assert contents(tmp_path)[name] == before[name]
    last = s2o.train(*training, options=options(epochs=6), run_dir=tmp_path, resume=True)
    assert same_weights(load_run(tmp_path), last.module)
    assert same_weights(last.module, s2o.train(*training, options=options(epochs=6)).module)


class Killed(BaseException):
    """What a test raises where the process is killed."""


def kill_at(monkeypatch, count):
    """Raise Killed before the file with this number, counted from 0, is written; return how many were."""
    from seq2onnx import files

    write, written = files.atomic_file, []

    def atomic_file(path):
        if len(written) == count:
            raise Killed
        written.append(path)
        return write(path)

    monkeypatch.setattr(files, "atomic_file", atomic_file)
    return written


@pytest.fixture
def quick_pictures(monkeypatch):
    """Pictures that take no time to draw."""
    monkeypatch.setattr(plots, "as_png", lambda _: b"picture")
    monkeypatch.setattr(plots.confusion, "confusion_png", lambda *_: b"picture")


@pytest.mark.usefixtures("quick_pictures")
@pytest.mark.parametrize("resume", [False, True])
def test_a_kill_between_two_files_leaves_no_mix_and_nothing_older(tmp_path, monkeypatch, resume):
    """The folder has a run of the same network with other labels before, or two epochs of the same run."""
    data = random_data(12)
    others = s2o.SequenceDataset(data.sequences, data.labels, data.classes[::-1])
    quick = {"epochs": 3, "batch_size": 12}
    with monkeypatch.context() as patched:
        written = kill_at(patched, -1)
        whole = s2o.train(small_network(), data, data, options=options(**quick), run_dir=tmp_path / "whole")
    if resume:
        first = s2o.train(
            small_network(), data, data, options=options(**quick | {"epochs": 2}), run_dir=tmp_path / "run"
        )
    else:
        first = s2o.train(small_network(), others, others, options=options(**quick), run_dir=tmp_path / "run")
    assert len(written) > 6
    for count in range(len(written) + 1):
        folder = tmp_path / f"killed_{count}"
        shutil.copytree(tmp_path / "run", folder)
        with monkeypatch.context() as patched:
            kill_at(patched, count)
            try:
                s2o.train(small_network(), data, data, options=options(**quick), run_dir=folder, resume=resume)
            except Killed:
                ended = False
            else:
                ended = True
        try:
            found = load_run(folder)
        except s2o.ModelFileError:
            assert not resume  # the weights of the run before are gone, with its labels
        else:
            runs = [run.module for run in (first, whole) if run.module.classes == found.classes]
            assert any(same_weights(found, module) for module in runs)
        if ended or not (folder / "checkpoint.safetensors").exists():
            continue
        s2o.train(small_network(), data, data, options=options(**quick), run_dir=folder, resume=True)
        assert same_weights(load_run(folder), whole.module)
        assert json.loads((folder / "metrics.json").read_text())["epoch"] == len(rows(folder / "history.csv")) == 3


def test_data_with_other_names_of_channels_does_not_resume_a_run(tmp_path):
    data = random_data(12)
    names = ["a", "b", "c", "d"]
    named = s2o.SequenceDataset(data.sequences, data.labels, channels=names)
    s2o.train(small_network(), named, options=options(epochs=1), run_dir=tmp_path)
    swapped = s2o.SequenceDataset(data.sequences, data.labels, channels=["b", "a", "c", "d"])
    with pytest.raises(s2o.SpecError, match="belongs to a run with another channels: a there, b here"):
        s2o.train(small_network(), swapped, options=options(epochs=2), run_dir=tmp_path, resume=True)
    assert load_run(tmp_path).channels == names
    s2o.train(small_network(), named, options=options(epochs=2), run_dir=tmp_path, resume=True)
