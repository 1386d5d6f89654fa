"""The order in which each framework stacks the gates of an LSTM or GRU, and the function that permutes them.

Letters: i input, f forget, g cell candidate, o output; r reset, z update, n candidate. Keras and ONNX call g "c" and
n "h".
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

LSTM = {"matlab": "ifgo", "torch": "ifgo", "keras": "ifgo", "onnx": "iofg"}
GRU = {"matlab": "rzn", "torch": "rzn", "keras": "zrn", "onnx": "zrn"}

Scalar = TypeVar("Scalar", bound=np.generic)


def permute(stacked: NDArray[Scalar], source: str, target: str) -> NDArray[Scalar]:
    """Reorder the gate blocks along axis 0, [gates·H, …], from the order `source` to the order `target`.

    Example:
        >>> permute(weight_ih, LSTM["torch"], LSTM["onnx"])
    """
    if sorted(source) != sorted(target) or len(stacked) % len(source):
        raise ValueError(f"cannot permute {stacked.shape} from {source} to {target}")
    blocks: NDArray[Any] = stacked.reshape(len(source), -1, *stacked.shape[1:])
    return blocks[[source.index(gate) for gate in target]].reshape(stacked.shape)
