"""SequenceClassifier and SequenceRegressor: training, prediction and export with the interface of scikit-learn."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data import SequenceDataset
from seq2onnx.errors import DataError, SpecError
from seq2onnx.layers import LSTM, FullyConnected, Layer, SequenceInput, Softmax
from seq2onnx.network import Network
from seq2onnx.sequences import chunk, pad
from seq2onnx.training import SequenceModule, TrainingOptions, train
from seq2onnx.training.history import History
from seq2onnx.training.matching import check_sequences

BATCH_SIZE = 64


class _Estimator:
    """What both estimators share."""

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
        """Return the arguments of the constructor, by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Set arguments of the constructor; raise SpecError for other names."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise SpecError(
                    f"{name}: is not a parameter of {type(self).__name__}. The parameters are {', '.join(known)}"
                )
            setattr(self, name, value)
        return self

    def export(self, path: str | Path, **options: Any) -> None:
        """Write the fitted network to an ONNX file; `options` are those of `seq2onnx.export`."""
        from seq2onnx.exporting import export

        export(self._fitted(), path, **options)

    def _fit(self, data: SequenceDataset, head: Sequence[Layer], normalize_targets: bool) -> Self:
        self.n_features_in_ = int(np.shape(data[0][0])[1])
        body = [SequenceInput(self.n_features_in_, "zscore"), LSTM(self.hidden_size, "last"), *head]
        network = self.network or Network(body)
        result = train(network, data, self.validation, normalize_targets=normalize_targets, options=self.options)
        self.module_, self.history_ = result.module, result.history
        return self

    def _fitted(self) -> SequenceModule:
        if not hasattr(self, "module_"):
            raise DataError(f"{type(self).__name__}: is not fitted. Call fit first")
        return self.module_

    def _outputs(self, sequences: Any) -> NDArray[np.float32]:
        """Return the module's output for each sequence, in order."""
        import torch

        module = self._fitted()
        data = SequenceDataset(sequences).with_channels(module.channels)
        check_sequences(module.network, data)
        if module.network.signals[module.network.outputs[0]].has_time:
            raise SpecError(f"{type(self).__name__}: needs a network with one output for each sequence, not each step")
        order = np.argsort(data.lengths, kind="stable")
        outputs = []
        with torch.no_grad():
            for batch in chunk(order, BATCH_SIZE):
                x, lengths = map(torch.from_numpy, pad(data.parts[""].take(batch)))
                outputs.append(module(x, lengths, return_state=False)[0].numpy())
        y: NDArray[np.float32] = np.concatenate(outputs)[np.argsort(order)]
        return y


class SequenceClassifier(_Estimator):
    """Predicts one label for each sequence.

    Args:
        network: the network to train, which ends with Softmax. None: SequenceInput (zscore) → LSTM → FullyConnected →
            Softmax, with the sizes of the data.
        hidden_size: of this LSTM.
        options: how to train.
        validation: the share of the training data that is set aside and measured after each epoch.

    Attributes:
        classes_: the labels, in the order of the scores. This and the following are set by `fit`.
        module_: the trained module.
        history_: the history of the training.
        n_features_in_: the number of features.

    Example:
        >>> SequenceClassifier().fit(sequences, labels).predict(others)
    """

    classes_: NDArray[Any]

    def fit(self, sequences: Any, labels: Any) -> Self:
        """Train on a list of [time, features] arrays with one label each, a string or an integer."""
        data = SequenceDataset(sequences, np.asarray(labels))
        if data.classes is None:
            raise DataError("labels: expected strings or integers, got numbers. For numbers use SequenceRegressor")
        self.classes_ = np.array(data.classes)
        return self._fit(data, [FullyConnected(len(data.classes)), Softmax()], False)

    def predict_proba(self, sequences: Any) -> NDArray[np.float32]:
        """Return the score of each class, [sequences, classes]."""
        return self._outputs(sequences)

    def predict(self, sequences: Any) -> NDArray[Any]:
        """Return the label with the highest score, [sequences]."""
        scores = self.predict_proba(sequences)  # raises unless fitted
        labels: NDArray[Any] = self.classes_[scores.argmax(1)]
        return labels

    def score(self, sequences: Any, labels: Any) -> float:
        """Return the accuracy: the share of labels that are predicted correctly."""
        return float(np.mean(self.predict(sequences) == np.asarray(labels)))


class SequenceRegressor(_Estimator):
    """Predicts a number, or a vector of numbers, for each sequence. Training normalizes the numbers.

    Args:
        network: the network to train. None: SequenceInput (zscore) → LSTM → FullyConnected, with the sizes of the data.
        hidden_size: of this LSTM.
        options: how to train.
        validation: the share of the training data that is set aside and measured after each epoch.

    Attributes:
        module_: the trained module. This and the following are set by `fit`.
        history_: the history of the training.
        n_features_in_: the number of features.

    Example:
        >>> SequenceRegressor().fit(sequences, numbers).predict(others)
    """

    def fit(self, sequences: Any, numbers: Any) -> Self:
        """Train on a list of [time, features] arrays, and numbers [sequences] or [sequences, k]."""
        numbers = np.asarray(numbers, np.float64)
        self._is_vector = numbers.ndim > 1
        data = SequenceDataset(sequences, numbers)
        return self._fit(data, [FullyConnected(numbers.shape[1] if self._is_vector else 1)], True)

    def predict(self, sequences: Any) -> NDArray[np.float32]:
        """Return the predicted numbers, in the shape of those given to `fit`."""
        y = self._outputs(sequences)
        return y if self._is_vector else y[:, 0]

    def score(self, sequences: Any, numbers: Any) -> float:
        """Return R²: 1 for perfect predictions, 0 for the mean of `numbers`."""
        truth, predicted = np.asarray(numbers, float), self.predict(sequences)
        return float(1 - np.square(truth - predicted).sum() / np.square(truth - truth.mean(0)).sum())
