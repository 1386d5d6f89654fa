"""Limits on what a foreign graph may compute, checked before it runs: a small file can ask for any amount of memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from copy import deepcopy

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.onnx.graph import RunFailed, first_line, open_session, run
from seq2onnx.importing.onnx.graph_parts import DOMAINS, Array, all_nodes, place, remove_unused, replace
from seq2onnx.limits import UNPACKED_PER_BYTE

MOST_COMPUTED = 2**24
"""The most numbers of a computed tensor: 64 MB of float32. A run and the comparison have several at the same time."""
MOST_TOGETHER = 2**26
"""The most numbers of all computed tensors together, which a traced run keeps: 256 MB. A network with large tensors has
large weights, so each byte of the graph adds UNPACKED_PER_BYTE."""
MOST_WORK = 2**18
"""The most nodes, times the sizes that other nodes compute: for each of these the whole graph is looked at again."""
UNLIMITED = {"Loop", "Scan", "SequenceMap", "Resize", "Upsample", "CenterCropPad", "Col2Im", "StringNormalizer"}
"""Operators that repeat what they compute, or whose size is not checked here."""
RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
SIZED = {"ConstantOfShape": (0,), "Expand": (1,), "Tile": (1,), "Range": (0, 1, 2), "OneHot": (1,), "Pad": (1,)}
"""Operators whose result has a size that is computed, and which inputs say it."""


def check_sizes(model: ModelProto, feeds: Mapping[str, Array]) -> None:
    """Refuse tensors that are too large for these inputs, and operators without a limit.

    A graph that does not run with these inputs raises RunFailed.
    """
    node: NodeProto
    for node in all_nodes(model.graph):
        if node.op_type in RANDOM:
            raise ImportRefused(f"{place(node)}: draws random numbers; export the network in eval mode")
        if node.op_type in UNLIMITED:
            raise ImportRefused(f"{place(node)}: how much it computes is not known before it runs")
    probe = deepcopy(model)
    for entry in probe.graph.input:
        if entry.name in feeds:
            shape = helper.make_tensor_value_info(entry.name, entry.type.tensor_type.elem_type, feeds[entry.name].shape)
            entry.CopyFrom(shape)
    replace(probe.graph.output, [ValueInfoProto(name=entry.name) for entry in probe.graph.output])
    _check_divisors(probe)
    sizes: dict[str, tuple[int, ...]] = {}
    for number in itertools.count():
        found = _first_unknown(probe, sizes)
        if found is None:
            break
        node, name = found
        if number * len(probe.graph.node) > MOST_WORK:
            raise ImportRefused(f"{place(node)}: has a size that is computed, as too many others before it")
        if node.op_type in SIZED:
            sizes[name] = _shape(node, _evaluate(probe, [node.input[i] for i in SIZED[node.op_type]], feeds), sizes)
        else:  # it is not larger than what it reads
            sizes[name] = np.shape(_evaluate(probe, [name], feeds)[0])
        _check(node, sizes[name])


def _check_divisors(probe: ModelProto) -> None:
    """Check that integers are divided by constants other than 0 alone: a division by 0 ends the process."""
    types = {entry.name: entry.type.tensor_type.elem_type for entry in _inferred(probe)}
    constants = {tensor.name: tensor for tensor in probe.graph.initializer}
    for node in all_nodes(probe.graph):
        if node.op_type in ("Div", "Mod") and (kind := types.get(node.output[0])) not in FLOATS:
            if not kind:
                _refuse_unknown(probe, types)
            divisor = constants.get(node.input[1])
            if divisor is None or not onnx.numpy_helper.to_array(divisor).all():
                raise ImportRefused(f"{place(node)}: divides integers by a number that may be 0")


def _refuse_unknown(probe: ModelProto, types: Mapping[str, int]) -> None:
    """Refuse the first node whose results have no known type: what follows could be integers."""
    for node in probe.graph.node:
        if not all(types.get(name) for name in node.output if name):
            if node.domain in DOMAINS:  # its shapes do not fit, as of a file with a fixed number of steps
                raise RunFailed(f"{place(node)}: the type and shape of its result cannot be inferred")
            operator = f"an operator of {node.domain}"
            raise ImportRefused(
                f"{place(node)}: is {operator} that gives numbers of an unknown type, and is unsupported"
            )


def _inferred(probe: ModelProto) -> list[ValueInfoProto]:
    """Return the type and, as far as it does not depend on numbers, the shape of each tensor."""
    try:
        # data_prop=True would infer more, but it takes any amount of memory itself.
        graph = onnx.shape_inference.infer_shapes(probe).graph
    except Exception as error:  # InferenceError, and others for broken fields
        raise RunFailed(f"its shapes cannot be inferred: {first_line(error)}") from None
    return [*graph.value_info, *graph.output, *graph.input]


def _first_unknown(probe: ModelProto, sizes: dict[str, tuple[int, ...]]) -> tuple[NodeProto, str] | None:
    """Infer all shapes and check them, up to the first node whose shape is computed by others."""
    types = {entry.name: entry.type.tensor_type.elem_type for entry in probe.graph.input}  # 0: unknown
    given = [helper.make_tensor_value_info(name, types.get(name, 0), shape) for name, shape in sizes.items()]
    replace(probe.graph.value_info, given)
    found = dict(sizes)
    for entry in _inferred(probe):
        dims = entry.type.tensor_type.shape.dim
        if entry.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            found[entry.name] = tuple(dim.dim_value for dim in dims)
    total, most = 0, MOST_TOGETHER + UNPACKED_PER_BYTE * probe.ByteSize()
    for node in probe.graph.node:
        for name in node.output:
            if name in found:
                _check(node, found[name])
                total += math.prod(found[name])
            elif name:
                sizes |= {each: found[each] for each in node.input[:1] if each in found}
                return node, name
            if total > most:
                raise ImportRefused(
                    f"{place(node)}: computes, with the nodes before it, more than {most:,} numbers of a short run"
                )
    return None


def _evaluate(probe: ModelProto, names: list[str], feeds: Mapping[str, Array]) -> list[Array]:
    """Compute the numbers that say a size; what they depend on has been checked."""
    part = deepcopy(probe)
    constants = {
        tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in part.graph.initializer if tensor.name in names
    }
    computed = [name for name in names if name not in constants]
    replace(part.graph.output, [ValueInfoProto(name=name) for name in computed])
    replace(part.graph.value_info, [])
    remove_unused(part.graph)
    values = constants | (run(open_session(part, optimized=False), feeds) if computed else {})
    return [values[name] for name in names]


def _shape(node: NodeProto, numbers: list[Array], sizes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    if node.op_type == "Range":
        start, limit, step = (float(value.ravel()[0]) for value in numbers)
        return (max(0, math.ceil((limit - start) / step)) if step else 0,)
    of = [int(value) for value in np.ravel(numbers[0])]
    own = sizes.get(node.input[0], ())
    if node.op_type == "OneHot":
        return (*own, max(of))
    if node.op_type == "Tile":
        return tuple(size * count for size, count in zip(own or [1] * len(of), of, strict=False))
    if node.op_type == "Pad":
        half = len(of) // 2
        return tuple(s + a + b for s, a, b in zip(own or [1] * half, of[:half], of[half:], strict=False))
    if node.op_type == "Expand" and own:
        rank = max(len(own), len(of))
        pairs = zip([1] * (rank - len(own)) + list(own), [1] * (rank - len(of)) + of, strict=True)
        return tuple(max(pair) for pair in pairs)
    return tuple(of)


def _check(node: NodeProto, shape: tuple[int, ...]) -> None:
    if any(size < 0 for size in shape):
        raise RunFailed(f"{place(node)}: its windows are longer than what they read")
    if math.prod(shape) > MOST_COMPUTED:
        raise ImportRefused(
            f"{place(node)}: computes a tensor of the shape {list(shape)!r:.100}; at most {MOST_COMPUTED:,} numbers "
            "are allowed"
        )
