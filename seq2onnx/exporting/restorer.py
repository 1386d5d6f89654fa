"""restore: read the torch module of an ONNX file, for example to train it further."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from seq2onnx.contract import END, Contract
from seq2onnx.errors import DataError, ModelFileError, NotStreamable, ShapeError, SpecError, require
from seq2onnx.exporting.comparing import compare_graphs
from seq2onnx.exporting.emission import EMISSION, Weights
from seq2onnx.exporting.forms import emit
from seq2onnx.exporting.model_proto import to_model
from seq2onnx.exporting.options import ExportOptions, ExportPlan
from seq2onnx.exporting.storage import emit_stored, read_stored
from seq2onnx.modelfile import CHANGED, CheckedFile, read_checked
from seq2onnx.network import Network, input_channels

if TYPE_CHECKING:
    from seq2onnx.building.module import SequenceModule


def restore(path: str | Path, *, allow_changed: bool = False) -> SequenceModule:
    """Read the module that was exported to a file: the same network, statistics and weights, bit for bit.

    If the file stores its weights as float16 or int8, they are the rounded numbers that the file calculates with.

    The graph of the file must be the one that its network is exported with. If another version of seq2onnx wrote it,
    the results of the module and of the file are compared for random sequences instead, which needs onnxruntime.

    Args:
        path: a file that `export` wrote.
        allow_changed: also restore a file whose graph another program has changed: the module is built from the layers
            in the metadata and from the weights, and may compute something else than the file. `verify` tells.

    Raises:
        ModelFileError: the file is not one that `export` wrote, or its graph is not that of its network.
        OSError: it cannot be read.

    Example:
        >>> module = restore("vowels.onnx"); train(module, more_data)
    """
    file = read_checked(path, allow_changed)
    module = module_of(file, compare=not allow_changed)
    if not allow_changed and not _is_compared(file.contract):
        from seq2onnx.parity.checks import probe
        from seq2onnx.runtime.model import Model
        from seq2onnx.runtime.session import SessionSettings

        failed = [row for row in probe(Model(file, SessionSettings()), module) if not row.ok]
        if failed:
            raise ModelFileError(
                f"{path}: {failed[0].tensor} differs by {failed[0].max_rel:.1e} from that of the network in its "
                f"metadata: the graph was changed{CHANGED}"
            )
    return module


def module_of(file: CheckedFile, compare: bool) -> SequenceModule:
    """Build the module of a file; `compare`: the graph must be that of the network, if this version wrote it."""
    require("torch", extra="train")
    import torch

    from seq2onnx.building.module import build

    network, weights, contract = _model_of(file, compare)
    module = build(network)
    module.data_info = dataclasses.replace(contract.data_info, channels=input_channels(network, contract.channels))
    module.load_state_dict(
        {
            f"layers.{layer}.{name}": torch.from_numpy(array.copy())
            for layer, arrays in weights.items()
            for name, array in arrays.items()
        }
    )
    return module.eval()


def read_model(
    path: str | Path, allow_changed: bool = False, compare: bool = True
) -> tuple[Network, Weights, Contract]:
    """Read the network of an exported file, its weights by layer and name, and its contract."""
    return _model_of(read_checked(path, allow_changed), compare)


def _model_of(file: CheckedFile, compare: bool) -> tuple[Network, Weights, Contract]:
    path, contract = file.path, file.contract
    try:
        model = onnx.load_from_string(file.content)
    except Exception as error:  # noqa: BLE001 (DecodeError, whose module depends on how protobuf was built)
        raise ModelFileError(f"{path}: is not an ONNX file, or is incomplete: {error}") from None
    if contract.network is None:
        raise ModelFileError(
            f"{path}: was made by add_states and has no layers to restore; from_onnx may make layers of the file that "
            "it was made from, from_torch of a torch module"
        )
    has_end = any(entry.name == END for entry in model.graph.input)
    try:
        _check_numbers(contract.network, max(MOST_NUMBER, len(file.content)))
        network = Network.from_dict(contract.network)
        plan = ExportPlan.of(network, _options(contract, has_end))
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        weights = _weights(plan, read_stored(model.graph, arrays), path)
        if compare and _is_compared(contract):
            # The names of nodes and of the graph, and the writer, may differ.
            compare_graphs(model, to_model(emit_stored(plan, weights), plan.options.opset, "", {}, ""))
        input_channels(network, contract.channels)
    except ModelFileError as error:
        given = str(error).removeprefix(f"{path}: ")
        raise ModelFileError(f"{path}: {given}{'' if given is not str(error) else CHANGED}") from None
    except (SpecError, ShapeError, NotStreamable, DataError) as error:
        raise ModelFileError(f"{path}: its network cannot be built here: {error}") from None
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, ArithmeticError, RecursionError) as error:
        # Metadata that another program wrote may have any value in any field.
        raise ModelFileError(f"{path}: its network cannot be built here: {error!r:.300}") from None
    return network, weights, contract


def read_options(path: str | Path) -> ExportOptions:
    """Return the options that a file was exported with; raise ModelFileError if `export` did not write it."""
    file = read_checked(path)
    return ExportOptions.of_contract(file.contract, any(entry.name == END.encode() for entry in file.onnx.graph.inputs))


MOST_NUMBER = 2**20
"""The largest whole number in the fields of a layer, unless the file is larger: sizes that a file declares but does not
have would fill the memory."""


def _check_numbers(network: Any, most: int) -> None:
    pending = [network]
    while pending:
        value = pending.pop()
        if isinstance(value, dict | list):
            pending += value.values() if isinstance(value, dict) else value
        elif isinstance(value, int) and abs(value) > most:
            raise ModelFileError(f"its network has the number {value!r:.60}; at most {most:,} is allowed")


def _is_compared(contract: Contract) -> bool:
    """Whether this version of seq2onnx exports the network of a file as the same graph."""
    return contract.emission == EMISSION and contract.options is not None


def _options(contract: Contract, has_end: bool) -> ExportOptions:
    """Return the options of the export, which must be those that the contract describes."""
    options = ExportOptions.of_contract(contract, has_end)
    mine = (options.signature, options.closed_loop, options.form, options.weights, options.lookahead)
    if mine != (contract.signature, contract.closed_loop, contract.form, contract.weights, has_end):
        raise ModelFileError("the options of the export in its metadata are not those of the file")
    return options


def _weights(plan: ExportPlan, arrays: dict[str, NDArray[Any]], path: str | Path) -> Weights:
    """Find the weights that the initializers of a file were made from.

    Layers only move the entries of weights about. So the network is emitted with numbered entries; where a number went,
    the file holds its value. No layer needs an inverse.
    """
    incomplete = ModelFileError(f"{path}: does not contain all weights of its network")
    network, total = plan.network, 1
    declared = {layer.label: layer.weights(*network.signals_into(layer.label)) for layer in network.layers}
    sizes = [math.prod(weight.shape) for weights in declared.values() for weight in weights.values()]
    if sum(sizes) > sum(array.size for array in arrays.values()):
        raise incomplete
    numbered: dict[str, dict[str, NDArray[Any]]] = {label: {} for label in declared}
    for label, weights in declared.items():
        for name, weight in weights.items():
            size = math.prod(weight.shape)
            numbered[label][name] = np.arange(total, total + size, dtype=np.int64).reshape(weight.shape)
            total += size
    values = np.zeros(total, np.float32)
    is_set = np.zeros(total, bool)
    for name, numbers in emit(plan, numbered).initializers.items():
        if "." not in name:
            continue
        if name not in arrays or arrays[name].shape != numbers.shape:
            raise ModelFileError(
                f"{path}: its initializer {name} is missing or does not have the shape {list(numbers.shape)}, because "
                "another program has changed the file; restore the file that seq2onnx wrote"
            )
        values[numbers], is_set[numbers] = arrays[name], True
    if not is_set[1:].all():
        raise incomplete
    return {label: {name: values[numbers] for name, numbers in of.items()} for label, of in numbered.items()}
