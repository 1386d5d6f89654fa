"""Video: which digit moves across the frames, and in which direction?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from real_data import small_digits, split

import seq2onnx as s2o
from seq2onnx.runtime import Predictor
from zoo.pictures import plt, save
from zoo.plain import Video, accuracy_of
from zoo.recipe import Data, Figures, Recipe, accuracy, every, most_frequent, ridge

WAYS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
CLASSES = [f"{digit} {way}" for digit in range(10) for way in WAYS]
SIZE, STRIDE, UNITS = 64, 6, 200


def film(digit: NDArray[np.float64], way: str, frames: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """[frames, 3, 64, 64]: a digit of 8x8 pixels, four times as large and coloured, moves over grey noise.

    It moves 2 or 3 pixels a frame, from a random place from which it stays in the picture.
    """
    large = np.kron(digit, np.ones((4, 4)))
    speed, room = int(rng.integers(2, 4)), SIZE - len(large)
    travel = speed * (frames - 1)
    place = rng.integers(0, room + 1, 2)
    axis = 0 if WAYS[way][0] else 1
    forward = WAYS[way][axis] > 0
    place[axis] = rng.integers(0, room - travel + 1) + (0 if forward else travel)
    colour = rng.uniform(0.4, 1, 3)[:, None, None]
    made = rng.uniform(0, 0.2, (frames, 1, SIZE, SIZE)).repeat(3, 1)
    for frame in range(frames):
        row, column = place + frame * speed * np.array(WAYS[way])
        area = made[frame, :, row : row + len(large), column : column + len(large)]
        np.maximum(area, colour * large, out=area)
    return (np.round(255 * made) / 255).astype(np.float32)  # the 256 values that a picture has


def _filmed(x: NDArray[np.float32], target: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], int]:
    """A film of a digit, given as its image in each frame, [frames, 1, 8, 8], and of the class that is its target."""
    return film(x[0, 0], list(WAYS)[target % len(WAYS)], len(x), rng), target


def _data() -> Data:
    images, labels = small_digits()
    training, test = split(len(images), 0.2)
    rng = np.random.default_rng(0)
    learned: tuple[list[Any], list[str]] = ([], [])
    shown: tuple[list[Any], list[str]] = ([], [])
    for index in np.concatenate([training, test]):
        for way in WAYS:
            frames = int(rng.integers(6, 11))
            name = f"{labels[index]} {way}"
            if index in test:
                if rng.random() < 0.25:  # as many films as there are test digits
                    shown[0].append(film(images[index], way, frames, rng))
                    shown[1].append(name)
            else:
                learned[0].append(np.broadcast_to(images[index].astype(np.float32), (frames, 1, 8, 8)))
                learned[1].append(name)
    made = s2o.SequenceDataset(*learned, classes=CLASSES).transformed(_filmed)
    return made, s2o.SequenceDataset(*shown, classes=CLASSES)


def _baselines(training: s2o.SequenceDataset, test: s2o.SequenceDataset) -> Figures:
    """Ridge regression on the mean of all frames and the last less the first, four times smaller."""

    def table(data: s2o.SequenceDataset) -> NDArray[np.float64]:
        rows = []
        for start in range(0, len(data), 64):
            for x in data.take(range(start, min(start + 64, len(data))))[0][""]:
                small = x.mean(1).reshape(len(x), 16, 4, 16, 4).mean((2, 4))
                rows.append(np.concatenate([small.mean(0).ravel(), (small[-1] - small[0]).ravel()]))
        return np.array(rows)

    answers = np.eye(len(CLASSES))[np.asarray(training.targets)]
    found = ridge(table(training), answers, table(test), 100.0).argmax(1)
    name = "ridge regression on the mean frame and the last frame minus the first"
    return most_frequent(training, test) | {name: float(np.mean(found == np.asarray(test.targets)))}


def _pictures(model: Predictor, test: s2o.SequenceDataset, folder: Path) -> dict[str, str]:
    index = int(np.where(model.classify(test) == test.labels, test.lengths, 0).argmax())
    x, label = test[index][0], test.labels[index]
    stream = model.stream()
    scores = np.stack([stream.step(frame) for frame in x])
    leading = np.argsort(-scores[-1])[:3]
    figure, axes = plt.subplots(2, 5, figsize=(10, 5.9), layout="constrained")
    for step, ax in enumerate(axes.flat):
        ax.axis("off")
        if step < len(x):
            ax.imshow(np.moveaxis(x[step], 0, -1))
            lines = [f"{CLASSES[k]}  {scores[step, k]:.2f}" for k in leading]
            ax.set_title(f"frame {step + 1}\n" + "\n".join(lines), fontsize=11)
    figure.suptitle(f"Test film {index}: {label}. Scores after each frame")
    save(axes[0, 0], folder / "frames.png")
    return {
        "frames.png": "A long test film with a correct answer. Above each frame: the scores of the three labels that "
        "are highest at the end."
    }


OPTIONS = {"epochs": 12, "batch_size": 32, "learning_rate": 1e-3, "schedule": "cosine", "gradient_clip": 1.0}
RECIPE = Recipe(
    title="Moving digits",
    task="A film of 6 to 10 colour frames of 64x64 pixels: which digit moves, and in which direction? 40 labels.",
    source=(
        "Handwritten digits (Alpaydin & Kaynak 1998), UCI Machine Learning Repository, CC BY 4.0, in the package "
        "scikit-learn (BSD 3-Clause), downloaded with pip. The handwriting is real. Motion, colours and noise are "
        "SIMULATED."
    ),
    split=(
        "Training: 1,438 digits, each in four directions, with a new film in each epoch. Test: 358 films of 242 of the "
        "359 other digits. Each digit moves in four directions, and each film was included with probability 1/4."
    ),
    limits=(
        f"One digit at a time, moving in a straight line. Stride {STRIDE} keeps the network small: with stride 1, as "
        "in the template video-classifier, it would have 58 million weights."
    ),
    data=_data,
    call="classify(data)",
    network=s2o.Network(
        [
            s2o.SequenceInput((3, SIZE, SIZE), "zerocenter"),
            s2o.Conv2d(20, 5, STRIDE),
            s2o.BatchNorm(),
            s2o.ReLU(),
            s2o.LSTM(UNITS, "last"),
            s2o.Dropout(0.3),
            s2o.FullyConnected(len(CLASSES)),
            s2o.Softmax(),
        ],
        name="video",
    ),
    options=OPTIONS,
    figures=accuracy,
    pictures=_pictures,
    baselines=_baselines,
    peer=accuracy_of(lambda: Video(STRIDE, UNITS, len(CLASSES), 0.3), OPTIONS),
    slice_of=every(24),
    seeds=2,
    changes=(
        "The mean and variance of BatchNorm are now those of the whole training data, computed after the last epoch. "
        "Before, they were averages over the last batches."
    ),
)
