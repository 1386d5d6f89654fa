"""The rules for files that add_states made: their operators are those of other programs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from seq2onnx.errors import ModelFileError
from seq2onnx.modelfile.graph_rules import check_size
from seq2onnx.modelfile.protos import FileContent, ParsedGraph, ParsedNode, Tensor, show

_OPERATORS = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift BitwiseAnd
BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Compress Concat ConstantOfShape Conv ConvInteger
ConvTranspose Cos Cosh CumSum DFT DepthToSpace DequantizeLinear Det Div Dropout DynamicQuantizeLinear Einsum Elu
Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements Gelu Gemm GlobalAveragePool
GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HammingWindow HannWindow HardSigmoid
HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less
LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean
MeanVarianceNormalization Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul
QuantizeLinear RMSNormalization RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape ReverseSequence Round STFT
ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign
SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where
Xor
"""
OPERATORS = frozenset(_OPERATORS.encode().split())
"""Operators of the default domain that compute the same for the same numbers, and contain no graphs."""
NESTED = {0: b"If", 1: b"Scan"}
"""The operators with graphs, by depth: the If for chunks without steps, and a Scan over rows or steps in its branch."""
STAYS = frozenset(b"Cast DequantizeLinear Flatten Identity Reshape Slice Split Squeeze Transpose Unsqueeze".split())
"""The operators that may read constants alone: their result is not larger."""
DOMAINS = (b"", b"ai.onnx")

# The bytes of an element by ONNX's number of its type: float, uint8, int8, uint16, int16, int32, int64, bool, float16,
# double, uint32, uint64.
_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8}
_FLOATS = {1: "<f4", 10: "<f2", 11: "<f8"}


def check_foreign(content: bytes, file: FileContent) -> None:
    """Check a file whose network is not one of layers.

    Raises:
        ModelFileError: it has an operator that such files do not have, or weights that are NaN or of another size.
    """
    if file.extras or file.graph.extras:
        raise ModelFileError(f"contains {(file.extras + file.graph.extras)[0]}, which files of seq2onnx do not have")
    constants: set[bytes] = set()
    integers = {entry.name for entry in file.graph.inputs if entry.dtype not in _FLOATS}
    for graph, depth in _graphs(file.graph, 0):
        for tensor in graph.initializers:
            _check_tensor(content, tensor)
        constants |= {tensor.name for tensor in graph.initializers}
        integers |= {tensor.name for tensor in graph.initializers if tensor.dtype not in _FLOATS}
        divisors = {tensor.name for tensor in graph.initializers if _has_no_zero(content, tensor)}
        for node in graph.nodes:
            _check_node(content, node, depth, constants)
            if _gives_integers(node, integers):
                integers.update(node.outputs)
                if node.op in (b"Div", b"Mod") and not divisors.issuperset(node.inputs[1:2]):
                    raise ModelFileError(
                        f"the node {show(node.name)} ({show(node.op)}) divides integers by a number that may be 0"
                    )


def _has_no_zero(content: bytes, tensor: Tensor) -> bool:
    start, stop = tensor.raw or (0, 0)
    return tensor.dtype in (6, 7) and bool(np.frombuffer(content[start:stop], f"<i{_BYTES[tensor.dtype]}").all())


def _gives_integers(node: ParsedNode, integers: set[bytes]) -> bool:
    """Whether the results of a node may be integers; a division by the integer 0 would end the process."""
    if node.op in (b"Cast", b"CastLike"):
        return node.attributes.get(b"to", (0, 0))[1] not in _FLOATS
    always = (b"Shape", b"Size", b"ArgMax", b"ArgMin", b"NonZero", b"TopK", b"Compress", b"If", b"Scan")
    return node.op in always or not integers.isdisjoint(node.inputs[1:3] if node.op == b"Where" else node.inputs[:1])


def _check_node(content: bytes, node: ParsedNode, depth: int, constants: set[bytes]) -> None:
    """Check a node, and add its results to `constants` if it reads nothing else."""
    if node.domain not in DOMAINS or (node.op not in OPERATORS and node.op != NESTED.get(depth)):
        raise ModelFileError(
            f"the node {show(node.name)} has the operator {show(node.op)} of {show(node.domain)}, which files of "
            "add_states do not have in this place"
        )
    for _, value in node.attributes.values():
        if isinstance(value, Tensor):
            _check_tensor(content, value)
    if constants.issuperset(filter(None, node.inputs)) and node.op not in NESTED.values():
        # onnxruntime computes it when the file is opened.
        if node.op not in STAYS:
            raise ModelFileError(f"the node {show(node.name)} ({show(node.op)}) does not depend on data")
        constants.update(node.outputs)


def _graphs(graph: ParsedGraph, depth: int) -> Iterator[tuple[ParsedGraph, int]]:
    yield graph, depth
    for node in graph.nodes:
        for _, value in node.attributes.values():
            if isinstance(value, ParsedGraph):
                if node.op != NESTED.get(depth):
                    raise ModelFileError(f"the node {show(node.name)} ({show(node.op)}) has a graph in it")
                yield from _graphs(value, depth + 1)


def _check_tensor(content: bytes, tensor: Tensor) -> None:
    check_size(tensor, _BYTES, f"the weights {show(tensor.name)} have")
    start, stop = tensor.raw or (0, 0)
    if tensor.dtype in _FLOATS and np.isnan(np.frombuffer(content[start:stop], _FLOATS[tensor.dtype])).any():
        raise ModelFileError(f"the weights {show(tensor.name)} contain NaN")
