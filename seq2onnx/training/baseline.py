"""The cheapest honest model of the same data, beside each training: linear, of a few numbers of each channel."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seq2onnx.building import SequenceModule, build
from seq2onnx.layers import (
    Concat,
    Conv1d,
    FullyConnected,
    GlobalAvgPool1d,
    GlobalMaxPool1d,
    GlobalStdPool1d,
    Layer,
    Rescale,
    SequenceInput,
    Softmax,
)
from seq2onnx.network import Network
from seq2onnx.sequences import DataInfo
from seq2onnx.training.losses import METRICS
from seq2onnx.training.task import Task

Array = NDArray[np.float64]
Batches = Iterable[tuple[Tensor, Tensor]]
MOST_SEQUENCES, MOST_STEPS = 20_000, 1_000_000
"""Rows of features from which a baseline learns, at most."""
MOST_FEATURES, MOST_LAGS = 512, 32
"""Numbers that it sees for each answer, and the last steps of them."""
LONGEST_SEASON, MOST_NUMBERS, MOST_WEIGHTS = 400, 100_000, 1_000_000
"""Steps of a season, numbers in which it is looked for, and weights that repeat it, at most."""
STRENGTHS = 10.0 ** np.arange(-3, 7)
"""The L2 penalties from which a ridge takes the best, by generalized cross-validation."""
LOSSES = ("crossentropy", "mse", "mae", "huber")


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A linear model of the training data, measured on the validation data as the network is.

    For a target of each sequence it reads mean, deviation, maximum, minimum and mean slope of each channel, and for a
    target of each step the last steps, up to 32. If the targets are later steps, it is the better one of this and of
    the seasonal naive forecast, which repeats the last season: the shortest of up to 400 steps whose error in the
    training data is within 5 % of the smallest.

    Attributes:
        kind: "logistic regression" for labels, "ridge" for numbers, or "seasonal naive" if it is better for forecasts.
        metric: what is compared: "accuracy" or "rmse".
        value: of the baseline.
        network_value: of the network.
        module: the baseline as layers, in evaluation mode. It can be exported like any network.
    """

    kind: Literal["logistic regression", "ridge", "seasonal naive"]
    metric: str
    value: float
    network_value: float
    module: SequenceModule

    @property
    def wins(self) -> bool:
        """Whether the baseline is better than the network."""
        return self.value > self.network_value if METRICS[self.metric].largest else self.value < self.network_value

    def __repr__(self) -> str:
        return f"Baseline({self.kind}, {self.metric} {self.value:.4g}, network {self.network_value:.4g})"

    def __str__(self) -> str:
        verdict = "better than the network: result.baseline.module has it" if self.wins else "the network is better"
        return f"baseline  {self.kind}  {self.metric} {self.value:.4g}, network {self.network_value:.4g}; {verdict}"


def has_baseline(task: Task) -> bool:
    """Whether a task has a baseline: sequences of vectors, a loss of the package, validation data, all steps kept."""
    entries = [layer for layer in task.network.layers if layer.is_input]
    if len(entries) != 1 or not isinstance(entries[0], SequenceInput) or not isinstance(entries[0].size, int):
        return False
    fits = task.objective.loss.name in LOSSES and not entries[0].missing and entries[0].size <= MOST_FEATURES
    return fits and task.validation is not None and (not task.data.per_step or _keeps_steps(task.network))


def _keeps_steps(network: Network) -> bool:
    """Whether the output has a step for each step of x: a stride has no lags to compare with."""
    (output,) = network.outputs
    return network.signals[output].clock == network.signals[network.layers[0].label].clock


def feature_network(task: Task) -> Network:
    """Return the network of what the baseline reads: numbers of each channel, or the last steps."""
    (entry,) = (layer for layer in task.network.layers if isinstance(layer, SequenceInput))
    x = SequenceInput(entry.size, "zscore", name="x")
    assert isinstance(entry.size, int)
    if task.data.per_step:
        lags = max(1, min(MOST_LAGS, MOST_FEATURES // entry.size))
        return Network([x, Conv1d(lags * entry.size, lags, padding="causal", groups=entry.size, name="lags")])
    layers: list[Layer] = [
        x,
        GlobalAvgPool1d(name="mean"),
        GlobalStdPool1d(name="deviation", inputs=["x"]),
        GlobalMaxPool1d(name="maximum", inputs=["x"]),
        Rescale(-1.0, 0.0, name="turned", inputs=["x"]),
        GlobalMaxPool1d(name="minimum"),
    ]
    names = ["mean", "deviation", "maximum", "minimum"]
    if int(task.data.lengths.min()) > 1:
        layers.append(Conv1d(entry.size, 2, groups=entry.size, name="differences", inputs=["x"]))
        layers.append(GlobalAvgPool1d(name="slope"))
        names.append("slope")
    return Network([*layers, Concat(name="features", inputs=names)])


def feature_module(task: Task) -> SequenceModule:
    """Return the module of the features; its convolutions take each lag, or the difference of neighbours."""
    module = build(feature_network(task), task.data).eval()
    layer: Any
    with torch.no_grad():
        for name, layer in module.layers.items():
            if name in ("lags", "differences"):
                taken = torch.eye(layer.weights.shape[2]) if name == "lags" else torch.tensor([[-1.0, 1.0]])
                layer.weights.copy_(taken.repeat(len(layer.weights) // len(taken), 1)[:, None])
                layer.bias.zero_()
    return module


def fit_baseline(task: Task, features: SequenceModule, batches: Batches) -> SequenceModule:
    """Return the linear model of features [n, k] and targets [n] or [n, m], which come in batches."""
    most = MOST_STEPS if task.data.per_step else MOST_SEQUENCES
    rows: list[Array] = []
    targets: list[NDArray[Any]] = []
    for batch, wanted in batches:
        rows.append(batch.detach().double().numpy())
        targets.append(wanted.numpy())
        if sum(map(len, rows)) >= most:
            break
    x, target = np.concatenate(rows)[:most], np.concatenate(targets)[:most]
    if (classes := task.data.classes) is not None:
        weights, bias = logistic(x, target, len(classes))
    else:
        weights, bias = ridge(x, target.reshape(len(target), -1).astype(np.float64))
    layers = [layer for layer in features.network.layers if layer.label != "lags"]
    outputs = weights.shape[1]
    if task.data.per_step:
        lags: Any = features.layers["lags"]
        layers.append(Conv1d(outputs, lags.weights.shape[2], padding="causal", name="head"))
    else:
        layers.append(FullyConnected(outputs, name="head"))
    module = build(Network([*layers, *([] if classes is None else [Softmax()])], name="baseline")).eval()
    with torch.no_grad():
        for name, layer in features.layers.items():
            if name != "lags":
                module.layers[name].load_state_dict(layer.state_dict())
        head: Any = module.layers["head"]
        head.weights.copy_(torch.from_numpy(weights.T.copy()).reshape(head.weights.shape))
        head.bias.copy_(torch.from_numpy(bias))
    module.data_info = _info(task)
    return module


def _info(task: Task) -> DataInfo:
    rate, policy = task.data.sample_rate, task.options.padding
    return DataInfo(classes=task.data.classes, channels=task.channels, policy=policy, sample_rate=rate)


def seasonal_naive(task: Task) -> SequenceModule | None:
    """Return the layers that repeat the last season; None if the targets are not later steps of the input.

    Of a step before the first one, the answer is the mean.
    """
    arrays, numbers = list[Array](), 0
    if (ahead := task.data.ahead or _found_ahead(*task.data[0])) is None:
        return None
    for index in range(len(task.data)):
        ((x,),) = task.data.take([index])[0].values()
        arrays.append(x.astype(np.float64))
        if (numbers := numbers + x.size) >= MOST_NUMBERS:
            break
    size = arrays[0].shape[1]
    if np.size(task.data[0][1]) != len(arrays[0]) * len(ahead) * size:
        return None
    season = find_season(arrays, ahead, MOST_WEIGHTS // (size * size * len(ahead)))
    back = [_lag(season, step) - step for step in ahead]
    head = Conv1d(size * len(ahead), max(back) + 1, padding="causal", name="head")
    module = build(Network([SequenceInput(size, "zscore", name="x"), head], name="baseline"), task.data).eval()
    found = task.data.statistics(next(iter(task.data.parts)))
    layer: Any = module.layers["head"]
    with torch.no_grad():
        layer.weights.zero_()
        for number, steps in enumerate(back):
            rows = slice(number * size, (number + 1) * size)
            layer.weights[rows, :, -1 - steps] = torch.diag(torch.from_numpy(found["std"]).to(layer.weights))
            layer.bias[rows] = torch.from_numpy(found["mean"])
    module.data_info = _info(task)
    return module


def find_season(arrays: list[Array], ahead: range, most: int = LONGEST_SEASON) -> int:
    """Return the shortest season that repeats steps `ahead` with an error within 5 % of the smallest."""
    longest = max(map(len, arrays))
    most = max(1, min(LONGEST_SEASON, most, longest // 2))
    scale = _scale(np.concatenate(arrays))
    errors = np.full(most + ahead[-1] + 1, np.inf)
    for lag in range(1, min(len(errors), longest)):
        changes = [np.square((x[lag:] - x[:-lag]) / scale) for x in arrays if len(x) > lag]
        errors[lag] = np.concatenate(changes).mean()
    mean = np.array([errors[[_lag(season, step) for step in ahead]].mean() for season in range(1, most + 1)])
    return 1 + int(np.flatnonzero(mean <= 1.05 * mean.min())[0])


def _found_ahead(x: NDArray[Any], target: NDArray[Any]) -> range | None:
    """Return how far the steps in a target are ahead, which files do not say; None if they are not the next ones."""
    target, size = target.reshape(len(x), -1), x.shape[1]
    ahead = range(1, 1 + target.shape[1] // size)
    is_later = [np.array_equal(target[:-step, size * (step - 1) : size * step], x[step:]) for step in ahead]
    return ahead if is_later and all(is_later) and len(x) > len(ahead) else None


def _lag(season: int, step: int) -> int:
    """Return how many seasons, in steps, lie between a step ahead and the known one that it repeats."""
    return season * -(-step // season)


def ridge(x: Array, target: Array) -> tuple[Array, Array]:
    """Return weights [k, m] and bias [m] of the least squares with the L2 penalty that generalizes best."""
    mean, scale = x.mean(0), _scale(x)
    z, y = (x - mean) / scale, target - target.mean(0)
    found, axes = np.linalg.eigh(z.T @ z)
    found, turned = np.maximum(found, 0), axes.T @ (z.T @ y)
    best, weights = np.inf, np.zeros((x.shape[1], target.shape[1]))
    for strength in STRENGTHS:
        solved = axes @ (turned / (found + strength)[:, None])
        freedom = 1 + float(np.sum(found / (found + strength)))
        left = float(np.sum((y - z @ solved) ** 2)) / max(len(x) - freedom, 1e-9) ** 2
        if freedom < len(x) and left < best:
            best, weights = left, solved
    return _unscaled(weights, target.mean(0), mean, scale)


def logistic(x: Array, target: NDArray[Any], classes: int) -> tuple[Array, Array]:
    """Return weights [k, classes] and bias [classes] of the logistic regression with an L2 penalty of 1."""
    mean, scale = x.mean(0), _scale(x)
    z, labels = torch.from_numpy((x - mean) / scale), torch.from_numpy(target)
    weights = torch.zeros(x.shape[1], classes, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = torch.nn.functional.cross_entropy(z @ weights + bias, labels) + weights.square().sum() / 2 / len(z)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(loss)  # type: ignore[no-untyped-call]
    return _unscaled(weights.detach().numpy(), bias.detach().numpy(), mean, scale)


def _scale(x: Array) -> Array:
    """Return the deviations of features, 1 where they are constant."""
    deviation = x.std(0)
    return np.where(deviation > 1e-9 * (1 + np.abs(x).max(0)), deviation, 1.0)


def _unscaled(weights: Array, bias: Array, mean: Array, scale: Array) -> tuple[Array, Array]:
    """Return weights and bias for features as they are, instead of with mean 0 and deviation 1."""
    weights = weights / scale[:, None]
    return weights, bias - mean @ weights
