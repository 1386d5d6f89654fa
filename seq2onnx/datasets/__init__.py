"""Small real data sets that ship with the package; the .md file of each gives its source and licence."""

from __future__ import annotations

from pathlib import Path

from seq2onnx.data import SequenceDataset

FOLDER = Path(__file__).parent


def japanese_vowels() -> tuple[SequenceDataset, SequenceDataset]:
    """(training, test): which of 9 speakers said "ae"; 270 and 370 utterances, 12 features, 7 to 29 steps.

    Source: Kudo, Toyama & Shimbo 1999, UCI Machine Learning Repository; CC BY 4.0, see japanese_vowels.md
    Example: >>> training, test = japanese_vowels()
    """
    training, test = (SequenceDataset.load(FOLDER / f"japanese_vowels_{part}.npz") for part in ("training", "test"))
    return training, test
