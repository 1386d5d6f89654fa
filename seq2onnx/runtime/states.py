"""The states of a model: their tensors, checks of given values, and values that stay on the device of the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime

from seq2onnx.errors import StateError
from seq2onnx.sequences import Array

MOST_COUNT = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class StateInfo:
    """A state tensor.

    Attributes:
        name: the tensor that a run reads.
        new_name: the tensor that a run writes.
        shape: the shape for one stream, [1, …].
        dtype: its type.
        most: the largest number, of states that count.
    """

    name: str
    new_name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    most: int = MOST_COUNT

    def zeros(self, rows: int) -> Array:
        """Return the initial state of `rows` streams."""
        return np.zeros((rows, *self.shape[1:]), self.dtype)


def check_state(infos: Sequence[StateInfo], state: Any) -> list[Array]:
    """Return the arrays of a state, [1, …] for each tensor by name, in the order of `infos`.

    Raises:
        StateError: names, shapes or types do not fit, a value is not finite, or a counter is out of range.
    """
    names = [info.name for info in infos]
    if not isinstance(state, Mapping) or set(state) != set(names):
        got = list(state) if isinstance(state, Mapping) else type(state).__name__
        raise StateError(f"state: expected a dict with the states {names}, got {got}")
    arrays = []
    for info in infos:
        array = np.asarray(state[info.name])
        if array.dtype.kind == "f" == info.dtype.kind:
            with np.errstate(over="ignore"):
                array = array.astype(info.dtype)
        if array.shape != info.shape or array.dtype.kind != info.dtype.kind:
            raise StateError(
                f"state {info.name}: expected {info.dtype} {list(info.shape)}, got {array.dtype} {list(array.shape)}"
            )
        if not np.isfinite(array).all():
            raise StateError(f"state {info.name}: contains NaN or infinity, from which a stream could not recover")
        is_counter = info.dtype == np.int32
        if is_counter and (array.min(initial=0) < 0 or array.max(initial=0) > info.most):
            raise StateError(f"state {info.name}: expected counts from 0 to {info.most}, got {array.tolist()!r:.100}")
        arrays.append(array)
    return arrays


class DeviceStates:
    """The states of a stream or a pool on the device where the network runs.

    The arrays on the host are valid at first and after `fetch`. The next run copies them to the device.
    """

    def __init__(self, session: onnxruntime.InferenceSession, infos: Sequence[StateInfo], device: str) -> None:
        self._session, self._infos, self._device = session, infos, device
        self._values: list[onnxruntime.OrtValue] | None = None

    def run(self, feeds: Mapping[str, Array], names: Sequence[str], states: Sequence[Array]) -> list[Array]:
        """Run the network, keep the new states on the device, and return the outputs `names`.

        `feeds` are the inputs except the states. The host's `states` are read if the device does not have newer ones.
        """
        if self._values is None:
            self._values = [onnxruntime.OrtValue.ortvalue_from_numpy(array, self._device, 0) for array in states]
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        for info, value in zip(self._infos, self._values, strict=True):
            binding.bind_ortvalue_input(info.name, value)
        for name in names:
            binding.bind_output(name, "cpu")
        for info in self._infos:
            binding.bind_output(info.new_name, self._device)
        self._session.run_with_iobinding(binding)
        values = binding.get_outputs()
        old, new = self._values, values[len(names) :]
        for info, before, after in zip(self._infos, old, new, strict=True):
            if after.shape() != before.shape():
                raise ValueError(f"{info.new_name} has the shape {after.shape()} instead of {before.shape()}")
        self._values = new
        return [value.numpy() for value in values[: len(names)]]

    def fetch(self, states: Sequence[Array]) -> None:
        """Copy the states into the host's arrays, which are valid until the next run."""
        if self._values is not None:
            for array, value in zip(states, self._values, strict=True):
                array[...] = value.numpy()
            self._values = None
