"""The wheel works where nothing but what it asks for is installed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

import seq2onnx as s2o
from tests.wheel import ROOT, build, install

MODEL = Path(__file__).parent / "old_files" / "full.onnx"

RUNTIME = """
import importlib.util, sys
from importlib.metadata import entry_points
import numpy as np
import seq2onnx as s2o
assert "site-packages" in s2o.__file__
assert not any(map(importlib.util.find_spec, ["torch", "onnx", "matplotlib", "h5py", "pytest"]))
model = s2o.load(sys.argv[1])
stream = model.stream()
np.save("y.npy", [stream.step(np.full(3, number, "f")) for number in range(4)])
(command,) = entry_points(group="console_scripts", name="seq2onnx")
sys.argv[:1] = ["seq2onnx", "inspect"]
command.load()()
"""

TRAINING = """
import importlib.util
import numpy as np
import seq2onnx as s2o
assert not any(map(importlib.util.find_spec, ["h5py", "pyarrow", "pytest", "sklearn"]))
network = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(8, "last"), s2o.FullyConnected(2), s2o.Softmax()])
data = s2o.SequenceDataset([np.ones((5, 4)), np.zeros((3, 4))], ["a", "b"])
options = s2o.TrainingOptions(epochs=2, progress=False)
result = s2o.train(network, data, options=options)
s2o.export(result.module, "model.onnx")
assert s2o.verify("model.onnx", result.module).ok
print(s2o.load("model.onnx").stream().step(np.ones(4)))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build(tmp_path_factory.mktemp("wheel"))


def run(python: Path, code: str, folder: Path, *arguments: object) -> str:
    """Run a script with what is installed alone, not what lies in this folder or in PYTHONPATH."""
    command = [python, "-I", "-W", "error", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_every_file_of_the_package(wheel):
    there = {name for name in ZipFile(wheel).namelist() if name.startswith("seq2onnx/")}
    files = (path for path in (ROOT / "seq2onnx").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert there == {path.relative_to(ROOT).as_posix() for path in files}


def test_files_run_with_the_extra_cpu_alone(wheel, tmp_path):
    shown = run(install(wheel, tmp_path / "environment", "cpu"), RUNTIME, tmp_path, MODEL)
    assert "full" in shown
    stream = s2o.load(MODEL).stream()
    expected = [stream.step(np.full(3, number, "f")) for number in range(4)]
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)


@pytest.mark.slow
def test_networks_are_trained_with_the_extras_cpu_and_train(wheel, tmp_path):
    scores = run(install(wheel, tmp_path / "environment", "cpu", "train"), TRAINING, tmp_path)
    assert len(scores.strip(" []\n").split()) == 2
