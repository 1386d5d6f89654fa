"""Initializers of weights: functions of (rng, shape) that return float32. `by_name` has those that layers offer."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seq2onnx.layers.signal import Initializer

Shape = tuple[int, ...]
MatrixInitializer = Literal["glorot", "he", "orthogonal", "zeros", "ones"]
BiasInitializer = Literal["unit_forget_gate", "zeros", "ones"]


def zeros(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """Return zeros."""
    return np.zeros(shape, np.float32)


def ones(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """Return ones."""
    return np.ones(shape, np.float32)


def glorot(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """Draw uniformly with variance 2 / (inputs + outputs), for weights [outputs, inputs, …] (Glorot & Bengio 2010)."""
    window = math.prod(shape[2:])
    bound = math.sqrt(6 / (window * (shape[0] + shape[1])))
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def he(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """Draw from a normal distribution with variance 2 / inputs, for weights [outputs, inputs, …] (He et al. 2015)."""
    return (rng.normal(size=shape) * math.sqrt(2 / math.prod(shape[1:]))).astype(np.float32)


def orthogonal(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """Draw orthonormal columns, or rows if they are fewer, by QR of a normal matrix (Saxe et al. 2014)."""
    long = (max(shape), min(shape))
    q, r = np.linalg.qr(rng.normal(size=long))
    q = q * np.sign(np.diag(r))
    return np.ascontiguousarray(q if shape == long else q.T, np.float32)


def unit_forget_gate(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """Return an LSTM bias of blocks i f g o: 1 at the forget gate, 0 elsewhere (Jozefowicz et al. 2015)."""
    bias = np.zeros(shape, np.float32)
    bias.reshape(4, -1)[1] = 1
    return bias


by_name: dict[str, Initializer] = {
    function.__name__: function for function in (zeros, ones, glorot, he, orthogonal, unit_forget_gate)
}
