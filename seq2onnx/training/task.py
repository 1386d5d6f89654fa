"""The task of a training run: what is trained on what, and how."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from seq2onnx.building.matching import (
    check_lengths,
    check_sequences,
    encode_words,
    warn_of_channels_last,
    warn_of_normalized_samples,
    warn_of_samples,
    with_rescale,
    with_statistics,
    with_vocabularies,
)
from seq2onnx.building.module import SequenceModule
from seq2onnx.data import SequenceDataset
from seq2onnx.data.leaks import find_leaks
from seq2onnx.errors import DataError, ShapeError, SpecError, warn
from seq2onnx.network import Network, input_channels
from seq2onnx.sequences import Names, PaddingPolicy
from seq2onnx.sequences.rates import check_rate
from seq2onnx.training.history import Monitor
from seq2onnx.training.losses import METRICS, Loss, LossFunction
from seq2onnx.training.objective import Objective, check_targets, make_objective
from seq2onnx.training.options import TrainingOptions
from seq2onnx.training.run_folder import fingerprint


@dataclasses.dataclass(frozen=True)
class Task:
    """A training run, checked. The network has everything that it takes from the data.

    Attributes:
        network: the network.
        module: the module to train further. None: `network` gets new weights.
        data: the training data.
        validation: the validation data, or None.
        objective: what to minimize.
        monitor: which epoch is the best.
        options: how to train.
        leaks: id and text of what is wrong with the data.
    """

    network: Network
    module: SequenceModule | None
    data: SequenceDataset
    validation: SequenceDataset | None
    objective: Objective
    monitor: Monitor
    options: TrainingOptions
    leaks: tuple[tuple[str, str], ...] = ()

    @property
    def channels(self) -> Names | dict[str, Names | None] | None:
        """The names of the features that the module gets."""
        found = input_channels(self.network, self.data.channels)
        return self.module.channels if found is None and self.module is not None else found

    def identity(self) -> dict[str, Any]:
        """Return what must be equal when the run resumes, besides the options."""
        return {
            "data": fingerprint(self.data),
            "validation": fingerprint(self.validation),
            "loss": self.objective.loss.name,
            **({} if (quantiles := self.objective.loss.quantiles) is None else {"quantiles": quantiles}),
            "normalize_targets": self.objective.scale is not None,
            "channels": self.channels,
            "network": self.network.to_dict(),  # last, as its statistics are those of the data
        }


def prepare(
    network: Network | SequenceModule,
    data: SequenceDataset,
    validation: SequenceDataset | float | None,
    loss: str | LossFunction | None,
    normalize_targets: bool,
    options: TrainingOptions,
    quantiles: Sequence[float] | None = None,
) -> Task:
    """Check the arguments of `train` together, and take from the data what the network needs."""
    _check_types(network, data, validation, options)
    _check_gradients(network)
    if isinstance(validation, float):
        data, validation = _split_off(data, validation, options.seed)
    if isinstance(network, SequenceModule):
        module, spec = network, network.network
    else:
        warn_of_channels_last(network)
        warn_of_normalized_samples(network)
        warn_of_samples(network, data)
        module, spec = None, with_vocabularies(network, data)
    data = encode_words(spec, data)
    if module is not None:
        data = data.with_channels(module.channels)  # each feature keeps its place
    if module is not None and module.classes is not None and data.classes is not None:
        data = data.with_classes(module.classes)  # each score keeps its label
    if module is not None and quantiles is None and loss == "quantile":
        quantiles = module.quantiles  # each column keeps its quantile
    check_sequences(spec, data)
    if module is not None:
        check_rate(data.sample_rate, module.sample_rate, "data", is_fixed=False)
    check_lengths(spec, data, options.padding)
    leaks = tuple(find_leaks(data, validation))
    for id, text in leaks:
        warn(id, text, stacklevel=4)
    if normalize_targets:
        spec = with_rescale(spec, data, is_trained=module is not None)
    objective = make_objective(spec, data, loss, options.metrics, options.class_weights, normalize_targets, quantiles)
    monitor = _monitor(options, objective, validation is not None)
    if validation is not None:
        validation = _prepare_validation(spec, validation, data, objective.loss, options.padding)
    if options.padding.chunk is not None:
        spec.states()  # raises if the network has no state to carry from chunk to chunk
    if module is None:
        spec = with_statistics(spec, data)
    else:
        module.take_statistics(data)
        spec = module.network
    return Task(spec, module, data, validation, objective, monitor, options, leaks)


def _check_gradients(network: Network | SequenceModule) -> None:
    """Raise SpecError if the network has decisions, through which no gradient comes."""
    spec = network.network if isinstance(network, SequenceModule) else network
    if names := [layer.label for layer in spec.layers if layer.decides]:
        remedy = f"train without(module, {names}), and append them again"
        if spec is network:
            remedy = "leave them out of the network, and append them to the trained module"
        raise SpecError(f"train: {', '.join(names)} gives decisions, which have no gradient; {remedy}")


def _check_types(network: object, data: object, validation: object, options: object) -> None:
    """Catch the wrong type here: with duck typing it would fail far from the mistake."""
    if not isinstance(network, Network | SequenceModule):
        raise SpecError(f"train: expected a Network or a module from build, got {type(network).__name__}")
    for name, given in (("data", data), ("validation", validation)):
        if not isinstance(given, SequenceDataset) and (name == "data" or not isinstance(given, float | None)):
            raise DataError(f"{name}: expected a SequenceDataset, got {type(given).__name__}")
    if not isinstance(options, TrainingOptions):
        raise SpecError(f"options: expected TrainingOptions(…), got {type(options).__name__}")


def _monitor(options: TrainingOptions, objective: Objective, has_validation: bool) -> Monitor:
    """Return what tells which epoch is the best; raise SpecError if it is not measured."""
    in_training = ["loss", *["accuracy"] * (objective.loss.correct is not None)]
    in_validation = list(dict.fromkeys([*in_training, *objective.metrics]))
    names = [*in_validation, *(f"training_{name}" for name in in_training)]
    if options.monitor not in names:
        raise SpecError(
            f"options.monitor: must be one of {', '.join(names)}, got {options.monitor!r}. More are measured with "
            f"metrics=(…), one or several of {', '.join(METRICS)}"
        )
    name = options.monitor.removeprefix("training_")
    is_training = name != options.monitor
    needs = {
        "patience": options.patience and not is_training,
        'keep="best"': options.keep == "best" and not is_training,
        f'monitor="{name}"': options.schedule == "plateau" and not is_training and name != "loss",
        "metrics": options.metrics,
    }
    for option, given in needs.items():
        if given and not has_validation:
            remedy = "" if option == "metrics" else ', or watch the training data with monitor="training_loss"'
            raise SpecError(
                f"options: {option} needs validation data, and there is none. Pass validation=0.2 to set a fifth of "
                f"the data aside{remedy}"
            )
    return Monitor(name if is_training else f"validation_{name}", name != "loss" and METRICS[name].largest)


def _prepare_validation(
    network: Network, validation: SequenceDataset, data: SequenceDataset, loss: Loss, policy: PaddingPolicy
) -> SequenceDataset:
    try:
        validation = encode_words(network, validation.with_channels(data.channels))
        if data.classes is not None:
            validation = validation.with_classes(data.classes)
        check_targets(loss, network, validation)
        check_sequences(network, validation)
        check_rate(validation.sample_rate, data.sample_rate, "validation", is_fixed=False)
        check_lengths(network, validation, policy)
    except (DataError, ShapeError) as error:
        raise type(error)(f"validation: {error}") from None
    return validation


def _split_off(data: SequenceDataset, share: float, seed: int) -> tuple[SequenceDataset, SequenceDataset]:
    if not 0 < np.rint(share * len(data)) < len(data):
        raise DataError(f"validation: a share of {share} of {len(data)} sequences leaves none on one of the sides")
    return data.split(1 - share, seed=seed)
