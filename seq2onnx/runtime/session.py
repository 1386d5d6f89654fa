"""What an open file says of itself, its states, and bindings of its buffers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from seq2onnx.contract import KEY, Contract
from seq2onnx.errors import ModelFileError, StateError
from seq2onnx.sequences import Array


@dataclasses.dataclass(frozen=True)
class StateInfo:
    """One state tensor: its names going in and out, and [1, …] shape."""

    name: str
    new_name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def zeros(self, rows: int) -> Array:
        """The start of `rows` streams."""
        return np.zeros((rows, *self.shape[1:]), self.dtype)


def check_state(infos: Sequence[StateInfo], state: Any) -> list[Array]:
    """The arrays [1, …] of a state in the order of `infos`; raises StateError unless names, shapes and types fit."""
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
            raise StateError(f"state {info.name}: has NaN or infinity in it; a stream could not recover from it")
        arrays.append(array)
    return arrays


def bind(session: onnxruntime.InferenceSession, reads: Mapping[str, Array], writes: Mapping[str, Array]) -> Any:
    """A binding of inputs and outputs to arrays. It holds their addresses: whoever has it must hold the arrays."""
    binding = session.io_binding()
    for name, array in reads.items():
        binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    for name, array in writes.items():
        binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    return binding


def read_metadata(session: onnxruntime.InferenceSession, path: str | Path) -> dict[str, Any]:
    """What the exporter wrote of the file, checked as far as running depends on it."""
    properties = session.get_modelmeta().custom_metadata_map
    Contract.from_json(properties.get(KEY), path)
    found: dict[str, Any] = json.loads(properties[KEY])
    names = {i.name for i in session.get_inputs()} | {o.name for o in session.get_outputs()}
    if not names.issuperset(state[way] for state in found["states"] for way in ("in", "out")):
        raise ModelFileError(f"{path}: its metadata names states that the graph does not have")
    if not found.get("vocabulary") and any(entry.type == "tensor(string)" for entry in session.get_inputs()):
        raise ModelFileError(
            f"{path}: takes words, and its metadata does not have them; take the file that was exported"
        )
    return found


def read_states(about: dict[str, Any]) -> tuple[StateInfo, ...]:
    """The states in the order in which they go in and out."""
    return tuple(
        StateInfo(state["in"], state["out"], (1, *state["shape"][1:]), np.dtype(state["dtype"]))
        for state in about["states"]
    )
