"""What networks reach on real data: python tools/figures.py [--only digits] [--seeds 5]

Prints a figure a seed and their median. Needs seq2onnx[cpu,train,data] installed, and pip for data that does not ship.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from real_data import digits, snippets, split

import seq2onnx as s2o
from seq2onnx.data import read


def main() -> None:
    figures: dict[str, Callable[[int], float]] = {"vowels": vowels, "digits": spoken, "films": films}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(figures), help="one of the data sets")
    parser.add_argument("--seeds", type=int, default=5, help="how often to train")
    arguments = parser.parse_args()
    for name, figure in figures.items():
        if arguments.only in (None, name):
            print(f"{name}: {(figure.__doc__ or '').splitlines()[0]}", flush=True)
            found = []
            for seed in range(arguments.seeds):
                began = time.monotonic()
                found.append(figure(seed))
                print(f"  seed {seed}: {found[-1]:.4f}, in {time.monotonic() - began:.0f} s", flush=True)
            print(f"  median {np.median(found):.4f}, from {min(found):.4f} to {max(found):.4f}", flush=True)


def classifier(features: int, units: int, classes: int, dropout: float) -> s2o.Network:
    return s2o.Network(
        [
            s2o.SequenceInput(features, "zscore"),
            s2o.BiLSTM(units, "last"),
            s2o.Dropout(dropout),
            s2o.FullyConnected(classes),
            s2o.Softmax(),
        ]
    )


def accuracy(
    network: s2o.Network, training: s2o.SequenceDataset, test: s2o.SequenceDataset, **options: object
) -> float:
    """Of the exported file, on the test data."""
    given: dict[str, object] = {"progress": False, "threads": 1, "schedule": "cosine"}
    result = s2o.train(network, training, options=s2o.TrainingOptions(**(given | options)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        s2o.export(result.module, path)
        return float(np.mean(s2o.load(path).classify(test) == test.labels))


def vowels(seed: int) -> float:
    """Japanese Vowels, BiLSTM 100: accuracy on the 370 test utterances."""
    training, test = s2o.datasets.japanese_vowels()
    network = classifier(12, 100, 9, 0.4)
    return accuracy(network, training, test, epochs=60, batch_size=27, learning_rate=5e-3, l2=1e-3, seed=seed)


def spoken(seed: int) -> float:
    """Spoken digits, BiLSTM 100: accuracy on 600 of the 3,000 recordings, split at random."""
    data = digits()
    train, test = split(len(data), 0.2)
    options = {"epochs": 40, "batch_size": 64, "learning_rate": 5e-3, "l2": 1e-3, "gradient_clip": 1.0, "seed": seed}
    return accuracy(classifier(13, 100, 10, 0.4), data.subset(train), data.subset(test), **options)


def films(seed: int) -> float:
    """Film snippets from parquet, word embedding and BiLSTM: R² of the ratings of 2,121 of 10,604 snippets."""
    texts, ratings = snippets()
    train, test = split(len(texts), 0.2)
    network = s2o.Network(
        [
            s2o.SequenceInput("tokens"),
            s2o.WordEmbedding(64, 8000),
            s2o.Dropout(0.5),
            s2o.BiLSTM(64),
            s2o.GlobalMaxPool1d(),
            s2o.Dropout(0.5),
            s2o.FullyConnected(1),
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        s2o.SequenceDataset(texts, ratings).save(Path(folder) / "films.parquet")
        data = read(Path(folder) / "films.parquet")
        options = s2o.TrainingOptions(
            epochs=8,
            batch_size=64,
            learning_rate=2e-3,
            l2=1e-5,
            schedule="cosine",
            seed=seed,
            progress=False,
            threads=1,
        )
        result = s2o.train(network, data.subset(train), normalize_targets=True, options=options)
        s2o.export(result.module, Path(folder) / "model.onnx")
        found = s2o.load(Path(folder) / "model.onnx").predict(data.subset(test))[:, 0]
    if not seed:
        print(f"  bag of words, ridge regression: {bag_of_words(texts, ratings, train, test):.4f}", flush=True)
    return r2(ratings[test], found)


def bag_of_words(texts: list[str], ratings: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """R² of ridge regression on which of the 8,000 most frequent words are there, at the best of four penalties."""
    vocabulary = s2o.Vocabulary.from_texts([texts[i] for i in train], 8000)
    table = np.zeros((len(texts), len(vocabulary) + 2), np.float32)
    for row, numbers in zip(table, vocabulary.encode_all(texts), strict=True):
        row[numbers] = 1
    mean = ratings[train].mean()
    gram, moment = table[train].T @ table[train], table[train].T @ (ratings[train] - mean)
    answers = (
        mean + table[test] @ np.linalg.solve(gram + penalty * np.eye(len(gram), dtype=np.float32), moment)
        for penalty in (3, 10, 30, 100)
    )
    return max(r2(ratings[test], answer) for answer in answers)


def r2(truth: np.ndarray, found: np.ndarray) -> float:
    return float(1 - np.square(truth - found).sum() / np.square(truth - truth.mean()).sum())


if __name__ == "__main__":
    main()
