"""Text: how positive is a sentence of a film review?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from real_data import snippets, split

import seq2onnx as s2o
from seq2onnx.runtime import Predictor
from zoo.pictures import plt, save
from zoo.recipe import Data, Figures, Recipe, always_the_mean, every, explained, numbers, r2

WORDS = 6000


def _data() -> Data:
    texts, ratings = snippets()
    training, test = split(len(texts), 0.2)
    made = [s2o.SequenceDataset([texts[i] for i in part], ratings[part]) for part in (training, test)]
    return made[0], made[1]


def _baselines(training: s2o.SequenceDataset, test: s2o.SequenceDataset) -> Figures:
    """The mean, and ridge regression on which words are there, at the best of four penalties by a fifth set aside."""
    vocabulary = s2o.Vocabulary.from_texts(training.sequences, WORDS)

    def table(texts: list[str]) -> np.ndarray:
        rows = np.zeros((len(texts), len(vocabulary) + 2), np.float32)
        for row, known in zip(rows, vocabulary.encode_all(texts), strict=True):
            row[known] = 1
        return rows

    def answer(x: np.ndarray, t: np.ndarray, at: np.ndarray, penalty: float) -> np.ndarray:
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1], dtype=np.float32), x.T @ (t - t.mean()))
        return np.asarray(t.mean() + at @ weights)

    x, t = table(training.sequences), numbers(training)
    aside = np.arange(len(t)) % 5 == 0
    penalty = max((3, 10, 30, 100), key=lambda p: r2(t[aside], answer(x[~aside], t[~aside], x[aside], p)))
    truth = numbers(test)
    name = f"ridge regression on a bag of {WORDS:,} words"
    return always_the_mean(truth, t) | {name: r2(truth, answer(x, t, table(test.sequences), penalty))}


def _pictures(model: Predictor, test: s2o.SequenceDataset, folder: Path) -> dict[str, str]:
    """The score of what has been read so far, for two short snippets that people rated well and badly."""
    short = np.flatnonzero((test.lengths >= 8) & (test.lengths <= 16))
    ratings = numbers(test)[short]
    shown = (short[ratings.argmax()], short[ratings.argmin()])
    figure, axes = plt.subplots(2, 1, figsize=(9, 7.5), layout="constrained", sharey=True)
    for index, ax in zip(shown, axes, strict=True):
        words, rating = test[int(index)]
        scores = model.predict([words[: n + 1] for n in range(len(words))])[:, 0]
        ax.plot(scores, "o-", color="#3b6fb6", label="score of the words so far")
        ax.axhline(float(np.ravel(rating)[0]), color="black", linestyle="--", label="rating by people")
        ax.axhline(0, color="0.7", linewidth=0.8)
        ax.set_xticks(range(len(words)), words, rotation=45, ha="right", fontsize=11)
        ax.set(ylabel="rating, −4 to 4", ylim=(-4.2, 4.2))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    save(axes[0], folder / "word_by_word.png")
    return {
        "word_by_word.png": "The score after each word of two short test snippets: the one with the best and the one "
        "with the worst rating."
    }


RECIPE = Recipe(
    title="Film snippets",
    task="A sentence or two of a film review: how do people rate the sentiment, from −4 to 4?",
    source=(
        "10,605 movie review snippets, each rated by people (Hutto & Gilbert 2014), in the source archive of the "
        "package vaderSentiment 3.3.2 (MIT), downloaded with pip. Real text, not simulated."
    ),
    split="8,484 snippets for training and 2,121 for the test, at random (seed 0).",
    limits=(
        f"English, {WORDS:,} words; all others count as the same unknown word. It learned how film critics write and "
        "is often wrong for other texts. It reads texts in both directions, so it needs the whole text."
    ),
    data=_data,
    network=s2o.Network(
        [
            s2o.SequenceInput("tokens"),
            s2o.WordEmbedding(48, WORDS),
            s2o.Dropout(0.5),
            s2o.BiLSTM(48),
            s2o.GlobalMaxPool1d(),
            s2o.Dropout(0.5),
            s2o.FullyConnected(1),
        ],
        name="films",
    ),
    options={"epochs": 8, "batch_size": 64, "learning_rate": 2e-3, "l2": 1e-5, "schedule": "cosine"},
    figures=explained,
    pictures=_pictures,
    baselines=_baselines,
    slice_of=every(4),
    export={"words": True},
)
