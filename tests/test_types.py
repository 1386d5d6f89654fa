"""What a type checker knows about the package, in an environment that has the wheel and not the source."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.wheel import build, install

RIGHT = """
import numpy as np

import seq2onnx as s2o

network = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(8, "last", name="memory"), s2o.FullyConnected(2), s2o.Softmax()])
data = s2o.SequenceDataset([np.ones((5, 4)), np.zeros((3, 4))], ["a", "b"])
result = s2o.train(network, data, 0.5, options=s2o.TrainingOptions(epochs=3, betas=(0.9, 0.99)))
s2o.export(result.module, "model.onnx", classes=["a", "b"])
model = s2o.load("model.onnx")
stream = model.stream()
answer = stream.step(np.ones(4))
print(answer[0] + 1, answer["now"], model.predict(data)[0], network.layers[0].name, s2o.datasets.japanese_vowels())
reveal_type(network)
reveal_type(s2o.LSTM(8).hidden_size)
reveal_type(s2o.TrainingOptions().epochs)
reveal_type(result)
reveal_type(result.history)
reveal_type(model)
reveal_type(stream)
reveal_type(answer)
reveal_type(model.predict(data))
reveal_type(model.pool().step([0], np.ones((1, 4))))
reveal_type(s2o.verify("model.onnx"))
"""
ARRAY = "numpy.ndarray[tuple[Any, ...], numpy.dtype[Any]] | Any"
REVEALED = [
    "seq2onnx.network.Network",
    "int",
    "int",
    "seq2onnx.training.result.TrainingResult",
    "list[dict[str, float]]",
    "seq2onnx.runtime.predictor.Predictor",
    "seq2onnx.runtime.stream.Stream",
    ARRAY,
    ARRAY,
    ARRAY,
    "seq2onnx.parity.comparing.ParityReport",
]

WRONG = """
s2o.TrainingOptions(epoch=3)
s2o.TrainingOptions(epochs="3")
s2o.TrainingOptions(schedule="cosin")
s2o.TrainingOptions().epochs = 3
s2o.LSTM(hiden_size=3)
s2o.LSTM("3")
s2o.LSTM(3, "lst")
s2o.LSTM()
s2o.LSTM(3).hidden_size = 4
s2o.Network(s2o.LSTM(3))
s2o.nothing
s2o.load(3)
s2o.load("model.onnx", "cpus")
s2o.load("model.onnx").stream().stepp
s2o.load("model.onnx").predict([], progres=True)
s2o.train(3, s2o.datasets.japanese_vowels()[0])
s2o.export(3)
"""


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    """A function that runs mypy on a user's script and returns its exit code and its lines."""
    folder = tmp_path_factory.mktemp("user")
    python = install(build(folder), folder / "environment")

    def run(text):
        (folder / "script.py").write_text(text)
        command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "script.py"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines()

    return run


def test_a_right_script_has_no_errors_and_its_types_are_known(check):
    code, lines = check(RIGHT)
    assert code == 0, lines
    assert re.findall(r'Revealed type is "(.*)"', "\n".join(lines)) == REVEALED


def test_each_mistake_is_an_error(check):
    code, lines = check("import seq2onnx as s2o\n" + WRONG)
    assert code == 1
    found = {int(number) for number in re.findall(r"script.py:(\d+): error", "\n".join(lines))}
    assert found == {number for number, line in enumerate(WRONG.splitlines(), 2) if line}, lines
