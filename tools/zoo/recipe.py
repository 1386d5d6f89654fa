"""What a recipe says, and metrics and baselines that several of them use."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import seq2onnx as s2o
from seq2onnx.runtime import Predictor
from seq2onnx.training import SequenceModule

Figures = dict[str, float]
Data = tuple[s2o.SequenceDataset, s2o.SequenceDataset]  # for training, and for the test


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """One network of the zoo.

    title, task, source, split, limits: of the card; source names the data's licence, and says what is simulated
    data: makes or fetches (training, test)
    network: what is trained; its name is that of the folder in models/
    options: how, as TrainingOptions takes them; networks that learn numbers learn them normalized
    figures: of an exported file on test data; the first is that of the card, the larger the better
    baselines: by name the first figure of something simpler on the same split
    peer: the first figure of the same network in plain torch, trained with a seed on the same split
    pictures: draws into a folder, and says by file name what is to be seen
    call: what the card does with that part, of a Predictor
    slice_of: the test data, or what part of it ships with the model
    export: further arguments of `export`
    finish: makes of the trained module what is exported, such as one with an alarm
    seeds: how many trainings the spread is taken from
    changes: what has changed for this network since version 0.1
    """

    title: str
    task: str
    source: str
    split: str
    limits: str
    data: Callable[[], Data]
    network: s2o.Network
    options: dict[str, Any]
    figures: Callable[[Predictor, s2o.SequenceDataset], Figures]
    pictures: Callable[[Predictor, s2o.SequenceDataset, Path], dict[str, str]]
    baselines: Callable[[s2o.SequenceDataset, s2o.SequenceDataset], Figures]
    peer: Callable[[s2o.SequenceDataset, s2o.SequenceDataset, int], float] | None = None
    call: str = "predict(data)"
    slice_of: Callable[[s2o.SequenceDataset], s2o.SequenceDataset] = lambda test: test
    export: dict[str, Any] = dataclasses.field(default_factory=dict)
    finish: Callable[[SequenceModule], SequenceModule] = lambda module: module
    seeds: int = 3
    changes: str = "Trained again; no change of version 0.2 concerns this network."

    @property
    def name(self) -> str:
        """Of the folder."""
        return str(self.network.name)


def accuracy(model: Predictor, test: s2o.SequenceDataset) -> Figures:
    """Share of the sequences, or steps, whose label is right."""
    return {"accuracy": share_right(model.classify(test), test.labels)}


def share_right(found: Any, truth: Any) -> float:
    """Share of labels that are right, of sequences or of all their steps."""
    if isinstance(truth, list):
        found, truth = np.concatenate(found), np.concatenate(truth)
    return float(np.mean(found == truth))


def numbers(data: s2o.SequenceDataset) -> NDArray[Any]:
    """The targets, one a sequence, [n]."""
    return np.ravel(np.asarray(data.targets))


def r2(truth: NDArray[Any], found: NDArray[Any]) -> float:
    """Share of the variance that is explained: 1 − Σ (t − y)² / Σ (t − mean)²."""
    return float(1 - np.square(truth - found).sum() / np.square(truth - truth.mean()).sum())


def rmse(truth: NDArray[Any], found: NDArray[Any]) -> float:
    """Root of the mean squared error, in the unit of the targets."""
    return float(np.sqrt(np.square(truth - found).mean()))


def explained(model: Predictor, test: s2o.SequenceDataset) -> Figures:
    """R² and RMSE of networks that answer each sequence with a number."""
    truth, found = numbers(test), model.predict(test)[:, 0]
    return {"R²": r2(truth, found), "RMSE": rmse(truth, found)}


def always_the_mean(truth: NDArray[Any], training: NDArray[Any]) -> Figures:
    """R² of always answering the mean of the training data's targets."""
    return {"baseline (mean of the training targets)": r2(truth, np.full(len(truth), training.mean()))}


def most_frequent(training: s2o.SequenceDataset, test: s2o.SequenceDataset) -> Figures:
    """Accuracy of always answering the label that is most frequent in the training data."""
    assert training.classes is not None
    answer = training.classes[int(training.class_counts().argmax())]
    truth = np.concatenate(test.labels) if test.per_step else test.labels
    return {f"baseline (most frequent label, {answer!r})": float(np.mean(truth == answer))}


def linear_on_moments(training: s2o.SequenceDataset, test: s2o.SequenceDataset) -> Figures:
    """Accuracy of ridge regression to one-hot labels, and of softmax regression, on what `table` says of a sequence."""

    def table(data: s2o.SequenceDataset) -> torch.Tensor:
        """Mean and deviation over time of each feature."""
        return torch.tensor(np.stack([np.concatenate([x.mean(0), x.std(0)]) for x in data.sequences]))

    x, labels = table(training), torch.tensor(np.asarray(training.targets))
    mean, deviation = x.mean(0), x.std(0)
    weights = torch.zeros(x.shape[1] + 1, len(training.classes or []), requires_grad=True)

    def scores(of: torch.Tensor) -> torch.Tensor:
        return ((of - mean) / deviation) @ weights[1:] + weights[0]

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        found = nn.functional.cross_entropy(scores(x), labels) + 0.5 / len(x) * weights[1:].square().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimizer = torch.optim.LBFGS([weights], max_iter=500, line_search_fn="strong_wolfe")
    optimizer.step(loss)  # type: ignore[no-untyped-call]
    one_hot = np.eye(len(weights[0]))[labels]
    answers = {
        "ridge": ridge(x.numpy(), one_hot, table(test).numpy(), 1.0),
        "softmax": scores(table(test)).detach().numpy(),
    }
    truth, of = np.asarray(test.targets), "regression on mean and deviation of each feature"
    return {f"{kind} {of}": float(np.mean(answer.argmax(1) == truth)) for kind, answer in answers.items()}


def most_frequent_and_linear(training: s2o.SequenceDataset, test: s2o.SequenceDataset) -> Figures:
    """The baselines of sequences of numbers with a label each."""
    return most_frequent(training, test) | linear_on_moments(training, test)


def without_memory(training: s2o.SequenceDataset, test: s2o.SequenceDataset, options: dict[str, Any]) -> Figures:
    """Accuracy of a network of one layer, which knows each step alone, trained with the options of a recipe."""
    layers = [
        s2o.SequenceInput(training.shape()[0], "zscore"),
        s2o.FullyConnected(len(training.classes or [])),
        s2o.Softmax(),
    ]
    given = s2o.TrainingOptions(**options, threads=1, device="cpu", progress=False)
    module = s2o.train(s2o.Network(layers), training, options=given).module
    with tempfile.TemporaryDirectory() as folder:
        s2o.export(module, Path(folder, "model.onnx"))
        return {
            "softmax regression on each step alone": accuracy(s2o.load(Path(folder, "model.onnx")), test)["accuracy"]
        }


def ridge(x: NDArray[Any], t: NDArray[Any], at: NDArray[Any], penalty: float) -> NDArray[Any]:
    """Linear regression of t [n, k] on x [n, m], normalized, with a penalty on squared weights: answers at [·, m]."""
    mean, deviation = x.mean(0), x.std(0) + 1e-9
    z, centre = (x - mean) / deviation, t.mean(0)
    weights = np.linalg.solve(z.T @ z + penalty * np.eye(z.shape[1]), z.T @ (t - centre))
    return np.asarray(centre + (at - mean) / deviation @ weights)


def every(step: int) -> Callable[[s2o.SequenceDataset], s2o.SequenceDataset]:
    """A part of the test data: its first sequence, and each that lies `step`, 2 · `step`, … further on."""
    return lambda test: test.subset(slice(None, None, step))
