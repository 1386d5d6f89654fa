"""tools/wake_word.py: two networks of openWakeWord as one that streams. Needs pip to download the package."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import seq2onnx as s2o

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))

import wake_word
from real_data import download

LARGEST = 1e-5  # times the largest value, as in the comparisons of from_onnx: both sum in another order


@pytest.mark.slow
def test_a_wake_word_has_the_scores_of_the_two_files_it_comes_from(tmp_path):
    zipfile.ZipFile(io.BytesIO(download(wake_word.PACKAGE))).extractall(tmp_path)
    folder, rng = tmp_path / wake_word.MODELS, np.random.default_rng(0)
    module = wake_word.make(folder, "alexa_v0.1")
    s2o.export(wake_word.without_sigmoid(module), tmp_path / "logits.onnx", lookahead=True)
    model = s2o.load(tmp_path / "logits.onnx")
    sounds = [rng.normal(0, 3000, 16000 * 4).astype(np.int16) for _ in range(3)]
    frames = [wake_word.mel_frames(folder, sound) for sound in sounds]
    own = [wake_word.own_logits(folder, "alexa_v0.1", x) for x in frames]
    close = {"rtol": 0, "atol": LARGEST * max(np.abs(y).max() for y in own)}
    for found, y in zip(model.predict(frames), own, strict=True):
        np.testing.assert_allclose(found, y, **close)
    pool, places, answers = model.pool(capacity=4), [0, 0, 0], [[], [], []]
    ids = [pool.open() for _ in frames]
    while any(place < len(x) for place, x in zip(places, frames, strict=True)):
        ends = [place + int(rng.integers(0, 30)) for place in places]
        chunks = [x[place:end] for x, place, end in zip(frames, places, ends, strict=True)]
        for answer, y in zip(answers, pool.step(ids, chunks), strict=True):
            answer.append(y)
        places = ends
    for answer, y in zip(answers, own, strict=True):
        np.testing.assert_allclose(np.concatenate(answer), y, **close)
