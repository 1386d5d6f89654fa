"""Make the Japanese Vowels files of seq2onnx/datasets from those in the PyPI package aeon 1.6.0.

Needs seq2onnx installed, and pip; run it from anywhere: python tools/make_japanese_vowels.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from seq2onnx import SequenceDataset
from seq2onnx.datasets import FOLDER

SOURCE = "aeon/datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, "aeon==1.6.0"],
            check=True,
        )
        (wheel,) = Path(folder).glob("aeon-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for part, name in (("training", "TRAIN"), ("test", "TEST")):
                data = read_ts(archive.read(SOURCE.format(name)).decode())
                data.save(FOLDER / f"japanese_vowels_{part}.npz")
                print(part, data)


def read_ts(text: str) -> SequenceDataset:
    """A data set of the .ts form: features separated by colons, steps by commas, the label last."""
    rows = [line.split(":") for line in text.split("@data")[1].split()]
    sequences = [np.array([[float(value) for value in f.split(",")] for f in features]).T for *features, _ in rows]
    return SequenceDataset(sequences, [label for *_, label in rows])


if __name__ == "__main__":
    main()
