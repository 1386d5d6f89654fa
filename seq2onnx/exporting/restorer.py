"""restore: read the torch module of an ONNX file, for example to train it further."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from seq2onnx.contract import END, KEY, Contract
from seq2onnx.errors import ModelFileError, ShapeError, SpecError, require
from seq2onnx.exporting.emission import Weights
from seq2onnx.exporting.forms import emit
from seq2onnx.exporting.options import ExportOptions, ExportPlan
from seq2onnx.network import Network, input_channels
from seq2onnx.sequences import PaddingPolicy

if TYPE_CHECKING:
    from seq2onnx.training.module import SequenceModule


def restore(path: str | Path) -> SequenceModule:
    """Read the module that was exported to a file: the same network, statistics and weights, bit for bit.

    Args:
        path: a file that `export` wrote.

    Raises:
        ModelFileError: the file is not one that `export` wrote.
        OSError: it cannot be read.

    Example:
        >>> module = restore("vowels.onnx"); train(module, more_data)
    """
    require("torch", extra="train")
    import torch

    from seq2onnx.training.module import build

    network, weights, contract = read_model(path)
    module = build(network)
    module.classes, module.policy = contract.classes, PaddingPolicy(**contract.data_policy)
    module.channels = input_channels(network, contract.channels)
    module.load_state_dict(
        {
            f"layers.{layer}.{name}": torch.from_numpy(array.copy())
            for layer, arrays in weights.items()
            for name, array in arrays.items()
        }
    )
    return module.eval()


def read_model(path: str | Path) -> tuple[Network, Weights, Contract]:
    """Read the network of an exported file, its weights by layer and name, and its contract."""
    content = Path(path).read_bytes()
    try:
        model = onnx.load_from_string(content)
    except Exception as error:  # protobuf's DecodeError, whose module differs between its implementations
        raise ModelFileError(f"{path}: is not an ONNX file, or is incomplete: {error}") from None
    properties = {entry.key: entry.value for entry in model.metadata_props}
    contract = Contract.from_json(properties.get(KEY), path)
    if contract.network is None:
        raise ModelFileError(
            f"{path}: was made by add_states and has no layers to restore; use from_onnx on its source, which makes "
            "layers of it where that is possible"
        )
    has_end = any(entry.name == END for entry in model.graph.input)
    try:
        network = Network.from_dict(contract.network)
        plan = ExportPlan.of(network, ExportOptions.of_contract(contract, has_end))
    except (SpecError, ShapeError) as error:
        raise ModelFileError(f"{path}: its network cannot be built here: {error}") from None
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return network, _weights(plan, arrays, path), contract


def _weights(plan: ExportPlan, arrays: dict[str, NDArray[Any]], path: str | Path) -> Weights:
    """Find the weights that the initializers of a file were made from.

    Layers only move the entries of weights about. So the network is emitted with numbered entries; where a number went,
    the file holds its value. No layer needs an inverse.
    """
    numbered: dict[str, dict[str, NDArray[Any]]] = {}
    total = 1
    for layer in plan.network.layers:
        numbered[layer.label] = {}
        for name, weight in layer.weights(*plan.network.signals_into(layer.label)).items():
            size = int(np.prod(weight.shape))
            numbered[layer.label][name] = np.arange(total, total + size, dtype=np.int64).reshape(weight.shape)
            total += size
    values = np.zeros(total, np.float32)
    found = np.zeros(total, bool)
    for name, numbers in emit(plan, numbered).initializers.items():
        if "." not in name:
            continue
        if name not in arrays or arrays[name].shape != numbers.shape:
            raise ModelFileError(
                f"{path}: its initializer {name} is missing or does not have the shape {list(numbers.shape)}, because "
                "another program has changed the file; restore the file that seq2onnx wrote"
            )
        values[numbers], found[numbers] = arrays[name], True
    if not found[1:].all():
        raise ModelFileError(f"{path}: does not contain all weights of its network")
    return {label: {name: values[numbers] for name, numbers in weights.items()} for label, weights in numbered.items()}
