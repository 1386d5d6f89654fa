"""Make the Japanese Vowels files of seq2onnx/datasets from the PyPI package aeon 1.6.0.

    python tools/make_japanese_vowels.py

Needs seq2onnx and pip.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from seq2onnx.data import read
from seq2onnx.datasets import FOLDER

SOURCE = "aeon/datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"


def main() -> None:
    """Download the package and convert both files."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, "aeon==1.6.0"], check=True
        )
        (wheel,) = Path(folder).glob("aeon-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for part, name in (("training", "TRAIN"), ("test", "TEST")):
                data = read(archive.extract(SOURCE.format(name), folder))
                data.save(FOLDER / f"japanese_vowels_{part}.npz")
                print(part, data)


if __name__ == "__main__":
    main()
