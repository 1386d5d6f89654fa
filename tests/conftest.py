"""What several test files use."""

from __future__ import annotations

import contextlib
import io
import os
import random

import hypothesis
import numpy as np
import pytest

import seq2onnx as s2o

with contextlib.suppress(ImportError):  # some tests run where it is not installed
    import torch

# The time of an example depends on what else the machine does, and a random one can fail by chance.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], derandomize=True, database=None
)
hypothesis.settings.load_profile("suite")

# Help and tables have the width and the colors of the terminal.
for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR", "PY_COLORS", "TERMINAL_WIDTH", "TTY_COMPATIBLE"):
    os.environ.pop(name, None)
os.environ["COLUMNS"] = "80"

CLASSES = ["left", "right", "up"]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    seed_all()


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup():
    seed_all()


def seed_all() -> None:
    """Random numbers of a test, and of a fixture that several tests share, do not depend on what ran before."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in globals():
        torch.manual_seed(0)


def small_network(output_mode="last", normalization="zscore") -> s2o.Network:
    return s2o.Network(
        [
            s2o.SequenceInput(4, normalization),
            s2o.LSTM(8, output_mode),
            s2o.Dropout(0.2),
            s2o.FullyConnected(3),
            s2o.Softmax(),
        ],
        name="small",
    )


def random_data(count=12, per_step=False, seed=0) -> s2o.SequenceDataset:
    """Sequences of 3 to 11 steps whose label says which of the first features is raised, or largest at a step."""
    rng = np.random.default_rng(seed)
    sequences = [5 + 3 * rng.normal(size=(n, 4)) for n in rng.integers(3, 12, count)]
    if per_step:
        labels = [np.array(CLASSES)[x[:, :3].argmax(1)] for x in sequences]
    else:
        raised = rng.integers(0, 3, count)
        for x, feature in zip(sequences, raised, strict=True):
            x[:, feature] += 4
        labels = [CLASSES[feature] for feature in raised]
    return s2o.SequenceDataset(sequences, labels, CLASSES)


@pytest.fixture(scope="session")
def data() -> s2o.SequenceDataset:
    return random_data()


def built(network: s2o.Network, data: s2o.SequenceDataset, seed: int = 0):
    torch.manual_seed(seed)
    return s2o.build(network, data).eval()


def described(values) -> dict[str, tuple[str, list[str | int]]]:
    """The element type and the dimensions of a graph's inputs or outputs, by name."""
    import onnx

    return {
        v.name: (
            onnx.TensorProto.DataType.Name(v.type.tensor_type.elem_type),
            [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim],
        )
        for v in values
    }


@pytest.fixture
def in_this_process(monkeypatch):
    """Data files are read in this process: to start one of their own takes longer than most tests of a format."""
    from seq2onnx.data.formats import apart, hdf5, mat_variables, parquet

    def read(reader, path, *arguments, kind, trusted=False):
        pipe = io.BytesIO()
        try:
            apart.send_answer(pipe, reader, str(path), arguments)
        except Exception:  # it would end the process
            raise s2o.DataError(f"{path}: is not {kind}, or is damaged: {apart.CRASHED}") from None
        pipe.seek(0)
        return apart.value_of(apart.receive(pipe))

    for module in (hdf5, mat_variables, parquet):
        monkeypatch.setattr(module, "read_apart", read)


@pytest.fixture(scope="session", params=["full", "sequence", "stream"])
def exported(request, data, tmp_path_factory):
    """A file of each signature."""
    path = tmp_path_factory.mktemp("models") / f"{request.param}.onnx"
    s2o.export(built(small_network(), data), path, signature=request.param, classes=CLASSES)
    return path


@pytest.fixture(scope="session")
def model_file(data, tmp_path_factory):
    """A file with the full signature and every activation."""
    path = tmp_path_factory.mktemp("models") / "small.onnx"
    s2o.export(built(small_network(), data), path, classes=CLASSES, activations=True)
    return path


@pytest.fixture(scope="session")
def per_step_file(tmp_path_factory):
    """A file of a network that answers per step."""
    path = tmp_path_factory.mktemp("models") / "per_step.onnx"
    s2o.export(built(small_network("sequence"), random_data(per_step=True)), path, classes=CLASSES)
    return path
