"""A reader in a process of its own may crash, hang or fill the memory: the file is then refused."""

from __future__ import annotations

import time

import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx import limits
from seq2onnx.data.formats.apart import read_apart
from tests.clock import HANG


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_text("hello")
    return path


def apart(name, path, *arguments, **more):
    return read_apart(f"tests.readers:{name}", path, *arguments, kind="a file", **more)


def test_arrays_and_plain_values_come_back(file):
    found = apart("give", file, "word")
    cells = found.pop("cells")
    assert (cells.shape, cells.dtype, cells[0, 0].tolist(), cells[0, 1]) == ((1, 2), object, [0, 1, 2], "x")
    assert found["scalar"].shape == ()
    assert found == {"content": "hello", "word": "word", "none": None, "scalar": np.array(2.5), "list": [1, "a"]}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fail", "file: is wrong"),
        ("crash", "file: is not a file, or is damaged: the library that reads it crashed on it"),
        ("mistake", "the library that reads it crashed on it"),
        ("fill", r"file: reading needs more than 1024 MB of memory; if you trust the file, .*trusted=T"),
    ],
)
def test_errors_crashes_and_memory(file, name, message):
    with pytest.raises(s2o.DataError, match=message) as raised:
        apart(name, file)
    assert ("trusted" in str(raised.value)) == (name == "fill")


@pytest.mark.parametrize("name", ["hang", "write_and_hang"])
def test_a_reader_that_waits_or_works_for_ever_is_ended(file, monkeypatch, name):
    monkeypatch.setattr(limits, "SECONDS_APART", 1.0)
    message = r"is damaged: reading took longer than 1 s; if you trust the file, .* trusted=True"
    with pytest.raises(s2o.DataError, match=message):
        apart(name, file)


def test_a_trusted_file_has_no_limits(file, monkeypatch):
    monkeypatch.setattr(limits, "SECONDS_APART", 0.0)
    monkeypatch.setattr(limits, "MEMORY_APART", 0)
    with pytest.raises(s2o.DataError):
        apart("give", file, "word")
    assert apart("give", file, "word", trusted=True)["word"] == "word"


def test_a_reader_that_hangs_ends_by_itself_if_nobody_watches(file, monkeypatch):
    """The process that watches was killed: the system ends the other after its seconds of work."""
    import os
    import subprocess
    import sys

    program = "from seq2onnx import limits; from seq2onnx.data.formats.apart import read_apart; import sys\n"
    program += "import threading; threading.Timer.start = lambda self: None\n"  # it watches by the clock
    program += "limits.SECONDS_APART = 1.0\n"
    program += "read_apart('tests.readers:write_and_hang', sys.argv[1], kind='a file')"
    file.write_text("")
    with subprocess.Popen([sys.executable, "-c", program, str(file)]) as watching:
        until = time.monotonic() + HANG
        while not (number := file.read_text()) and time.monotonic() < until:
            time.sleep(0.02)
        watching.kill()
    while time.monotonic() < until:
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the process still runs")
