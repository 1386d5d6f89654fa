"""The weights of Keras's layers: where a file has them, and their names."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from seq2onnx.errors import ModelFileError
from seq2onnx.importing.lifting.layer_node import Array


@dataclasses.dataclass(frozen=True)
class Stored:
    """The arrays of a layer or model; `read_file` describes their keys."""

    arrays: Mapping[str, Array]
    is_legacy: bool
    is_root: bool = True

    def own(self) -> list[Array]:
        """Return the weights of a layer in the order of Keras."""
        if self.is_legacy:
            return list(self.arrays.values())
        for place in ("vars/", "cell/vars/"):
            below = self.below(place).arrays
            if below:
                return [below[key] for key in sorted(below, key=lambda key: (len(key), key))]
        return []

    def below(self, place: str) -> Stored:
        """Return what a path begins."""
        found = {key.removeprefix(place): array for key, array in self.arrays.items() if key.startswith(place)}
        return Stored(found, self.is_legacy, False)

    def wrapped(self, role: str, number: int, count: int) -> Stored:
        """Return the arrays of one of the layers that a layer wraps."""
        if not self.is_legacy:
            return self.below(f"{role}/")
        keys = list(self.arrays)
        size = len(keys) // count
        return Stored({key: self.arrays[key] for key in keys[number * size :][:size]}, True, False)

    def members(self, layers: Sequence[tuple[str, str]]) -> list[Stored]:
        """Return the arrays of each layer of a model, given by kind and name."""
        if self.is_legacy and self.is_root:
            return [self.below(f"{name}/") for _, name in layers]
        if self.is_legacy:  # within a model, the names of weights contain those of the layers
            return [
                Stored({key: a for key, a in self.arrays.items() if name in key.split("/")[:-1]}, True, False)
                for _, name in layers
            ]
        counts: Counter[str] = Counter()
        found = []
        for kind, _ in layers:
            snake = _snake(kind)
            label = f"{snake}_{counts[snake]}" if counts[snake] else snake
            counts[snake] += 1
            here = self.below(f"layers/{label}/")
            found.append(here if here.arrays else self.below(f"_layer_checkpoint_dependencies/{label}/"))
        return found


def _snake(kind: str) -> str:
    """Return the name of a class as Keras writes it in paths: max_pooling1d for MaxPooling1D."""
    name = re.sub(r"\W+", "", kind)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def named_weights(kind: str, name: str, config: Mapping[str, Any], stored: Stored) -> dict[str, Array]:
    """Name the weights of a layer."""
    if kind not in WEIGHTS:
        return {}
    expected = [weight for weight, option in WEIGHTS[kind].items() if not option or config[option]]
    arrays = stored.own()
    if kind == "Normalization":  # its statistics may be options, and the number of samples follows
        expected = expected if config.get("mean") is None else []
        arrays = arrays[: len(expected)]
    if len(arrays) != len(expected):
        raise ModelFileError(
            f"{name} ({kind}): expected the weights {', '.join(expected)} in the file, got "
            f"{[list(array.shape) for array in arrays]}"
        )
    return dict(zip(expected, arrays, strict=True))


_AFFINE = {"gamma": "scale", "beta": "center"}
WEIGHTS: dict[str, dict[str, str]] = {
    **{kind: {"kernel": "", "bias": "use_bias"} for kind in ("Dense", "Conv1D", "Conv2D")},
    **{kind: {"kernel": "", "recurrent_kernel": "", "bias": "use_bias"} for kind in ("LSTM", "GRU", "SimpleRNN")},
    "DepthwiseConv1D": {"depthwise_kernel": "", "bias": "use_bias"},
    "SeparableConv1D": {"depthwise_kernel": "", "pointwise_kernel": "", "bias": "use_bias"},
    "Embedding": {"embeddings": ""},
    "BatchNormalization": {**_AFFINE, "moving_mean": "", "moving_variance": ""},
    "GroupNormalization": _AFFINE,
    "LayerNormalization": _AFFINE,
    "RMSNormalization": {"scale": ""},
    "Normalization": {"mean": "", "variance": ""},
}
"""The weights of each kind of layer in the order of Keras, each with the option that it depends on."""
