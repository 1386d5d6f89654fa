"""Opening a file in onnxruntime, and what it says of itself."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime

from seq2onnx import metadata
from seq2onnx.errors import MissingExtra, ModelFileError, SpecError, StateError
from seq2onnx.sequences import Array

Device = Literal["cpu", "cuda"]


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


def open_session(path: str | Path, device: Device, threads: int) -> onnxruntime.InferenceSession:
    """An onnxruntime session on the file."""
    if threads < 1:
        raise SpecError(f"threads: must be at least 1, got {threads}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; they are raised besides
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=_providers(device))
    except (MissingExtra, SpecError):
        raise
    except Exception as error:  # onnxruntime raises a dozen classes of its own
        raise ModelFileError(f"{path}: onnxruntime cannot open it: {error}") from None


def _providers(device: Device) -> list[str]:
    if _installed("onnxruntime") and _installed("onnxruntime-gpu"):
        warnings.warn(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; "
            "uninstall both, then install one",
            RuntimeWarning,
            stacklevel=4,
        )
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if device != "cuda":
        raise SpecError(f"device: must be 'cpu' or 'cuda', got {device!r}")
    available = onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" not in available:
        raise MissingExtra(
            f"device 'cuda': this onnxruntime has no CUDAExecutionProvider, only {', '.join(available)}; "
            'pip uninstall onnxruntime, then pip install "seq2onnx[gpu]"'
        )
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def read_metadata(session: onnxruntime.InferenceSession, path: str | Path) -> dict[str, Any]:
    """What the exporter wrote of the file, checked as far as running depends on it."""
    found = metadata.read(session.get_modelmeta().custom_metadata_map, path)
    names = {i.name for i in session.get_inputs()} | {o.name for o in session.get_outputs()}
    if not names.issuperset(state[way] for state in found["states"] for way in ("in", "out")):
        raise ModelFileError(f"{path}: its metadata names states that the graph does not have")
    return found


def read_states(about: dict[str, Any]) -> tuple[StateInfo, ...]:
    """The states in the order in which they go in and out."""
    return tuple(
        StateInfo(state["in"], state["out"], (1, *state["shape"][1:]), np.dtype(state["dtype"]))
        for state in about["states"]
    )
