"""Random sequences for a model, to check it or to measure its speed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.runtime.inputs import Input, Rows
from seq2onnx.runtime.model import Model

_SEQUENCES, _MAX_EXTRA_STEPS = 12, 40
_MISSING = 0.25
_MOST_NUMBERS = 2**24
"""Where steps are large, there are fewer and shorter sequences, of so many numbers in all."""


def random_sequences(model: Model, rng: np.random.Generator, lengths: Sequence[int] | None = None) -> Rows:
    """Return random sequences for each input, scaled like the training data if the network normalizes, or like samples.

    Where values may be missing, some are: here and there, and all of a few steps. The `lengths` grow to multiples that
    the file can run; None: 12 sequences of random lengths, fewer if a step is large.
    """
    if lengths is None:
        least = model.contract.min_length
        room = _MOST_NUMBERS // max(1, sum(math.prod(entry.shape) for entry in model.inputs))
        count = min(_SEQUENCES, max(2, room // least))
        extra = min(_MAX_EXTRA_STEPS, max(2, room // count - least))
        lengths = rng.integers(least, least + extra, count).tolist()
    multiple = model.contract.chunk_steps
    lengths = [-(-steps // multiple) * multiple for steps in lengths]
    statistics = {layer: fields.get("statistics") for layer, (_, fields) in model.contract.layers.items()}
    tokens = model.contract.tokens
    return {
        entry.layer: [_random(entry, steps, statistics.get(entry.layer) or {}, rng, tokens) for steps in lengths]
        for entry in model.inputs
    }


def _random(
    entry: Input, steps: int, statistics: Mapping[str, Any], rng: np.random.Generator, tokens: int | None
) -> NDArray[Any]:
    shape = (steps, *entry.shape) if entry.has_time else entry.shape
    if entry.is_tokens:
        numbers = rng.integers(0, tokens or len(entry.words or range(8)) + 2, shape)
        return entry.spell(numbers) if entry.takes_words else numbers
    known = {
        name: np.asarray(values, float).reshape(-1, *[1] * (len(entry.shape) - 1))
        for name, values in statistics.items()
    }
    center, scale = known.get("mean", 0.0), known.get("std", 0.25 if entry.sample_reader else 1.0)  # samples lie in ±1
    if "min" in known:
        center, scale = (known["min"] + known["max"]) / 2, (known["max"] - known["min"]) / 2
    x = (center + scale * rng.normal(size=shape)).astype(np.float32)
    if entry.missing:
        x[rng.random(shape) < _MISSING] = np.nan
        x[rng.random(shape) < _MISSING / 10] = np.inf
        x[rng.random(steps) < _MISSING] = np.nan
    return x
