"""File formats: a new one is a module and a row in the table."""

from __future__ import annotations

import json
import types

import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx.data import formats, read
from seq2onnx.data.contents import Contents
from tests.command import run
from tests.conftest import CLASSES, random_data

pytestmark = pytest.mark.usefixtures("in_this_process")


def read_toy(path):
    """Read a line of JSON for each sequence: its label and its steps."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return Contents([np.array(x, np.float32) for _, x in rows], [label for label, _ in rows], CLASSES)


def write_toy(contents, path):
    """Write what `read_toy` reads."""
    rows = zip(contents.targets, contents.sequences[""], strict=True)
    path.write_text("\n".join(json.dumps([str(label), x.tolist()]) for label, x in rows))


@pytest.fixture
def toy(monkeypatch):
    """Add a format: the module and its row."""
    module = types.ModuleType("toy")
    module.read, module.write = read_toy, write_toy
    monkeypatch.setitem(formats.FORMATS, ".toy", module)


@pytest.mark.usefixtures("toy")
def test_a_new_format_is_known_to_the_package_and_the_command(tmp_path, model_file):
    data, path = random_data(7), tmp_path / "data.toy"
    data.save(path)
    for found in (read(path), s2o.SequenceDataset.load(path)):
        assert (found.labels.tolist(), found.classes) == (data.labels.tolist(), CLASSES)
        for a, b in zip(found.sequences, data.sequences, strict=True):
            np.testing.assert_array_equal(a, b)
    assert "sequences  7, " in run("data", "inspect", path)[0]
    run("data", "convert", path, tmp_path / "data.parquet")
    run("data", "convert", tmp_path / "data.parquet", tmp_path / "again.toy")
    assert (tmp_path / "again.toy").read_text() == path.read_text()
    assert len(run("predict", model_file, path)[0].splitlines()) == 1 + 7
    for call in (lambda: read(tmp_path / "data.xyz"), lambda: data.save(tmp_path / "data.xyz")):
        with pytest.raises(s2o.DataError, match=r"\.toy.*, got '\.xyz'"):
            call()
    with pytest.raises(s2o.DataError, match=r"sequences applies only to \.parquet, \.mat; leave it out"):
        read(path, sequences="x")


def test_formats_do_not_depend_on_the_data_set():
    import subprocess
    import sys

    code = "import sys, importlib; sys.modules['seq2onnx.data.dataset'] = None\n"
    code += "sys.modules['seq2onnx.data'] = type(sys)('seq2onnx.data')\n"
    code += f"sys.modules['seq2onnx.data'].__path__ = [{formats.__path__[0].removesuffix('/formats')!r}]\n"
    code += "import seq2onnx.data.formats"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("suffix", [suffix for suffix, module in formats.FORMATS.items() if hasattr(module, "write")])
@pytest.mark.parametrize("per_step", [False, True])
def test_every_format_that_is_written_is_read_back(tmp_path, suffix, per_step):
    data, path = random_data(9, per_step=per_step), tmp_path / f"data{suffix}"
    data.save(path)
    again = read(path)
    assert (again.classes, again.per_step, again.lengths.tolist()) == (CLASSES, per_step, data.lengths.tolist())
    for index in range(len(data)):
        np.testing.assert_equal(again[index], data[index])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2\r\n3,4", [[1, 2], [3, 4]]),
        ("\ufeffa,b\n 1 ,\t2\n", [[1, 2]]),
        ('"0","1"\n5,6\n', [[5, 6]]),  # a quoted header is one of names, whatever it says
        ("1,\n,2\n\n  \n", [[1, np.nan], [np.nan, 2]]),
        ("1\n\n2", [[1], [2]]),
        ("1e-3,nan\n-inf,1_0", [[1e-3, np.nan], [-np.inf, 10]]),
        (",\n", [[np.nan, np.nan]]),
        ("1,2\x0c3,4\u20285,6", [[1, 2], [3, 4], [5, 6]]),
    ],
)
def test_csv_fields_are_numbers_or_missing(tmp_path, text, expected):
    (tmp_path / "one.csv").write_bytes(text.encode())
    np.testing.assert_array_equal(read(tmp_path).sequences[0], np.array(expected, np.float32))
