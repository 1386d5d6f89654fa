"""The messages of an ONNX file, as far as a reader of untrusted files must know them. Weights stay where they are.

Names are bytes, as in the file: they are only compared, and decoded for errors.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from seq2onnx.errors import ModelFileError
from seq2onnx.modelfile.wire import BYTES, FIXED32, VARINT, Field, fields, packed, signed, text, varint

MOST_NESTED_GRAPHS = 2
"""How deep graphs may lie in attributes of nodes. The files of seq2onnx need one level."""

LONG_ATTRIBUTE = 4096
"""Lists of more bytes, such as the words of a vocabulary, are not kept."""

FLOAT, INT, STRING, TENSOR, GRAPH, FLOATS, INTS, STRINGS = 1, 2, 3, 4, 5, 6, 7, 8
"""The types of attributes, of those that files may have."""
EXTERNAL = "keeps its values in another file (external data), which is refused always; store them in the file itself"


class Tensor(NamedTuple):
    """Values in the file: an initializer, or an attribute.

    Attributes:
        name: of the initializer.
        dims: the shape.
        dtype: ONNX's number of the element type.
        raw: where the values begin and stop in the file; None: they are in typed fields, or there are none.
        typed: the bytes in fields for values of one type, such as float_data.
    """

    name: bytes
    dims: tuple[int, ...]
    dtype: int
    raw: tuple[int, int] | None
    typed: tuple[tuple[int, int, int], ...]


class ParsedNode(NamedTuple):
    """A node. `attributes` are by name; an attribute is its type and its value, or None where no rule looks at it."""

    op: bytes
    inputs: Sequence[bytes]
    outputs: Sequence[bytes]
    attributes: dict[bytes, tuple[int, Any]]
    name: bytes
    domain: bytes


class TensorInfo(NamedTuple):
    """An input or output: its element type, and its dimensions, text where they are dynamic; None: not declared."""

    name: bytes
    dtype: int
    dims: tuple[int | str | None, ...] | None


class ParsedGraph(NamedTuple):
    """A graph. `extras` names the parts that files of seq2onnx do not have."""

    nodes: list[ParsedNode]
    initializers: list[Tensor]
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    extras: list[str]


class FileContent(NamedTuple):
    """All of a file: `opsets` is the version of each domain, `metadata` the texts by key."""

    ir_version: int
    opsets: dict[bytes, int]
    graph: ParsedGraph
    metadata: dict[str, str]
    extras: list[str]


def show(name: bytes) -> str:
    """Return a name for an error: without control characters, and not too long."""
    shown = repr(name.decode(errors="backslashreplace"))
    return shown if len(shown) <= 100 else f"{shown[:97]}…'"


def read_file(content: bytes) -> FileContent:
    """Read a whole file.

    Raises:
        ModelFileError: these bytes are no ONNX model, or the file has parts that no file may have.
    """
    ir_version, opsets, metadata, extras, graph = 0, dict[bytes, int](), dict[str, str](), list[str](), None
    for tag, a, b in fields(content, 0, len(content), "the file"):
        if tag == 1 << 3 | VARINT:
            ir_version = a
        elif tag == 7 << 3 | BYTES:
            if graph is not None:
                raise ModelFileError("has two graphs")
            graph = (a, b)
        elif tag == 8 << 3 | BYTES:
            domain, version = _opset(content, a, b)
            if domain in opsets:
                raise ModelFileError(f"imports two versions of the operators of {show(domain)}")
            opsets[domain] = version
        elif tag == 14 << 3 | BYTES:
            key, value = _entry(content, a, b)
            if key in metadata:
                raise ModelFileError(f"has two texts in its metadata for {key!r:.80}")
            metadata[key] = value
        elif tag in _FORBIDDEN_IN_FILE:
            raise ModelFileError(f"contains {_FORBIDDEN_IN_FILE[tag]}, which the files of seq2onnx do not have")
        elif tag not in _TEXTS_OF_FILE:
            extras.append(_unknown(tag, "the file"))
    if graph is None:
        raise ModelFileError("contains no graph")
    return FileContent(ir_version, opsets, read_graph(content, *graph, 0), metadata, extras)


_TEXTS_OF_FILE = {2 << 3 | BYTES, 3 << 3 | BYTES, 4 << 3 | BYTES, 5 << 3 | VARINT, 6 << 3 | BYTES}
_FORBIDDEN_IN_FILE = {20 << 3 | BYTES: "information for training", 25 << 3 | BYTES: "functions"}


def read_graph(content: bytes, start: int, stop: int, depth: int) -> ParsedGraph:
    """Read a graph; `depth` is 0 for that of the file."""
    if depth > MOST_NESTED_GRAPHS:
        raise ModelFileError(f"has graphs in graphs, {depth} deep; at most {MOST_NESTED_GRAPHS} are allowed")
    parts = ParsedGraph([], [], [], [], [])
    for tag, a, b in fields(content, start, stop, "a graph"):
        if tag == 1 << 3 | BYTES:
            parts.nodes.append(_node(content, a, b, depth))
        elif tag == 5 << 3 | BYTES:
            parts.initializers.append(_tensor(content, a, b))
        elif tag == 11 << 3 | BYTES:
            parts.inputs.append(_tensor_info(content, a, b))
        elif tag == 12 << 3 | BYTES:
            parts.outputs.append(_tensor_info(content, a, b))
        elif tag == 15 << 3 | BYTES:
            raise ModelFileError("contains sparse initializers, which the files of seq2onnx do not have")
        elif tag not in (2 << 3 | BYTES, 10 << 3 | BYTES, 16 << 3 | BYTES):  # texts
            parts.extras.append(_unknown(tag, "a graph"))
    if len({entry.name for entry in parts.outputs}) < len(parts.outputs):  # onnxruntime would leave one of them out
        raise ModelFileError("has a graph with two outputs of one name")
    return parts


def _unknown(tag: int, where: str) -> str:
    return {
        13 << 3 | BYTES: "declared types of inner tensors (value_info)",
        14 << 3 | BYTES: "annotations of quantized tensors",
        26 << 3 | BYTES: "configurations of devices",
    }.get(tag, f"a field {tag >> 3} in {where} that seq2onnx does not know")


def _node(content: bytes, start: int, stop: int, depth: int) -> ParsedNode:
    op = name = domain = b""
    inputs: list[bytes] = []
    outputs: list[bytes] = []
    attributes: dict[bytes, tuple[int, Any]] = {}
    b = start
    try:
        while b < stop:  # as `fields` does, without a list of them: most of a file are nodes
            tag, size, a = content[b], content[b + 1], b + 2
            if size > 127:
                size, a = varint(content, a - 1)
            b = a + size
            if tag == 1 << 3 | BYTES:
                inputs.append(content[a:b])
            elif tag == 2 << 3 | BYTES:
                outputs.append(content[a:b])
            elif tag == 5 << 3 | BYTES:
                named = _short_attribute(content[a:b]) if b - a < SHORT else _attribute(content, a, b, depth)
                if named[0] in attributes:
                    raise ModelFileError(f"the attribute {show(named[0])} of a node {show(op)} is there twice")
                attributes[named[0]] = named[1:]
            elif tag == 4 << 3 | BYTES and not op:
                op = content[a:b]
            elif tag == 3 << 3 | BYTES:
                name = content[a:b]
            elif tag == 7 << 3 | BYTES and not domain:
                domain = content[a:b]
            elif tag not in (6 << 3 | BYTES, 9 << 3 | BYTES):  # texts
                raise ModelFileError(f"a node {show(op)} has a field {tag >> 3} that seq2onnx does not know, or twice")
    except IndexError:
        b = stop + 1
    if b != stop:
        raise ModelFileError(f"a node {show(op)} ends after byte {stop}, where its message ends")
    return ParsedNode(op, inputs, outputs, attributes, name, domain)


SHORT = 64
"""Attributes of fewer bytes repeat in a file and between files, and hold no graph that needs a level of its own."""


@lru_cache(1024)
def _short_attribute(content: bytes) -> tuple[bytes, int, Any]:
    return _attribute(content, 0, len(content), MOST_NESTED_GRAPHS - 1)


_FLOAT32 = struct.Struct("<f")
# The field of the value of each type of attribute.
_VALUES = {
    2 << 3 | FIXED32: FLOAT,
    3 << 3 | VARINT: INT,
    4 << 3 | BYTES: STRING,
    5 << 3 | BYTES: TENSOR,
    6 << 3 | BYTES: GRAPH,
    7 << 3 | FIXED32: FLOATS,
    7 << 3 | BYTES: FLOATS,
    8 << 3 | VARINT: INTS,
    8 << 3 | BYTES: INTS,
    9 << 3 | BYTES: STRINGS,
}


def _attribute(content: bytes, start: int, stop: int, depth: int) -> tuple[bytes, int, Any]:
    name, declared, long = b"", 0, stop - start > LONG_ATTRIBUTE
    values: list[Field] = []
    for field in fields(content, start, stop, "an attribute", long):
        tag = field[0]
        if tag in _VALUES:
            values.append(field)
        elif tag == 1 << 3 | BYTES and not name:
            name = content[field[1] : field[2]]
        elif tag == 20 << 3 | VARINT:
            declared = field[1]
        elif tag != 13 << 3 | BYTES:  # a text
            raise ModelFileError(
                f"the attribute {show(name)} has a field {tag >> 3} that files of seq2onnx do not have"
            )
    if any(_VALUES[tag] != declared for tag, _, _ in values):
        raise ModelFileError(f"the attribute {show(name)} has values of another type than it declares")
    if 0 < declared <= GRAPH:
        if len(values) != 1:
            raise ModelFileError(f"the attribute {show(name)} has {len(values)} values instead of one")
        ((_, a, b),) = values
        if declared == INT:
            return name, INT, signed(a)
        if declared == STRING:
            return name, STRING, content[a:b]
        if declared == FLOAT:
            return name, FLOAT, _FLOAT32.unpack_from(content, a)[0]
        if declared == TENSOR:
            return name, TENSOR, _tensor(content, a, b)
        return name, GRAPH, read_graph(content, a, b, depth + 1)
    if long:
        return name, declared, None
    if declared == INTS:
        many = [packed(content, a, b) if tag & 7 == BYTES else [signed(a)] for tag, a, b in values]
        return name, INTS, tuple(number for numbers in many for number in numbers)
    if declared == STRINGS:
        return name, STRINGS, [content[a:b] for _, a, b in values]
    return name, declared, None


def _tensor(content: bytes, start: int, stop: int) -> Tensor:
    name, dtype, raw = b"", 0, None
    dims: list[int] = []
    typed: list[Field] = []
    for tag, a, b in fields(content, start, stop, "a tensor"):
        if tag == 1 << 3 | VARINT:
            dims.append(a)
        elif tag == 9 << 3 | BYTES and raw is None:
            raw = (a, b)
        elif tag == 2 << 3 | VARINT:
            dtype = a
        elif tag == 8 << 3 | BYTES and not name:
            name = content[a:b]
        elif tag == 1 << 3 | BYTES:
            dims += packed(content, a, b)
        elif tag >> 3 in _TYPED:
            typed.append((tag, a, b))
        elif tag >> 3 in (13, 14):
            if tag >> 3 == 13 or a:
                raise ModelFileError(f"the tensor {show(name)} {EXTERNAL}")
        elif tag not in (12 << 3 | BYTES, 16 << 3 | BYTES):  # texts
            raise ModelFileError(
                f"the tensor {show(name)} has a field {tag >> 3} that seq2onnx does not know, or twice"
            )
    if any(not 0 <= size < 2**40 for size in dims):
        raise ModelFileError(f"the tensor {show(name)} declares the shape {dims!r:.100}")
    return Tensor(name, tuple(dims), dtype, raw, tuple(typed))


_TYPED = {4, 5, 6, 7, 10, 11}  # float_data, int32_data, string_data, int64_data, double_data, uint64_data


def _tensor_info(content: bytes, start: int, stop: int) -> TensorInfo:
    name, dtype, dims = b"", 0, None
    for tag, a, b in fields(content, start, stop, "an input or output"):
        if tag == 1 << 3 | BYTES:
            name = content[a:b]
        elif tag == 2 << 3 | BYTES:
            dtype, dims = _type(content[a:b])
        elif tag not in (3 << 3 | BYTES, 4 << 3 | BYTES):  # texts
            raise ModelFileError(f"{show(name)} has a field {tag >> 3} that seq2onnx does not know")
    return TensorInfo(name, dtype, dims)


@lru_cache(256)  # many tensors of a file have the same type
def _type(content: bytes) -> tuple[int, tuple[int | str | None, ...] | None]:
    dtype, dims = 0, None
    for tag, a, b in fields(content, 0, len(content), "a type"):
        if tag == 1 << 3 | BYTES and not dtype:
            dtype, dims = _tensor_type(content, a, b)
        elif tag != 6 << 3 | BYTES:  # a text
            raise ModelFileError("an input or output is no tensor, or has two types")
    return dtype, dims


def _tensor_type(content: bytes, start: int, stop: int) -> tuple[int, tuple[int | str | None, ...] | None]:
    dtype, dims = 0, None
    for tag, a, b in fields(content, start, stop, "a type"):
        if tag == 1 << 3 | VARINT:
            dtype = a
        elif tag == 2 << 3 | BYTES and dims is None:
            dims = tuple([_dimension(content, c, d) for _, c, d in fields(content, a, b, "a shape")])
        else:
            raise ModelFileError(f"a type has a field {tag >> 3} that seq2onnx does not know, or twice")
    return dtype, dims


def _dimension(content: bytes, start: int, stop: int) -> int | str | None:
    declared: int | str | None = None
    for tag, a, b in fields(content, start, stop, "a dimension"):
        if tag == 1 << 3 | VARINT:
            declared = signed(a)
        elif tag == 2 << 3 | BYTES:
            declared = text(content, a, b) or None  # without a name, the size is not declared
    return declared


def _entry(content: bytes, start: int, stop: int) -> tuple[str, str]:
    key = value = ""
    for tag, a, b in fields(content, start, stop, "the metadata"):
        if tag == 1 << 3 | BYTES:
            key = text(content, a, b)
        elif tag == 2 << 3 | BYTES:
            value = text(content, a, b)
    return key, value


def _opset(content: bytes, start: int, stop: int) -> tuple[bytes, int]:
    domain, version = b"", 0
    for tag, a, b in fields(content, start, stop, "an import of operators"):
        if tag == 1 << 3 | BYTES:
            domain = content[a:b]
        elif tag == 2 << 3 | VARINT:
            version = a
    return domain, version
