"""The fields of docs/features-of-other-libraries.md give the numbers of these libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import seq2onnx as s2o
from tests.small_networks import exported

PAGE = Path(__file__).parent.parent / "docs" / "features-of-other-libraries.md"
FOLDER = Path(__file__).parent / "files" / "spectra"
STANDARDS, REFERENCE = np.load(FOLDER / "standards.npz"), np.load(FOLDER / "reference.npz")
SPEECH = REFERENCE["speech"].astype(np.float32) / 32768
LIBRARY = 1e-3  # the libraries have float32, too; kaldi's own distance from float64 is 2.5e-4
ROUNDING = 2e-3  # energies of samples in ±1 near kaldi's floor of 1.2e-7 are mostly rounding
REFLECTED = {"whisper": (200, 0), "keras": (256, 56)}
"""How many samples a library reflects at both ends, and how many it leaves out, as its window is in the middle."""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the code of the page defines."""
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        exec("\n".join(block.split("```")[0] for block in PAGE.read_text().split("```python\n")[1:]), names)
    return names


@pytest.mark.parametrize("name", [name for name in STANDARDS if name != "nemo_add"])
def test_the_fields_of_the_page_give_the_numbers_of_the_library(tmp_path, page, name):
    difference = np.abs(features(tmp_path, page[name], name) - expected(name))
    if name == "nemo":
        difference = difference[:-1]  # its zeros after the signal have no preemphasis
    assert difference.max() < (ROUNDING if name in ("torchaudio_kaldi", "ast") else LIBRARY)


def test_a_number_added_before_the_logarithm_differs_as_the_page_says(tmp_path, page):
    difference = np.abs(features(tmp_path, page["nemo"], "nemo") - STANDARDS["nemo_add"])[:-2]
    assert difference.max() < np.log(2) + LIBRARY
    assert "6 % of the numbers" in PAGE.read_text()
    assert round(100 * np.mean(difference > 0.01)) == 6


def test_every_row_of_the_page_has_its_numbers():
    text = PAGE.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and "](#" in line]
    assert [row.split("[`")[1].split("`]")[0] for row in rows] == [
        *("kaldi_mfcc", "torchaudio_kaldi", "ast", "seamless", "librosa_decibels", "librosa_mfcc", "torchaudio_mfcc"),
        *("whisper", "nemo", "keras", "tensorflow", "tensorflow_mfcc", "htk_mfcc", "cmsis_mfcc"),
    ]
    assert len(rows) == len(STANDARDS.files) - 1


def features(tmp_path, layers, name):
    """The features of the voice, with the samples that the library puts around it."""
    x = SPEECH
    if name in REFLECTED:
        around, skipped = REFLECTED[name]
        x = np.pad(x, around, mode="reflect")[skipped:]
    if name == "nemo":
        x = np.pad(x, 200)
    layers = layers if isinstance(layers, list) else [layers]
    model, _ = exported(tmp_path, s2o.Network([s2o.SequenceInput(1), *layers]))
    return model.predict([x[:, None]])[0][: len(STANDARDS[name])]


def expected(name):
    y = STANDARDS[name]
    return np.roll(y, 1, axis=1) if name == "htk_mfcc" else y  # c1, …, c12, c0
