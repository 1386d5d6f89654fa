"""Choose the demo's training options by cross-validation on the training set of Japanese Vowels.

    python tools/choose_demo_options.py

The test set is not used. Needs seq2onnx[cpu,train].
"""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np

import seq2onnx as s2o

FOLDS = 5
LEARNING_RATES = (1e-3, 2e-3, 5e-3, 1e-2)
SCHEDULES: tuple[Literal["constant", "cosine"], ...] = ("constant", "cosine")
EPOCHS = (30, 60)
DROPOUTS = (0.2, 0.5)


def main() -> None:
    """Print the cross-validated accuracy and loss of all combinations, the best first."""
    data, _ = s2o.datasets.japanese_vowels()
    # Every fifth utterance of each speaker: the data are sorted by speaker, 30 utterances each.
    fold = np.arange(len(data)) % FOLDS
    rows = []
    for learning_rate, schedule, epochs, dropout in itertools.product(LEARNING_RATES, SCHEDULES, EPOCHS, DROPOUTS):
        network = s2o.Network(
            [
                s2o.SequenceInput(12, normalization="zscore"),
                s2o.LSTM(100, output_mode="last"),
                s2o.Dropout(dropout),
                s2o.FullyConnected(9),
                s2o.Softmax(),
            ]
        )
        options = s2o.TrainingOptions(
            learning_rate=learning_rate, schedule=schedule, epochs=epochs, batch_size=27, progress=False
        )
        ends = [
            s2o.train(network, data.subset(fold != k), data.subset(fold == k), options=options).history[-1]
            for k in range(FOLDS)
        ]
        accuracy, loss = (np.mean([end[f"validation_{name}"] for end in ends]) for name in ("accuracy", "loss"))
        rows.append((accuracy, -loss, learning_rate, schedule, epochs, dropout))
        print(*rows[-1], flush=True)
    print("\naccuracy  loss    learning rate  schedule  epochs  dropout")
    for accuracy, gain, learning_rate, schedule, epochs, dropout in sorted(rows, reverse=True):
        print(f"{accuracy:.4f}    {-gain:.4f}  {learning_rate:<13g}  {schedule:<8}  {epochs:<6}  {dropout}")


if __name__ == "__main__":
    main()
