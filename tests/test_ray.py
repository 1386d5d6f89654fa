"""predict --ray on a cluster of two workers: the same results as in one process, even if workers or machines die."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seq2onnx as s2o
from seq2onnx.cluster import driver
from seq2onnx.cluster.worker import ATTEMPTS, _count_attempt
from seq2onnx.data.formats import parquet
from tests.clock import HANG
from tests.command import run
from tests.conftest import CLASSES, built, random_data, small_network

pytestmark = pytest.mark.usefixtures("in_this_process")

pytest.importorskip("ray")

ROOT = Path(__file__).parent.parent
# In a separate process: Ray raises warnings, which are errors in tests, and changes the signal handlers.
CLUSTER = """
import sys, ray
ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""
# Ray sees two machines with one CPU each. One of them dies when a line arrives on standard input.
MACHINES = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
other = cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(other, allow_graceful=False)
print("dead", flush=True)
sys.stdin.read()
cluster.shutdown()
"""
# Ctrl-C raises KeyboardInterrupt, also if the tests run in the background, where it would be ignored.
COMMAND = "import signal; signal.signal(2, signal.default_int_handler); from seq2onnx.cli import main; main()"


# Without a token, Ray would write one to the home folder.
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def hold(script):
    """Start a process that prints the address of a cluster, and holds it until its standard input ends."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    return subprocess.Popen([sys.executable, "-c", script], **pipes, env=os.environ | SETTINGS, cwd=ROOT)


@pytest.fixture(scope="module")
def cluster():
    """The address of a cluster with two CPUs."""
    with hold(CLUSTER) as process:
        yield process.stdout.readline().strip()


@contextmanager
def started(address, *arguments):
    """Start the command in its own process and process group."""
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, "predict", *map(str, arguments), "--ray"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | SETTINGS | {"RAY_ADDRESS": address},
        cwd=ROOT,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def on_ray(address, *arguments, code=0):
    """Run the command on a cluster; it must exit with `code`. Return its standard output and standard error."""
    with started(address, *arguments) as process:
        out, err = process.communicate(timeout=HANG)
    assert process.returncode == code, err
    return out, err


@pytest.fixture
def small_groups(monkeypatch):
    """Row groups of a few sequences each."""
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 700)


def save(data, folder, *ends):
    """Save a data set as one file, and as a folder of files that end at the given sequences; return both paths."""
    whole, parts = folder / "whole.parquet", folder / "parts"
    parts.mkdir()
    data.save(whole)
    for number, (first, end) in enumerate(zip((0, *ends), (*ends, len(data)), strict=True)):
        data.subset(slice(first, end)).save(parts / f"{number}.parquet")
    return whole, parts


def assert_same(folder, file):
    """Compare tables row by row; scores may differ by rounding, since the batches differ."""
    found, expected = pq.read_table(folder), pq.read_table(file)
    assert found.schema == expected.schema
    for name in found.column_names:
        column, other = found[name], expected[name]
        if pa.types.is_floating(column.type):
            np.testing.assert_allclose(column.to_numpy(), other.to_numpy(), rtol=0, atol=1e-6)
        else:
            assert column.equals(other)


def kind(name, folder):
    """A model and data for one kind of result."""
    model = folder / "model.onnx"
    data = random_data(60)
    data.sequences[7][1, 2] = np.nan
    if name == "label":
        for x in data.sequences[20:40]:  # a row group and more without a label
            x[0, 0] = np.nan
        s2o.export(built(small_network(), random_data()), model, classes=CLASSES)
    elif name == "label a step":
        s2o.export(built(small_network("sequence"), random_data(per_step=True)), model, classes=CLASSES)
    elif name == "numbers":
        network = s2o.Network([s2o.SequenceInput(4), s2o.GRU(5, "last"), s2o.FullyConnected(2)])
        s2o.export(built(network, random_data()), model)
    else:
        network = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(5), s2o.FullyConnected(4)])
        s2o.export(built(network, random_data()), model, closed_loop=3)
    return model, data


@pytest.mark.slow
@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("name", ["label", "label a step", "numbers", "closed loop"])
def test_a_cluster_gives_the_results_of_one_process(cluster, tmp_path, name):
    model, data = kind(name, tmp_path)
    whole, parts = save(data, tmp_path, 31, 32)
    pq.write_table(
        pq.read_table(whole).slice(0, 0), parts / "2a.parquet"
    )  # an empty file, as other programs write them
    (parts / "_temporary").mkdir()
    (parts / "_temporary" / "3.parquet").write_text("no data")
    groups = sum(pq.ParquetFile(file).num_row_groups for file in parts.glob("[012].parquet"))
    assert groups > 10
    run("predict", model, whole, "--out", tmp_path / "one.parquet", "--quiet")
    out, err = on_ray(cluster, model, parts, "--out", tmp_path / "many.parquet", "--workers", 2)
    assert out == f"{tmp_path}/many.parquet: 60 sequences in {groups} files\n"
    assert err.startswith(f"predict: connecting to the Ray cluster at {cluster}\npredict: ")
    assert err.splitlines()[-1].startswith("predict: 60 of 60 sequences, ")
    assert len(err.splitlines()) <= 5  # no messages of Ray
    assert_same(tmp_path / "many.parquet", tmp_path / "one.parquet")
    names = sorted(file.name for file in (tmp_path / "many.parquet").iterdir())
    assert names == [f"part-{part:05}.parquet" for part in range(groups)]


@pytest.mark.slow
@pytest.mark.usefixtures("small_groups")
def test_a_local_cluster_is_started_if_there_is_none(tmp_path):
    model, data = kind("label", tmp_path)
    whole, _ = save(data, tmp_path)
    run("predict", model, whole, "--out", tmp_path / "one.parquet", "--quiet")
    assert on_ray("local", model, whole, "--out", tmp_path / "many.parquet", "--quiet") == ("", "")
    assert_same(tmp_path / "many.parquet", tmp_path / "one.parquet")


def slow_job(folder):
    """A model and the paths of data that takes seconds, with row groups that take tenths of a second each."""
    model = folder / "model.onnx"
    s2o.export(built(small_network(), random_data()), model, classes=CLASSES)
    rng = np.random.default_rng(0)
    data = s2o.SequenceDataset([rng.normal(size=(n, 4)) for n in rng.integers(5000, 20000, 160)])
    return model, *save(data, folder, 60)


def begun(folder):
    """The process of each row group that was started: name of its note -> process id."""
    notes = [file for beside in folder.glob(".many.parquet.*") for file in beside.glob(".part-*.parquet.[0-9]")]
    return {note.name: int(text) for note in notes if (text := note.read_text())}


def wait_for(condition, seconds=HANG):
    """Wait until the condition is true, and return its value."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.005)
    return found


def is_alive(process):
    """Whether a process runs; zombies do not count."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_no_results_are_lost_if_a_worker_is_killed(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 2**20)
    model, whole, parts = slow_job(tmp_path)
    run("predict", model, whole, "--out", tmp_path / "one.parquet", "--quiet")

    def stopped():
        """Stop a worker in the middle of a row group; return the note of the row group and the process id."""
        for note, worker in begun(tmp_path).items():
            (beside,) = tmp_path.glob(".many.parquet.*")
            answer = beside / note[1:-2]
            if list(beside.glob("part-*.parquet")) and not answer.exists() and is_alive(worker):
                os.kill(worker, signal.SIGSTOP)
                if not answer.exists():
                    return note, worker
                os.kill(worker, signal.SIGCONT)
        return None

    with started(cluster, model, parts, "--out", tmp_path / "many.parquet", "--workers", 2) as process:
        note, worker = wait_for(stopped)
        assert process.poll() is None
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: not is_alive(worker))
        again = wait_for(lambda: begun(tmp_path).get(f"{note[:-1]}1"))
        assert again != worker
        out, err = process.communicate(timeout=HANG)
    assert process.returncode == 0, err
    assert "160 sequences in " in out
    assert_same(tmp_path / "many.parquet", tmp_path / "one.parquet")
    assert not [file for file in (tmp_path / "many.parquet").iterdir() if file.name.startswith(".")]


@pytest.mark.slow
def test_no_results_are_lost_if_a_machine_dies(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 2**20)
    model, whole, parts = slow_job(tmp_path)
    run("predict", model, whole, "--out", tmp_path / "one.parquet", "--quiet")
    with hold(MACHINES) as machines:
        address = machines.stdout.readline().strip()
        with started(address, model, parts, "--out", tmp_path / "many.parquet", "--workers", 2) as process:
            wait_for(lambda: len(set(begun(tmp_path).values())) == 2)  # both are at work
            machines.stdin.write("\n")
            machines.stdin.flush()
            assert machines.stdout.readline() == "dead\n"
            assert process.poll() is None
            _, err = process.communicate(timeout=HANG)
    assert process.returncode == 0, err
    assert_same(tmp_path / "many.parquet", tmp_path / "one.parquet")


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_files(cluster, tmp_path, monkeypatch, sent):
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 2**20)
    model, _, parts = slow_job(tmp_path)
    before = sorted(tmp_path.iterdir())
    with started(cluster, model, parts, "--out", tmp_path / "many.parquet") as process:
        wait_for(lambda: begun(tmp_path))
        os.killpg(process.pid, sent)
        process.communicate(timeout=HANG)
    assert process.returncode == 128 + sent
    time.sleep(1)  # time for a worker to finish writing
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_bad_data_exits_with_2_and_leaves_no_files(cluster, tmp_path):
    model, data = kind("numbers", tmp_path)
    _, parts = save(data, tmp_path, 50)
    before = sorted(tmp_path.iterdir())
    for write, message in (
        (lambda path: path.write_text("no data"), "is not a parquet file, or is incomplete"),
        (s2o.SequenceDataset([np.ones((3, 3))]).save, "sequence 0: expected [time, 4], got [3, 3]"),
    ):
        write(parts / "9.parquet")
        _, err = on_ray(cluster, model, parts, "--out", tmp_path / "many.parquet", "-q", code=2)
        assert err.startswith(f"seq2onnx: {parts}/9.parquet: ")
        assert message in err
        assert len(err.splitlines()) == 1
        assert sorted(tmp_path.iterdir()) == before


def test_invalid_arguments_are_refused_before_ray_starts(tmp_path):
    model, data = kind("numbers", tmp_path)
    _, parts = save(data, tmp_path)
    data.save(tmp_path / "data.npz")
    (tmp_path / "empty").mkdir()
    (tmp_path / "old.parquet").mkdir()
    out = tmp_path / "out.parquet"
    for arguments, message in (
        ([parts], "writes a folder of parquet files; name it with --out NAME.parquet, got None"),
        ([parts, "--out", tmp_path / "out.csv"], "name it with --out NAME.parquet, got"),
        ([tmp_path / "data.npz", "--out", out], "reads a .parquet file or a folder of them"),
        ([tmp_path / "empty", "--out", out], "the folder has no .parquet files"),
        ([tmp_path / "nowhere.parquet", "--out", out], "there is no such file"),
        ([parts, "--out", tmp_path / "old.parquet"], "exists and is not overwritten"),
        ([parts, "--out", tmp_path / "nowhere" / "out.parquet"], "does not exist"),
        ([parts, "--out", parts / "out.parquet"], "the next run would read it as data"),
        ([parts, "--out", out, "--workers", "0"], "--workers"),
    ):
        assert message in " ".join(run("predict", model, *arguments, "--ray", code=2)[1].split())
    assert "use it with --ray" in run("predict", model, parts, "--workers", "2", code=2)[1]
    assert not out.exists()


@contextmanager
def answering(reply):
    """A place that takes connections and answers with `reply`; with None it takes no further connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ExitStack() as held:
        place = server.getsockname()
        if reply is None:
            with suppress(TimeoutError):
                for _ in range(10):  # until its queue is full; then nothing answers, as behind a firewall
                    held.enter_context(socket.create_connection(place, 0.3))
        else:

            def serve():
                with suppress(OSError):
                    connection = held.enter_context(server.accept()[0])
                    connection.sendall(reply)

            threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{place[1]}"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("refused", "Connection refused"),
        (None, "timed out"),
        (b"", "timed out"),
        (b"HTTP/1.1 400 Bad Request", "not Ray"),
    ],
    ids=["nobody listens", "a firewall drops the packets", "a dead tunnel accepts", "a web server"],
)
def test_an_address_where_no_cluster_answers_is_refused_before_ray_tries(tmp_path, monkeypatch, reply, reason):
    if reason == "timed out":
        monkeypatch.setattr(driver, "SECONDS", 0.5)
    model, data = kind("numbers", tmp_path)
    whole, _ = save(data, tmp_path, 31)
    with nullcontext("127.0.0.1:1") if reply == "refused" else answering(reply) as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        _, err = run("predict", model, whole, "--out", tmp_path / "out.parquet", "--ray", code=2)
    assert f"no Ray cluster answers at {address}: " in err
    assert reason in err
    assert "Start one there with `ray start --head`" in err
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize("options", [{"sequence_length": "shortest"}, {"mask_padding": False}])
def test_models_whose_results_depend_on_the_batch_are_refused(tmp_path, options):
    data = random_data()
    options = s2o.TrainingOptions(epochs=1, progress=False, **options)
    result = s2o.train(small_network(), data, options=options)
    s2o.export(result.module, tmp_path / "model.onnx")
    _, parts = save(data, tmp_path)
    _, err = run("predict", tmp_path / "model.onnx", parts, "--out", tmp_path / "out.parquet", "--ray", code=2)
    assert "a result depends on the other sequences in its batch" in err


def test_a_row_group_that_kills_its_process_is_tried_only_a_few_times(tmp_path):
    path = tmp_path / "part-00003.parquet"
    for _ in range(ATTEMPTS):
        _count_attempt(path, "data.parquet: rows 8 to 15")
    with pytest.raises(
        s2o.DataError, match="data.parquet: rows 8 to 15: 5 processes died while they worked on these rows"
    ):
        _count_attempt(path, "data.parquet: rows 8 to 15")
    _count_attempt(tmp_path / "part-00004.parquet", "another")
