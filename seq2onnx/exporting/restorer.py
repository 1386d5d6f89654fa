"""restore: the ONNX file as a torch module again, to train on from there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from seq2onnx import metadata
from seq2onnx.errors import ModelFileError, ShapeError, SpecError, require
from seq2onnx.exporting.emission import Weights
from seq2onnx.exporting.exporter import build_graph
from seq2onnx.exporting.graph import GraphBuilder
from seq2onnx.network import Network
from seq2onnx.sequences import PaddingPolicy

if TYPE_CHECKING:
    from seq2onnx.training.module import SequenceModule


def restore(path: str | Path) -> SequenceModule:
    """The module that was exported to `path`: the same network, statistics and weights, bit for bit.

    Raises: ModelFileError where the file is not one that `export` wrote, OSError where it cannot be read
    Example: >>> module = restore("vowels.onnx"); train(module, more_data)
    """
    require("torch", extra="train")
    import torch

    from seq2onnx.training import build

    network, weights, about = read_model(path)
    module = build(network)
    module.classes, module.policy = about["classes"], PaddingPolicy(**about.get("data_policy", {}))
    module.load_state_dict(
        {
            f"layers.{layer}.{name}": torch.from_numpy(array.copy())
            for layer, arrays in weights.items()
            for name, array in arrays.items()
        }
    )
    return module.eval()


def read_model(path: str | Path) -> tuple[Network, Weights, dict[str, Any]]:
    """The network in an exported file, its weights [layer][weight], and its metadata."""
    content = Path(path).read_bytes()
    try:
        model = onnx.load_from_string(content)
    except Exception as error:  # protobuf's DecodeError, whose module differs between its implementations
        raise ModelFileError(f"{path}: is not an ONNX file, or not all of one: {error}") from None
    about = metadata.read({entry.key: entry.value for entry in model.metadata_props}, path)
    try:
        network = Network.from_dict(about["network"])
    except (SpecError, ShapeError) as error:
        raise ModelFileError(f"{path}: its network cannot be built here: {error}") from None
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    lookahead = any(entry.name == "end" for entry in model.graph.input)
    graph = functools.partial(build_graph, network, signature=about["signature"], lookahead=lookahead)
    return network, _collect(network, graph, arrays, path), about


def _collect(
    network: Network, emit: Callable[..., GraphBuilder], arrays: dict[str, NDArray[Any]], path: str | Path
) -> Weights:
    """The weights that `arrays`, the initializers of an exported file, were made from.

    Layers only move weights about when they emit them. So they are made to emit weights whose entries
    are numbered, and where each number went, its value stands in the file: no layer needs an inverse.
    """
    numbered: dict[str, dict[str, NDArray[Any]]] = {}
    found: dict[str, dict[str, NDArray[Any]]] = {}
    total = 1
    for layer in network.layers:
        numbered[layer.label] = {}
        for name, weight in layer.weights(*network.signals_into(layer.label)).items():
            size = int(np.prod(weight.shape))
            numbered[layer.label][name] = np.arange(total, total + size, dtype=np.int64).reshape(weight.shape)
            total += size
    values = np.zeros(total, np.float32)
    seen = np.zeros(total, bool)
    for name, numbers in emit(weights=numbered).initializers.items():
        if "." not in name:
            continue
        if name not in arrays or arrays[name].shape != numbers.shape:
            raise ModelFileError(
                f"{path}: its initializer {name} is missing or has another shape than {list(numbers.shape)}: "
                "another program has changed the file; restore the file that seq2onnx wrote"
            )
        values[numbers], seen[numbers] = arrays[name], True
    for label, weights in numbered.items():
        found[label] = {name: values[numbers] for name, numbers in weights.items()}
    if not seen[1:].all():
        raise ModelFileError(f"{path}: does not hold all weights of its network")
    return found
