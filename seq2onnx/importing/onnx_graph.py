"""Foreign ONNX files: read without trust, and made plain, so that one walk over the nodes sees everything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from seq2onnx.contract import KEY
from seq2onnx.errors import ImportRefused, ModelFileError

Array = NDArray[Any]
DOMAINS = ("", "ai.onnx")
"""The names of the default domain."""
LEAST_OPSET = 11
"""The oldest operators that a plain graph has; older files are converted."""
MOST_BYTES = 2**31 - 1
MOST_ELEMENTS = 2**28
"""The largest tensor that a file may declare or compute from constants."""


def read_graph(path: str | Path, fixed: Mapping[str, Any] | None = None) -> ModelProto:
    """Read a foreign ONNX file and make it plain.

    Functions are written out, constants are initializers, inputs are data alone, and no node is unused.

    Args:
        path: the file.
        fixed: inputs that become constants, with their values.

    Raises:
        ModelFileError: the file is damaged, or its weights are in other files.
        ImportRefused: it is not a foreign file, or `fixed` does not fit.
        OSError: it cannot be read.
    """
    model = _parse(Path(path))
    if any(entry.key == KEY for entry in model.metadata_props):
        raise ImportRefused(f"{path}: was written by seq2onnx; open it with load, or with restore to train it further")
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        if opset(model) < LEAST_OPSET:
            model = onnx.version_converter.convert_version(model, LEAST_OPSET)
    except Exception as error:  # errors of the C++ code have no common class
        raise ImportRefused(
            f"{path}: its operators of version {opset(model)} cannot be brought to version {LEAST_OPSET} "
            f"({first_line(error)}); export it with opset {LEAST_OPSET} or newer"
        ) from None
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in weights]  # in old files, weights are inputs, too
    for name, value in (fixed or {}).items():
        entry = next((entry for entry in inputs if entry.name == name), None)
        if entry is None:
            raise ImportRefused(f"fixed: {path} has no input {name!r}, only {', '.join(e.name for e in inputs)}")
        dtype = helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
        graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        inputs.remove(entry)
    replace(graph.input, inputs)
    replace(graph.value_info, [])
    model.ir_version = max(model.ir_version, 4)  # from then on initializers need not be inputs
    take_constants(graph)
    remove_unused(graph)
    if not graph.output:
        raise ModelFileError(f"{path}: has no output")
    return model


def _parse(path: Path) -> ModelProto:
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if not path.is_file():
        raise ModelFileError(f"{path}: is not a file, but a folder, a pipe or a device; give the .onnx file")
    if path.stat().st_size > MOST_BYTES:
        raise ModelFileError(f"{path}: is larger than 2 GB, which no ONNX file with its weights inside can be")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:  # protobuf's DecodeError, whose module differs between its implementations
        raise ModelFileError(f"{path}: is not an ONNX file, or is incomplete: {first_line(error)}") from None
    for tensor in tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ModelFileError(
                f"{path}: its weights {tensor.name!r:.60} are in another file, which is not read; write one file with "
                "onnx.save(onnx.load(path), 'whole.onnx')"
            )
        if np.prod(tensor.dims, dtype=float) > MOST_ELEMENTS:
            raise ModelFileError(f"{path}: declares weights {tensor.name!r:.60} of the shape {list(tensor.dims)!r:.60}")
    try:
        open_session(model, optimized=False)
    except RunFailed as error:
        raise ModelFileError(f"{path}: {error}") from None
    if model.graph.sparse_initializer or model.training_info:
        raise ModelFileError(f"{path}: has sparse weights or a training graph; export it for inference")
    return model


class RunFailed(ImportRefused):
    """onnxruntime does not run a graph with these inputs; its own errors have no common class."""


def open_session(model: ModelProto, optimized: bool = True) -> onnxruntime.InferenceSession:
    """Open a graph in onnxruntime on one thread of the CPU.

    Raises:
        RunFailed: onnxruntime cannot.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen classes of errors
        raise RunFailed(f"onnxruntime does not open the file: {first_line(error)}") from None


def run(session: onnxruntime.InferenceSession, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Run a session; return its outputs by name.

    Raises:
        RunFailed: onnxruntime refuses.
    """
    taken = {entry.name for entry in session.get_inputs()}
    names = [entry.name for entry in session.get_outputs()]
    try:
        values = session.run(names, {k: v for k, v in feeds.items() if k in taken})
    except Exception as error:
        raise RunFailed(first_line(error)) from None
    return dict(zip(names, values, strict=True))


def opset(model: ModelProto) -> int:
    """Return the version of the operators of the default domain."""
    return next((entry.version for entry in model.opset_import if entry.domain in DOMAINS), 1)


def first_line(error: Exception) -> str:
    """Return the first line of an error of another package, cut to a readable length."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def replace(field: Any, values: Iterable[Any]) -> None:
    """Replace the entries of a repeated field of protobuf."""
    kept = list(values)
    del field[:]
    field.extend(kept)


def attributes(node: NodeProto) -> dict[str, Any]:
    """Return the attributes of a node as Python values; texts are str."""
    values = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    return {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value for name, value in values.items()
    }


def place(node: NodeProto) -> str:
    """Name a node for people."""
    return f"{node.name or next(filter(None, node.output), '?')} ({node.op_type})"


def subgraphs(node: NodeProto) -> list[GraphProto]:
    """Return the graphs in the attributes of a node."""
    return [graph for entry in node.attribute for graph in ([entry.g] if entry.HasField("g") else entry.graphs)]


def tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield every stored tensor of a graph and of the graphs in it."""
    yield from graph.initializer
    for node in graph.node:
        for entry in node.attribute:
            yield from [entry.t] if entry.HasField("t") else entry.tensors
        for inner in subgraphs(node):
            yield from tensors(inner)


def reads(node: NodeProto) -> set[str]:
    """Return the names that a node reads, and those that the graphs in it take from outside."""
    found = set(filter(None, node.input))
    for graph in subgraphs(node):
        own = {entry.name for entry in (*graph.input, *graph.initializer)}
        for inner in graph.node:
            found |= reads(inner) - own
            own.update(inner.output)
        found |= {entry.name for entry in graph.output} - own
    return found


def all_names(graph: GraphProto) -> set[str]:
    """Return the names of all tensors of a graph and of the graphs in it."""
    found = {entry.name for entry in (*graph.input, *graph.output, *graph.initializer)}
    for node in graph.node:
        found.update(node.input, node.output, *map(all_names, subgraphs(node)))
    return found - {""}


def take_constants(graph: GraphProto) -> None:
    """Make initializers of Constant nodes."""
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in DOMAINS:
            graph.initializer.append(_constant(node))
        else:
            kept.append(node)
    replace(graph.node, kept)


_CONSTANTS = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


def _constant(node: NodeProto) -> TensorProto:
    (entry,) = node.attribute
    if entry.type == AttributeProto.TENSOR:
        tensor = TensorProto()
        tensor.CopyFrom(entry.t)
        tensor.name = node.output[0]
        return tensor
    if entry.name not in _CONSTANTS:
        raise ImportRefused(f"{place(node)}: a constant of texts or of sparse values")
    return numpy_helper.from_array(np.array(helper.get_attribute_value(entry), _CONSTANTS[entry.name]), node.output[0])


def remove_unused(graph: GraphProto) -> None:
    """Remove nodes and initializers that no output depends on."""
    needed = {entry.name for entry in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(filter(None, node.output)):
            kept.append(node)
            needed |= reads(node)
    replace(graph.node, reversed(kept))
    replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed])


def depends_on_numbers(graph: GraphProto, names: Iterable[str]) -> set[str]:
    """Return all tensors whose numbers depend on the numbers of these tensors, and not only on their shapes."""
    found = set(names)
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and reads(node) & found:
            found.update(filter(None, node.output))
    return found


def rename(node: NodeProto, names: Mapping[str, str]) -> NodeProto:
    """Return a copy of a node with other tensor names, also in the graphs in it."""
    copy = NodeProto()
    copy.CopyFrom(node)
    _rename(copy, names)
    return copy


def _rename(node: NodeProto, names: Mapping[str, str]) -> None:
    replace(node.input, [names.get(name, name) for name in node.input])
    replace(node.output, [names.get(name, name) for name in node.output])
    for graph in subgraphs(node):
        for inner in graph.node:
            _rename(inner, names)
        for entry in (*graph.input, *graph.output, *graph.initializer):
            entry.name = names.get(entry.name, entry.name)


def take_branch(graph: GraphProto, node: NodeProto, condition: bool) -> None:
    """Put the nodes of one branch of an If in its place."""
    branch = attributes(node)["then_branch" if condition else "else_branch"]
    outputs = dict(zip((entry.name for entry in branch.output), node.output, strict=True))
    inner = {name for each in branch.node for name in each.output if name} | {t.name for t in branch.initializer}
    names = {name: outputs.get(name, f"{node.output[0]}/{name}") for name in inner}
    nodes = [rename(each, names) for each in branch.node]
    nodes += [helper.make_node("Identity", [name], [out]) for name, out in outputs.items() if name not in inner]
    for tensor in branch.initializer:
        tensor.name = names[tensor.name]
        graph.initializer.append(tensor)
    every = list(graph.node)
    at = every.index(node)
    replace(graph.node, [*every[:at], *nodes, *every[at + 1 :]])
    take_constants(graph)
    remove_unused(graph)
