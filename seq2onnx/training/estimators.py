"""SequenceClassifier and SequenceRegressor: training and prediction in the manner of scikit-learn."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from seq2onnx.data import SequenceDataset
from seq2onnx.errors import DataError, SpecError
from seq2onnx.layers import LSTM, FullyConnected, Layer, SequenceInput, Softmax
from seq2onnx.network import Network
from seq2onnx.sequences import chunk, pad
from seq2onnx.training.module import SequenceModule, check_sequences
from seq2onnx.training.optimization import History
from seq2onnx.training.options import TrainingOptions
from seq2onnx.training.trainer import train

BATCH_SIZE = 64


class _Estimator:
    """What both share. Attributes after `fit`: module_ (the trained module), history_, and n_features_in_."""

    module_: SequenceModule
    history_: History
    n_features_in_: int

    def __init__(
        self,
        network: Network | None = None,
        hidden_size: int = 100,
        options: TrainingOptions | None = None,
        validation: float | None = None,
    ) -> None:
        self.network = network
        self.hidden_size = hidden_size
        self.options = options
        self.validation = validation

    def __repr__(self) -> str:
        given = {name: value for name, value in self.get_params().items() if value is not None}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor, by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Set arguments of the constructor; raises SpecError for others."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise SpecError(f"{name}: is not a parameter of {type(self).__name__}; they are {', '.join(known)}")
            setattr(self, name, value)
        return self

    def export(self, path: str | Path, **options: Any) -> None:
        """Write the fitted network to an ONNX file; arguments as of `seq2onnx.export`."""
        from seq2onnx.exporting import export

        export(self._fitted(), path, **options)

    def _fit(self, data: SequenceDataset, head: Sequence[Layer], normalize_targets: bool) -> Self:
        self.n_features_in_ = int(np.shape(data[0][0])[1])
        body = [SequenceInput(self.n_features_in_, "zscore"), LSTM(self.hidden_size, "last"), *head]
        result = train(
            self.network or Network(body),
            data,
            self.validation,
            normalize_targets=normalize_targets,
            options=self.options,
        )
        self.module_, self.history_ = result.module, result.history
        return self

    def _fitted(self) -> SequenceModule:
        if not hasattr(self, "module_"):
            raise DataError(f"{type(self).__name__}: is not fitted; call fit first")
        return self.module_

    def _answers(self, sequences: Any) -> NDArray[np.float32]:
        """What the module answers to each sequence, in order."""
        module, data = self._fitted(), SequenceDataset(sequences)
        check_sequences(module.network, data)
        if module.network.signals[module.network.outputs[0]].has_time:
            raise SpecError(f"{type(self).__name__}: answers once a sequence; the network answers each step")
        order = np.argsort(data.lengths, kind="stable")
        found: list[Any] = [None] * len(data)
        with torch.no_grad():
            for batch in chunk(order, BATCH_SIZE):
                x, lengths = pad(data.parts[""].take(batch))
                y, _, _ = module(torch.from_numpy(x), torch.from_numpy(lengths), return_state=False)
                for index, row in zip(batch, y.numpy(), strict=True):
                    found[index] = row
        return np.stack(found)


class SequenceClassifier(_Estimator):
    """A label for each sequence.

    Args:
        network: what to train, ending with Softmax; without one SequenceInput (zscore) → LSTM → FullyConnected →
            Softmax, with the sizes of the data
        hidden_size: of that LSTM
        options: TrainingOptions
        validation: the share of the training data to look at after each epoch
    Attributes after `fit`: classes_, module_, history_, n_features_in_
    Example: >>> SequenceClassifier().fit(sequences, labels).predict(others)
    """

    classes_: NDArray[Any]

    def fit(self, sequences: Any, labels: Any) -> Self:
        """Train on a list of [time, features] arrays and a label for each, strings or integers."""
        data = SequenceDataset(sequences, np.asarray(labels))
        if data.classes is None:
            raise DataError("labels: expected strings or integers, got numbers; there is SequenceRegressor for those")
        self.classes_ = np.array(data.classes)
        return self._fit(data, [FullyConnected(len(data.classes)), Softmax()], False)

    def predict_proba(self, sequences: Any) -> NDArray[np.float32]:
        """The score of each class, [sequences, classes]."""
        return self._answers(sequences)

    def predict(self, sequences: Any) -> NDArray[Any]:
        """The label of the highest score, [sequences]."""
        scores = self.predict_proba(sequences)
        labels: NDArray[Any] = self.classes_[scores.argmax(1)]
        return labels

    def score(self, sequences: Any, labels: Any) -> float:
        """The share of labels that are right."""
        return float(np.mean(self.predict(sequences) == np.asarray(labels)))


class SequenceRegressor(_Estimator):
    """A number, or a vector of numbers, for each sequence; trained on normalized numbers, answered in their unit.

    Args:
        network: what to train; without one SequenceInput (zscore) → LSTM → FullyConnected, with the sizes of the data
        hidden_size: of that LSTM
        options: TrainingOptions
        validation: the share of the training data to look at after each epoch
    Attributes after `fit`: module_, history_, n_features_in_
    Example: >>> SequenceRegressor().fit(sequences, numbers).predict(others)
    """

    def fit(self, sequences: Any, numbers: Any) -> Self:
        """Train on a list of [time, features] arrays and [sequences] or [sequences, k] numbers."""
        numbers = np.asarray(numbers, np.float64)
        self._is_vector = numbers.ndim > 1
        data = SequenceDataset(sequences, numbers)
        return self._fit(data, [FullyConnected(numbers.shape[1] if self._is_vector else 1)], True)

    def predict(self, sequences: Any) -> NDArray[np.float32]:
        """The numbers, in the shape that `fit` had them."""
        y = self._answers(sequences)
        return y if self._is_vector else y[:, 0]

    def score(self, sequences: Any, numbers: Any) -> float:
        """R²: 1 is perfect, 0 what the mean of `numbers` would reach."""
        truth, found = np.asarray(numbers, float), self.predict(sequences)
        return float(1 - np.square(truth - found).sum() / np.square(truth - truth.mean(0)).sum())
