"""Files and folders appear complete or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from seq2onnx.files import atomic_file, atomic_folder, locked, write_atomically
from tests.command import run
from tests.conftest import random_data


def test_a_failed_write_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(Path, "replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_writing_keeps_modes_and_names_a_missing_folder(tmp_path):
    target = tmp_path / "target"
    write_atomically(target, b"one")
    target.chmod(0o640)
    write_atomically(target, b"two")
    assert target.stat().st_mode & 0o777 == 0o640
    with pytest.raises(FileNotFoundError, match="its folder .*nowhere does not exist"):
        write_atomically(tmp_path / "nowhere" / "file", b"")


def test_writing_replaces_a_link_and_follows_only_those_of_folders(tmp_path):
    other, folder = tmp_path / "other", tmp_path / "folder"
    other.write_bytes(b"mine")
    folder.mkdir()
    (tmp_path / "way").symlink_to(folder)
    for target in (other, tmp_path / "nowhere"):
        link = folder / "link"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        write_atomically(tmp_path / "way" / "link", b"new")
        assert not link.is_symlink()
        assert link.read_bytes() == b"new"
    assert other.read_bytes() == b"mine"
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_appears_complete_or_not_at_all(tmp_path):
    with atomic_folder(tmp_path / "new") as folder:
        (folder / "a").write_text("x")
        assert not (tmp_path / "new").exists()
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a"]


def test_a_folder_is_deleted_on_failure(tmp_path):
    def fill(path):
        with atomic_folder(path) as folder:
            (folder / "a").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "new")
    assert not list(tmp_path.iterdir())


# Pipes, devices, folders ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["pipe", "device", "folder"])
def node(request, tmp_path):
    """Something that is no file, and the word for it."""
    path = tmp_path / "node"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "folder":
        path.mkdir()
    else:
        try:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # as /dev/null
        except PermissionError:
            pytest.skip("only root may make devices")
    return path, request.param


def test_output_to_something_else_than_a_file_is_refused_and_leaves_it(node, tmp_path, model_file):
    path, kind = node
    before = path.lstat()
    with pytest.raises(OSError, match=f"Is a {kind}, expected a file: '{path}'"):
        write_atomically(path, b"new")
    link = tmp_path / "predictions.csv"
    link.symlink_to(path)
    random_data(2).save(tmp_path / "data.npz")
    _, errors = run("predict", model_file, tmp_path / "data.npz", "--out", link, code=2)
    assert errors == f"seq2onnx: {path}: is a {kind}, expected a file\n"
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_rdev) == (before.st_ino, before.st_mode, before.st_rdev)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.npz", "node", "predictions.csv"]


@pytest.mark.parametrize("name", ["d.csv", "d.npz", "d.h5", "d.mat", "d.ts", "d.parquet"])
def test_data_from_something_else_than_a_file_is_refused_at_once(node, tmp_path, name):
    path, kind = node
    link = tmp_path / name
    link.symlink_to(path)
    if kind == "folder":
        message = r"contains no \.csv or \.wav files"
    else:
        message = f"is a {kind}, expected a file"
    with time_limit(20):
        assert re.search(message, run("data", "inspect", link, code=2)[1])


@pytest.mark.parametrize("name", ["network.yaml", "network.json"])
def test_a_network_from_something_else_than_a_file_is_refused_at_once(node, tmp_path, name):
    path, kind = node
    (tmp_path / name).symlink_to(path)
    random_data(2).save(tmp_path / "data.npz")
    import seq2onnx.training  # noqa: F401  # takes its time

    with time_limit(20):
        _, errors = run("train", tmp_path / name, tmp_path / "data.npz", "--out", tmp_path / "run", code=2)
    assert errors == f"seq2onnx: {tmp_path / name}: is a {kind}, expected a file\n"


@contextlib.contextmanager
def time_limit(seconds):
    """Fail, and not hang, if something takes too long."""

    def stop(*_):
        raise AssertionError(f"took more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# Temporary files, modes, locks ---------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from seq2onnx.files import {how}
with {how}(sys.argv[1]) as temporary:
    {fill}
    print(flush=True)
    {end}
"""


def writer(path, how="atomic_file", end="os.kill(os.getpid(), signal.SIGKILL)"):
    fill = "temporary.write_bytes(b'half')" if how == "atomic_file" else "(temporary / 'a').write_text('half')"
    program = KILLED.format(how=how, fill=fill, end=end)
    return subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE)


@pytest.mark.parametrize("how", ["atomic_file", "atomic_folder"])
def test_the_next_writer_removes_what_a_killed_one_has_left(tmp_path, how):
    path = tmp_path / ("n" * 240)
    for _ in range(2):
        with writer(path, how) as killed:
            killed.wait()
    (left,) = tmp_path.iterdir()  # the second writer removed what the first had left
    assert left.name.startswith(".nnn")
    (tmp_path / ".nnn.backup").write_text("of the user")
    with atomic_file(path) if how == "atomic_file" else atomic_folder(path):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == [".nnn.backup", path.name]


@pytest.mark.parametrize("how", ["atomic_file", "atomic_folder"])
def test_a_writer_that_is_still_alive_keeps_its_temporary_file(tmp_path, how):
    path = tmp_path / "file"
    with writer(path, how, "sys.stdin.read()") as alive:
        alive.stdout.readline()
        if how == "atomic_file":
            write_atomically(path, b"mine")
            assert path.read_bytes() == b"mine"
        else:
            with atomic_folder(path):
                pass
            path.rmdir()
        alive.communicate()
    assert alive.returncode == 0
    assert (path if how == "atomic_file" else path / "a").read_text() == "half"
    assert list(tmp_path.iterdir()) == [path]


def test_many_writers_of_one_file_at_once(tmp_path):
    path = tmp_path / "file"
    program = "import sys; from seq2onnx.files import write_atomically as w\n"
    program += "for _ in range(200): w(sys.argv[1], sys.argv[2].encode() * 1000)"
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path), mark]) for mark in "abc"]
    assert [process.wait() for process in writers] == [0, 0, 0]
    assert set(path.read_text()) in ({"a"}, {"b"}, {"c"})
    assert list(tmp_path.iterdir()) == [path]


def test_the_umask_applies_and_is_not_changed_for_other_threads(tmp_path, monkeypatch):
    before = os.umask(0o027)
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask is that of all threads"))
    try:
        write_atomically(tmp_path / "file", b"")
        with atomic_folder(tmp_path / "folder"):
            pass
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def test_a_lock_ends_with_its_process_and_not_with_a_forked_one(tmp_path):
    path = tmp_path / "lock"
    program = "import os, sys, time; from pathlib import Path; from seq2onnx.files import locked\n"
    program += "with locked(Path(sys.argv[1])) as free:\n"
    program += "    if os.fork(): sys.stdin.read()\n"
    program += "    print(free, os.getpid(), flush=True); time.sleep(60); os._exit(0)\n"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as holder:
        free, child = holder.stdout.readline().split()
        assert free == "True"
        with locked(path) as free:
            assert not free
        assert path.exists()
        holder.kill()
        holder.wait()
    with locked(path) as free:
        assert free
    assert not path.exists()
    os.kill(int(child), signal.SIGKILL)
