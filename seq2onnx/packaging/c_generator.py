"""C code of an ONNX graph with fixed shapes. This module alone knows emx-onnx-cgen."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from seq2onnx.errors import SpecError, require
from seq2onnx.texts import identifier, unfit_name

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

_UNUSED_LOADER = re.compile(r"^_Bool \w+_load\(const char \*path\) \{.*?^\}\n", re.MULTILINE | re.DOTALL)


_FUNCTION = re.compile(r"^(?:static|EMX_NODE_FN) [^;{}]*?\b(\w+)\([^;{}]*\) \{\n(.*?)^\}$", re.MULTILINE | re.DOTALL)
_ARRAY = re.compile(r"^ +(?:const )?(\w+) (\*?)\w+((?:\[\d*\])+)(?: = \{(.*)\})?;$", re.MULTILINE)
_BYTES = {"float": 4, "int32_t": 4, "idx_t": 4, "bool": 1, "_Bool": 1, "int8_t": 1, "uint8_t": 1}  # others: 8
BYTES_OF_FRAMES = 1024
"""Addresses, counters and registers of the functions that are on the stack together, beside their arrays."""


def generate(content: bytes, function: str) -> str:
    """Return C99 code in which everything is static: a function that calculates a graph of fixed shapes, without heap.

    Its arguments are pointers to the inputs and then to the outputs, in the order of the graph. It needs libm, memcpy
    and memset. Texts of the model do not enter the code; its names do as identifiers.

    Raises:
        MissingExtra: emx-onnx-cgen is not installed.
        SpecError: it cannot translate the model.
    """
    require("emx_onnx_cgen", extra="edge")
    from emx_onnx_cgen.compiler import Compiler, CompilerOptions
    from emx_onnx_cgen.errors import CompilerError

    # Thresholds above which tensors would be on the heap or in a file; 0: never.
    options = CompilerOptions(model_name=function, large_temp_threshold_bytes=0, large_weight_threshold=0)
    try:
        code: str = Compiler(options).compile(_plain(content))
    except CompilerError as error:
        raise SpecError(f"emx-onnx-cgen cannot translate the network: {error}") from None
    code = re.sub(r"^extern const [^;]*;\n", "", code, flags=re.MULTILINE)  # the definitions follow
    code = re.sub(r"^const EMX_UNUSED", "static const EMX_UNUSED", code, flags=re.MULTILINE)
    code = _UNUSED_LOADER.sub("", code)
    return code.replace(f"\nvoid {function}(", f"\nstatic void {function}(")


def stack_bytes(code: str, function: str) -> int:
    """Return how many bytes of stack a function that `generate` made takes at most, without those of libm.

    Its arrays are there together with those of one of the functions that it calls.
    """
    arrays = {name: sum(map(_array_bytes, _ARRAY.finditer(body))) for name, body in _FUNCTION.findall(code)}
    own = arrays.pop(function)
    return own + max(arrays.values(), default=0) + BYTES_OF_FRAMES


def _array_bytes(array: re.Match[str]) -> int:
    """Return the bytes of an array, with up to 16 of alignment."""
    kind, pointer, sizes, values = array.groups()
    counts = [int(size) if size else values.count(",") + 1 for size in re.findall(r"\[(\d*)\]", sizes)]
    return -(-math.prod(counts) * (8 if pointer else _BYTES.get(kind, 8)) // 16) * 16


def _plain(content: bytes) -> ModelProto:
    """Return a model without the texts of the file, which comments of the code would quote."""
    import onnx

    read = onnx.load_from_string(content)
    model = onnx.ModelProto(ir_version=read.ir_version, opset_import=read.opset_import)
    model.graph.CopyFrom(read.graph)
    _rename(model.graph, {"": ""})
    return model


def _rename(graph: GraphProto, names: dict[str, str]) -> None:
    """Replace the names of a graph by identifiers, and remove its other texts. `names` has those of outer tensors."""
    taken = set(names.values())

    def new(name: str) -> str:
        if name not in names:
            stem = made = identifier(name)
            count = 1
            while made in taken:
                count += 1
                made = f"{stem}_{count}"
            taken.add(made)
            names[name] = made
        return names[name]

    graph.name = "graph"
    for field in ("doc_string", "value_info", "metadata_props", "quantization_annotation"):
        graph.ClearField(field)
    for entry in (*graph.input, *graph.output):
        entry.name = new(entry.name)
        entry.ClearField("doc_string")
        entry.ClearField("metadata_props")
    for tensor in graph.initializer:
        tensor.name = new(tensor.name)
        tensor.ClearField("doc_string")
    for node in graph.node:
        node.name = identifier(node.name)
        for field in ("doc_string", "metadata_props", "overload"):
            node.ClearField(field)
        for places in (node.input, node.output):
            places[:] = [new(name) for name in places]
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
            texts = [text.decode(errors="replace") for text in (attribute.s, *attribute.strings) if text]
            if (text := unfit_name(texts)) is not None:
                raise SpecError(f"the node {node.name} has the text {text!r:.60} in {attribute.name}; expected a name")
            if attribute.HasField("g"):
                _rename(attribute.g, dict(names))
