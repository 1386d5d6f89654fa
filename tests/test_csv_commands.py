"""The commands on data with names: CSV in, predictions and streams out."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx.data import read
from tests.command import run
from tests.conftest import CLASSES, random_data, small_network

pytestmark = pytest.mark.usefixtures("in_this_process")

NAMES = ["ax", "ay", "az", "gx"]


def as_csv(x, names, extra=""):
    """A table of steps, with its columns in the order of `names`, and with a column of times if `extra` is "time"."""
    places = [NAMES.index(name) for name in names]
    head = ",".join([*([extra] if extra else []), *names])
    rows = [
        ",".join([*([f"2024-05-31 12:00:{t:02}"] if extra else []), *map(repr, step)])
        for t, step in enumerate(x[:, places].tolist())
    ]
    return "\n".join([head, *rows]) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`data` with one CSV file for each sequence, in changing orders of columns; labels.csv; a trained run."""
    folder = tmp_path_factory.mktemp("csv")
    data, rng = random_data(30), np.random.default_rng(0)
    (folder / "data").mkdir()
    rows = ["file,label,machine"]
    for number, (x, label) in enumerate(zip(data.sequences, data.labels, strict=True)):
        names = NAMES if number == 0 else rng.permutation(NAMES).tolist()
        (folder / f"data/r{number}.csv").write_text(as_csv(x, names, "time"))
        rows.append(f"r{number},{label},m{number % 3}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    small_network().save(folder / "network.yaml")
    run(
        "train", folder / "network.yaml", folder / "data", "--labels", "labels.csv", "--targets", "label",
        "--time", "time", "--out", folder / "run", "--set", "epochs=3", "--set", "device=cpu", "--set",
        "learning_rate=0.02", "--validation", folder / "data", "-q",
    )  # fmt: skip
    run("export", folder / "run", "-q")
    return folder


@pytest.fixture(scope="module")
def file(folder):
    return folder / "run/model.onnx"


def test_columns_in_any_order_are_trained_on_and_predicted_by_name(folder, file):
    data = random_data(30)
    found = read(folder / "data", labels="labels.csv", targets="label", time="time")
    assert found.channels == s2o.load(file).channels == NAMES
    for a, b in zip(found.sequences, data.sequences, strict=True):
        np.testing.assert_array_equal(a, b)
    # predict needs no option: the names of the model say which columns are features
    out, _ = run("predict", file, folder / "data")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == ["index", "id", "label", *CLASSES]
    assert [(row["index"], row["id"]) for row in rows] == [(str(n), f"r{n}.csv") for n in range(30)]
    scores = s2o.load(file).predict(data.sequences)
    np.testing.assert_allclose([[float(row[c]) for c in CLASSES] for row in rows], scores, rtol=1e-6)


def test_a_file_without_a_column_of_the_model_is_named(folder, file, tmp_path):
    (tmp_path / "one.csv").write_text("ax,ay,az,temperature\n1,2,3,4\n")
    _, err = run("predict", file, tmp_path, code=2)
    assert "one.csv: has no gx; its columns are ax, ay, az, temperature" in err
    (tmp_path / "one.csv").write_text("1,2,3,4\n")  # without names, by position
    np.testing.assert_allclose(
        np.array(run("predict", file, tmp_path)[0].splitlines()[1].split(",")[3:], float),
        s2o.load(file).predict([np.array([[1, 2, 3, 4.0]])])[0],
        rtol=1e-6,
    )


def test_ids_are_written_to_every_kind_of_table(folder, file, per_step_file, tmp_path):
    import pyarrow.parquet as pq

    ids = [f"r{n}.csv" for n in range(30)]
    run("predict", file, folder / "data", "--out", tmp_path / "scores.parquet", "-q")
    table = pq.read_table(tmp_path / "scores.parquet").to_pydict()
    assert (list(table)[:3], table["id"]) == (["index", "id", "label"], ids)
    run("predict", file, folder / "data", "--out", tmp_path / "scores.npz", "-q")
    with np.load(tmp_path / "scores.npz") as arrays:
        assert arrays["ids"].tolist() == ids
    out, _ = run("predict", per_step_file, folder / "data", "--channels", ",".join(NAMES))
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == ["index", "id", "step", "label", *CLASSES]
    assert [row["id"] for row in rows] == np.repeat(ids, random_data(30).lengths).tolist()


def test_a_worker_of_a_cluster_knows_the_ids_of_its_rows():
    from seq2onnx.cluster.worker import RowRange

    data = s2o.SequenceDataset(random_data(4).sequences, ids=["a", "b", "c", "d"])
    assert RowRange(data, 1, 2).ids == ["b", "c"]
    assert RowRange(random_data(4), 1, 2).ids is None


def test_a_class_may_have_the_name_of_a_column(data, tmp_path):
    import pyarrow.parquet as pq

    from tests.conftest import built

    s2o.export(built(small_network(), data), tmp_path / "m.onnx", classes=["id", "label", "index"])
    random_data(3).save(tmp_path / "data.npz")
    run("predict", tmp_path / "m.onnx", tmp_path / "data.npz", "--out", tmp_path / "s.parquet", "-q")
    names = ["index", "label", "id", "score label", "score index"]
    assert pq.read_table(tmp_path / "s.parquet").column_names == names
    assert run("predict", tmp_path / "m.onnx", tmp_path / "data.npz")[0].startswith(",".join(names) + "\n")


def test_one_table_of_all_sequences(folder, file, tmp_path):
    data = random_data(30)
    lines = ["gx,pump,ax,az,ay,second"]
    for number, x in enumerate(data.sequences):
        lines += [f"{gx!r},p{number},{ax!r},{az!r},{ay!r},{t}" for t, (ax, ay, az, gx) in enumerate(x.tolist())]
    (tmp_path / "all.csv").write_text("\n".join([lines[0], *lines[:0:-1]]))  # in reverse order, of time too
    out, _ = run("predict", file, tmp_path / "all.csv", "--id", "pump", "--time", "second")
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(out))}
    scores = s2o.load(file).predict(data.sequences)
    found = [[float(rows[f"p{n}"][c]) for c in CLASSES] for n in range(30)]
    np.testing.assert_allclose(found, scores, rtol=1e-6)


def test_parquet_with_a_column_for_each_feature_is_predicted_by_name(file, tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    data = random_data(5)
    columns = {name: [x[:, NAMES.index(name)].tolist() for x in data.sequences] for name in ["gx", "az", "ax", "ay"]}
    pq.write_table(pa.table(columns), tmp_path / "data.parquet")
    rows = [line.split(",")[2:] for line in run("predict", file, tmp_path / "data.parquet")[0].splitlines()[1:]]
    np.testing.assert_allclose(np.array(rows, float), s2o.load(file).predict(data.sequences), rtol=1e-6)


def test_inspect_shows_the_names(folder, file):
    out, _ = run("data", "inspect", folder / "data", "--time", "time")
    lines = [line.split() for line in out.splitlines()]
    names = [line[0] for line in lines[lines.index(["channel", "mean", "std", "min", "max"]) + 1 :][:4]]
    assert names == NAMES
    assert max(map(len, out.splitlines())) <= 80
    assert "channels     ax, ay, az, gx\n" in run("inspect", file)[0]


def test_verify_and_report_read_the_same_data(folder, file, tmp_path):
    out, _ = run("verify", file, "--data", folder / "data")
    assert "whole = steps, data" in out
    options = ["--labels", "labels.csv", "--targets", "label", "--out", tmp_path / "report.html"]
    run("report", file, folder / "data", *options, "-q")
    run("evaluate", file, folder / "data", *options[:4], "--json", tmp_path / "f.json")
    accuracy = json.loads((tmp_path / "f.json").read_text())["accuracy"]
    page = (tmp_path / "report.html").read_text()
    assert f"{accuracy:.4f}" in page
    assert f"{100 * accuracy:.1f} % of 30 labels" in page


def test_data_without_the_name_of_its_times_says_so(folder):
    _, err = run("data", "inspect", folder / "data", code=2)
    assert "r0.csv, line 2, column 'time': expected a number, got '2024-05-31 12:00:00'; leave a column of times" in err


def test_integers_can_be_numbers_on_the_command_line(tmp_path):
    lines = [f"u{number},{step},{number % 7}" for number in range(20) for step in range(3)]
    data = tmp_path / "days.csv"
    data.write_text("\n".join(["unit,x,days", *lines]))
    network = s2o.Network([s2o.SequenceInput(1, "zscore"), s2o.LSTM(3, "last"), s2o.FullyConnected(1)])
    network.save(tmp_path / "network.yaml")
    given = ["--id", "unit", "--targets", "days"]
    train = ["train", tmp_path / "network.yaml", data, *given, "--loss", "mse", "--out", tmp_path / "run", "-q"]
    settings = ["--set", "epochs=1", "--set", "device=cpu", "--set", "threads=1"]
    _, err = run(*train, *settings, code=2)
    assert "or --numbers on the command line" in " ".join(err.split())
    run(*train, *settings, "--numbers")
    run("export", tmp_path / "run", "-q")
    file = tmp_path / "run/model.onnx"
    _, err = run("evaluate", file, data, *given, code=2)
    assert "needs numbers as targets, got labels" in " ".join(err.split())
    assert "Convert them: targets.astype(float), or --numbers on the command line" in " ".join(err.split())
    assert "RMSE" in run("evaluate", file, data, *given, "--numbers")[0]
    assert "targets    numbers, one row per sequence" in run("data", "inspect", data, *given, "--numbers")[0]
    run("data", "convert", data, tmp_path / "days.npz", *given, "--numbers", "-q")
    assert read(tmp_path / "days.npz").targets.tolist() == [n % 7 for n in range(20)]
    _, err = run("data", "inspect", data, "--id", "unit", "--targets", "unit", "--channels", "x", "--numbers", code=2)
    assert "is the id" in err or "numbers needs numbers as targets" in err


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet"])
@pytest.mark.parametrize("per_step", [False, True])
def test_labels_in_files_of_arrays_can_be_read_as_numbers(tmp_path, suffix, per_step):
    x = [np.zeros((n, 2)) for n in (3, 2, 3)]
    targets = [[7, 8, 9], [7, 7], [8, 8, 8]] if per_step else [7, 9, 8]
    s2o.SequenceDataset(x, targets).save(tmp_path / f"data{suffix}")
    data = read(tmp_path / f"data{suffix}", numbers=True)
    assert (data.classes, data.per_step) == (None, per_step)
    assert [np.asarray(target).tolist() for _, target in data] == targets
    words = [["a"] * 3, ["b"] * 2, ["a"] * 3] if per_step else ["a", "b", "a"]
    s2o.SequenceDataset(x, words).save(tmp_path / f"words{suffix}")
    with pytest.raises(s2o.DataError, match="numbers needs numbers as targets"):
        read(tmp_path / f"words{suffix}", numbers=True)


def test_names_and_ids_survive_convert(folder, tmp_path):
    for suffix in (".npz", ".h5", ".parquet"):
        arguments = [folder / "data", tmp_path / f"data{suffix}", "--time", "time", "--channels", "gx,ax"]
        run("data", "convert", *arguments, "--labels", "labels.csv", "--targets", "machine", "-q")
        found = read(tmp_path / f"data{suffix}")
        assert (found.channels, found.ids[:2], found.classes) == (
            ["gx", "ax"],
            ["r0.csv", "r1.csv"],
            ["m0", "m1", "m2"],
        )


# -- stream --


def rows_of(x, names):
    return as_csv(x, names).splitlines()


def test_stream_reads_columns_by_the_names_of_the_header(file):
    x = random_data(1).sequences[0]
    plain, _ = run("stream", file, stdin="\n".join(rows_of(x, NAMES)[1:]))
    assert run("stream", file, stdin="\n".join(rows_of(x, NAMES)))[0] == plain
    for before in ("\ufeff", "\n", ""):
        text = before + "\r\n".join(rows_of(x, ["gx", "ay", "az", "ax"]))
        assert run("stream", file, stdin=text)[0] == plain
    quoted = '"gx", "ay","az","ax"\n' + "\n".join(rows_of(x, ["gx", "ay", "az", "ax"])[1:])
    assert run("stream", file, stdin=quoted)[0] == plain
    surplus = "\n".join(
        f'{row},"{note}"'
        for row, note in zip(rows_of(x, ["gx", "ay", "az", "ax"]), ["note", *["a,b"] * len(x)], strict=True)
    )
    assert run("stream", file, stdin=surplus)[0] == plain
    as_json = "\n".join(json.dumps(step) for step in x.tolist())
    mixed = "ay,ax,gx,az\n" + as_json  # JSON has no names and goes by position
    scores = [json.loads(line)["y"] for line in run("stream", file, stdin=mixed)[0].splitlines()]
    np.testing.assert_allclose(
        scores, [list(map(float, line.split(",")[1:])) for line in plain.splitlines()], rtol=1e-6
    )


def test_stream_refuses_a_header_that_lacks_a_channel(file):
    out, err = run("stream", file, stdin="ax,ay,az\n1,2,3\n", code=2)
    assert (out, err) == ("", "seq2onnx: line 1: has no gx; its columns are ax, ay, az\n")
    _, err = run("stream", file, stdin="ax,ay,az,gx,note\n1,2,3,4\n", code=2)
    assert "line 2: " in err
    assert "the header has 5 columns, the line 4" in err
    assert "expected 4 numbers, got 3" in run("stream", file, stdin="1,2,3\n", code=2)[1]  # no header


def test_stream_with_ids_has_the_id_first(file):
    x = random_data(1).sequences[0]
    plain, _ = run("stream", file, stdin="\n".join(rows_of(x, NAMES)[1:]))
    head, *rows = rows_of(x, ["gx", "ay", "az", "ax"])
    text = "\n".join(
        [f"7,{head}", *(f"pump 7,{row}" for row in rows)]
    )  # what the first column is called is all the same
    out, _ = run("stream", file, "--id-column", stdin=text)
    assert out == "".join(f"pump 7,{line}\n" for line in plain.splitlines())


def test_stream_skips_the_header_of_a_model_without_names(model_file, tmp_path):
    plain, _ = run("stream", model_file, stdin="1,2,3,4\n")
    assert run("stream", model_file, stdin="a,b,c,d\n1,2,3,4\n")[0] == plain
    assert "line 1: expected numbers" in run("stream", model_file, stdin="hello\n1,2,3,4\n", code=2)[1]
    network = s2o.Network([s2o.SequenceInput("tokens"), s2o.WordEmbedding(2, ["yes", "no"]), s2o.LSTM(1, "last")])
    s2o.export(s2o.build(network), tmp_path / "words.onnx")
    assert len(run("stream", tmp_path / "words.onnx", stdin="yes\nno\n")[0].splitlines()) == 2


def test_names_that_are_numbers_are_a_header(data, tmp_path):
    from tests.conftest import built

    s2o.export(built(small_network(), data), tmp_path / "m.onnx", channels=["0", "1", "2", "3"])
    plain, _ = run("stream", tmp_path / "m.onnx", stdin="5,6,7,8\n")
    assert run("stream", tmp_path / "m.onnx", stdin="3,2,1,0\n8,7,6,5\n")[0] == plain


# -- options --


def test_options_that_do_not_apply_are_refused(folder, file):
    random_data(3).save(folder / "data.npz")
    _, err = run("predict", file, folder / "data.npz", "--id", "pump", code=2)
    assert "data.npz: id applies only to .csv, a folder of .csv files, a folder of .wav files; leave it out" in err
    _, err = run("predict", file, folder / "data.npz", "--ray", "--time", "t", code=2)
    assert "--ray: reads the columns that .parquet files name; leave the options of DATA out" in err


@pytest.mark.parametrize(
    "command", ["train", "verify", "predict", "evaluate", "report", "data inspect", "data convert"]
)
def test_every_command_takes_the_options_of_data(command):
    out, _ = run(*command.split(), "--help")
    for option in (
        "sequences",
        "targets",
        "features-by-time",
        "channels",
        "id",
        "time",
        "labels",
        "per-step",
        "numbers",
    ):
        assert f"--{option} " in out
