"""seq2onnx tune: an alarm from a file, recordings and their events."""

from __future__ import annotations

import re

import numpy as np
import pytest

import seq2onnx as s2o
from tests.command import run


@pytest.fixture
def recordings(tmp_path):
    """A file whose score is the loudness of each 10 ms, and two recordings, one with three tones."""
    mel = s2o.MelSpectrogram(800, 8, 8, 1, window="none", log="none")
    s2o.export(s2o.build(s2o.Network([s2o.SequenceInput(1), mel])), tmp_path / "loudness.onnx")
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        x = rng.normal(0, 0.01, 8000)
        if name == "a":
            for at in (1600, 4000, 6400):
                x[at : at + 80] = 0.3 * np.sin(np.pi / 2 * np.arange(80))
        np.savetxt(tmp_path / "data" / f"{name}.csv", x, "%.5f")
    (tmp_path / "events.csv").write_text("file,start,end,label\na,2,2.1,tone\na,5,5.1,tone\na.csv,8,8.1,tone\n")
    return tmp_path


def tune(folder, *arguments, code=0):
    options = ["--false-alarms", 0, "--out", folder / "alarm.onnx", "--hold", 20]
    return run("tune", folder / "loudness.onnx", folder / "data", *options, *arguments, code=code)


def test_the_file_of_tune_gives_the_alarms_of_its_table(recordings):
    out, _ = tune(recordings, "--events", recordings / "events.csv")
    head, *_, chosen = out.split("\n\n")[0].splitlines()
    assert head.split() == ["threshold", "events", "found", "false", "alarms", "an", "hour", "at", "most", "(95", "%)"]
    assert chosen.split()[1:] == ["3", "of", "3", "0", "0", "539.2", "chosen"]  # 2.9957 in 20 seconds
    assert "3 of 3 events found, 0 false alarms in 0.00556 hours, 0 an hour (with 95 % confidence at most 539)" in out
    model = s2o.load(recordings / "alarm.onnx")
    assert model.contract.answer == "events"
    out, _ = run("predict", recordings / "alarm.onnx", recordings / "data")
    rows = [line.split(",") for line in out.splitlines()]
    assert rows[0] == ["index", "id", "step", "seconds", "label", "score"]
    assert [row[:3] for row in rows[1:]] == [["0", "a.csv", step] for step in ("200", "500", "800")]
    assert [row[3] for row in rows[1:]] == ["2.01", "5.01", "8.01"]
    lines = (recordings / "data" / "a.csv").read_text()
    out, _ = run("stream", recordings / "alarm.onnx", stdin=lines)
    assert [line for line in out.splitlines() if line] == ["200,2.01,y0", "500,5.01,y0", "800,8.01,y0"]
    out, _ = run("stream", recordings / "alarm.onnx", stdin="[0]\n" * 8)
    assert out.splitlines()[-1] == '{"step": 0, "seconds": 0.01, "events": []}'


def test_labels_of_steps_are_events_too(tmp_path):
    network = s2o.Network([s2o.SequenceInput(2), s2o.Rescale(1, name="scores")])
    s2o.export(s2o.build(network), tmp_path / "loudness.onnx", classes=["none", "knock"])
    x, labels = np.zeros((1000, 2), np.float32), np.full(1000, "none", "U5")
    for at in (0, 100, 995):
        x[at : at + 5, 1], labels[at : at + 5] = 1 + at / 1000, "knock"
    x[600, 1] = 1.05
    s2o.SequenceDataset([x], [labels], per_step=True).save(tmp_path / "steps.npz")
    arguments = ["tune", tmp_path / "loudness.onnx", tmp_path / "steps.npz", "--out", tmp_path / "alarm.onnx"]
    out, _ = run(*arguments, "--false-alarms", 100, "--rate", 10, "--label", "knock")
    rows = [line.split() for line in out.splitlines()]
    assert [row[1:5] for row in rows[1:3]] == [["2", "of", "3", "0"], ["3", "of", "3", "1"]]
    assert "chosen" in rows[2]
    alarm = s2o.restore(tmp_path / "alarm.onnx").network["alarm_1"]
    assert alarm.threshold == (None, 1.0)
    out, _ = run(*arguments, "--false-alarms", 0, "--rate", 10, "--label", "knock")
    assert "chosen" in out.splitlines()[1]
    _, message = run(*arguments, "--false-alarms", 0, "--rate", 10, code=2)
    assert "--label: expected one of none, knock, got None" in message
    _, message = run(*arguments, "--false-alarms", 0, "--label", "knock", code=2)
    assert "does not know the steps of a sequence per second" in message
    _, message = run("tune", tmp_path / "alarm.onnx", *arguments[2:4], "x.onnx", "--false-alarms", 0, code=2)
    assert "an alarm needs a file with one output, of scores for each step" in message


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("c,1,2,tone", "has events of c, but there are no such sequences, only a.csv, b.csv"),
        ("a,2,1,tone", "line 2, column 'end': an event must end after its start, .* got 2 to 1 s"),
        ("a,1,,tone", "an event must end after its start"),
        ("a,1,soon,tone", "expected a number, got 'soon'"),
        ("a,11,12,tone", "a.csv: no result is known while the event from 11 to 12 s lasts; the sequence has 1000"),
        ("a,1.011,1.012,tone", "no result is known while the event from 1.011 to 1.012 s lasts"),
    ],
)
def test_wrong_events_are_named(recordings, lines, message):
    (recordings / "events.csv").write_text(f"file,start,end,label\n{lines}\n")
    _, error = tune(recordings, "--events", recordings / "events.csv", code=2)
    assert re.search(message, error)
    assert not (recordings / "alarm.onnx").exists()


def test_data_without_events_and_a_label_without_events_are_refused(recordings):
    _, error = tune(recordings, code=2)
    assert "the data has no label for each step; give the events in seconds with --events" in error
    _, error = tune(recordings, "--events", recordings / "events.csv", "--label", "bell", code=2)
    assert "events.csv: has no event with the label 'bell'" in error
