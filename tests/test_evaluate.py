"""evaluate: the figures of an exported file, by class, file and group, compared with numbers calculated by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx.evaluation.scores import ClassEvaluation, evaluate
from tests.command import run
from tests.conftest import CLASSES, built, random_data, small_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """labelled.csv of 12 pumps and their labels; a file that was hardly trained, so that it is sometimes wrong."""
    folder = tmp_path_factory.mktemp("evaluate")
    data = random_data(12)
    options = s2o.TrainingOptions(epochs=12, learning_rate=0.02, device="cpu", threads=1, progress=False)
    module = s2o.train(small_network(), random_data(40, seed=1), options=options).module
    s2o.export(module, folder / "model.onnx", channels=["a", "b", "c", "d"])
    lines = ["d,c,b,a,pump"]
    for number, x in enumerate(data.sequences):
        lines += [f"{d!r},{c!r},{b!r},{a!r},p{number}" for a, b, c, d in x.tolist()]
    (folder / "data.csv").write_text("\n".join(lines))
    rows = ["pump,label,machine", *(f"p{n},{label},m{n % 2}" for n, label in enumerate(data.labels))]
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def expected(folder):
    scores = s2o.load(folder / "model.onnx").predict(random_data(12).sequences)
    return np.array(CLASSES)[scores.argmax(1)], random_data(12).labels


def evaluated(folder, *arguments):
    options = ["--id", "pump", "--labels", "labels.csv", "--targets", "label"]
    out, _ = run("evaluate", folder / "model.onnx", folder / "data.csv", *options, *arguments)
    assert max(map(len, out.splitlines())) <= 80
    return out


def test_the_figures_are_those_of_scikit_learn(folder, tmp_path):
    metrics = pytest.importorskip("sklearn.metrics")
    predicted, truth = expected(folder)
    out = evaluated(folder, "--json", tmp_path / "figures.json")
    found = json.loads((tmp_path / "figures.json").read_text())
    precision, recall, f1, count = metrics.precision_recall_fscore_support(truth, predicted, labels=CLASSES)
    assert 0 < (predicted != truth).sum() < 12
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))
    assert found["confusion"] == metrics.confusion_matrix(truth, predicted, labels=CLASSES).tolist()
    assert [row["name"] for row in found["classes"]] == CLASSES
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1), ("count", count)):
        np.testing.assert_allclose([row[name] for row in found["classes"]], values)
    assert f"accuracy  {found['accuracy']:.4f}  of 12 labels" in out
    assert f"macro F1  {found['macro_f1']:.4f}" in out
    assert ["left", *(f"{v[0]:.4f}" for v in (precision, recall, f1)), str(count[0])] in [
        r.split() for r in out.splitlines()
    ]


def test_groups_are_files_or_a_column_of_the_labels(folder, tmp_path):
    predicted, truth = expected(folder)
    correct = predicted == truth
    evaluated(folder, "--by", "machine", "--json", tmp_path / "figures.json")
    groups = {row["name"]: row for row in json.loads((tmp_path / "figures.json").read_text())["groups"]}
    assert {name: row["accuracy"] for name, row in groups.items()} == {
        "m0": correct[::2].mean(),
        "m1": correct[1::2].mean(),
    }
    out = evaluated(folder, "--by", "file")
    rows = {line.split()[0]: line.split() for line in out.split("\n\n")[-1].splitlines()}
    assert [rows[f"p{n}"][1] for n in range(12)] == [f"{float(c):.4f}" for c in correct]
    assert rows["file"] == ["file", "accuracy", "macro", "F1", "count"]
    _, err = run("evaluate", folder / "model.onnx", folder / "data.csv", "--id", "pump", "--by", "machine", code=2)
    assert '--by: expected "file" or "folder", or a column of a file of --labels, got \'machine\'' in err


def test_folders_are_groups(folder, tmp_path):
    data = random_data(4)
    for number, (x, label) in enumerate(zip(data.sequences, data.labels, strict=True)):
        path = tmp_path / f"speaker {number % 2}" / f"{number}.csv"
        path.parent.mkdir(exist_ok=True)
        rows = [",".join([*map(repr, step), label]) for step in x.tolist()]
        path.write_text("\n".join(["a,b,c,d,word", *rows]))
    out, _ = run("evaluate", folder / "model.onnx", tmp_path, "--targets", "word", "--by", "folder")
    assert [line[:9] for line in out.split("\n\n")[-1].splitlines()[1:]] == ["speaker 0", "speaker 1"]


def test_targets_of_steps_are_compared_step_by_step(per_step_file, tmp_path):
    data = random_data(9, per_step=True)
    data.save(tmp_path / "data.npz")
    model = s2o.load(per_step_file)
    correct = [np.array(CLASSES)[y.argmax(1)] == t for y, t in zip(model.predict(data), data.labels, strict=True)]
    run("evaluate", per_step_file, tmp_path / "data.npz", "--by", "file", "--json", tmp_path / "f.json")
    found = json.loads((tmp_path / "f.json").read_text())
    assert found["accuracy"] == pytest.approx(np.concatenate(correct).mean())
    assert [row["accuracy"] for row in found["groups"]] == pytest.approx([c.mean() for c in correct])
    assert [row["count"] for row in found["groups"]] == data.lengths.tolist()


@pytest.mark.parametrize("width", [1, 2])
def test_numbers_have_rmse_mae_and_r2(width, tmp_path):
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(n, 3)) for n in (4, 6, 5, 9)]
    targets = rng.normal(size=(4, width)) if width > 1 else rng.normal(size=4)
    data = s2o.SequenceDataset(x, targets, ids=["a", "b", "c", "d"])
    data.save(tmp_path / "data.npz")
    network = s2o.Network([s2o.SequenceInput(3), s2o.LSTM(4, "last"), s2o.FullyConnected(width)])
    s2o.export(built(network, data), tmp_path / "m.onnx")
    error = (s2o.load(tmp_path / "m.onnx").predict(x) - np.reshape(targets, (4, width))).astype(float)
    out, _ = run("evaluate", tmp_path / "m.onnx", tmp_path / "data.npz", "--by", "file", "--json", tmp_path / "f.json")
    found = json.loads((tmp_path / "f.json").read_text())
    for k, row in enumerate(found["outputs"]):
        assert row["output"] == (f"y{k}" if width > 1 else "y")
        assert row["rmse"] == pytest.approx(np.sqrt(np.mean(error[:, k] ** 2)), rel=1e-5)
        assert row["mae"] == pytest.approx(np.abs(error[:, k]).mean(), rel=1e-5)
        total = np.sum((np.reshape(targets, (4, width))[:, k] - np.reshape(targets, (4, width))[:, k].mean()) ** 2)
        assert row["r2"] == pytest.approx(1 - np.sum(error[:, k] ** 2) / total, rel=1e-5)
    assert len(found["groups"]) == 4
    assert found["groups"][2]["outputs"][0]["r2"] is None  # one number has no variance
    assert out.count("RMSE") == 2
    assert max(map(len, out.splitlines())) <= 80


def test_a_forecast_is_compared_by_file_in_the_order_of_the_names(tmp_path):
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(n, 2)).astype("f") for n in (12, 3, 15)]
    network = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(4), s2o.FullyConnected(2)])
    data = s2o.SequenceDataset.next_step(x)
    s2o.export(built(network, data), tmp_path / "m.onnx", closed_loop=5, channels=["p", "q"])
    model = s2o.load(tmp_path / "m.onnx")
    forward = evaluate(model, s2o.SequenceDataset(x, channels=["p", "q"]))
    turned = evaluate(model, s2o.SequenceDataset([a[:, ::-1] for a in x], channels=["q", "p"]))
    np.testing.assert_array_equal(forward.truth, turned.truth)
    np.testing.assert_array_equal(forward.predicted, turned.predicted)
    assert forward.sequences.tolist() == [0] * 5 + [2] * 5
    assert forward.of([1]) is None
    np.testing.assert_array_equal(forward.of([2]).truth, x[2][-5:])


def test_what_cannot_be_compared_is_an_error(folder, tmp_path):
    random_data(3).save(tmp_path / "labels.npz")
    s2o.SequenceDataset(random_data(3).sequences).save(tmp_path / "none.npz")
    _, err = run("evaluate", folder / "model.onnx", tmp_path / "none.npz", code=2)
    assert "none.npz: The data has no targets" in err
    network = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(4, "last"), s2o.FullyConnected(3)])
    s2o.export(s2o.build(network), tmp_path / "m.onnx")
    assert "export the file with classes=" in run("evaluate", tmp_path / "m.onnx", tmp_path / "labels.npz", code=2)[1]


def test_undefined_figures_are_left_out_of_the_mean():
    truth, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    found = ClassEvaluation(["a", "b", "never"], truth, predicted, np.arange(4), 0, None)
    assert [row.f1 for row in found.by_class()] == pytest.approx([0.8, 2 / 3, np.nan], nan_ok=True)
    assert found.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    assert found.of([2, 3]).accuracy == 0.5


def test_many_classes_with_long_names_fit_80_columns():
    from seq2onnx.evaluation.tables import evaluation_text

    rng = np.random.default_rng(0)
    names = [f"a class with a rather long name that does not end soon, number {k}" for k in range(40)]
    found = ClassEvaluation(names, rng.integers(0, 40, 50000), rng.integers(0, 40, 50000), np.arange(50000), 3, None)
    text = evaluation_text(found, {}, None)
    assert max(map(len, text.splitlines())) <= 80
    assert all(str(count) in text for count in found.confusion().ravel())
    assert "3 predictions are NaN and left out" in text
