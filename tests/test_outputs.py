"""Outputs that cannot be written, whatever the reason and the command, and standard output of every kind."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys

import pytest

import seq2onnx as s2o
from seq2onnx.errors import Seq2OnnxError, WriteFailed
from seq2onnx.files import atomic_folder, write_atomically
from tests.command import run
from tests.conftest import random_data, small_network

CODES = [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EACCES]
OLD = b"what was there before"


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ready")
    random_data(12).save(folder / "data.npz")
    small_network().save(folder / "network.yaml")
    run("train", folder / "network.yaml", folder / "data.npz", "--out", folder / "run", "--set", "epochs=1", "-q")
    run("export", folder / "run", "--out", folder / "model.onnx", "-q")
    return folder


COMMANDS = {
    "new.onnx": ["export", "run", "--out", "new.onnx"],
    "out.csv": ["predict", "model.onnx", "data.npz", "--out", "out.csv"],
    "out.npz": ["predict", "model.onnx", "data.npz", "--out", "out.npz"],
    "out.parquet": ["predict", "model.onnx", "data.npz", "--out", "out.parquet"],
    "page.html": ["report", "model.onnx", "--out", "page.html"],
    "data.h5": ["data", "convert", "data.npz", "data.h5"],
    "data.parquet": ["data", "convert", "data.npz", "data.parquet"],
    "figures.json": ["evaluate", "model.onnx", "data.npz", "--json", "figures.json"],
    "new.yaml": ["new", "sequence-classifier", "--out", "new.yaml"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_names_the_output_that_it_cannot_write(ready, tmp_path, monkeypatch, name):
    """The system refuses to store the file, as a disk does that is full, broken or read-only."""
    here = shutil.copytree(ready, tmp_path / "here")
    monkeypatch.chdir(here)
    path = here / name
    if name != "new.yaml":  # which is never overwritten
        path.write_bytes(OLD)
    before = sorted(p.name for p in here.iterdir())
    for code in CODES:

        def refuse(descriptor, code=code):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", refuse)
        _, errors = run(*COMMANDS[name], code=2)
        reason = os.strerror(code)
        there = "Nothing is there" if name == "new.yaml" else "What was there is unchanged"
        assert errors.splitlines()[-1].startswith("seq2onnx: ")
        assert errors.endswith(f"{name}: {reason[0].lower()}{reason[1:]}; it is not written. {there}\n")
        assert name == "new.yaml" or path.read_bytes() == OLD
        assert sorted(p.name for p in here.iterdir()) == before


@pytest.mark.parametrize("code", CODES)
def test_an_error_while_the_bytes_are_written_is_one_of_this_package(tmp_path, monkeypatch, code):
    path, folder = tmp_path / "file", tmp_path / "folder"
    path.write_bytes(OLD)

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    message = r"folder/a: .*; it is not written. Nothing is there"
    with pytest.raises(WriteFailed, match=message) as raised, atomic_folder(folder) as made:
        raise OSError(code, os.strerror(code), str(made / "a"))
    assert isinstance(raised.value, Seq2OnnxError)
    assert raised.value.errno == code
    with pytest.raises(WriteFailed, match=r"folder: .*; it is not written. Nothing is there"), atomic_folder(folder):
        refuse()  # as a full disk does when a text file is closed
    monkeypatch.setattr(type(path), "write_bytes", refuse)
    with pytest.raises(WriteFailed, match=r"file: .*; it is not written. What was there is unchanged"):
        write_atomically(path, b"new")
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


def test_training_names_the_lock_that_it_cannot_make(ready, tmp_path, monkeypatch):
    real = os.open

    def refuse(path, flags, *more, **named):
        if flags & os.O_CREAT and os.fspath(tmp_path) in os.fsdecode(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", refuse)
    arguments = [ready / "network.yaml", ready / "data.npz", "--out", tmp_path / "run", "--set", "epochs=1", "-q"]
    _, errors = run("train", *arguments, code=2)
    assert "/run/lock: no space left on device; it is not written. Nothing is there\n" in errors


# Standard output -----------------------------------------------------------------------------------------------------

ASCII = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="module")
def umlauts(tmp_path_factory):
    """A file with classes that ASCII does not have, and data."""
    folder = tmp_path_factory.mktemp("umlauts")
    data = random_data(2000)
    module = s2o.build(s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3, output_mode="last"), s2o.FullyConnected(2)]))
    s2o.export(module, folder / "model.onnx", classes=["größer", "\N{GREEK SMALL LETTER MU}"])
    data.save(folder / "data.npz")
    return folder


def start(*arguments, **more):
    return subprocess.Popen([sys.executable, "-m", "tests.command", *map(str, arguments)], env=ASCII, **more)


def test_data_on_a_pipe_are_utf_8_in_every_locale(umlauts):
    pipe = subprocess.PIPE
    for arguments in (
        ["predict", umlauts / "model.onnx", umlauts / "data.npz"],
        ["stream", umlauts / "model.onnx"],
        ["inspect", umlauts / "model.onnx"],
    ):
        with start(*arguments, stdin=pipe, stdout=pipe, stderr=pipe) as process:
            output, errors = process.communicate(b"1,2,3,4\n" * 3)
        assert process.returncode == 0, errors
        assert {word for word in ("größer", "μ") if word in output.decode()}, output[:300]
        assert not errors


def test_a_closed_pipe_ends_quietly(umlauts):
    for arguments in (
        ["predict", umlauts / "model.onnx", umlauts / "data.npz"],
        ["inspect", umlauts / "model.onnx"],
        ["--help"],
    ):
        reader, writer = os.pipe()
        os.close(reader)
        with start(*arguments, stdout=writer, stderr=subprocess.PIPE) as process:
            os.close(writer)
            errors = process.communicate()[1]
        assert process.returncode in (0, 1)
        assert not errors


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no full device")  # noqa: PTH110
def test_a_full_disk_behind_standard_output_is_named(umlauts):
    for arguments in (["predict", umlauts / "model.onnx", umlauts / "data.npz"], ["inspect", umlauts / "model.onnx"]):
        with open("/dev/full", "w") as full, start(*arguments, stdout=full, stderr=subprocess.PIPE) as process:  # noqa: PTH123
            errors = process.communicate()[1]
        assert process.returncode == 2
        assert errors == b"seq2onnx: standard output: no space left on device\n"
