"""SequenceClassifier and SequenceRegressor: training, prediction and export with the interface of scikit-learn."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from seq2onnx.building.matching import check_sequences, encode_words
from seq2onnx.data import SequenceDataset, batch_indices
from seq2onnx.data.targets import target_rows
from seq2onnx.errors import DataError, SpecError
from seq2onnx.layers import LSTM, FullyConnected, Layer, SequenceInput, Softmax
from seq2onnx.network import Network
from seq2onnx.sequences import is_frame
from seq2onnx.training import SequenceModule, TrainingOptions, train
from seq2onnx.training.batch_dataset import Batches, order_of
from seq2onnx.training.history import History
from seq2onnx.training.losses import LossFunction, find_loss

BATCH_SIZE = 64
OPTION = "options__"


class _Estimator:
    """Shared code of both estimators."""

    module_: SequenceModule
    history_: History
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]
    _estimator_type: str

    def __init__(
        self,
        network: Network | None = None,
        hidden_size: int = 100,
        options: TrainingOptions | None = None,
        validation: float | None = None,
        loss: str | LossFunction | None = None,
    ) -> None:
        self.network = network
        self.hidden_size = hidden_size
        self.options = options
        self.validation = validation
        self.loss = loss

    def __repr__(self) -> str:
        given = {name: value for name, value in self.get_params(deep=False).items() if value is not None}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        is_classifier = self._estimator_type == "classifier"
        return Tags(
            estimator_type=self._estimator_type,
            target_tags=TargetTags(required=True, multi_output=not is_classifier, single_output=True),
            classifier_tags=ClassifierTags() if is_classifier else None,
            regressor_tags=None if is_classifier else RegressorTags(),
            input_tags=InputTags(two_d_array=False, three_d_array=True),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of the constructor by name; if `deep`, also each training option as options__NAME."""
        found = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        options = self.options if isinstance(self.options, TrainingOptions) else TrainingOptions()
        nested = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)} if deep else {}
        return found | {f"{OPTION}{name}": value for name, value in nested.items()}

    def set_params(self, **params: Any) -> Self:
        """Set arguments of the constructor, and single training options as options__NAME, such as options__epochs.

        Where `options` is None, the other options have their defaults.

        Raises:
            SpecError: a name is unknown, or an option has a wrong value.
        """
        known = self.get_params(deep=False)
        for name in params:
            if name not in known and not name.startswith(OPTION):
                raise SpecError(
                    f"{name}: is not a parameter of {type(self).__name__}. The parameters are {', '.join(known)}, and "
                    f"training options such as {OPTION}learning_rate"
                )
        options = params.get("options", self.options)
        nested = {name.removeprefix(OPTION): value for name, value in params.items() if name.startswith(OPTION)}
        if nested:
            options = dataclasses.replace(options or TrainingOptions(), **nested)  # raises for unknown names
        for name, value in params.items():
            if name in known:
                setattr(self, name, value)
        self.options = options
        return self

    def export(self, path: str | Path, **options: Any) -> None:
        """Write the fitted network to an ONNX file; `options` are those of `seq2onnx.export`."""
        from seq2onnx.exporting import export

        export(self._fitted(), path, **options)

    def _fit(self, data: SequenceDataset, head: Sequence[Layer], normalize_targets: bool) -> Self:
        network = self.network
        if network is None:
            if list(data.parts) != [""] or len(data.shape()) != 1:
                raise DataError(
                    f"sequences: without a network, {type(self).__name__} takes [time, features] arrays, got {data}; "
                    "give network=Network([…])"
                )
            (size,) = data.shape()
            network = Network([SequenceInput(size, "zscore"), LSTM(self.hidden_size, "last"), *head])
        normalize_targets = normalize_targets and find_loss(self.loss, False).end is None
        result = train(network, data, self.validation, self.loss, normalize_targets, self.options)
        if result.diverged and len(result.history) == 1:  # else a warning, and the weights of the epoch before
            raise DataError(
                f"{type(self).__name__}: the loss or the weights were not finite after the first epoch, so nothing is "
                "learned. Try a lower options__learning_rate, options__gradient_clip=1, or sequences of smaller numbers"
            )
        self.module_, self.history_ = result.module, result.history
        for name in ("n_features_in_", "feature_names_in_"):  # of an earlier fit
            vars(self).pop(name, None)
        if list(data.parts) == [""] and len(data.shape()) == 1:
            self.n_features_in_ = data.shape()[0]
        if isinstance(data.channels, list):
            self.feature_names_in_ = np.array(data.channels, object)
        return self

    def _fitted(self) -> SequenceModule:
        if not hasattr(self, "module_"):
            raise DataError(f"{type(self).__name__}: is not fitted. Call fit first")
        return self.module_

    def _outputs(self, sequences: Any) -> NDArray[np.float32]:
        """Return the module's output for each sequence, in order."""
        import torch

        module = self._fitted()
        if not isinstance(sequences, SequenceDataset):
            # Data frames may have other columns beside the features. Arrays go by position.
            sequences = SequenceDataset(sequences, channels=module.channels if _has_frames(sequences) else None)
        data = encode_words(module.network, sequences.with_channels(module.channels))
        check_sequences(module.network, data)
        drawn = batch_indices(data.lengths, BATCH_SIZE, order_of(module.policy), np.random.default_rng(0))
        batches, outputs = Batches(data, module.policy), []
        with torch.no_grad():
            for indices in drawn:
                batch = batches[0, indices.tolist()]
                outputs.append(module(batch.x, batch.lengths, return_state=False)[0].numpy())
        y: NDArray[np.float32] = np.concatenate(outputs)[np.argsort(np.concatenate(drawn))]
        return y

    def _check_network(self) -> None:
        network = self.network
        if network is not None and (len(network.outputs) > 1 or network.signals[network.outputs[0]].has_time):
            raise SpecError(f"{type(self).__name__}: needs a network with one output for each sequence, not each step")


class SequenceClassifier(_Estimator):
    """Predicts one label for each sequence.

    It works with scikit-learn: cross_val_score, GridSearchCV, Pipeline, CalibratedClassifierCV, clone, pickle.
    Sequences are a list of [time, features] arrays or data frames, or an array [sequences, time, features].

    Args:
        network: the network to train, which ends with Softmax. None: SequenceInput (zscore) → LSTM → FullyConnected →
            Softmax, with the sizes of the data.
        hidden_size: of this LSTM.
        options: how to train. None: the defaults. `set_params` sets single options: options__epochs, options__l2 ….
        validation: the share of the training data that is set aside and measured after each epoch.
        loss: see `train`. None: crossentropy.

    Attributes:
        classes_: the labels, in the order of the scores. This and the following are set by `fit`.
        module_: the trained module.
        history_: the history of the training.
        n_features_in_: the number of features, for data [time, features].
        feature_names_in_: the names of the features, for data frames. `predict` reads data frames by these names.

    Example:
        >>> SequenceClassifier().fit(sequences, labels).predict(others)
        >>> GridSearchCV(SequenceClassifier(), {"hidden_size": [50, 100], "options__learning_rate": [1e-3, 1e-2]})
    """

    classes_: NDArray[Any]
    _estimator_type = "classifier"

    def fit(self, sequences: Any, labels: Any) -> Self:
        """Train on a list of [time, features] arrays with one label each, a string or an integer."""
        self._check_network()
        data = SequenceDataset(sequences, labels)
        if data.classes is None or data.per_step:
            got = "labels for each step" if data.per_step else "numbers"
            raise DataError(
                f"labels: expected strings or integers, one for each sequence, got {got}. For numbers use "
                "SequenceRegressor, for labels of steps train"
            )
        self._fit(data, [FullyConnected(len(data.classes)), Softmax()], False)
        self.classes_ = np.array(data.classes)  # if fitting fails, labels and module are those of the fit before
        return self

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
        predicted = self.predict(sequences)
        return float(np.mean(predicted == np.stack(target_rows(labels, len(predicted)))))


class SequenceRegressor(_Estimator):
    """Predicts a number, or a vector of numbers, for each sequence. Training normalizes the numbers.

    It works with scikit-learn, as SequenceClassifier does.

    Args:
        network: the network to train. None: SequenceInput (zscore) → LSTM → FullyConnected, with the sizes of the data.
        hidden_size: of this LSTM.
        options: how to train. None: the defaults. `set_params` sets single options: options__epochs, options__l2 ….
        validation: the share of the training data that is set aside and measured after each epoch.
        loss: see `train`. None: mse.

    Attributes:
        module_: the trained module. This and the following are set by `fit`.
        history_: the history of the training.
        n_features_in_: the number of features, for data [time, features].
        feature_names_in_: the names of the features, for data frames. `predict` reads data frames by these names.

    Example:
        >>> SequenceRegressor().fit(sequences, numbers).predict(others)
    """

    _estimator_type = "regressor"

    def fit(self, sequences: Any, numbers: Any) -> Self:
        """Train on a list of [time, features] arrays, and numbers [sequences] or [sequences, k]."""
        self._check_network()
        if self.loss == "quantile":
            raise SpecError("SequenceRegressor: predicts one number for each target; for quantiles use train")
        targets = _as_numbers(numbers, None)
        is_vector = targets.ndim > 1
        data = SequenceDataset(sequences, targets)
        self._fit(data, [FullyConnected(targets.shape[1] if is_vector else 1)], True)
        self._is_vector = is_vector
        return self

    def predict(self, sequences: Any) -> NDArray[np.float32]:
        """Return the predicted numbers, in the shape of those given to `fit`."""
        y = self._outputs(sequences)
        return y if self._is_vector else y[:, 0]

    def score(self, sequences: Any, numbers: Any) -> float:
        """Return R²: 1 for perfect predictions, 0 for the mean of `numbers`."""
        predicted = self.predict(sequences)
        truth = _as_numbers(numbers, len(predicted))
        return float(1 - np.square(truth - predicted).sum() / np.square(truth - truth.mean(0)).sum())


def _has_frames(sequences: Any) -> bool:
    if isinstance(sequences, Mapping):
        return any(map(_has_frames, sequences.values()))
    return isinstance(sequences, list | tuple | np.ndarray) and len(sequences) > 0 and is_frame(sequences[0])


def _as_numbers(numbers: Any, count: int | None) -> NDArray[np.float64]:
    """Return targets that are numbers, [sequences] or [sequences, k]; integers, too."""
    rows = target_rows(numbers, count)
    if {row.shape for row in rows} != {rows[0].shape} or any(row.dtype.kind not in "fiub" for row in rows):
        raise DataError(
            "numbers: expected a number, or k numbers, for each sequence, got something else. For labels use "
            "SequenceClassifier"
        )
    return np.stack(rows).astype(np.float64)
