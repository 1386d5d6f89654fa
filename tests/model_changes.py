"""Changes of the structure of an ONNX file, as an attacker or a defective program would make them."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZES = [-1, 0, 1, 2, 3, 7, 100, 2**20, 2**31, 2**40, 2**62]
_OPERATORS = """
    Tanh Identity Loop ConstantOfShape Sigmoid Relu If Scan Range Neg Expand Tile Mod Div Sub Mul Shape Reshape
    Transpose ReduceSum Softmax CumSum Where Squeeze Unsqueeze Gather Concat Slice Pad LSTM GRU Conv NonZero Einsum
"""
OPERATORS = _OPERATORS.split()
VALUES = [None, -1, 0, 10**12, 10**400, 1.5, float("nan"), "full", "stream", "", [], {}, [[]], True, "a\x1b[31m", "x"]

Change = Callable[[onnx.ModelProto, random.Random], None]


def change_structure(content: bytes, rng: random.Random) -> bytes:
    """Change one part of the graph or of the metadata, seldom two or three."""
    model = onnx.load_from_string(content)
    for _ in range(rng.choice([1, 1, 1, 1, 2, 3])):
        with contextlib.suppress(Exception):  # after another change, onnx's own functions may fail
            rng.choice(CHANGES)(model, rng)
    return model.SerializeToString()


def graphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    inner = [a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return [graph, *(one for g in inner for one in graphs(g))]


def some_graph(model: onnx.ModelProto, rng: random.Random) -> onnx.GraphProto:
    return rng.choice([g for g in graphs(model.graph) if g.node] or [model.graph])


def some_node(model: onnx.ModelProto, rng: random.Random) -> onnx.NodeProto:
    return rng.choice(list(some_graph(model, rng).node) or [onnx.NodeProto()])


def some_tensor(model: onnx.ModelProto, rng: random.Random) -> onnx.TensorProto:
    return rng.choice([t for g in graphs(model.graph) for t in g.initializer] or [TensorProto()])


def names(model: onnx.ModelProto) -> list[str]:
    graph = model.graph
    found = [name for node in graph.node for name in node.output]
    return [*found, *(t.name for t in [*graph.initializer, *graph.input]), "", "none"]


def operator(model, rng):
    some_node(model, rng).op_type = rng.choice(OPERATORS)


def operator_of_same_form(model, rng):
    """Another operator with the same inputs: what only the numbers can tell."""
    alike = [
        *(["Tanh", "Sigmoid", "Relu", "Identity", "Neg", "Abs"], ["Add", "Sub", "Mul", "Max", "Min", "Div"]),
        *(["ReduceMax", "ReduceMean", "ReduceSum"], ["Greater", "Less", "LessOrEqual", "Equal"]),
        ["AveragePool", "MaxPool"],
    ]
    pairs = [(n, ops) for g in graphs(model.graph) for n in g.node for ops in alike if n.op_type in ops]
    if pairs:
        node, ops = rng.choice(pairs)
        node.op_type = rng.choice(ops)


def domain(model, rng):
    some_node(model, rng).domain = rng.choice(["com.microsoft", "ai.onnx.ml", "ai.onnx", "x"])


def rewire(model, rng):
    node = some_node(model, rng)
    if node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(names(model))


def swap_inputs(model, rng):
    node = some_node(model, rng)
    if len(node.input) > 1:
        a, b = rng.sample(range(len(node.input)), 2)
        node.input[a], node.input[b] = node.input[b], node.input[a]


def swap_results(model, rng):
    """Two nodes exchange the names of their results, such as two new states."""
    graph = some_graph(model, rng)
    a, b = (rng.choice(graph.node) for _ in "ab")
    if a.output and b.output:
        i, j = rng.randrange(len(a.output)), rng.randrange(len(b.output))
        a.output[i], b.output[j] = b.output[j], a.output[i]


def attribute(model, rng):
    node = some_node(model, rng)
    if not node.attribute:
        return
    given = rng.choice(node.attribute)
    kind = rng.randrange(6)
    if kind == 0:
        node.attribute.remove(given)
    elif kind == 1:
        given.name = rng.choice(["axis", "to", "perm", "direction", "hidden_size", "none"])
    elif given.ints and kind < 5:
        given.ints[rng.randrange(len(given.ints))] = rng.choice(SIZES)
    elif given.type == onnx.AttributeProto.STRING:
        given.s = rng.choice([b"reverse", b"forward", b"bidirectional", b"SAME_UPPER", b"\xff"])
    elif given.type == onnx.AttributeProto.FLOAT:
        given.f = rng.choice([0, -1, 1e30, float("nan"), float("inf")])
    elif given.strings:
        given.strings[0] = rng.choice([b"Tanh", b"Sigmoid", b"Affine", b"\xff"])
    else:
        given.i = rng.choice(SIZES)


def new_attribute(model, rng):
    new = rng.choice([("axis", 1), ("keepdims", 0), ("direction", "reverse"), ("clip", 0.1), ("layout", 1)])
    some_node(model, rng).attribute.append(helper.make_attribute(*new))


def values(model, rng):
    tensor = some_tensor(model, rng)
    if not tensor.raw_data:
        return
    array = numpy_helper.to_array(tensor).copy()
    whole = array.dtype.kind != "f"
    value = rng.choice(SIZES if whole else [0, -1, 7, 1e30, -3e38, 1e-40, float("nan"), float("inf")])
    place = slice(None) if rng.random() < 0.2 else rng.randrange(max(array.size, 1))
    with np.errstate(all="ignore"):
        array.reshape(-1)[place] = np.array(value).astype(array.dtype)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def dims(model, rng):
    tensor = some_tensor(model, rng)
    if tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(SIZES)


def element_type(model, rng):
    entries = [i.type.tensor_type for i in [*model.graph.input, *model.graph.output]]
    if rng.random() < 0.5:
        some_tensor(model, rng).data_type = rng.randrange(24)
    else:
        rng.choice(entries).elem_type = rng.randrange(24)


def rename(model, rng):
    """Two tensors exchange their names, or one gets that of another."""
    graph = model.graph
    entries = rng.choice([graph.input, graph.output, graph.initializer])
    if len(entries) > 1:
        a, b = rng.sample(list(entries), 2)
        a.name, b.name = b.name, rng.choice([a.name, a.name, b.name])


def declared_shape(model, rng):
    shape = rng.choice([*model.graph.input, *model.graph.output]).type.tensor_type.shape
    kind = rng.randrange(4)
    if kind == 0:
        shape.dim.add(dim_value=rng.choice(SIZES))
    elif shape.dim and kind == 1:
        del shape.dim[rng.randrange(len(shape.dim))]
    elif shape.dim and kind == 2:
        rng.choice(shape.dim).dim_param = rng.choice(["batch", "time", "\x1b[31m", ""])
    elif shape.dim:
        rng.choice(shape.dim).dim_value = rng.choice(SIZES)


def metadata(model, rng):
    entry = next(p for p in model.metadata_props if p.key == "seq2onnx")
    data = json.loads(entry.value)
    change_json(data, rng)
    entry.value = json.dumps(data)


def change_json(data, rng: random.Random) -> None:
    """Change, delete, or exchange values somewhere in JSON."""
    keys = list(data) if isinstance(data, dict) else list(range(len(data)))
    if not keys:
        return
    key = rng.choice(keys)
    if isinstance(data[key], dict | list) and data[key] and rng.random() < 0.85:
        change_json(data[key], rng)
        return
    kind = rng.randrange(5)
    if kind == 0:
        del data[key]
    elif kind == 1:
        other = rng.choice(keys)
        data[key], data[other] = data[other], data[key]
    elif kind == 2 and isinstance(data, list):
        data.append(copy.deepcopy(data[key]))
    elif kind == 3 and isinstance(data[key], int | float) and not isinstance(data[key], bool):
        data[key] += rng.choice([1, -1, 0.5, 2**20, 2**62])
    else:
        data[key] = rng.choice(VALUES)


def states(model, rng):
    """Exchange or repeat states in the metadata alone."""
    entry = next(p for p in model.metadata_props if p.key == "seq2onnx")
    data = json.loads(entry.value)
    found = data.get("states") or []
    if len(found) > 1:
        a, b = rng.sample(range(len(found)), 2)
        if rng.random() < 0.5:
            found[a], found[b] = found[b], found[a]
        else:
            found[a] = copy.deepcopy(found[b])
    entry.value = json.dumps(data)


def delete(model, rng):
    graph = some_graph(model, rng)
    entries = rng.choice([graph.node, graph.node, graph.initializer, graph.input, graph.output, model.metadata_props])
    if entries:
        del entries[rng.randrange(len(entries))]


def repeat(model, rng):
    graph = some_graph(model, rng)
    entries = rng.choice([graph.node, graph.initializer, graph.input, graph.output, model.opset_import])
    if entries:
        entries.append(copy.deepcopy(rng.choice(list(entries))))


def insert(model, rng):
    """Put a node of one input between a tensor and one of its readers."""
    graph = some_graph(model, rng)
    place = rng.randrange(len(graph.node)) if graph.node else 0
    if graph.node and graph.node[place].input:
        node = graph.node[place]
        at = rng.randrange(len(node.input))
        new = helper.make_node(rng.choice(OPERATORS), [node.input[at]], [f"made_{rng.random()}"])
        node.input[at] = new.output[0]
        graph.node.insert(place, new)


def nest(model, rng):
    """Add a graph to a node, or a node with graphs in graphs."""
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["inner"])], "inner", [], [])
    inner.output.add(name="inner")
    depth = rng.choice([1, 2, 3, 40])
    for _ in range(depth):
        node = helper.make_node("If", ["x"], ["inner"], then_branch=inner)
        inner = helper.make_graph([node], "inner", [], [])
        inner.output.add(name="inner")
    if rng.random() < 0.5:
        some_node(model, rng).attribute.append(helper.make_attribute("body", inner))
    else:
        model.graph.node.insert(0, inner.node[0])


def external(model, rng):
    tensor = some_tensor(model, rng)
    if rng.random() < 0.5:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=rng.choice(["/etc/passwd", "../x", "mutant.onnx", ""]))
    tensor.external_data.add(key="offset", value=rng.choice(["0", "-1", str(2**63), "x"]))


def extras(model, rng):
    kind = rng.randrange(7)
    if kind == 0:
        model.functions.add(name="f", domain="d")
    elif kind == 1:
        model.training_info.add()
    elif kind == 2:
        model.graph.sparse_initializer.add()
    elif kind == 3:
        model.graph.value_info.append(copy.deepcopy(rng.choice(model.graph.output)))
    elif kind == 4:
        model.opset_import[0].version = rng.choice([0, 1, 7, 13, 17, 21, 99, 2**40])
    elif kind == 5:
        model.opset_import.add(domain=rng.choice(["com.microsoft", "ai.onnx.ml", ""]), version=1)
    else:
        model.ir_version = rng.choice([0, 1, 3, 8, 11, 99, 2**40])


CHANGES: tuple[Change, ...] = (
    *(
        operator,
        operator_of_same_form,
        operator_of_same_form,
        domain,
        rewire,
        rewire,
        rewire,
        swap_inputs,
        swap_results,
    ),
    *(attribute, attribute, new_attribute, values, values, dims, element_type, rename, declared_shape),
    *(metadata, metadata, metadata, states, delete, repeat, insert, nest, external, extras),
)


def change_bytes(content: bytes, rng: random.Random) -> bytes:
    """Change, delete, insert or repeat a few bytes, half of them at the ends: in between are mostly weights."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        end = min(len(changed), 6000)
        at = rng.choice([rng.randrange(len(changed)), rng.randrange(end), len(changed) - 1 - rng.randrange(end)])
        kind = rng.randrange(6)
        if kind < 2:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            changed[at] = rng.randrange(256)
        elif kind == 3:
            del changed[at : at + rng.randint(1, 4)]
        elif kind == 4:
            changed[at:at] = changed[at : at + rng.randint(1, 40)]
        else:
            changed[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 4)))
    if rng.random() < 0.03:
        del changed[rng.randrange(len(changed)) :]
    return bytes(changed)
