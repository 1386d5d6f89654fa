"""The command as users call it: output, exit codes, and messages on standard error."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx.cli import _message
from tests.command import run
from tests.conftest import CLASSES, random_data, small_network

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """network.yaml, data.npz, and a run made from them."""
    folder = tmp_path_factory.mktemp("cli")
    small_network().save(folder / "network.yaml")
    random_data(30).save(folder / "data.npz")
    settings = ["--set", "epochs=3", "--set", "learning_rate=1e-2", "--set", "device=cpu"]
    run("train", folder / "network.yaml", folder / "data.npz", "--out", folder / "run", *settings, "--quiet")
    run("export", folder / "run", "--quiet")
    return folder


def test_a_run_is_exported_with_smaller_weights_and_compared(folder, tmp_path):
    arguments = ["export", folder / "run", "--out", tmp_path / "small.onnx", "--data", folder / "data.npz"]
    out, _ = run(*arguments, "--weights", "float16")
    assert "accuracy" in out
    assert "ok, float16:" in out
    assert s2o.load(tmp_path / "small.onnx").contract.weights == "float16"
    assert "ok, float32: 100 % of the scores" in run(*arguments)[0]


def test_from_network_to_scores(folder):
    out, _ = run("verify", folder / "run/model.onnx", folder / "run", "--data", folder / "data.npz")
    assert "all comparisons passed" in out
    out, _ = run("predict", folder / "run/model.onnx", folder / "data.npz")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == ["index", "label", *CLASSES]
    scores = s2o.load(folder / "run/model.onnx").predict(random_data(30).sequences)
    np.testing.assert_allclose([[float(row[c]) for c in CLASSES] for row in rows], scores, rtol=1e-6)
    assert [row["label"] for row in rows] == [CLASSES[k] for k in scores.argmax(1)]


def test_train_prints_its_metrics_and_takes_validation_data(folder, tmp_path):
    out, err = run(
        "train",
        folder / "network.yaml",
        folder / "data.npz",
        "--validation",
        folder / "data.npz",
        "--out",
        tmp_path / "run",
        "--set",
        "epochs=2",
    )
    assert out.startswith(f"{tmp_path / 'run'}: 2 epochs, loss ")
    assert "validation accuracy" in out
    assert "epoch 2/2" in err


def test_export_takes_signature_and_opset(folder, tmp_path):
    path = tmp_path / "lean.onnx"
    out, _ = run("export", folder / "run", "--out", path, "--signature", "stream", "--opset", "20", "--activations")
    assert out == f"{path}: {path.stat().st_size:,} bytes\n"
    assert s2o.load(path).signature == "stream"
    assert s2o.load(path).predict(random_data(2).sequences, outputs=["lstm_1"])["lstm_1"].shape == (2, 8)


def test_predict_writes_csv_and_npz(folder, tmp_path):
    out, _ = run("predict", folder / "run/model.onnx", folder / "data.npz", "--out", tmp_path / "scores.npz")
    assert out == f"{tmp_path / 'scores.npz'}: 30 sequences\n"
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as file:
        assert file["scores"].shape == (30, 3)
        assert file["labels"].dtype.kind == "U"
    run("predict", folder / "run/model.onnx", folder / "data.npz", "--out", tmp_path / "scores.csv", "-q")
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 31


def test_predict_writes_one_row_per_step_if_the_network_does(per_step_file, folder, tmp_path):
    out, _ = run("predict", per_step_file, folder / "data.npz")
    rows = list(csv.DictReader(io.StringIO(out)))
    lengths = random_data(30).lengths
    assert len(rows) == lengths.sum()
    assert list(rows[0]) == ["index", "step", "label", *CLASSES]
    assert (rows[lengths[0]]["index"], rows[lengths[0]]["step"]) == ("1", "0")
    run("predict", per_step_file, folder / "data.npz", "--out", tmp_path / "scores.npz")
    with np.load(tmp_path / "scores.npz") as file:
        assert file["lengths"].tolist() == lengths.tolist()
        assert file["scores"].shape == (lengths.sum(), 3)


def test_predict_gives_nan_for_a_sequence_with_nan(folder, tmp_path):
    sequences = random_data(3).sequences
    sequences[1][0, 0] = np.nan
    s2o.SequenceDataset(sequences).save(tmp_path / "data.npz")
    out, _ = run("predict", folder / "run/model.onnx", tmp_path / "data.npz")
    assert out.splitlines()[2] == "1,,nan,nan,nan"


def test_stream_writes_a_result_before_it_reads_the_next_line(folder):
    """Through a real pipe: each result arrives before the next step is sent."""
    model = s2o.load(folder / "run/model.onnx")
    (x,) = random_data(1, seed=9).sequences
    stream = model.stream()
    command = [sys.executable, "-c", "from seq2onnx.cli import main; main()", "stream", folder / "run/model.onnx"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        for number, step in enumerate(x):
            as_json = number % 2
            line = json.dumps(step.tolist()) if as_json else ",".join(map(str, step.tolist()))
            process.stdin.write(line + "\n")
            answer = process.stdout.readline()
            if as_json:
                label, scores = json.loads(answer).values()
            else:
                label, *scores = answer.strip().split(",")
            expected = stream.step(step)
            np.testing.assert_allclose(np.array(scores, float), expected, rtol=1e-6)
            assert label == CLASSES[expected.argmax()]
        process.stdin.close()
        assert process.wait() == 0


def test_stream_refuses_an_invalid_step_and_keeps_its_state(folder):
    good = "1,2,3,4"
    out, err = run(
        "stream", folder / "run/model.onnx", stdin=f"{good}\n1,2,nan,4\n1,2\nhello\n\n[1,null]\n{good}\n", code=2
    )
    clean, _ = run("stream", folder / "run/model.onnx", stdin=f"{good}\n{good}\n")
    lines = out.splitlines()
    assert lines[1:5] == [",nan,nan,nan"] * 3 + ['{"label": null, "y": [null, null, null]}']
    assert [lines[0], lines[5]] == clean.splitlines()
    assert [line.split(":")[0] for line in err.splitlines()] == ["line 2", "line 3", "line 4", "line 6"]
    assert "expected 4 numbers, got 2" in err


def test_inspect_shows_what_a_file_contains(folder):
    out, _ = run("inspect", folder / "run/model.onnx")
    for text in (
        "signature    full",
        "input        x  float [batch, time, 4]",
        "lengths  int32 [batch]",
        "output       y  float [batch, 3]",
        "state        lstm_1 h: state_00_lstm_1_h -> new_state_00_lstm_1_h",
        "classes      left, right, up",
        "lstm_1             [batch, 8]               416  h [8] c [8]",
    ):
        assert text in out
    assert max(map(len, out.splitlines())) <= 80 + len(str(folder))


def test_verify_exits_with_1_if_numbers_differ(folder, tmp_path):
    run("train", folder / "network.yaml", folder / "data.npz", "--out", tmp_path / "other", "--set", "epochs=1", "-q")
    out, _ = run("verify", folder / "run/model.onnx", tmp_path / "other", code=1)
    assert "FAILED" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "nowhere"], "nowhere: is no finished run, it does not exist"),
        (["export", "{data}"], "data.npz: is data, not a run folder"),
        (["export", "{net}"], "is a network without weights; train it first: `seq2onnx train "),
        (["inspect", "{net}"], "network.yaml: is a network without weights; train it first: `seq2onnx train "),
        (["evaluate", "{data}", "{data}"], "data.npz: is data, not a model"),
        (["train", "{run}", "{data}", "--out", "{run}x"], "run: is a run folder; its network is "),
        (["train", "{data}", "{net}", "--out", "{run}x"], "data.npz: is data, not a network"),
        (["train", "{net}", "{net}", "--out", "{run}x"], "network.yaml: is a network, not data"),
        (["data", "inspect", "{run}"], "run: is a run folder; give the data that it was trained with"),
        (["verify", "nowhere.onnx"], "nowhere.onnx: there is no such file"),
        (["predict", "{run}/model.onnx", "nowhere.npz"], "nowhere.npz"),
        (["predict", "{run}/model.onnx", "nope"], "nope: no such file or directory"),
        (["predict", "{run}/model.onnx", "{run}/curve.png"], "data is read from .parquet, .npz, .h5, .hdf5"),
        (
            ["predict", "{run}/model.onnx", "{data}", "--out", "x.txt"],
            "x.txt: results are written as .csv, .npz or .parquet",
        ),
        (["inspect", "{run}/curve.png"], "onnxruntime cannot open it"),
        (["inspect", "{run}"], "run: is a run folder; "),
        (["train", "{net}", "{data}", "--set", "epochs"], "--set: expected OPTION=VALUE such as epochs=20"),
        (["train", "{net}", "{data}", "--set", "epocs=2"], "options.epocs: is not a field"),
        (["train", "{net}", "{data}", "--set", "epochs=two"], "options.epochs: "),
        (["train", "{data}", "{data}"], "data.npz"),
        (["train", "{net}", "{data}", "--loss", "mse"], "needs numbers as targets"),
        (["export", "{run}", "--signature", "whole"], "'whole' is not one of"),
        (["nothing"], "No such command"),
    ],
)
def test_bad_input_exits_with_2_and_a_message(folder, arguments, message):
    places = {"run": folder / "run", "data": folder / "data.npz", "net": folder / "network.yaml"}
    _, err = run(*(a.format(**places) for a in arguments), code=2)
    assert message in " ".join(err.split())
    assert "Traceback" not in err


def test_a_run_is_not_overwritten(folder):
    before = (folder / "run/weights.safetensors").read_bytes()
    _, err = run("train", folder / "network.yaml", folder / "data.npz", "--out", folder / "run", code=2)
    assert "already contains a run; choose another" in err
    assert (folder / "run/weights.safetensors").read_bytes() == before


def test_a_first_epoch_that_diverges_is_an_error(folder, tmp_path):
    settings = ["--set", "learning_rate=1e30", "--set", "optimizer=sgd", "--set", "batch_size=4"]
    with pytest.warns(RuntimeWarning, match="not finite"):
        _, err = run(
            "train", folder / "network.yaml", folder / "data.npz", "--out", tmp_path / "run", *settings, "-q", code=1
        )
    assert err == f"seq2onnx: {tmp_path / 'run'}: training diverged in epoch 1; it has no weights\n"
    assert not (tmp_path / "run/weights.safetensors").exists()


def test_an_error_of_the_system_keeps_the_capitals_of_its_sentences():
    error = OSError(28, "No space left on device, so the run is not saved. Make room", "run/metrics.json")
    assert _message(error) == "run/metrics.json: no space left on device, so the run is not saved. Make room"


def test_every_training_option_is_in_the_help():
    out, _ = run("train", "--help")
    for field in dataclasses.fields(s2o.TrainingOptions):
        assert f"{field.name}=" in "".join(out.split())


def test_stream_supports_strides_and_lookahead(tmp_path):
    network = s2o.Network([s2o.SequenceInput(2), s2o.Conv1d(1, 3, stride=2, padding=1)])
    s2o.export(s2o.build(network), tmp_path / "model.onnx", lookahead=True)
    out, _ = run("stream", tmp_path / "model.onnx", stdin="1,2\n3,4\n5,6\n7,8\n9,1\n")
    lines = out.splitlines()
    assert [bool(line) for line in lines] == [False, True, False, True, False, True]
    whole = s2o.load(tmp_path / "model.onnx").predict([[[1, 2], [3, 4], [5, 6], [7, 8], [9, 1]]])[0]
    np.testing.assert_allclose([float(line) for line in lines if line], whole[:, 0], rtol=1e-6)


def test_stream_reads_words(tmp_path):
    network = s2o.Network([s2o.SequenceInput("tokens"), s2o.WordEmbedding(2, ["yes", "no"]), s2o.LSTM(1, "last")])
    s2o.export(s2o.build(network), tmp_path / "model.onnx")
    out, _ = run("stream", tmp_path / "model.onnx", stdin='yes\n"no"\n7\n')
    assert len(out.splitlines()) == 3


def test_every_command_has_help_and_quiet():
    out, _ = run("--help")
    for command in ("demo", "new", "train", "export", "verify", "predict", "stream", "inspect", "bench", "report"):
        assert command in out
        assert "--quiet" in run(command, "--help")[0]


def test_the_demo_writes_its_files_and_reaches_its_accuracy(tmp_path):
    out, _ = run("demo", "--out", tmp_path, "--seed", "1")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "run",
        "streamed_scores.png",
        "training_curve.png",
        "vowels.onnx",
    ]
    accuracy = float(out.split("accuracy ")[1].split()[0])
    assert accuracy >= 0.96
    assert "all comparisons passed" in out
    assert max(map(len, out.replace(str(tmp_path), "demo").splitlines())) <= 88


def test_data_is_inspected_and_converted(folder, tmp_path):
    out, _ = run("data", "inspect", folder / "data.npz")
    for text in (
        "sequences  30, ",
        "lengths    3 to 11, median",
        "gaps       none",
        "channel        mean",
        "left       ",
    ):
        assert text in out
    assert max(map(len, out.splitlines())) <= 80
    (tmp_path / "csv" / "good").mkdir(parents=True)
    (tmp_path / "csv" / "bad").mkdir()
    (tmp_path / "csv" / "good" / "1.csv").write_text("a,b\n1,2\n3,\n")
    (tmp_path / "csv" / "bad" / "2.csv").write_text("b,a\n6,5\n")
    out, _ = run("data", "convert", tmp_path / "csv", tmp_path / "data.npz")
    assert "2 sequences, 1 to 2 steps, features 2, 2 classes" in out
    out, _ = run("data", "inspect", tmp_path / "data.npz")
    assert "NaN or infinity in 1 sequences" in out
    rows = [line.split() for line in out.splitlines() if line.startswith(("channel ", "a ", "b "))]
    assert [(row[0], row[-1]) for row in rows] == [("channel", "gaps"), ("b", "1"), ("a", "0")]
    run("data", "convert", tmp_path / "csv", tmp_path / "data.csv", code=2)


def test_parquet_is_read_and_written(folder, tmp_path):
    import pyarrow.parquet as pq

    run("data", "convert", folder / "data.npz", tmp_path / "data.parquet")
    out, _ = run("data", "inspect", tmp_path / "data.parquet")
    assert "sequences  30, " in out
    assert "padding    in batches of 128, by shuffle: " in out
    run("predict", folder / "run/model.onnx", tmp_path / "data.parquet", "--out", tmp_path / "scores.parquet")
    found = pq.read_table(tmp_path / "scores.parquet").to_pydict()
    model = s2o.load(folder / "run/model.onnx")
    scores = model.predict(random_data(30).sequences)
    assert list(found) == ["index", "label", *model.classes]
    np.testing.assert_allclose(np.stack([found[c] for c in model.classes], 1), scores, rtol=0, atol=1e-6)
    assert found["label"] == s2o.scores_to_labels(scores, model.classes).tolist()


def test_the_error_without_ray_names_the_extra(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    run("data", "convert", folder / "data.npz", tmp_path / "data.parquet")
    arguments = [folder / "run/model.onnx", tmp_path / "data.parquet", "--ray", "--out", tmp_path / "scores.parquet"]
    _, err = run("predict", *arguments, code=2)
    assert err == 'seq2onnx: ray is not installed. Run: pip install "ray[data]>=2.50"\n'
    assert [file.name for file in tmp_path.iterdir()] == ["data.parquet"]


def test_parquet_labels_have_the_type_of_the_classes_if_none_is_known(folder, tmp_path):
    import pyarrow.parquet as pq

    s2o.SequenceDataset([np.full((3, 4), np.nan)]).save(tmp_path / "data.npz")
    run("predict", folder / "run/model.onnx", tmp_path / "data.npz", "--out", tmp_path / "scores.parquet", "--quiet")
    found = pq.read_table(tmp_path / "scores.parquet")
    assert (str(found.schema.field("label").type), found["label"].to_pylist()) == ("string", [None])


def test_stream_runs_many_streams_by_their_id(folder):
    model = s2o.load(folder / "run/model.onnx")
    x = np.random.default_rng(0).normal(size=(40, 4)).astype("f")
    names = np.random.default_rng(1).choice(["pump 7", "a,b", 'the "old" one', "7"], 40).tolist()
    written = io.StringIO()
    for number, (name, step) in enumerate(zip(names, x.tolist(), strict=True)):
        if number % 3:
            csv.writer(written, lineterminator="\n").writerow([name, *step])
        else:
            written.write(json.dumps({"id": 7 if name == "7" else name, "x": step}) + "\n")
    out, _ = run("stream", folder / "run/model.onnx", "--id-column", stdin=written.getvalue())
    streams = {name: model.stream() for name in names}
    for number, (name, step, line) in enumerate(zip(names, x, out.splitlines(), strict=True)):
        if number % 3:
            id, label, *scores = next(csv.reader([line]))
        else:
            id, label, scores = json.loads(line).values()
            assert id == (7 if name == "7" else name)
        assert str(id) == name
        expected = streams[name].step(step)
        np.testing.assert_allclose(np.array(scores, float), expected, rtol=0, atol=1e-5)
        assert label == CLASSES[expected.argmax()]


def test_lines_that_arrive_together_run_together(folder, monkeypatch):
    runs, step = [], s2o.StreamPool.step
    monkeypatch.setattr(s2o.StreamPool, "step", lambda self, ids, x: (runs.append(len(ids)), step(self, ids, x))[1])
    lines = "".join(f"{name},1,2,3,4\n" for name in [*range(300), *range(100), 99])
    run("stream", folder / "run/model.onnx", "--id-column", stdin=lines)
    assert runs == [300, 100, 1]


def test_many_streams_continue_after_an_invalid_line(folder):
    lines = [
        "a,1,2,3,4",
        "b,1,2,nan,4",
        "c,1,2",
        '{"id": "d", "x": [1, null, 3, 4]}',
        '{"x": [1, 2, 3, 4]}',
        '{"id": 1.5, "x": [1, 2, 3, 4]}',
        "hello",
        "a,1,2,3,4",
        "b,1,2,3,4",
    ]
    out, err = run("stream", folder / "run/model.onnx", "--id-column", stdin="\n".join(lines), code=2)
    clean, _ = run("stream", folder / "run/model.onnx", "--id-column", stdin="a,1,2,3,4\na,1,2,3,4\nb,1,2,3,4\n")
    found = out.splitlines()
    assert [found[0], *found[7:]] == clean.splitlines()
    assert found[1:3] == ["b,,nan,nan,nan", "c,,nan,nan,nan"]
    assert found[3] == '{"id": "d", "label": null, "y": [null, null, null]}'
    assert [json.loads(line)["id"] for line in found[4:6]] == [None, 1.5]
    assert found[6] == "hello,,nan,nan,nan"
    assert [line.split(":")[0] for line in err.splitlines()] == [f"line {n}" for n in range(2, 8)]
    assert 'such as pump 7,0.1,0.2 or {"id": "pump 7", "x": [0.1, 0.2]}: a line needs "id"' in err


def test_many_streams_with_lookahead_are_finished_with_their_ids(tmp_path):
    network = s2o.Network([s2o.SequenceInput(2), s2o.Conv1d(1, 3, padding="same")])
    s2o.export(s2o.build(network), tmp_path / "model.onnx", lookahead=True)
    lines = 'a,1,2\n{"id": "b", "x": [1, 2]}\na,3,4\n'
    out, _ = run("stream", tmp_path / "model.onnx", "--id-column", stdin=lines)
    first, second, third, *waited = out.splitlines()
    assert (first, second) == ("a", '{"id": "b", "y": null}')
    a, b = s2o.load(tmp_path / "model.onnx").predict([[[1, 2], [3, 4]], [[1, 2]]])
    np.testing.assert_allclose([float(line.removeprefix("a,")) for line in (third, waited[0])], a[:, 0], rtol=1e-6)
    answer = json.loads(waited[1])
    assert answer["id"] == "b"
    np.testing.assert_allclose(answer["y"], b[0], rtol=1e-6)


TOY = '''"""seq2onnx count: count the layers of a network."""

from pathlib import Path
from typing import Annotated

import typer

from seq2onnx.network import Network


def count(network: Annotated[Path, typer.Argument(metavar="NETWORK", help="A network file.")]) -> None:
    """Count the layers of a network."""
    typer.echo(len(Network.load(network).layers))
'''


def test_a_subcommand_is_added_with_one_file_an_import_and_a_name(folder, tmp_path):
    package = Path(s2o.__file__).parent
    shutil.copytree(package, tmp_path / "seq2onnx", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "seq2onnx/cli/count.py").write_text(TOY)
    table = tmp_path / "seq2onnx/cli/__init__.py"
    text = table.read_text().replace(
        "from seq2onnx.cli.data", "from seq2onnx.cli.count import count\nfrom seq2onnx.cli.data"
    )
    table.write_text(text.replace("COMMANDS = (", "COMMANDS = (count, "))

    def started(*arguments):
        command = [sys.executable, "-c", "from seq2onnx.cli import main; main()", *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path).stdout

    assert started("count", folder / "network.yaml") == f"{len(small_network().layers)}\n"
    assert "Count the layers of a network." in started("--help")
