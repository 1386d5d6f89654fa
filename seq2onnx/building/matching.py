"""A network and its data: what the network takes from them (vocabulary, statistics, scale), and whether they match."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from seq2onnx.data import SequenceDataset
from seq2onnx.data.targets import target_statistics
from seq2onnx.data.vocabulary import Vocabulary
from seq2onnx.errors import DataError, ShapeError, SpecError
from seq2onnx.layers import FeatureInput, Layer, Rescale, SequenceInput, WordEmbedding
from seq2onnx.layers.parts import normalization
from seq2onnx.network import Network
from seq2onnx.sequences import PaddingPolicy, TrainingStatistics, warn_of_large_samples
from seq2onnx.sequences.rates import check_rate


def with_vocabularies(network: Network, data: SequenceDataset) -> Network:
    """Return the network with the most frequent words of the texts in each WordEmbedding that has only a size."""
    found: dict[str, Layer] = {}
    for layer in network.layers:
        if isinstance(layer, WordEmbedding) and isinstance(layer.vocabulary, int):
            part = data.parts.get(network.reads[layer.label][0], data.parts.get(""))
            if part is not None and part.is_words:
                words = Vocabulary.from_texts(map(list, part), layer.vocabulary).words
                found[layer.label] = dataclasses.replace(layer, vocabulary=words)
    return network.replace(found)


def encode_words(network: Network, data: SequenceDataset) -> SequenceDataset:
    """Return the data with its words replaced by their indices in the network's vocabulary."""
    for name, part in data.parts.items():
        if part.is_words:
            vocabularies = [
                layer.vocabulary
                for layer in network.layers
                if isinstance(layer, WordEmbedding)
                and not isinstance(layer.vocabulary, int)
                and network.reads[layer.label][0] == (name or network.inputs[0].label)
            ]
            if not vocabularies:
                raise DataError(
                    "data: has texts, but no layer of the network reads words. Begin the network with "
                    'SequenceInput("tokens"), WordEmbedding(dimension, vocabulary=number of words)'
                )
            data = data.with_vocabulary(vocabularies[0], name)
    return data


def with_statistics(network: Network, data: SequenceDataset) -> Network:
    """Return the network with the statistics of `data` in each input layer whose normalization lacks them."""
    measured: dict[str, Layer] = {}
    for layer, name in _part_names(network, data).items():
        entry = network[layer]
        assert isinstance(entry, SequenceInput | FeatureInput)
        if needed := entry.missing_statistics:
            found = data.statistics(name)
            measured[layer] = dataclasses.replace(entry, statistics={key: found[key] for key in needed})
    return network.replace(measured)


def training_statistics(network: Network, data: SequenceDataset) -> TrainingStatistics:
    """Return the statistics of `data`, by input layer."""
    found = data.training_statistics()
    names = _part_names(network, data).items()
    return dataclasses.replace(
        found, inputs={layer: found.inputs[name] for layer, name in names if name in found.inputs}
    )


def with_rescale(network: Network, data: SequenceDataset, is_trained: bool) -> Network:
    """Return the network with a Rescale layer at its end that undoes the normalization of the targets.

    `is_trained`: the network is that of a module, and has this layer already.
    """
    output = network.outputs[0]
    if is_trained:
        if not isinstance(network[output], Rescale):
            raise SpecError(
                "normalize_targets: the module must end with the Rescale layer of its first training, it ends with "
                f"{output}"
            )
        return network
    if isinstance(network[output], Rescale):
        raise SpecError(f"normalize_targets: adds a Rescale layer, but the network ends with {output}. Remove {output}")
    if data.targets is None or data.classes is not None:
        raise DataError("normalize_targets: needs numbers as targets, got labels or none")
    found = target_statistics(data.targets)
    if not found.count.all():
        raise DataError("normalize_targets: every target is ignored, so there is nothing to learn from")
    spread = np.where(found.low == found.high, 1.0, np.sqrt(found.squares / found.count))
    # Several quantiles of each number of a target follow each other.
    each = max(1, (network.signals[output].size or 0) // len(spread)) if len(spread) > 1 else 1
    end = Rescale(np.repeat(spread, each).tolist(), np.repeat(found.mean, each).tolist(), inputs=[output])
    return Network([*network.layers, end], name=network.name)


def check_sequences(network: Network, data: SequenceDataset) -> None:
    """Raise unless every sequence has the shape and rate of its input layer, enough steps, and values that it takes."""
    check_rate(data.sample_rate, network.sample_rate, "data")
    names = _part_names(network, data)
    for layer, name in names.items():
        signal, part = network.signals[layer], data.parts[name]
        kind = "i" if signal.dtype == "int64" else "f"
        shape = data.shape(name)
        if (part.has_time, shape, part.dtype.kind) != (signal.has_time, signal.shape, kind):
            expected = ", ".join(["time"] * signal.has_time + [str(size) for size in signal.shape])
            got = ", ".join(["time"] * part.has_time + [str(size) for size in shape])
            remedy = ""
            if len(signal.shape) == len(shape) == 1 and part.has_time and data.lengths[0] == signal.shape[0]:
                remedy = ". Is it [features, time]? Then transpose it"
            raise ShapeError(
                f"data: expected {'integers ' * (kind == 'i')}[{expected}], got [{got}]; the input size of {layer} is "
                f"{' × '.join(map(str, signal.shape)) or 'one token'}{remedy}"
            )
        least = getattr(network[layer], "min_length", 1)
        short = np.flatnonzero(data.lengths < least)
        if len(short):
            raise DataError(
                f"sequence {short[0]}: has {data.lengths[short[0]]} steps, {layer} needs at least {least}. "
                "Remove or lengthen it"
            )
    data.check_finite([name for layer, name in names.items() if network.signals[layer].missing])


def check_lengths(network: Network, data: SequenceDataset, policy: PaddingPolicy) -> None:
    """Raise unless every sequence has enough steps for the windows of the network.

    A layer without steps answers the same for every sequence, so that nothing can be learned.
    """
    fewest = {name: signal.clock.fewest_steps for name, signal in network.signals.items() if signal.has_time}
    name, needed = max(fewest.items(), key=lambda item: item[1])
    lengths, limit = data.lengths, policy.sequence_length
    if isinstance(limit, int):
        lengths = np.minimum(lengths, limit) if policy.mask_padding else np.full_like(lengths, limit)
    elif not policy.mask_padding and limit != "shortest":
        lengths = np.full_like(lengths, lengths.max())  # padding is data
    for index in np.flatnonzero(lengths < needed)[:1]:
        cut = "" if lengths[index] == data.lengths[index] else f", with sequence_length={limit} {lengths[index]} steps"
        raise DataError(
            f"sequence {index}: has {data.lengths[index]} steps{cut}, but the windows up to {name} need at least "
            f"{needed}. Remove or lengthen it, or use smaller windows or padding in the network"
        )


def warn_of_channels_last(network: Network) -> None:
    """Warn if the size of images looks like height, width, channels."""
    for layer in network.inputs:
        size = network.signals[layer.label].shape
        if len(size) == 3 and size[2] in (1, 3, 4) and max(size[:2]) <= 2 * min(size[:2]) and min(size[:2]) > 4:
            height, width, channels = size
            warnings.warn(
                f"{layer.label}: its size {size} means {height} channels of {width} × {channels} pixels. Is it height, "
                f"width, channels? Images have channels first: size ({channels}, {height}, {width}), and arrays "
                f"x.transpose(0, 3, 1, 2)",
                stacklevel=3,
            )


def warn_of_normalized_samples(network: Network) -> None:
    """Warn if the input of a layer that takes raw samples is normalized with statistics."""
    for layer in network.layers:
        sources = set(network.reads[layer.label]) if layer.takes_samples else set()
        for source in network.inputs:
            method: Any = getattr(source, "normalization", "none")
            if source.label in sources and normalization.needed(method):
                warnings.warn(
                    f"{source.label}: its {method} changes the scale of the samples that {layer.label} takes, which "
                    'its floor and the numbers of other libraries depend on; use normalization="none" there, and a '
                    f"BatchNorm after {layer.label}",
                    stacklevel=3,
                )


def warn_of_samples(network: Network, data: SequenceDataset) -> None:
    """Warn if a layer takes the samples of a raw signal, and those of the first sequences are not in ±1."""
    parts = _part_names(network, data)
    for layer in network.layers:
        for source in network.reads[layer.label] if layer.takes_samples else ():
            if source in parts:
                some = data.parts[parts[source]].take(range(min(len(data), 100)))
                warn_of_large_samples(some, layer.label, 4)


def _part_names(network: Network, data: SequenceDataset) -> dict[str, str]:
    """Return the name of the data's part that each input layer reads."""
    layers = [layer.label for layer in network.inputs]
    if list(data.parts) == [""] and len(layers) == 1:
        return {layers[0]: ""}
    if set(data.parts) != set(layers):
        got = "one unnamed list" if list(data.parts) == [""] else ", ".join(data.parts)
        raise DataError(f"data: expected a dict with sequences for each of {', '.join(layers)}, got {got}")
    return {layer: layer for layer in layers}
