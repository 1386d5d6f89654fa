"""How weights start; the defaults of the documented layers. Each maps (rng, shape) to float32."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]


def zeros(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """All zeros."""
    return np.zeros(shape, np.float32)


def glorot(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """Uniform with variance 2 / (inputs + outputs), for a matrix [outputs, inputs] (Glorot & Bengio 2010)."""
    bound = math.sqrt(6 / sum(shape))
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def orthogonal(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """Orthonormal columns, from the QR decomposition of a normal matrix (Saxe et al. 2014)."""
    q, r = np.linalg.qr(rng.normal(size=shape))
    return (q * np.sign(np.diag(r))).astype(np.float32)


def unit_forget_gate(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """An LSTM bias of blocks i f g o: 1 at the forget gate, 0 elsewhere (Jozefowicz et al. 2015)."""
    bias = np.zeros(shape, np.float32)
    bias.reshape(4, -1)[1] = 1
    return bias
