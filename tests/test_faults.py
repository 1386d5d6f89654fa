"""Commands that are killed, disks that fill, folders that are read-only: nothing is torn, nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import seq2onnx as s2o
from seq2onnx import limits
from seq2onnx.cli import app
from tests.clock import HANG, at_most
from tests.command import run
from tests.conftest import random_data, small_network
from tests.foreign import plain_lstm
from tests.forked import Started

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A folder with data, a network, a finished run and its file, and every output as it should be."""
    folder = tmp_path_factory.mktemp("ready")
    random_data(40).save(folder / "data.npz")
    small_network().save(folder / "network.yaml")
    plain_lstm().save(folder)
    network = s2o.Network([s2o.SequenceInput(2), s2o.Rescale(1, name="scores")])
    s2o.export(s2o.build(network), folder / "scores.onnx", classes=["none", "knock"])
    _knocks().save(folder / "knocks.npz")
    for arguments in (TRAIN, EXPORT, CONVERT, PREDICT, REPORT, IMPORT, TUNE):
        run(*arguments_for(arguments, folder))
    return folder


QUICK = ["--set", "device=cpu", "--set", "threads=1", "--quiet"]
TRAIN = ["train", "HERE/network.yaml", "HERE/data.npz", "--out", "HERE/run", "--set", "epochs=20", *QUICK]
EXPORT = ["export", "HERE/run", "--out", "HERE/model.onnx"]
CONVERT = ["data", "convert", "HERE/data.npz", "HERE/data.parquet"]
PREDICT = ["predict", "HERE/model.onnx", "HERE/data.npz", "--out", "HERE/predicted.csv"]
REPORT = ["report", "HERE/model.onnx", "--out", "HERE/report.html"]
IMPORT = ["import", "HERE/foreign.onnx", "--out", "HERE/imported.onnx"]
TUNE = ["tune", "HERE/scores.onnx", "HERE/knocks.npz", "--label", "knock", "--rate", 100, "--false-alarms", 0]
TUNE += ["--out", "HERE/tuned.onnx"]
OUTPUTS = {"model.onnx": EXPORT, "data.parquet": CONVERT, "predicted.csv": PREDICT, "report.html": REPORT}
OUTPUTS |= {"imported.onnx": IMPORT, "tuned.onnx": TUNE}
OLD = b"what was there before"


def _knocks() -> s2o.SequenceDataset:
    """Scores of 1,000 steps with two events."""
    x, labels = np.zeros((1000, 2), np.float32), np.full(1000, "none", "U5")
    for at in (100, 600):
        x[at : at + 10, 1], labels[at : at + 10] = 1, "knock"
    return s2o.SequenceDataset([x], [labels], ["none", "knock"])


@pytest.fixture
def here(ready, tmp_path):
    return shutil.copytree(ready, tmp_path / "here")


def arguments_for(arguments, here):
    return [str(argument).replace("HERE", str(here)) for argument in arguments]


def kill_at_a_random_moment(arguments, rng, first_sign, more):
    """Start a command and kill it: `more` seconds at most after `first_sign` is there, or after it has begun."""
    with Started(*arguments) as process:
        until = time.monotonic() + HANG
        while process.returncode is None and not first_sign() and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, more))
        process.kill()


def is_whole(path: Path, ready: Path) -> bool:
    """Return whether a file is complete, and has the content that it should have."""
    if path.suffix == ".onnx":
        features = s2o.load(ready / path.name).model.inputs[0].shape[0]
        data = [x[:, :features] for x in random_data(40).sequences]
        found, expected = (s2o.load(folder / path.name).predict(data) for folder in (path.parent, ready))
        return all(np.array_equal(*rows) for rows in zip(found, expected, strict=True))
    if path.suffix == ".parquet":
        return s2o.data.read(path).labels.tolist() == random_data(40).labels.tolist()
    if path.suffix == ".csv":
        return path.read_bytes() == (ready / path.name).read_bytes()
    return path.read_text().rstrip().endswith("</html>")


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("times", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_a_killed_command_leaves_the_old_file_or_the_new_one(here, ready, name, times):
    rng, path, command = random.Random(name), here / name, arguments_for(OUTPUTS[name], here)
    for _ in range(times):
        path.write_bytes(OLD)
        # The temporary file is the sign that the command has begun to write.
        kill_at_a_random_moment(command, rng, lambda: any(p.name.startswith(f".{name}") for p in here.iterdir()), 0.02)
        assert path.read_bytes() == OLD or is_whole(path, ready)
    with Started(*command) as process:
        process.errors()
    assert process.returncode == 0
    assert is_whole(path, ready)
    assert not [p for p in here.iterdir() if p.name.startswith(".")]


SAVING = """
import itertools, sys
import numpy as np
import seq2onnx as s2o
stream = s2o.load("model.onnx").stream()
states = []
for x in (np.ones((3, 4)), np.zeros((2, 4))):
    stream.reset()
    stream.step(x)
    states.append(stream.state)
networks = [s2o.Network([s2o.SequenceInput(4), s2o.LSTM(size)]) for size in (2, 3)]
data = [s2o.SequenceDataset([np.full((50, 4), turn)] * 4, ["a", "b"] * 2) for turn in (0, 1)]
for turn in itertools.cycle((0, 1)):
    stream.state = states[turn]
    stream.save("state.npz")
    networks[turn].save("net.yaml")
    networks[turn].save("net.json")
    for suffix in ("npz", "h5", "parquet"):
        data[turn].save(f"saved.{suffix}")
    print(flush=True)
"""


@pytest.mark.parametrize("times", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_a_program_killed_while_it_saves_leaves_whole_files(here, times):
    """A stream, networks and data sets; each file is the one of this turn or of the turn before."""
    rng = random.Random(3)
    environment = ENVIRONMENT | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    for _ in range(times):
        command = [sys.executable, "-c", SAVING]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=here, env=environment) as process:
            assert process.stdout.readline(), "the program has ended"
            time.sleep(rng.uniform(0, 0.1))
            process.kill()
        stream = s2o.load(here / "model.onnx").stream()
        stream.load(here / "state.npz")
        assert np.isfinite(stream.step(np.ones(4))).all()
        for name in ("net.yaml", "net.json"):
            assert s2o.Network.load(here / name).layers[1].hidden_size in (2, 3)
        for suffix in ("npz", "h5", "parquet"):
            data = s2o.data.read(here / f"saved.{suffix}")
            assert data.labels.tolist() == ["a", "b"] * 2
            assert np.ptp(np.stack(list(data.sequences))) == 0


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_training_resumes_to_the_same_weights(here, ready, times):
    rng, run = random.Random(5), here / "run"
    shutil.rmtree(run)
    command = arguments_for(TRAIN, here)
    checkpoint = run / "checkpoint.safetensors"
    for _ in range(times):
        kill_at_a_random_moment(command, rng, checkpoint.exists, 0.5)
        if checkpoint.exists() and "--resume" not in command:
            command.append("--resume")
    with Started(*command) as process:
        errors = process.errors()
    assert process.returncode == 0, errors
    for name in ("weights.safetensors", "network.yaml", "options.yaml"):
        assert (run / name).read_bytes() == (ready / "run" / name).read_bytes()
    assert not [p.name for p in run.iterdir() if p.name.startswith(".") or p.name == "lock"]


def test_two_trainings_at_once_in_one_folder_end_with_one_run_and_one_refusal(here, ready):
    shutil.rmtree(here / "run")
    both = [Started(*arguments_for(TRAIN, here)) for _ in range(2)]
    errors = [process.errors() for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], errors
    refused = next(text for text, process in zip(errors, both, strict=True) if process.returncode)
    # If the other has already ended, its run is there.
    assert re.fullmatch(r"seq2onnx: .*/run: (another process trains in this|already contains a run).*\n", refused)
    assert (here / "run/weights.safetensors").read_bytes() == (ready / "run/weights.safetensors").read_bytes()


@pytest.mark.parametrize("name", OUTPUTS)
def test_two_commands_that_write_one_file_at_once_leave_a_whole_one(here, ready, name):
    both = [Started(*arguments_for(OUTPUTS[name], here)) for _ in range(2)]
    errors = [process.errors() for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert is_whole(here / name, ready)
    assert not [p for p in here.iterdir() if p.name.startswith(".")]


# Disks with errors ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def failing(call, number):
    """A disk on which one system call fails: the `number`-th fsync or replace. Gives what counts the calls."""
    count, usual = itertools.count(1), getattr(os, call)

    def fails(*arguments, **more):
        if next(count) == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return usual(*arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, call, fails)
        yield count


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_disk_with_an_error_leaves_the_old_file_and_names_it(here, ready, name, call):
    path, command = here / name, arguments_for(OUTPUTS[name], here)
    path.write_bytes(OLD)
    with failing(call, 1):
        _, errors = run(*command, code=2)
    assert errors == f"seq2onnx: {path}: input/output error; it is not written. What was there is unchanged\n"
    assert path.read_bytes() == OLD
    run(*command)
    assert is_whole(path, ready)
    assert not [p for p in here.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("numbers", [(1, 4), pytest.param(range(1, 100), marks=pytest.mark.slow)])
@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.filterwarnings("ignore:.*Training continues:RuntimeWarning")  # it needs no checkpoint
def test_a_training_ends_with_the_same_weights_after_an_error_of_the_disk(here, ready, call, numbers):
    command, met = arguments_for(TRAIN, here), 0
    for number in numbers:
        shutil.rmtree(here / "run")
        with failing(call, number) as count:
            code = CliRunner().invoke(app, command).exit_code
        assert code in (0, 2)
        if code:
            resumes = ["--resume"] if (here / "run/checkpoint.safetensors").exists() else []
            if not resumes:
                shutil.rmtree(here / "run", ignore_errors=True)
            run(*command, *resumes)
        for name in ("weights.safetensors", "network.yaml", "options.yaml"):
            assert (here / "run" / name).read_bytes() == (ready / "run" / name).read_bytes()
        assert not [p.name for p in (here / "run").iterdir() if p.name.startswith(".") or p.name == "lock"]
        if next(count) <= number:  # it wrote less often
            break
        met += 1
    assert met > 1


# Disks that fill -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_disk_that_fills_leaves_the_old_file_and_names_it(here, name):
    path = here / name
    path.write_bytes(OLD)
    with Started(*arguments_for(OUTPUTS[name], here), most_bytes=300) as process:
        errors = process.errors()
    assert process.returncode == 2, errors
    assert re.fullmatch(rf"seq2onnx: .*{re.escape(name)}.*(file too large|File too large).*\n", errors), errors
    assert path.read_bytes() == OLD
    assert not [p for p in here.iterdir() if p.name.startswith(".")]


def test_training_on_a_disk_that_fills_says_what_is_left(here):
    shutil.rmtree(here / "run")
    with Started(*arguments_for(TRAIN, here), most_bytes=2000) as process:  # options.yaml fits, a checkpoint does not
        errors = process.errors()
    assert process.returncode == 2
    assert "Traceback" not in errors
    assert "Make room, then resume from its last checkpoint" in errors
    with Started(*arguments_for(TRAIN, here), "--resume") as process:
        errors = process.errors()
    assert process.returncode in (0, 2), errors  # 2: there was no room for any checkpoint
    assert process.returncode == 0 or "has no checkpoint.safetensors to resume from" in errors


@pytest.mark.parametrize("name", [*OUTPUTS, "run"])
def test_a_folder_that_is_read_only_is_named(here, name, tmp_path):
    place = tmp_path / "readonly"
    place.mkdir()
    command = arguments_for(OUTPUTS.get(name, TRAIN), here)
    command = [argument.replace(str(here / name), str(place / name)) for argument in command]
    with read_only(place), Started(*command) as process:
        errors = process.errors()
    assert process.returncode == 2, errors
    reason = "(permission denied|read-only file system); it is not written. Nothing is there"
    assert re.fullmatch(rf"seq2onnx: {place}/{re.escape(name)}: {reason}\n", errors)
    assert not list(place.iterdir())


class read_only:  # noqa: N801
    """Nobody, not even root, can write in the folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __enter__(self):
        self.mounted = os.geteuid() == 0
        if self.mounted and subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", self.folder]).returncode:
            pytest.skip("root may not mount here")
        if not self.mounted:
            os.chmod(self.folder, 0o500)  # noqa: PTH101

    def __exit__(self, *_):
        if self.mounted:
            subprocess.run(["umount", self.folder], check=True)
        else:
            os.chmod(self.folder, 0o700)  # noqa: PTH101


# seq2onnx stream -----------------------------------------------------------------------------------------------------


def stream(model, content):
    command = [sys.executable, "-m", "tests.command", "stream", str(model)]
    return subprocess.run(command, input=content, capture_output=True, env=ENVIRONMENT, timeout=HANG, check=False)


def test_a_long_line_of_a_stream_is_refused_and_the_next_is_read(model_file):
    """A line of 100 MB never ended: the time was quadratic."""
    good = b"0.1,0.2,0.3,0.4\n"
    expected = stream(model_file, good * 2).stdout.splitlines()
    for long in (b"1," * 25_000_000, b"[" * 50_000_000, b"x" * 50_000_000):
        with at_most(60):
            found = stream(model_file, good + long + b"\r\n" + good + long)
        lines = found.stdout.splitlines()
        assert [lines[0], lines[2]] == expected
        assert len(lines) == 4
        assert found.returncode == 2
        message = "line 2: expected a step, got a line of more than 16,777,216 bytes\n"
        assert found.stderr.decode() == message + message.replace("2", "4", 1)


def test_lines_arrive_in_any_parts(monkeypatch):
    from seq2onnx.cli.step_lines import read_lines

    class Parts:
        def __init__(self, *parts):
            self.parts = list(parts)

        def read1(self, size):
            return self.parts.pop(0) if self.parts else b""

    monkeypatch.setattr(limits, "LINE_BYTES", 5)
    rng = random.Random(1)
    for _ in range(300):
        content = bytes(rng.choice(b"ab\n") for _ in range(rng.randrange(40)))
        cuts = sorted(rng.randrange(len(content) + 1) for _ in range(rng.randrange(6)))
        parts = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
        found = [line for lines in read_lines(Parts(*filter(None, parts))) for line in lines]
        *whole, rest = content.split(b"\n")
        assert found == [line[:6] for line in [*whole, *([rest] if rest else [])]]


def test_a_first_line_that_is_no_csv_is_no_header(model_file):
    found = stream(model_file, b"a" * 200_000 + b"\n0.1,0.2,0.3,0.4\n")
    assert found.returncode == 2
    assert len(found.stdout.splitlines()) == 2
    assert found.stderr.startswith(b"line 1: ")
    assert b"Traceback" not in found.stderr


def test_a_stream_ends_on_sigterm(model_file):
    command = [sys.executable, "-m", "tests.command", "stream", str(model_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        process.stdin.write(b"0.1,0.2,0.3,0.4\n")
        process.stdin.flush()
        assert process.stdout.readline()
        process.terminate()
        assert process.wait(HANG) == -signal.SIGTERM
