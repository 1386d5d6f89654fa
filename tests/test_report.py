"""seq2onnx report: the content of the page, its HTML, and that a browser shows it without errors."""

from __future__ import annotations

import base64
import html.parser
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx.reporting import facts
from tests.clock import HANG
from tests.command import run
from tests.conftest import CLASSES, built, random_data, small_network

VOID = {"meta", "link", "img", "br"}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(facts, "SECONDS", 0.01)


class Page(html.parser.HTMLParser):
    """The tables, texts and pictures of a page. Asserts that elements are closed in the right order."""

    def __init__(self, path):
        super().__init__()
        self.open, self.texts, self.tables, self.images, self.attributes = [], [], [], [], []
        self.raw = path.read_text(encoding="utf-8")
        self.feed(self.raw)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.attributes.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(attributes)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data
        if data.strip():
            self.texts.append(data.strip())

    def table(self, *head):
        """The rows of the one table with this head."""
        (found,) = [rows for rows in self.tables if rows[0] == list(head)]
        return found[1:]

    def figure(self, name):
        """The value of a key figure at the top."""
        return self.texts[self.texts.index(name) + 1]

    def says(self, text):
        return any(text in found for found in self.texts)


CLASS_HEAD = ("class", "count", "recall", "precision", "F1")
NUMBER_HEAD = ("output", "R²", "RMSE", "mean absolute error")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, its data, and its exported file."""
    folder = tmp_path_factory.mktemp("report")
    random_data(30).save(folder / "data.npz")
    options = s2o.TrainingOptions(epochs=3, learning_rate=1e-2, device="cpu", threads=1, progress=False)
    result = s2o.train(small_network(), random_data(30), 0.2, options=options, run_dir=folder / "run")
    s2o.export(result.module, folder / "model.onnx")
    return folder


def test_a_run_and_its_data(folder, tmp_path):
    out, _ = run("report", folder / "run", folder / "data.npz", "--out", tmp_path / "page.html")
    path = tmp_path / "page.html"
    assert out == f"{path}: {path.stat().st_size:,} bytes\n"
    page, model, data = Page(path), s2o.load(folder / "model.onnx"), random_data(30)
    assert page.texts[:2] == ["small", "small"]  # title and heading
    assert page.says("run, exported for this report; seq2onnx ")
    # Results.
    labels = model.classify(data)
    accuracy = np.mean(labels == data.labels)
    assert page.figure("accuracy") == f"{accuracy:.4f}"
    for label, count, recall, precision, _ in page.table(*CLASS_HEAD):
        there, taken = data.labels == label, labels == label
        right = (there & taken).sum()
        assert int(count) == there.sum()
        assert recall == f"{100 * right / there.sum():.1f} %"
        assert precision == (f"{100 * right / taken.sum():.1f} %" if taken.sum() else "–")
    # Network and file.
    rows = page.table("layer", "kind", "output", "parameters", "state")
    assert [row[0] for row in rows] == [name for name, *_ in small_network().table()] + ["total"]
    assert rows[1] == ["lstm_1", "lstm: hidden_size 8, output_mode last", "[batch, 8]", "416", "h [8] c [8]"]
    assert rows[-1][3] == page.figure("parameters") == "443"
    contract = page.table("property", "value")
    for row in (["signature", "full"], ["classes", ", ".join(CLASSES)], ["input", "x  float [batch, time, 4]"]):
        assert row in contract
    assert ["state", "lstm_1 h: state_00_lstm_1_h -> new_state_00_lstm_1_h"] in contract
    statistics = page.table("channel", "mean", "std")
    found = model.metadata["network"]["layers"][0]["sequence_input"]["statistics"]
    np.testing.assert_allclose(np.array(statistics, float)[:, 1:].T, [found["mean"], found["std"]], rtol=1e-5)
    # Training.
    options = page.table("option", "value", "default")
    assert ["epochs", "3", "30"] in options
    assert ["loss", "crossentropy", ""] in options
    assert all(row[0] != "batch_size" for row in options)
    assert page.says("batch_size 128")
    history = [line.split(",") for line in (folder / "run/history.csv").read_text().splitlines()]
    last = dict(zip(history[0], history[-1], strict=True))
    figures = dict(page.table("metric", "value"))
    for name in ("loss", "validation_loss", "validation_accuracy"):
        assert float(figures[name.replace("_", " ")]) == pytest.approx(float(last[name]), rel=1e-4)
    pictures = [base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) for image in page.images]
    assert (folder / "run" / "curve.png").read_bytes() in pictures
    assert len(pictures) == 2  # the confusion chart of these data, and no other one
    # Parity and latency.
    checks = page.table("check", "tensor", "max abs", "max rel", "verdict")
    assert {row[0] for row in checks} >= {
        "torch = onnxruntime, random",
        "torch = onnxruntime, data",
        "whole = steps, data",
    }
    assert {row[4] for row in checks} == {"ok"}
    assert page.says(f"All {len(checks)} comparisons passed; tolerance: 1e-05")
    assert page.says("Checked on random sequences and the first 30 of the 30 sequences of data.npz.")
    times = page.table("run", "p50", "p90", "p99", "max", "steps/s")
    assert [row[0] for row in times] == ["Stream.step", "predict"]
    import onnxruntime

    assert ["onnxruntime", onnxruntime.__version__] in page.table("environment", "value")
    assert dict(page.table("environment", "value"))["processor"]


def test_a_report_shows_the_baseline_and_which_channels_matter(folder, tmp_path):
    run("report", folder / "run", folder / "data.npz", "--out", tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    assert page.says(
        f"Of the validation data, a linear model has the accuracy {metrics['baseline_accuracy']:.4g}, and the network "
        f"{metrics['validation_accuracy']:.4g}."
    )
    assert page.says("Training ends after all epochs, and keeps the weights of the last one (keep=last).")
    falls = s2o.importance(folder / "model.onnx", random_data(30), repeats=3).table
    assert page.table("channel", "falls", "low", "high") == [
        [row.channel, *(f"{value:.4f}" for value in row[1:])] for row in falls
    ]


def test_options_with_lists_are_no_changes_and_warnings_are_shown(folder, tmp_path):
    """Options that equal their defaults are not listed; what training and data warned of is said again."""
    data = s2o.SequenceDataset(random_data(30).sequences, ["yes", "Yes", "no"] * 10)
    data.save(tmp_path / "data.npz")
    options = s2o.TrainingOptions(epochs=2, metrics=(), device="cpu", threads=1, progress=False)
    s2o.train(small_network(), data, 0.3, options=options, run_dir=tmp_path / "run")
    (warning,) = json.loads((tmp_path / "run" / "advice.json").read_text())
    assert warning["id"] == "labels-alike"
    run("report", tmp_path / "run", tmp_path / "data.npz", "--out", tmp_path / "page.html", "-q")
    page = Page(tmp_path / "page.html")
    changed = [row[0] for row in page.table("option", "value", "default")]
    assert changed == ["loss", "epochs", "device", "threads", "progress"]
    assert page.raw.count("The labels &#x27;Yes&#x27;, &#x27;yes&#x27; differ by case or blanks alone") == 2
    (tmp_path / "run" / "advice.json").write_text('[{"text": 3}]')
    _, err = run("report", tmp_path / "run", "--out", tmp_path / "page.html", "-q", code=2)
    assert "advice.json: is not what a training run writes: expected a list of texts" in err


def test_the_page_is_valid_html_and_loads_nothing(folder, tmp_path):
    run("report", folder / "run", folder / "data.npz", "--out", tmp_path / "page.html", "-q")
    page = Page(tmp_path / "page.html")
    assert page.raw.startswith('<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">')
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.attributes
    for tag, attributes in page.attributes:
        assert tag not in ("script", "iframe", "object", "form")
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
        if tag == "th":
            assert attributes["scope"] in ("col", "row")
    assert not re.search(r"url\(|@import|https?://", page.raw)
    assert "default-src 'none'" in dict(page.attributes[3][1])["content"]
    for image in page.images:
        assert len(image["alt"]) > 40
        assert int(image["width"]) > 300
    for mode in ("prefers-color-scheme: dark", "@media print"):
        assert mode in page.raw


def test_names_of_users_are_escaped(tmp_path):
    evil = '<script>alert("1")</script>&'
    data = s2o.SequenceDataset([np.zeros((3, 2)), np.ones((4, 2))], [evil, "'>\""])
    data.save(tmp_path / "<b>data&.npz")
    net = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(2, "last"), s2o.FullyConnected(2), s2o.Softmax()], name=evil)
    s2o.export(built(net, data), tmp_path / "model.onnx", classes=data.classes)
    run("report", tmp_path / "model.onnx", tmp_path / "<b>data&.npz", "-q")
    page = Page(tmp_path / "model.html")
    assert page.texts[:2] == [evil, evil]
    assert "<script" not in page.raw
    assert page.says("<b>data&.npz: 2 sequences of 3 to 4 steps.")
    assert [row[0] for row in page.table(*CLASS_HEAD)] == data.classes


def test_the_shipped_data_set(tmp_path):
    from seq2onnx.cli.demo import network

    training, test = s2o.datasets.japanese_vowels()
    s2o.export(built(network(), training), tmp_path / "vowels.onnx", classes=training.classes)
    test.save(tmp_path / "test.npz")
    run("report", tmp_path / "vowels.onnx", tmp_path / "test.npz", "-q")
    page = Page(tmp_path / "vowels.html")
    model = s2o.load(tmp_path / "vowels.onnx")
    assert page.texts[0] == "japanese_vowels"
    assert page.figure("accuracy") == f"{np.mean(model.classify(test) == test.labels):.4f}"
    assert page.figure("file size, bytes") == f"{(tmp_path / 'vowels.onnx').stat().st_size:,}"
    assert page.says("test.npz: 370 sequences of 7 to 29 steps.")
    assert page.says("baseline (most frequent class): 23.8 %")
    assert page.says("Checked on random sequences and the first 100 of the 370 sequences of test.npz.")
    assert not page.says("Training")
    (chart,) = page.images
    assert chart["alt"].startswith("Confusion chart of 9 classes")


def exported(folder, layers, data, **options):
    s2o.export(built(s2o.Network(layers), data), folder / "model.onnx", **options)
    data.save(folder / "data.npz")
    run("report", folder / "model.onnx", folder / "data.npz", "-q")
    return Page(folder / "model.html"), s2o.load(folder / "model.onnx")


def test_labels_of_steps_are_compared_except_ignored_ones(tmp_path):
    data = random_data(9, per_step=True)
    sequences, labels = list(data.sequences), [np.array(row, object) for row in data.labels]
    sequences[4] = sequences[4].copy()
    sequences[4][0] = np.nan  # its predictions are NaN
    labels[0][:2] = "unknown"
    data = s2o.SequenceDataset(sequences, [row.astype(str) for row in labels], CLASSES, ignore="unknown")
    clean = random_data(9, per_step=True)
    s2o.export(built(small_network("sequence"), clean), tmp_path / "model.onnx", classes=CLASSES)
    data.save(tmp_path / "data.npz")
    run("report", tmp_path / "model.onnx", tmp_path / "data.npz", "-q")
    page = Page(tmp_path / "model.html")
    answers = np.concatenate(s2o.load(tmp_path / "model.onnx").classify(data))
    truth = np.concatenate(labels)
    known = (truth != "unknown") & (answers != None)  # noqa: E711
    assert page.figure("accuracy") == f"{np.mean(answers[known] == truth[known]):.4f}"
    assert sum(int(row[1]) for row in page.table(*CLASS_HEAD)) == known.sum()
    assert page.says(f"{data.lengths[4]} predictions are NaN")
    assert page.says("Note: 1 of 9 sequences of data have NaN or infinity and were left out.")
    assert [image["alt"][:25] for image in page.images] == ["Confusion chart of 3 clas", "Scores of the 3 classes o"]
    assert page.says(f"the first {len(data)} of the {len(data)} sequences")


def test_alarms_are_listed_and_compared_with_the_labels_of_steps(tmp_path):
    mel = s2o.MelSpectrogram(100, 4, 2, 2, low=1, log="none", window="none", padding="causal")
    module = s2o.append(s2o.build(s2o.Network([s2o.SequenceInput(1), mel])), [s2o.Alarm([None, 0.5], hold=1)])
    s2o.export(module, tmp_path / "model.onnx", classes=["none", "click"], activations=["mel_spectrogram_1"])
    x, labels = np.zeros((2, 60, 1), np.float32), np.full((2, 30), "none", "U5")
    x[0, 20:24, 0] = x[0, 50:54, 0] = [1, -1, 1, -1]
    labels[0, 9:13] = labels[1, 3:5] = "click"  # the click of 0.5 s has no label, and the second sequence no click
    s2o.SequenceDataset(list(x), list(labels), per_step=True, ids=["a", "b"]).save(tmp_path / "data.npz")
    run("report", tmp_path / "model.onnx", tmp_path / "data.npz", "-q")
    page = (tmp_path / "model.html").read_text()
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]
    assert ["class", "alarms", "an hour", "events found", "false alarms"] in rows
    assert ["click", "2", "6,000", "1 of 2", "1"] in rows
    assert ["none", "0", "0", "0 of 4", "0"] in rows
    assert "2 alarms begin in 2 sequences in 0.000333 hours." in page
    first = next(row for row in rows if row[:1] == ["a"])
    assert first[1:4] == ["10", "0.22", "click"]
    assert "Scores of click over 30 steps, with the threshold" in page
    _, error = run("evaluate", tmp_path / "model.onnx", tmp_path / "data.npz", code=2)
    assert "The file answers events, so its results are not compared with targets" in error
    s2o.SequenceDataset([np.zeros((9, 1))]).save(tmp_path / "data.npz")
    run("report", tmp_path / "model.onnx", tmp_path / "data.npz", "-q")
    assert "0 alarms begin in 1 sequences in" in (tmp_path / "model.html").read_text()


def r2(truth, found):
    return 1 - np.square(truth - found).sum(0) / np.square(truth - truth.mean(0)).sum(0)


def test_each_number_of_a_step_has_its_r2_and_rmse(tmp_path):
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(n, 3)) for n in (20, 30, 25)]
    data = s2o.SequenceDataset(x, [row[::2, :2] * 3 for row in x], per_step=True)
    layers = [s2o.SequenceInput(3), s2o.Conv1d(4, 3, stride=2, padding="causal"), s2o.FullyConnected(2)]
    page, model = exported(tmp_path, layers, data)
    truth, found = np.concatenate(list(data.targets)), np.concatenate(model.predict(data))
    rows = page.table(*NUMBER_HEAD)
    assert [row[0] for row in rows] == ["y0", "y1"]
    expected = [r2(truth, found), np.sqrt(np.square(truth - found).mean(0)), np.abs(truth - found).mean(0)]
    np.testing.assert_allclose(np.array([row[1:] for row in rows], float), np.stack(expected, 1), rtol=2e-4)
    assert len(page.images) == 4  # two for each number: the points, and the first sequence
    assert "RMSE" not in page.texts[:12]  # there is no key figure for several numbers


def test_the_normalization_table_has_the_names_of_the_features(tmp_path):
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(n, 2)) for n in (20, 30)]
    data = s2o.SequenceDataset(x, [1.0, 2.0], channels=["pressure", "temperature"])
    layers = [s2o.SequenceInput(2, "zscore"), s2o.LSTM(4, "last"), s2o.FullyConnected(1)]
    page, _ = exported(tmp_path, layers, data)
    assert [row[0] for row in page.table("channel", "mean", "std")] == ["pressure", "temperature"]


def test_known_numbers_of_sequences_are_compared(tmp_path):
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(n, 3)) for n in (20, 30, 25, 9)]
    data = s2o.SequenceDataset(x, [1.0, 2, np.nan, 4], ignore=np.nan)
    page, model = exported(tmp_path, [s2o.SequenceInput(3), s2o.BiLSTM(4, "last"), s2o.FullyConnected(1)], data)
    truth, found = np.array([1.0, 2, 4]), model.predict(data)[[0, 1, 3], 0]
    assert float(page.figure("R²")) == pytest.approx(r2(truth, found), abs=1e-4)
    assert float(page.figure("RMSE")) == pytest.approx(np.sqrt(np.square(truth - found).mean()), rel=1e-3)
    assert page.says("Scores over 3 values")
    assert page.says("it cannot run step by step")
    assert [row[0] for row in page.table("run", "p50", "p90", "p99", "max", "steps/s")] == ["predict"]


@pytest.mark.parametrize("good", [0, 1])
def test_a_report_is_written_for_data_that_begins_with_gaps(folder, tmp_path, good):
    data = random_data(101)
    sequences = [
        *(np.full_like(x, np.nan) for x in data.sequences[:100]),
        data.sequences[100] if good else data.sequences[100] * np.nan,
    ]
    s2o.SequenceDataset(sequences, data.labels, classes=data.classes).save(tmp_path / "gaps.npz")
    run("report", folder / "model.onnx", tmp_path / "gaps.npz", "--out", tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    assert page.figure("parity") == "passed"
    assert page.says(
        "Checked on random sequences only: each of the first 100 sequences of gaps.npz has NaN or infinity"
    )
    assert page.says("100 predictions are NaN") == bool(good)
    assert page.says("No sequence has both a target and a prediction") == (not good)


def test_a_closed_loop_forecasts_the_end_of_each_sequence(tmp_path):
    x = [np.sin(np.arange(n) / 3 + n)[:, None] for n in (40, 5, 30)]  # the second is too short
    layers = [s2o.SequenceInput(1), s2o.LSTM(4), s2o.FullyConnected(1)]
    page, model = exported(tmp_path, layers, s2o.SequenceDataset(x), closed_loop=8)
    ((_, *figures),) = page.table(*NUMBER_HEAD, "RMSE of the baseline")
    truth = np.concatenate([x[0][-8:], x[2][-8:]])
    found = model.predict([x[0][:-8], x[2][:-8]]).reshape(16, 1)
    naive = np.repeat([x[0][-9], x[2][-9]], 8, 0)
    errors = [
        np.sqrt(np.square(truth - found).mean()),
        np.abs(truth - found).mean(),
        np.sqrt(np.square(truth - naive).mean()),
    ]
    np.testing.assert_allclose(np.array(figures, float), [*r2(truth, found), *errors], rtol=2e-4)
    assert any("8 steps forecast in a closed loop" in image["alt"] for image in page.images)
    assert page.says("Each time includes the 8 steps of the closed loop")


def test_the_report_says_why_there_is_nothing_to_compare(tmp_path):
    rng = np.random.default_rng(0)
    data = s2o.SequenceDataset([rng.normal(size=(n, 4)) for n in (5, 7)])
    page, _ = exported(tmp_path, [s2o.SequenceInput(4), s2o.LSTM(3)], data)
    assert page.says("The data has no targets")
    assert page.images == []
    page, _ = exported(tmp_path, [s2o.SequenceInput(4), s2o.LSTM(4)], data, closed_loop=9)
    assert page.says("No sequence has the 10 steps that a forecast of its last 9 steps needs")
    layers = [s2o.SequenceInput(4), s2o.LSTM(3, name="a"), s2o.LSTM(2, name="b")]
    s2o.export(s2o.build(s2o.Network(layers, ["a", "b"])), tmp_path / "model.onnx")
    s2o.SequenceDataset(data.sequences, [1.0, 2.0]).save(tmp_path / "data.npz")
    run("report", tmp_path / "model.onnx", tmp_path / "data.npz", "-q")
    assert Page(tmp_path / "model.html").says("has several outputs (a, b); only those of one output can be compared")


def test_many_classes_have_no_chart_and_a_single_target_has_no_r2(tmp_path):
    x = random_data(2).sequences
    many = s2o.SequenceDataset([x[0]] * 50, [f"class {k}" for k in range(50)])
    layers = [s2o.SequenceInput(4), s2o.LSTM(3, "last"), s2o.FullyConnected(50), s2o.Softmax()]
    page, _ = exported(tmp_path, layers, many, classes=many.classes)
    assert page.images == []
    assert page.says("The confusion chart is omitted: there are more than 40 classes.")
    assert len(page.table(*CLASS_HEAD)) == 50
    one = s2o.SequenceDataset([x[0]], np.ones((1, 6)))
    page, _ = exported(tmp_path, [s2o.SequenceInput(4), s2o.LSTM(3, "last"), s2o.FullyConnected(6)], one)
    assert [row[1] for row in page.table(*NUMBER_HEAD)] == ["–"] * 6
    assert len(page.images) == 4
    assert page.says("Charts of the first 4 of 6 outputs.")


def test_sequences_that_the_model_cuts_are_compared_as_far_as_predicted(tmp_path):
    data = random_data(9, per_step=True)
    module = built(small_network("sequence"), data)
    module.policy = s2o.TrainingOptions(sequence_length=4, padding_direction="left").padding
    s2o.export(module, tmp_path / "model.onnx", classes=CLASSES)
    data.save(tmp_path / "data.npz")
    run("report", tmp_path / "model.onnx", tmp_path / "data.npz", "-q")
    answers = np.concatenate(s2o.load(tmp_path / "model.onnx").classify(data))
    truth = np.concatenate([labels[-4:] for labels in data.labels])
    assert len(truth) < data.lengths.sum()
    assert Page(tmp_path / "model.html").figure("accuracy") == f"{np.mean(answers == truth):.4f}"


def test_the_report_shows_vocabulary_and_padding(tmp_path):
    layers = [s2o.SequenceInput("tokens"), s2o.WordEmbedding(3, ["a", "b"]), s2o.LSTM(3, "last")]
    module = s2o.build(s2o.Network(layers))
    module.policy = s2o.TrainingOptions(sequence_length=9, mask_padding=False).padding
    s2o.export(module, tmp_path / "model.onnx")
    run("report", tmp_path / "model.onnx", "-q")
    contract = dict(Page(tmp_path / "model.html").table("property", "value"))
    assert contract["vocabulary"] == "2 words of sequence_input_1, looked up before the run"
    assert Page(tmp_path / "model.html").raw.count("vocabulary") == 1
    assert contract["first word"] == "'a'"
    assert contract["padding"].startswith("sequence length 9, padding value 0.0")


def test_a_file_that_differs_from_its_run_exits_with_1(folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")
    s2o.export(built(small_network(), random_data(30)), tmp_path / "run/model.onnx", classes=CLASSES)
    run("report", tmp_path / "run", "-q", code=1)
    page = Page(tmp_path / "run/report.html")
    assert page.figure("parity") == "FAILED"
    assert "FAILED" in {row[4] for row in page.table("check", "tensor", "max abs", "max rel", "verdict")}
    assert '<td class="bad">FAILED</td>' in page.raw
    assert not page.says("exported for this report")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: there is no such file"),
        (["{folder}"], "is no finished run, it has no network.yaml"),
        (["{data}"], "data.npz: is data, not a model"),
        (["{model}", "nowhere.npz"], "nowhere.npz"),
        (["{model}", "{other}"], "other.npz: sequence 0: expected [time, 4], got [5, 3]"),
        (["{model}", "{numbers}"], "numbers.npz: targets: expected labels among"),
        (["{model}", "{unknown}"], "unknown.npz: targets of sequence 0: label 'down' is not among the classes"),
        (
            ["{model}", "{steps}"],
            "steps.npz: targets: the data has one for each step, but the network gives one result for each sequence",
        ),
        (["{plain}", "{data}"], "data.npz: targets: the file has no classes, so that it needs numbers"),
        (
            ["{plain}", "{pairs}"],
            "pairs.npz: targets: expected 3 numbers in each target, as the network predicts, got 2",
        ),
        (["{model}", "--out", "{folder}/no/such.html"], "no/such.html: its folder"),
        (["{model}", "--out", "report.pdf"], "report.pdf: a report is an .html file, got the suffix '.pdf'"),
    ],
)
def test_bad_input_exits_with_2_and_a_message(folder, tmp_path, arguments, message):
    x = [np.zeros((5, 4)), np.ones((6, 4))]
    s2o.SequenceDataset([np.zeros((5, 3))], ["up"]).save(tmp_path / "other.npz")
    s2o.SequenceDataset(x, [1.0, 2.0]).save(tmp_path / "numbers.npz")
    s2o.SequenceDataset(x, np.ones((2, 2))).save(tmp_path / "pairs.npz")
    s2o.SequenceDataset(x, ["down", "up"]).save(tmp_path / "unknown.npz")
    random_data(3, per_step=True).save(tmp_path / "steps.npz")
    s2o.export(built(small_network(), random_data()), tmp_path / "plain.onnx")
    places = {path.stem: path for path in tmp_path.iterdir()} | {
        "model": folder / "model.onnx",
        "data": folder / "data.npz",
        "folder": tmp_path,
    }
    before = sorted(path.name for path in [*folder.iterdir(), *tmp_path.iterdir()])
    _, err = run("report", *(argument.format(**places) for argument in arguments), code=2)
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert sorted(path.name for path in [*folder.iterdir(), *tmp_path.iterdir()]) == before


def test_a_failed_report_leaves_the_previous_one(folder, tmp_path, monkeypatch):
    (tmp_path / "page.html").write_text("before")

    def fail(*_, **__):
        raise s2o.DataError("no")

    monkeypatch.setattr(s2o, "verify", fail)
    run("report", folder / "model.onnx", "--out", tmp_path / "page.html", code=2)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("page.html", "before")]


WITHOUT = "import sys; sys.modules.update(dict.fromkeys({missing}))\nfrom seq2onnx.cli import main\nmain()"


def test_without_matplotlib_only_a_report_with_pictures_fails(folder, tmp_path):
    def started(missing, *arguments):
        code = WITHOUT.format(missing=missing)
        command = [sys.executable, "-c", code, "report", *map(str, arguments), "--out", str(tmp_path / "page.html")]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = started(["matplotlib"], folder / "model.onnx", folder / "data.npz")
    assert done.returncode == 2
    assert done.stderr.startswith("seq2onnx: matplotlib is not installed")
    assert '"matplotlib>=' in done.stderr
    assert not any(tmp_path.iterdir())
    done = started(["matplotlib", "torch", "onnx"], folder / "model.onnx")
    assert done.returncode == 0, done.stderr
    page = Page(tmp_path / "page.html")
    assert page.says("torch is not installed, so the file was compared only with itself.")
    done = started(["torch"], folder / "run")
    assert done.returncode == 2
    assert done.stderr.startswith("seq2onnx: torch is not installed")


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the PATH")


def browsed(path, *options):
    """Open a page in a browser; return the document and the messages of the console."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += [f"--user-data-dir={path.parent / 'profile'}", "--enable-logging=stderr", "--v=0", *options]
    done = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=HANG, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@in_a_browser
def test_a_browser_shows_the_page_without_errors(folder, tmp_path):
    path = tmp_path / "page.html"
    run("report", folder / "run", folder / "data.npz", "--out", path, "-q")
    document, console = browsed(path, "--dump-dom")
    assert console == []
    assert "<h1>small</h1>" in document
    assert document.count("<img ") == 2
    picture = tmp_path / "page.png"
    _, console = browsed(path, f"--screenshot={picture}", "--window-size=1000,3000")
    assert console == []
    from matplotlib.image import imread

    pixels = imread(picture)
    assert pixels.shape[:2] == (3000, 1000)
    # There are text and pictures down the page: many rows of pixels have more than one colour.
    assert np.mean(np.ptp(pixels[:, :, :3], axis=1).max(1) > 0.2) > 0.3


@in_a_browser
@pytest.mark.parametrize(
    "wrong",
    ["<script>console.error('x')</script>", "<script>nothing()</script>", '<img src="https://example.com/a.png">'],
)
def test_a_browser_reports_what_the_page_must_not_contain(folder, tmp_path, wrong):
    """The test above can fail. The policy of the page also blocks scripts and other resources."""
    path = tmp_path / "page.html"
    run("report", folder / "model.onnx", "--out", path, "-q")
    path.write_text(path.read_text().replace("</main>", f"{wrong}</main>"))
    _, console = browsed(path, "--dump-dom")
    assert "Content Security Policy" in " ".join(console)
    plain = tmp_path / "plain.html"
    plain.write_text(f"<!DOCTYPE html><title>x</title><link rel=icon href=data:,>{wrong}")
    if "script" in wrong:
        _, console = browsed(plain, "--dump-dom")
        assert len(console) == 1
