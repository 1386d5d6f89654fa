"""CSV as users have it: folders and long tables, by the names of their columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import seq2onnx as s2o
from seq2onnx.data import read

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def write(tmp_path):
    """Write a file of a folder `data`; return the folder."""

    def write(name, content, folder="data"):
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / folder

    return write


def refused(message, *arguments, **options):
    with pytest.raises(s2o.DataError, match=message):
        read(*arguments, **options)


# -- a folder: by name --


def test_columns_in_another_order_are_read_into_the_same_channels(write):
    write("a.csv", "ax,ay\n1,2\n3,4\n")
    folder = write("b.csv", "ay,ax\n20,10\n")
    data = read(folder)
    assert data.channels == ["ax", "ay"]
    assert [x.tolist() for x in data.sequences] == [[[1, 2], [3, 4]], [[10, 20]]]
    assert data.ids == ["a.csv", "b.csv"]
    chosen = read(folder, channels=["ay"])
    assert (chosen.channels, chosen.sequences[1].tolist()) == (["ay"], [[20]])


def test_a_missing_or_surplus_column_names_the_file(write):
    write("a.csv", "ax,ay\n1,2\n")
    folder = write("b.csv", "ax,az\n1,2\n")
    refused(r"b.csv: has no ay; its columns are ax, az", folder)
    refused(r"b.csv: has no ay; its columns are ax, az", folder, channels=["ay"])
    write("b.csv", "ax,ay,temperature\n1,2,hot\n")
    refused(r"b.csv: has a column 'temperature', which other files lack; choose the columns: channels=", folder)
    assert read(folder, channels=["ay", "ax"]).sequences[1].tolist() == [[2, 1]]
    write("b.csv", "1,2\n")
    refused(r"b.csv: has no header, but .*a.csv has one", folder)
    write("b.csv", "ax,ax,ay\n1,2,3\n")
    refused(r"b.csv: has several columns 'ax'", folder)


def test_files_without_a_header_are_read_by_position(write):
    folder = write("a.csv", "1,2\n3,4\n")
    assert (read(folder).channels, read(folder).sequences[0].tolist()) == (None, [[1, 2], [3, 4]])
    named = read(folder, channels=["p", "q"])
    assert (named.channels, named.sequences[0].tolist()) == (["p", "q"], [[1, 2], [3, 4]])
    refused(r"channels: expected a name for each of the 2 channels, got 1: p", folder, channels=["p"])
    refused(r"a.csv: has no header line, so no column is called 'time'", folder, time="time")
    assert read(folder, features_by_time=True).sequences[0].tolist() == [[1, 3], [2, 4]]
    refused("name columns, which are steps here", folder, features_by_time=True, time="t")


def test_known_names_are_a_header_even_if_they_are_numbers(write):
    folder = write("a.csv", "seconds,1,0\n0.5,20,10\n")
    refused(r"a.csv, line 1, column 1: expected a number, got 'seconds'; a header line must contain only names", folder)
    assert read(folder, channels=["0", "1"]).sequences[0].tolist() == [[10, 20]]


def test_files_are_in_natural_order(write):
    for name in ("r10.csv", "r2.csv", "r1.csv", "R3.CSV", "sub/1.csv"):
        folder = write(f"all/{name}", "1,2\n")
    assert read(folder).ids == [f"all/{n}" for n in ("R3.CSV", "r1.csv", "r2.csv", "r10.csv", "sub/1.csv")]


def test_subfolders_are_labels(write):
    write("left/one.csv", "1,2\n")
    folder = write("right/two.csv", "3,4\n")
    data = read(folder)
    assert (data.labels.tolist(), data.ids) == (["left", "right"], ["left/one.csv", "right/two.csv"])
    assert read(folder, targets="").targets is None
    write("three.csv", "5,6\n")
    refused("both directly and in subfolders", folder)
    refused("contains no .csv or .wav files", write("readme.txt", "", "other"))
    refused(
        r"data is read from .parquet, .*, .csv, .wav, a folder of .csv files, a folder of .wav files, got '.xyz'",
        folder / "data.xyz",
    )


# -- a file of labels --


def test_a_folder_with_a_file_of_labels_inside_or_beside_it(write, tmp_path):
    write("r2.csv", "x\n2\n")
    folder = write("r10.csv", "x\n10\n")
    table = "label,file\nrun,r10\nwalk,r2.csv\n"
    write("labels.csv", table)
    beside = write("beside.csv", table, ".") / "beside.csv"
    for labels in ("labels.csv", "beside.csv", beside):
        if labels != "labels.csv":
            (folder / "labels.csv").unlink(missing_ok=True)
        data = read(folder, labels=labels)
        assert (data.ids, data.labels.tolist()) == (["r2.csv", "r10.csv"], ["walk", "run"])
    refused("nowhere.csv: there is no such file in .* or beside it", folder, labels="nowhere.csv")
    refused("per_step: a file of labels has one target for each sequence", folder, labels="beside.csv", per_step=True)


def test_a_file_of_labels_that_nobody_named_is_no_sequence(write):
    write("r1.csv", "x,y\n1,2\n")
    folder = write("labels.csv", "file,label\nr1,walk\n")
    refused(
        r"labels.csv, line 2, column 'file': expected a number, got 'r1'.*name the file with labels=",
        folder,
        channels=None,
    )


def test_every_file_has_a_line_of_labels_and_every_line_a_file(write):
    write("a.csv", "1\n")
    folder = write("b.csv", "1\n")
    write("labels.csv", "file,label\na,x\n", ".")
    refused(r"labels.csv: has no line for b.csv", folder, labels="labels.csv")
    write("labels.csv", "file,label\na,x\nb,y\nc,z\n", ".")
    refused(r"labels.csv: has lines for c, but there are no such sequences", folder, labels="labels.csv")
    write("labels.csv", "file,label\na,x\nb,y\na,z\n", ".")
    refused(r"labels.csv: has several lines for a; keep one", folder, labels="labels.csv")
    write("labels.csv", "file,label\na,x\nb,\n", ".")
    refused(r"labels.csv, line 3, column 'label': has no value", folder, labels="labels.csv")


def test_a_column_of_words_is_no_column_of_times(write):
    folder = write("a.csv", "machine,when,ax\npress 4,31.05.2024 12:00,1\n")
    message = r"'machine': expected a number, got 'press 4'; leave it out: .*channels=\[…\] \(--channels\)"
    refused(message, folder)
    with pytest.raises(s2o.DataError, match="'when'.*leave a column of times out with time='when'") as error:
        read(folder, channels=["when", "ax"])
    assert "labels=" not in str(error.value)


def test_the_columns_of_labels_are_chosen_by_name(write):
    write("a.csv", "1\n")
    folder = write("b.csv", "1\n")
    write("labels.csv", "recording;wear;load;state;code\nb;0,5;2;good;007\na;1,25;3;worn;010\n", ".")

    def found(**options):
        return read(folder, labels="labels.csv", id="recording", **options)

    assert found(targets="state").labels.tolist() == ["worn", "good"]
    assert found(targets="code").labels.tolist() == ["010", "007"]  # not the numbers 10 and 7
    assert found(targets="load").labels.tolist() == [3, 2]  # integers are labels
    assert found(targets="wear").targets.tolist() == [1.25, 0.5]
    assert found(targets=["load", "wear"]).targets.tolist() == [[3, 1.25], [2, 0.5]]
    refused(
        r"labels.csv: name the columns of the targets with targets=; it has wear, load, state, code",
        folder,
        labels="labels.csv",
        id="recording",
    )
    with pytest.raises(s2o.DataError, match=r"several columns must hold numbers, got 'worn' in 'state'|got 'good'"):
        found(targets=["load", "state"])
    refused(r"labels.csv: has no column|labels.csv: has no file; its columns are", folder, labels="labels.csv")
    refused("id names the column of the file names in labels; leave it out", folder, id="recording")


# -- times, and targets in the files --


def test_a_column_of_times_is_left_out_if_it_is_named(write):
    folder = write("a.csv", "time,x\n2024-05-31 12:00:00,1\n2024-05-31T12:00:01,2\n")
    refused(r"a.csv, line 2, column 'time': expected a number, got '2024-05-31 12:00:00'; leave .* time='time'", folder)
    data = read(folder, time="time")
    assert (data.channels, data.sequences[0].tolist()) == (["x"], [[1], [2]])
    write("a.csv", "time,x\n2024-05-31T12:00+02:00,1\n2024-05-31T11:00+00:00,2\n")
    assert read(folder, time="time").channels == ["x"]
    write("a.csv", "time,x\n9,1\n10,2\n10,3\n")
    with pytest.warns(s2o.Seq2OnnxWarning, match=r"^duplicates: .*: a.csv \(1\)"):
        assert read(folder, time="time").channels == ["x"]
    write("a.csv", "time,x\n9,1\n11,2\n10,3\n")
    refused(r"a.csv, line 4, column 'time': 10 comes after 11; sort the lines by time", folder, time="time")
    write("a.csv", "time,x\n31.05.2024,1\n")
    refused(r"expected a number or a time such as .*, got '31.05.2024'.*channels=", folder, time="time")
    assert read(folder, channels=["x"]).sequences[0].tolist() == [[1]]
    refused(r"a.csv: has no hour; its columns are time, x", folder, time="hour")


def test_targets_of_steps_are_a_column_of_the_files(write):
    write("a.csv", "x,state\n1,on\n2,off\n")
    folder = write("b.csv", "state,x\noff,3\n")
    data = read(folder, targets="state", per_step=True)
    assert ([row.tolist() for row in data.labels], data.channels) == ([["on", "off"], ["off"]], ["x"])
    refused(r"a.csv: has different values in state; use per_step=True", folder, targets="state")
    write("a.csv", "x,state\n1,on\n2,on\n")
    assert read(folder, targets="state").labels.tolist() == ["on", "off"]
    refused("channels: 'state' is the id, the time or the target", folder, targets="state", channels=["x", "state"])
    refused("has no columns of features besides x, state", folder, targets="state", time="x")
    write("a.csv", "x,state\n1,1\n2,1.5\n")
    write("b.csv", "x,state\n1,2\n")
    found = read(folder, targets="state", per_step=True).targets
    assert [row.tolist() for row in found] == [[1, 1.5], [2]]


# -- a single file --

PUMPS = "hour,pump,flow,heat,state\n2,p2,21,22,worn\n1,p10,1,2,good\n1,p2,11,12,worn\n10,p2,31,32,worn\n"


def test_a_long_table_has_a_sequence_for_each_id(write):
    path = write("pumps.csv", PUMPS, ".") / "pumps.csv"
    data = read(path, id="pump", time="hour", targets="state")
    assert (data.ids, data.channels) == (["p2", "p10"], ["flow", "heat"])
    assert data.sequences[0].tolist() == [[11, 12], [21, 22], [31, 32]]  # hour 10 is after hour 2
    assert data.labels.tolist() == ["worn", "good"]
    assert read(path, id="pump", channels=["heat"]).sequences[0].tolist() == [[22], [12], [32]]
    steps = read(path, id="pump", targets="hour", per_step=True, channels=["flow"])
    assert [row.tolist() for row in steps.labels] == [[2, 1, 10], [1]]
    write("labels.csv", "pump,label\np10,b\np2,a\n", ".")
    assert read(path, id="pump", labels="labels.csv", channels=["flow"]).labels.tolist() == ["a", "b"]
    refused("pumps.csv: has no machine; its columns are hour, pump", path, id="machine")
    refused("pump p2: has different values in hour", path, id="pump", targets="hour", channels=["flow"])
    refused(r"column 'state': expected a number, got 'worn'", path, id="pump")
    refused("labels need the column that tells the sequences apart: id=", path, labels="labels.csv")
    write("pumps.csv", PUMPS + "2,p2,5,5,worn\n", ".")
    refused("pump p2 has several lines with hour = 2", path, id="pump", time="hour", targets="state")


def test_a_long_table_equals_the_data_frame(write):
    pandas = pytest.importorskip("pandas")
    path = write("pumps.csv", PUMPS, ".") / "pumps.csv"
    found = read(path, id="pump", time="hour", targets="state")
    expected = s2o.SequenceDataset.from_frame(pandas.read_csv(path), id="pump", time="hour", targets="state")
    assert (found.ids, found.channels, found.classes) == (expected.ids, expected.channels, expected.classes)
    np.testing.assert_array_equal(np.concatenate(found.sequences), np.concatenate(expected.sequences))
    np.testing.assert_array_equal(found.targets, expected.targets)


def test_a_single_file_without_id_is_one_sequence(write):
    path = write("pump.csv", "x,y\n1,2\n3,4\n", ".") / "pump.csv"
    data = read(path)
    assert (data.ids, data.channels, data.sequences[0].tolist()) == (["pump.csv"], ["x", "y"], [[1, 2], [3, 4]])
    assert s2o.SequenceDataset.load(path).channels == ["x", "y"]


def test_ids_are_texts(write):
    path = write("a.csv", "id,x\n007,1\n7,2\n", ".") / "a.csv"
    assert read(path, id="id").ids == ["007", "7"]


# -- what programs write --


@pytest.mark.parametrize(
    "text",
    [
        "ax,ay\n0.5,2\n,-1e3\n",
        "\ufeffax;ay\r\n0,5;2\r\n;-1e3\r\n",  # Excel in Europe
        "ax\tay\r\n0.5\t2\n\t-1e3\n",
        '"ax","ay"\n"0.5","2"\n"","-1e3"\n',
        ' "ax", "ay"\n 0.5, 2\n , -1e3\n\n',
        "ax,ay,\n0.5,2,\n,-1e3,\n",  # a delimiter at the end of each line
    ],
)
def test_the_same_table_in_many_spellings(write, text):
    data = read(write("a.csv", text))
    assert data.channels == ["ax", "ay"]
    np.testing.assert_array_equal(data.sequences[0], [[0.5, 2], [np.nan, -1000]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x;y\n1,5;2.5\n", r"has the numbers 1,5 and 2.5; write all with a decimal point, or all with ,"),
        ("x\ty\n1,5\t2\n", r"line 2, column 'x': expected a number, got '1,5'; write numbers with a decimal point"),
        ('x,y\n"1,5",2\n', r"line 2, column 'x': expected a number, got '1,5'; write numbers with a decimal point"),
        ("x,y\n1,2\n3\n", r"line 3: expected 2 cells as in the first line, got 1"),
        ("x;y\n1,2\n", r"line 2: expected 2 cells as in the first line, got 1"),
        ('"x,y\n5,6\n', r"line \d: unexpected end of data"),
        (",x\n0,1\n", r"column 1 has no name; .*to_csv\(index=False\)"),
        ("x,y\n", r"has a header, but no lines below it"),
        ("\n", r"contains no numbers"),
        ("1,x\n3,4\n", r"line 1, column 2: expected a number, got 'x'; a header line must contain only names"),
        ("1,2\n3,x\n", r"line 2, column 2: expected a number, got 'x'"),
        ("x,ä\n1,2\n".encode("latin-1"), r"is not UTF-8 text .*save it as UTF-8"),
        ("x,y\n1,2\n".encode("utf-16"), r"is not UTF-8 text .*save it as UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_for_sure_is_refused(write, content, message):
    refused(f"a.csv.*{message}", write("a.csv", content))


def test_numbers_with_a_comma_are_no_labels(write):
    folder = write("a.csv", 'x,y\n1,"2,5"\n')
    refused(r"targets: got 2,5 in 'y'; write numbers with a decimal point", folder, targets="y")


@pytest.mark.parametrize("index", [True, False])
def test_the_header_of_a_frame_without_names_is_warned_of(tmp_path, index):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(3, 2)))
    for name in ("a.csv", "b.csv"):
        frame.to_csv(tmp_path / name, index=index)
    message = r"a.csv \(and 1 more files\): the first line is 0, 1 … 1, and it is read as data.*header=False"
    with pytest.warns(UserWarning, match=message):
        read(tmp_path)
    with pytest.warns(UserWarning, match=message):
        read(tmp_path, features_by_time=True)
    for name in ("a.csv", "b.csv"):  # the remedy
        frame.to_csv(tmp_path / name, header=False, index=False)
    np.testing.assert_allclose(read(tmp_path).sequences[0], frame.to_numpy(), rtol=1e-6)


def test_steps_that_count_from_zero_are_no_header(write):
    assert len(read(write("a.csv", "0,1\n2,3\n")).sequences[0]) == 2  # all are integers
    assert len(read(write("b.csv", "0\n0.5\n", "one")).sequences[0]) == 2  # a single column


# -- options that a format lacks --


def test_an_argument_that_a_format_lacks_is_refused(tmp_path):
    s2o.SequenceDataset([np.zeros((3, 2))], channels=["a", "b"]).save(tmp_path / "data.npz")
    refused(
        r"data.npz: time applies only to .csv, a folder of .csv files; leave it out", tmp_path / "data.npz", time="t"
    )
    refused(r"data.npz: sequences applies only to .parquet, .mat; leave it out", tmp_path / "data.npz", sequences="x")
    assert read(tmp_path / "data.npz", channels=["b"]).channels == ["b"]
    refused("has no c; its columns are a, b", tmp_path / "data.npz", channels=["c"])
    s2o.SequenceDataset([np.zeros((3, 2))]).save(tmp_path / "plain.npz")
    assert read(tmp_path / "plain.npz", channels=["a", "b"]).channels == ["a", "b"]
