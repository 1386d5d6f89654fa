"""Several processes: the same batches, shared out, come to what one process comes to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.sequences import PaddingPolicy
from seq2onnx.training.batch_dataset import Batches
from seq2onnx.training.processes import Processes
from tests.clock import HANG
from tests.command import run as run_here
from tests.conftest import random_data, small_network

ROOT = Path(__file__).parent.parent
TWO = {"devices": 2, "device": "cpu", "progress": False, "threads": 1}


def run(*command, cwd=ROOT):
    """In its own process, with what lightning set in this one left out."""
    kept = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "WORLD_SIZE")}
    found = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=kept | {"PYTHONPATH": str(ROOT)},
        timeout=HANG,
    )
    assert found.returncode == 0, found.stderr
    return found


def network():
    """The means of both BatchNorm layers, with time and without, are over the rows of all processes."""
    layers = [s2o.SequenceInput(4, "zscore"), s2o.Conv1d(6, 3, padding="same"), s2o.ReLU(), s2o.BatchNorm()]
    layers += [s2o.LSTM(8, "last"), s2o.BatchNorm(), s2o.FullyConnected(3), s2o.Softmax()]
    return s2o.Network(layers)


def close(history, other):
    assert len(history) == len(other)
    for row, twin in zip(history, other, strict=True):
        assert row.keys() == twin.keys()
        for name in row.keys() - {"seconds"}:
            assert row[name] == pytest.approx(twin[name], rel=1e-5, abs=1e-5), (name, row["epoch"])


def test_one_command_trains_in_two_processes_as_in_one(tmp_path, monkeypatch):
    """The last of the batches has a single row, so that the second process has none."""
    network().save(tmp_path / "net.yaml")
    random_data(25).save(tmp_path / "data.npz")
    random_data(13, seed=1).save(tmp_path / "validation.npz")
    monkeypatch.chdir(tmp_path)
    command = ["train", "net.yaml", "data.npz", "--validation", "validation.npz"]
    for setting in [
        "device=cpu",
        "threads=1",
        "batch_size=4",
        "epochs=3",
        "learning_rate=0.01",
        "class_weights=balanced",
        "baseline=false",  # several processes have none
    ]:
        command += ["--set", setting]
    one_out, one_err = run_here(*command, "--out", "one")
    two = run("-m", "tests.command", *command, "--set", "devices=2", "--out", "two", cwd=tmp_path)
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")]
    close(metrics[:1], metrics[1:])
    assert {path.name for path in (tmp_path / "one").iterdir()} == {path.name for path in (tmp_path / "two").iterdir()}
    # The first process alone speaks.
    assert len(two.stdout.splitlines()) == len(one_out.splitlines()) == 1
    assert len(two.stderr.splitlines()) == len(one_err.splitlines()) == 3


SCRIPT = """
import json, os, signal, sys, warnings
import numpy as np, pytorch_lightning as lightning, torch
import seq2onnx as s2o
from tests.test_devices import numbers, options, pairs, wide

class Interrupt(lightning.Callback):
    def on_train_batch_start(self, trainer, learner, batch, index):
        if trainer.global_rank == 1 and len(learner.history) == 2 and index == 1:
            os.kill(os.getpid(), signal.SIGINT)

def infinite_in_one(y, target):
    rank, epoch_2 = torch.distributed.get_rank(), len(calls) >= 22
    calls.append(rank)
    return (y - target).square().sum(1) * (float("inf") if rank == 1 and epoch_2 else 1.0)

calls = []

def main():
    found = {}
    result = s2o.train(wide(), *pairs(), options=options(devices=2))
    found["numbers"] = result.history
    result = s2o.train(wide(), *pairs(), options=options(devices=2, epochs=50), callbacks=[Interrupt()])
    found["stopped"] = result.history
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = s2o.train(wide(), *pairs(), loss=infinite_in_one, options=options(devices=2))
    found["diverged"] = [result.diverged, len(result.history), len(told), int(result.rank == 0)]
    with open(f"{sys.argv[1]}/{result.rank}.json", "w") as file:
        json.dump(found, file)

if __name__ == "__main__":
    main()
"""


def wide():
    """A window that the shortest sequences just fill."""
    layers = [s2o.SequenceInput(4), s2o.Conv1d(3, 4), s2o.ReLU(), s2o.LSTM(5, "last"), s2o.FullyConnected(2)]
    return s2o.Network(layers)


def numbers(count, seed):
    """Numbers to learn, one row in five of them ignored."""
    rng = np.random.default_rng(seed)
    sequences = [rng.normal(size=(n, 4)) for n in rng.integers(4, 9, count)]
    targets = np.array([x.sum(0)[:2] for x in sequences])
    targets[::5] = np.nan
    return s2o.SequenceDataset(sequences, targets, ignore=np.nan)


def pairs():
    return numbers(21, 0), numbers(9, 1)


def options(**more):
    return s2o.TrainingOptions(**({"epochs": 4, "batch_size": 2, "learning_rate": 0.01, **TWO, "devices": 1} | more))


def test_a_script_runs_in_each_process_and_all_get_the_result(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    run(tmp_path / "script.py", tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    close(first["numbers"], second["numbers"])
    close(first["numbers"], s2o.train(wide(), *pairs(), options=options()).history)
    assert {"validation_r2", "validation_mae", "validation_rmse"} < first["numbers"][-1].keys()
    # Ctrl-C in one process, and all stop.
    assert len(first["stopped"]) == len(second["stopped"]) == 2
    # A loss that is infinite in one process: both stop after the same epoch, and the first one says so.
    for diverged, epochs, told, is_first in (first["diverged"], second["diverged"]):
        assert diverged
        assert told == is_first
        assert epochs == first["diverged"][1]


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_rows_are_distributed_without_loss_or_duplication(rows):
    data = random_data(12, per_step=True)
    indices = list(range(5, 5 + rows))
    shares = [Batches(data, processes=Processes(rank, 3))[0, indices] for rank in range(3)]
    lengths = torch.cat([share.lengths for share in shares])
    assert sorted(lengths.tolist()) == sorted(data.lengths[indices].tolist())
    targets = torch.cat([share.target for share in shares])
    assert sorted(targets.tolist()) == sorted(np.concatenate([data.targets[i] for i in indices]).tolist())
    assert all(len(share.x) == len(share.lengths) and share.x.shape[1] for share in shares)


@pytest.mark.parametrize(
    "policy",
    [
        PaddingPolicy("shortest"),
        PaddingPolicy("shortest", padding_direction="left", mask_padding=False),
        PaddingPolicy(padding_direction="left", mask_padding=False, padding_value=2.0),
        PaddingPolicy(5, mask_padding=False),
        PaddingPolicy(("split", 4)),
    ],
    ids=str,
)
def test_several_processes_pad_rows_as_one_process_does(policy):
    data, indices = random_data(12, per_step=True), [3, 8, 1, 5, 6]
    clock = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3)]).signals["lstm_1"].clock
    whole = Batches(data, policy, clock)[0, indices]
    for rank in range(2):
        share = Batches(data, policy, clock, processes=Processes(rank, 2))[0, indices]
        mine = slice(rank, None, 2)
        assert share.steps == whole.steps
        assert share.lengths.tolist() == whole.lengths[mine].tolist()
        steps = share.x.shape[1]
        torch.testing.assert_close(share.x, whole.x[mine][:, :steps], rtol=0, atol=0)
        assert policy.mask_padding or steps == whole.x.shape[1]
        for name in ("first", "counts"):
            if getattr(whole, name) is not None:
                assert getattr(share, name).tolist() == getattr(whole, name)[mine].tolist()
    none = Batches(data, policy, clock, processes=Processes(1, 2))[0, [3]]
    assert (len(none.x), none.steps) == (0, Batches(data, policy, clock)[0, [3]].steps)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_transform_draws_the_same_with_any_number_of_workers(workers):
    data = random_data(12)
    changed = data.transformed(noisy, batch=halved)
    options = s2o.TrainingOptions(epochs=2, batch_size=5, workers=workers, progress=False)
    found = s2o.train(small_network(), changed, 0.25, options=options).module
    expected = s2o.train(
        small_network(), changed, 0.25, options=s2o.TrainingOptions(epochs=2, batch_size=5, progress=False)
    )
    for a, b in zip(found.state_dict().values(), expected.module.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    plain = s2o.train(small_network(), data, 0.25, options=options).module
    assert not torch.equal(plain.layers["lstm_1"]["bias"], found.layers["lstm_1"]["bias"])


def noisy(x, target, rng):
    return x + rng.normal(0, 0.1, x.shape), target


def halved(batch):
    batch.x = batch.x / 2
    return batch


def test_a_process_without_rows_has_zero_gradients():
    module = s2o.build(network(), random_data())
    share = Batches(random_data(), processes=Processes(1, 2))[0, [3]]
    y, _, _ = module(share.x, share.lengths, return_state=False, check=False)
    y.sum().backward()
    assert y.shape == (0, 3)
    assert all((parameter.grad == 0).all() for parameter in module.parameters())


def test_errors_name_options_that_several_processes_cannot_use(monkeypatch):
    def refused(message, **more):
        with pytest.raises(s2o.SpecError, match=message):
            s2o.train(small_network(), random_data(), options=s2o.TrainingOptions(**more))

    refused("precision: 16-mixed needs a CUDA device. On the CPU use bf16-mixed", precision="16-mixed", device="cpu")
    monkeypatch.setattr(sys, "argv", ["-c"])
    refused("devices: 2 processes start by running the script again, but this is not a script", **TWO)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    refused("devices: torchrun started 4 processes here. Set devices=4", device="cpu")


def test_half_precision_gives_nearly_the_same_training():
    losses = {}
    for precision in ("32", "bf16-mixed"):
        result = s2o.train(network(), random_data(60), options=options(precision=precision, epochs=10, batch_size=10))
        losses[precision] = result.history[-1]["loss"]
        assert {value.dtype for value in result.module.state_dict().values()} == {torch.float32}
    assert losses["32"] != losses["bf16-mixed"]
    assert losses["bf16-mixed"] == pytest.approx(losses["32"], rel=0.1)
    assert s2o.TrainingOptions(precision=32).precision == "32"


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers):
    settings = {"epochs": 3, "batch_size": 5, "shuffle": "bucket"}
    plain = s2o.train(small_network(), random_data(23), 0.2, options=options(**settings))
    loaded = s2o.train(small_network(), random_data(23), 0.2, options=options(**settings, workers=workers, prefetch=1))
    close(plain.history, loaded.history)
    assert all(torch.equal(w, loaded.module.state_dict()[n]) for n, w in plain.module.state_dict().items())
