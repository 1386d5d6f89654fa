"""The shipped models: each runs, agrees with torch and with itself, and reaches the figures of its card."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import seq2onnx as s2o
from tests import reference

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "models"
sys.path.insert(0, str(ROOT / "tools"))

import train_models  # noqa: E402
from zoo import RECIPES  # noqa: E402
from zoo.card import write_card, write_guest_card, write_index, write_night_card  # noqa: E402
from zoo.edge import int8  # noqa: E402
from zoo.guests import GUESTS, LARGEST, speech_in_noise  # noqa: E402
from zoo.making import read_figures  # noqa: E402
from zoo.nights import NIGHTS, share  # noqa: E402

LARGEST_LOSS = 0.005  # of the first figure, with int8 weights


def test_each_recipe_has_its_folder_and_row():
    folders = sorted(path.name for path in MODELS.iterdir() if path.is_dir())
    assert folders == sorted([*RECIPES, *GUESTS, *NIGHTS])
    index = (MODELS / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\w+)/card\.md\)", index) == [*RECIPES, *GUESTS, *NIGHTS]


def test_all_of_them_are_small():
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) < 25e6


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_model_predicts_what_its_card_says(name: str):
    folder, known = MODELS / name, read_figures(MODELS / name)
    file = folder / "model.onnx"
    data = s2o.SequenceDataset.load(folder / known["slice"]["file"])
    model = s2o.load(file)
    # Of a raw signal one second is enough: single samples take long.
    report = s2o.verify(file, data=[x[:8000] for x in data.sequences] if model.contract.sample_rate else data)
    assert report.ok, report
    if model.signature != "sequence":
        assert {"whole = steps", "whole = chunks"} <= {row.check.split(",")[0] for row in report.rows}
    found = RECIPES[name].figures(model, data)
    assert found == pytest.approx(known["slice"]["figures"], rel=1e-4)
    assert s2o.Network.load(folder / "network.yaml") == s2o.Network.from_dict(model.metadata["network"])
    # The file with int8 weights is of the size that the card says, and answers as well.
    small = int8(RECIPES[name], folder)
    # It has the version twice, which may be longer or shorter than that of the card.
    longer = 2 * (len(s2o.__version__) - len(known["made_with"]["seq2onnx"]))
    assert small | {"bytes": small["bytes"] - longer} == pytest.approx(known["edge"]["int8"], rel=1e-4)
    assert small["figure"] > next(iter(found.values())) - LARGEST_LOSS
    if known["parameters"] > 25e3:  # smaller networks are mostly graph, or constants of a spectrum
        assert small["bytes"] <= 0.4 * known["bytes"]
    # C code is measured for each network that streams, and for no other.
    assert (known["edge"]["c"] is None) == (model.signature == "sequence")


@pytest.mark.parametrize("name", RECIPES)
def test_a_card_agrees_with_its_model(name: str, tmp_path: Path):
    known = read_figures(MODELS / name)
    values = [row[known["figure"]] for row in known["seeds"].values()]
    assert known["mean"] == pytest.approx(np.mean(values))
    low, high = known["range"]
    assert low <= min(values) <= max(values) <= high
    if known["peer"]:  # not below it: by no more than two standard errors of the difference
        error = np.hypot(known["deviation"], np.std(known["peer"], ddof=1)) / np.sqrt(len(values))
        assert known["mean"] >= np.mean(known["peer"]) - 2 * error
    # What something simpler does better, the limits say.
    assert max(known["baselines"].values()) < known["mean"] or "regression" in RECIPES[name].limits
    assert all(row["ok"] for row in known["parity"])
    # The card says what figures.json does: nobody has changed one of them alone.
    shutil.copy(MODELS / name / "figures.json", tmp_path)
    write_card(RECIPES[name], tmp_path)
    assert (tmp_path / "card.md").read_text(encoding="utf-8") == (MODELS / name / "card.md").read_text(encoding="utf-8")
    for picture in known["pictures"]:
        assert (MODELS / name / picture).stat().st_size > 1000


def test_events_of_the_key_word_are_those_of_a_plain_loop_over_the_scores_in_chunks_of_any_length(tmp_path: Path):
    file, data = MODELS / "keyword" / "model.onnx", s2o.SequenceDataset.load(MODELS / "keyword" / "test_slice.npz")
    model, restored = s2o.load(file), s2o.restore(file)
    assert (model.contract.answer, model.contract.sample_rate, data.shape()) == ("events", 8000, (1,))
    s2o.export(s2o.without(restored, "alarm_1"), tmp_path / "scores.onnx")
    scores, rng = s2o.load(tmp_path / "scores.onnx").predict(data), np.random.default_rng(0)
    for x, score, events in zip(data.sequences, scores, model.predict(data), strict=True):
        np.testing.assert_array_equal(events, reference.alarm(restored.network["alarm_1"], {}, (score,), None)[0])
        stream, at, parts = model.stream(), 0, []
        while at < len(x):
            size = int(rng.integers(0, 1001))
            parts.append(stream.step(x[at : at + size]))
            at += size
        np.testing.assert_array_equal(np.concatenate(parts), events)
    assert sum(events[:, 1].sum() for events in model.predict(data)) >= 2


@pytest.mark.parametrize("name", GUESTS)
def test_a_guest_answers_as_its_own_file_does(name: str, tmp_path: Path):
    guest, folder, known = GUESTS[name], MODELS / name, read_figures(MODELS / name)
    assert s2o.verify(folder / "model.onnx").ok
    with np.load(folder / "test_slice.npz") as kept:
        noisy, clean = speech_in_noise(np.split(kept["speech"], np.cumsum(kept["lengths"])[:-1]))
        own = kept["answers"]
    stream = s2o.load(folder / "model.onnx").stream()
    x = guest.frames(noisy)
    answers = np.stack([stream.step(row) for row in x])
    assert x.shape == (known["steps"], guest.width)
    np.testing.assert_allclose(answers[:: known["every"]], own, rtol=0, atol=LARGEST * max(1, known["largest"]))
    assert guest.figures(answers, noisy, clean) == pytest.approx(known["figures"], rel=1e-4)
    # Otherwise nobody should use it.
    assert next(iter(known["figures"].values())) > max(guest.baselines(noisy, clean).values())
    assert known["difference"] <= LARGEST * max(1, known["largest"])
    assert "MIT License" in (folder / "LICENSE").read_text(encoding="utf-8")
    shutil.copy(folder / "figures.json", tmp_path)
    write_guest_card(guest, tmp_path)
    assert (tmp_path / "card.md").read_text(encoding="utf-8") == (folder / "card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NIGHTS)
def test_a_whole_night_has_the_scores_of_its_own_package(name: str, tmp_path: Path):
    night, folder, known = NIGHTS[name], MODELS / name, read_figures(MODELS / name)
    with np.load(folder / "test_slice.npz") as kept:
        nights = np.split(kept["features"], np.cumsum(kept["lengths"])[:-1])
        own = kept["answers"]
    assert s2o.verify(folder / "model.onnx", data=nights).ok
    model = s2o.load(folder / "model.onnx")
    assert (model.signature, tuple(model.classes)) == ("sequence", night.classes)
    assert [len(rows) for rows in nights] == known["steps"]
    answers = np.concatenate(model.predict(nights))  # two lengths in a batch: padding must not count
    np.testing.assert_allclose(answers, own, rtol=0, atol=LARGEST)
    assert share(answers, own) == known["figures"]
    assert known["difference"] <= LARGEST
    labels = [night.classes[at] for at in own.argmax(1)]
    assert np.concatenate(model.classify(nights)).tolist() == labels
    assert len(set(labels)) > 1
    # No step is one that the network would skip, and so reads differently from Keras.
    assert not any((rows == -1).all(1).any() for rows in nights)
    assert "BSD 3-Clause License" in (folder / "LICENSE").read_text(encoding="utf-8")
    shutil.copy(folder / "figures.json", tmp_path)
    write_night_card(night, tmp_path)
    assert (tmp_path / "card.md").read_text(encoding="utf-8") == (folder / "card.md").read_text(encoding="utf-8")


def test_the_table_of_all_models_agrees_with_the_cards(tmp_path: Path):
    for name in (*RECIPES, *GUESTS, *NIGHTS):
        (tmp_path / name).mkdir()
        shutil.copy(MODELS / name / "figures.json", tmp_path / name)
    write_index(list(RECIPES.values()), [*GUESTS.values(), *NIGHTS.values()], tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == (MODELS / "README.md").read_text(encoding="utf-8")
    assert (tmp_path / "accuracy_against_latency.png").stat().st_size > 1000


def test_training_again_reproduces_the_figure_of_the_card(monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["train_models.py", "vowels_lstm", "--seed", "0"])
    assert train_models.main() == 0
    assert re.fullmatch(r"vowels_lstm, seed 0: accuracy 0\.\d{4}, within the card's .*\n", capfd.readouterr().out)


def test_an_unknown_model_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train_models.py", "vowel"])
    with pytest.raises(SystemExit, match="2"):
        train_models.main()
    assert "unknown name vowel; known are vowels_lstm, vowels_bilstm" in capsys.readouterr().err
