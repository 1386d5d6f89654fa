"""Operators of files that `add_states` made, as C: one by one against onnxruntime."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import seq2onnx as s2o
from seq2onnx.packaging.c import package
from seq2onnx.packaging.c.generator import StepModel, generate
from seq2onnx.packaging.c.memory import C_TYPES
from seq2onnx.texts import fill
from tests.c_laws import FLAGS

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc; tools/ci_setup.sh installs it")
SANITIZERS = ["-fsanitize=undefined,float-cast-overflow"]
rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def nothing_is_undefined(capfd):
    """The sanitizers, which go on, wrote nothing."""
    yield
    assert "runtime error" not in capfd.readouterr().err


def normal(*shape):
    return rng.standard_normal(shape).astype("f4")


HUGE = np.concatenate(
    [10.0 ** rng.uniform(-38, 38, 60) * rng.choice([-1, 1], 60), [0, -0.0, 0.5, 1.5, 2.5, -0.5, 3e38]]
)
WIDE = np.concatenate([normal(99), 1e3 * normal(20), HUGE, [np.nan, np.inf, -np.inf]]).astype("f4")[None]
WHOLE = rng.integers(-9, 9, (1, 50))


def one(op, *inputs, **attributes):
    return [helper.make_node(op, inputs, ["y"], **attributes)]


def model_of(nodes, arrays, constants, opset):
    entries = [
        helper.make_tensor_value_info(f"in{k}", helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for k, array in enumerate(arrays)
    ]
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", entries, [onnx.ValueInfoProto(name="y")], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def code_of(model, arrays, storage=None):
    names = {f"in{k}": f"x{k}" for k in range(len(arrays))}
    sizes = {f"in{k}": array.shape for k, array in enumerate(arrays)}
    return generate(StepModel(model, sizes, {}, names | {"y": "y0"}, {}, []), storage)


def in_c(model, arrays, expected, folder: Path, storage=None):
    """Return what the C code gives for y."""
    code = code_of(model, arrays, storage)
    arguments = [f"const {C_TYPES[array.dtype.name]} *x{k}" for k, array in enumerate(arrays)]
    arguments.append(f"{C_TYPES[expected.dtype.name]} *y0")
    none = dict.fromkeys(("TITLE", "WRITER", "DEFINED_BLOCK", "DEFINED_NAMES", "REFUSE"), "")
    texts = none | {"NAME": "net", "DEFINED": ", ".join(arguments), "ARRAYS": code.arrays, "CHECK": code.check}
    texts |= {"GET_STATE": "(void)stream, (void)state;", "SET_STATE": "(void)stream, (void)state;"}
    texts |= {"FUNCTIONS": fill(code.functions, {"MACRO": "NET"}), "COMMITS": "", "BODY": "\n".join(code.body)}
    (folder / "net.h").write_text(
        "#include <stddef.h>\n#include <stdint.h>\ntypedef struct { int none; } net_stream;\n"
        f"void net_reset(net_stream *);\nint net_step(net_stream *, {', '.join(arguments)});\n"
        "void net_get_state(const net_stream *, float *);\nvoid net_set_state(net_stream *, const float *);\n"
    )
    (folder / "net.c").write_text(fill((package.FILES / "step.c").read_text(), texts))
    command = ["gcc", *FLAGS, *SANITIZERS, "-static-libubsan", "-shared", "-fPIC", "net.c", "-o", "net.so", "-lm"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    y = np.full(expected.size + 8, 77).astype(expected.dtype)
    passed = [np.ascontiguousarray(array) for array in (*arrays, y)]
    step = ctypes.CDLL(str(folder / "net.so")).net_step
    assert step(ctypes.create_string_buffer(8), *(a.ctypes.data_as(ctypes.c_void_p) for a in passed)) == 0, "refused"
    assert (y[expected.size :] == y[-1]).all(), "wrote behind its result"
    return y[: expected.size].reshape(expected.shape)


def same(nodes, arrays, constants, folder, opset=17):
    model = model_of(nodes, arrays, constants, opset)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(["y"], {f"in{k}": array for k, array in enumerate(arrays)})
    found = in_c(model, arrays, expected, folder)
    scale = np.maximum(1, np.abs(np.nan_to_num(expected.astype("f8"), posinf=1, neginf=1)))
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=1e-5, equal_nan=True)


UNARY = "Abs Ceil Celu Cos Elu Erf Exp Floor HardSigmoid HardSwish LeakyRelu Log Neg Reciprocal Relu Round Selu Sigmoid"
UNARY += " Sign Sin Softplus Softsign Sqrt Tanh ThresholdedRelu IsNaN IsInf"
BINARY = "Add Sub Mul Div Max Min Pow PRelu Equal Greater GreaterOrEqual Less LessOrEqual"
LATER = {"Gelu": 20, "Mish": 18}


@pytest.mark.parametrize("op", [*UNARY.split(), *LATER])
def test_functions_of_a_number(op, tmp_path):
    same(one(op, "in0"), [WIDE], {}, tmp_path, LATER.get(op, 17))


@pytest.mark.parametrize("op", BINARY.split())
def test_functions_of_two_numbers(op, tmp_path):
    same(one(op, "in0", "in1"), [WIDE, WIDE[:, ::-1]], {}, tmp_path)


CASES = {
    "Gelu with tanh": (one("Gelu", "in0", approximate="tanh"), [normal(1, 50)], {}, 20),
    "Sum of three": (one("Sum", "in0", "in1", "in0"), [WIDE, WIDE], {}, 17),
    "Mod of signs": (one("Mod", "in0", "b"), [WHOLE], {"b": np.array(-4)}, 17),
    "Mod of C": (one("Mod", "in0", "b", fmod=1), [WHOLE], {"b": np.array(-4)}, 17),
    "Mod of fractions": (one("Mod", "in0", "b", fmod=1), [normal(1, 9)], {"b": np.float32(-0.3)}, 17),
    "Sign of whole numbers": (one("Sign", "in0"), [WHOLE], {}, 17),
    "Softmax before 13": (one("Softmax", "in0", axis=1), [normal(2, 3, 4)], {}, 11),
    "Softmax of an inner axis": (one("Softmax", "in0", axis=1), [normal(2, 3, 4)], {}, 13),
    "Pad that cuts": (one("Pad", "in0", "p"), [normal(1, 3, 5)], {"p": np.array([0, 0, -1, 0, 1, 2])}, 17),
    "Pad of an axis": (
        one("Pad", "in0", "p", "", "a"),
        [normal(1, 3)],
        {"p": np.array([1, 2]), "a": np.array([1])},
        18,
    ),
    "Pad that mirrors": (
        one("Pad", "in0", "p", mode="reflect"),
        [normal(1, 3, 5)],
        {"p": np.array([0, 0, 2, 0, 0, 1])},
        17,
    ),
    "Pad that repeats": (one("Pad", "in0", "p", mode="edge"), [normal(1, 3)], {"p": np.array([0, 2, 0, -1])}, 17),
    "Slice backward": (
        one("Slice", "in0", "a", "b", "c", "d"),
        [normal(1, 4, 3)],
        {"a": np.array([100]), "b": np.array([-100]), "c": np.array([1]), "d": np.array([-2])},
        17,
    ),
    "Gather from the end": (one("Gather", "e", "in0"), [np.array([[1, -2, 0]], "i4")], {"e": normal(4, 3)}, 17),
    "Gather in any order": (one("Gather", "in0", "i", axis=1), [normal(2, 3, 4)], {"i": np.array([2, 0, 0])}, 17),
    "Gather from both ends": (one("Gather", "in0", "i", axis=1), [normal(1, 4)], {"i": np.array([-1, 0, 0, -3])}, 17),
    "MatMul of two that change": (one("MatMul", "in0", "in1"), [normal(2, 3, 5), normal(1, 5, 4)], {}, 17),
    "MatMul from the left": (one("MatMul", "w", "in0"), [normal(5, 4)], {"w": normal(3, 5)}, 17),
    "Gemm": (one("Gemm", "in0", "w", "c", transB=1), [normal(2, 3)], {"w": normal(4, 3), "c": normal(2, 1)}, 17),
    "Gemm with factors": (
        one("Gemm", "in0", "w", "c", transA=1, alpha=0.5, beta=-2.0),
        [normal(3, 2)],
        {"w": normal(3, 4), "c": normal(4)},
        17,
    ),
    "Gemm with a factor and no start": (one("Gemm", "in0", "in1", alpha=3.0), [normal(2, 3), normal(3, 4)], {}, 17),
    "BatchNormalization": (
        one("BatchNormalization", "in0", "s", "b", "m", "v", epsilon=0.1),
        [normal(2, 3, 4)],
        {"s": normal(3), "b": normal(3), "m": normal(3), "v": np.square(normal(3))},
        17,
    ),
    "GlobalAveragePool": (one("GlobalAveragePool", "in0"), [normal(1, 3, 4, 5)], {}, 17),
    "GlobalMaxPool": (one("GlobalMaxPool", "in0"), [normal(1, 3, 9)], {}, 17),
    "Conv of groups": (
        one("Conv", "in0", "w", "b", group=2, strides=[2], dilations=[2], pads=[2, 1]),
        [normal(1, 4, 9)],
        {"w": normal(8, 2, 3), "b": normal(8)},
        17,
    ),
    "Conv over images": (
        one("Conv", "in0", "w", strides=[2, 1], dilations=[1, 2], pads=[1, 0, 2, 1]),
        [normal(1, 2, 6, 7)],
        {"w": normal(3, 2, 3, 2)},
        17,
    ),
    "MaxPool": (one("MaxPool", "in0", kernel_shape=[3, 2], pads=[1, 0, 2, 1]), [normal(1, 2, 6, 7)], {}, 17),
    "AveragePool": (one("AveragePool", "in0", kernel_shape=[3], pads=[1, 2], strides=[2]), [normal(1, 2, 9)], {}, 17),
    "ReduceL2": (one("ReduceL2", "in0", axes=[0, 2], keepdims=0), [normal(2, 3, 4)], {}, 17),
    "LayerNormalization": (one("LayerNormalization", "in0", "s", axis=1), [normal(1, 3, 4)], {"s": normal(3, 4)}, 17),
    "Concat twice": (one("Concat", "in0", "k", "in0", axis=-1), [normal(1, 2)], {"k": normal(1, 3)}, 17),
    "nothing to Concat": (one("Concat", "in0", "in1", axis=1), [normal(1, 2), normal(1, 0)], {}, 17),
}


@pytest.mark.parametrize("case", CASES)
def test_operators(case, tmp_path):
    nodes, arrays, constants, opset = CASES[case]
    same(nodes, arrays, constants, tmp_path, opset)


GATES = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
NUMBERS = {"LSTM": 4, "GRU": 3, "RNN": 1}


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize("op", GATES)
def test_recurrent_operators(op, direction, late, tmp_path):
    """Every result, with starts, other activations, and one and several steps."""
    count, gates = 1 + (direction == "bidirectional"), NUMBERS[op]
    weights = {"w": normal(count, gates * 3, 2), "r": normal(count, gates * 3, 3), "b": normal(count, 2 * gates * 3)}
    starts = [normal(count, 1, 3)] * (2 if op == "LSTM" else 1)
    options = {"hidden_size": 3, "direction": direction} | ({"linear_before_reset": late} if op == "GRU" else {})
    if late:
        options["activations"] = ["HardSigmoid" if f == "Sigmoid" else "Relu" for f in GATES[op]] * count
    names = [f"in{k + 1}" for k in range(len(starts))]
    for steps, outputs in ((3, ["y"]), (1, ["", "y"])):
        nodes = [helper.make_node(op, ["in0", "w", "r", "b", "", *names], outputs, **options)]
        same(nodes, [normal(steps, 1, 2), *starts], weights, folder_in(tmp_path, str(steps)))


def folder_in(folder, name):
    (folder / name).mkdir()
    return folder / name


def graph_of(nodes, outputs, inputs=()):
    entries = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in inputs]
    return helper.make_graph(nodes, "b", entries, [onnx.ValueInfoProto(name=name) for name in outputs])


@pytest.mark.parametrize("choice", [True, False])
def test_a_branch_that_is_known(choice, tmp_path):
    branches = {
        f"{name}_branch": graph_of([helper.make_node(op, ["in0"], ["t"])], ["t"])
        for name, op in (("then", "Tanh"), ("else", "Exp"))
    }
    same(one("If", "c", **branches), [normal(1, 3)], {"c": np.array(choice)}, tmp_path)


def test_a_loop_over_steps(tmp_path):
    nodes = [helper.make_node("Add", ["s", "x"], ["s2"]), helper.make_node("Tanh", ["s2"], ["o"])]
    body = graph_of(nodes, ["s2", "o"], ["s", "x"])
    scan = helper.make_node("Scan", ["in0", "in1"], ["end", "y"], body=body, num_scan_inputs=1)
    same([scan], [normal(1, 3), normal(4, 1, 3)], {}, tmp_path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 7, 15])
def test_a_number_that_is_not_finite_stays_so_in_a_product_of_8_bits(bad, place, tmp_path):
    x = normal(1, 16)
    model = model_of(one("MatMul", "in0", "w"), [x], {"w": normal(16, 8)}, 17)
    assert np.isfinite(in_c(model, [x], np.zeros((1, 8), "f4"), folder_in(tmp_path, "right"), "int8")).all()
    x[0, place] = bad
    assert np.isnan(in_c(model, [x], np.zeros((1, 8), "f4"), folder_in(tmp_path, "wrong"), "int8")).all()


def test_the_largest_sum_of_8_bits_fits(tmp_path):
    x, w = np.ones((1, 960), "f4"), np.ones((960, 2), "f4")
    model = model_of(one("MatMul", "in0", "w"), [x], {"w": w}, 17)
    np.testing.assert_allclose(in_c(model, [x], x @ w, tmp_path, "int8"), x @ w, rtol=1e-4)


@pytest.mark.parametrize("shape", [(100, 1), (1, 100)])
def test_a_matrix_of_one_row_or_column_is_not_rounded(shape):
    x = normal(1, shape[0])
    code = code_of(model_of(one("MatMul", "in0", "w"), [x], {"w": normal(*shape)}, 17), [x], "int8")
    assert "int8_t" not in code.arrays


def test_a_place_that_a_table_does_not_have_is_refused(tmp_path):
    model = model_of(one("Gather", "e", "in0"), [WHOLE[:, :1]], {"e": normal(4, 3)}, 17)
    for number, place in enumerate((-5, 4, 2**32, -(2**63))):
        with pytest.raises(AssertionError, match="refused"):
            in_c(model, [np.array([[place]])], np.zeros((1, 1, 3), "f4"), folder_in(tmp_path, str(number)))


x, r, w = normal(2, 1, 2), normal(1, 12, 3), normal(1, 12, 2)
REFUSED = {
    "CumSum": (one("CumSum", "in0", "a"), [normal(1, 3)], {"a": np.array(1)}, 17, "CumSum; make the model without"),
    "Pow": (one("Pow", "in0", "in0"), [WHOLE], {}, 17, "Pow is of int64"),
    "an old Slice": (one("Slice", "in0", starts=[1], ends=[2]), [normal(3)], {}, 9, "opset is 9; C code needs 11"),
    "a size of a step": (one("Reshape", "in0", "in1"), [normal(2, 3), np.array([3, 2])], {}, 17, "Reshape has a size"),
    "a mode": (one("Pad", "in0", "p", mode="wrap"), [normal(1, 3)], {"p": np.array([0, 1, 0, 1])}, 19, "mode wrap"),
    "a mirror": (one("Pad", "in0", "p", mode="reflect"), [normal(1, 3)], {"p": np.array([0, 3, 0, 0])}, 17, "mirrors"),
    "a value": (one("Pad", "in0", "p", "in1"), [normal(3), normal()], {"p": np.array([1, 0])}, 17, "only a step knows"),
    "peepholes": (
        one("LSTM", "in0", "w", "r", "", "", "", "", "p", hidden_size=3),
        [x],
        {"w": w, "r": r, "p": normal(1, 9)},
        17,
        "LSTM has layout, clip, input_forget or peepholes",
    ),
    "weights": (one("LSTM", "in0", "in1", "r", hidden_size=3), [x, w], {"r": r}, 17, "the weights in1 of a node LSTM"),
    "statistics": (
        one("BatchNormalization", "in0", "w", "w", "in1", "w"),
        [normal(1, 3), normal(3)],
        {"w": normal(3)},
        17,
        "BatchNormalization has statistics",
    ),
    "a vector": (one("MatMul", "in0", "w"), [normal(3)], {"w": normal(3, 2)}, 17, "MatMul has a vector"),
    "sizes up": (
        one("MaxPool", "in0", kernel_shape=[2], ceil_mode=1),
        [normal(1, 1, 3)],
        {},
        17,
        "MaxPool has ceil_mode",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_c_code_does_not_have_is_named(case):
    nodes, arrays, constants, opset, message = REFUSED[case]
    with pytest.raises(s2o.SpecError, match=message) as error:
        code_of(model_of(nodes, arrays, constants, opset), arrays)
    assert "; " in str(error.value), "says what to do"
