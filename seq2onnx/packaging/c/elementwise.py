"""Operators that calculate each number from the numbers at the same place, as expressions of C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seq2onnx.errors import SpecError
from seq2onnx.packaging.c.memory import C_TYPES
from seq2onnx.packaging.c.text import atom, number

EXPRESSIONS = {
    "Abs": "fabs{f}({a})",
    "Add": "{0} + {1}",
    "And": "{0} && {1}",
    "Cast": "({type}){0}",
    "Ceil": "ceil{f}({a})",
    "Celu": "larger{t}({a}, 0.0{f}) + smaller{t}({alpha} * expm1{f}({0} / {alpha}), 0.0{f})",
    "Clip": "smaller{t}(larger{t}({a}, {b}), {2})",
    "Cos": "cos{f}({a})",
    "Div": "{0} / {1}",
    "Elu": "{0} < 0.0{f} ? {alpha} * expm1{f}({a}) : {0}",
    "Equal": "{0} == {1}",
    "Erf": "erf{f}({a})",
    "Exp": "exp{f}({a})",
    "Floor": "floor{f}({a})",
    "Gelu": "0.5{f} * {0} * (1.0{f} + erf{f}({0} * 0.70710678118654752{f}))",
    "Greater": "{0} > {1}",
    "GreaterOrEqual": "{0} >= {1}",
    "HardSigmoid": "smaller{t}(larger{t}({alpha} * {0} + {beta}, 0.0{f}), 1.0{f})",
    "HardSwish": "{0} * smaller{t}(larger{t}({0} / 6.0{f} + 0.5{f}, 0.0{f}), 1.0{f})",
    "IsInf": "isinf({a}) != 0",
    "IsNaN": "{0} != {0}",
    "LeakyRelu": "{0} < 0.0{f} ? {alpha} * {0} : {0}",
    "Less": "{0} < {1}",
    "LessOrEqual": "{0} <= {1}",
    "Log": "log{f}({a})",
    "Max": "larger{t}({a}, {b})",
    "Min": "smaller{t}({a}, {b})",
    "Mish": "{0} * tangent{t}(larger{t}({a}, 0.0{f}) + log1p{f}(exp{f}(-fabs{f}({a}))))",
    "Mod": "fmod{f}({a}, {b})",
    "Mul": "{0} * {1}",
    "Neg": "-{0}",
    "Not": "!{0}",
    "Or": "{0} || {1}",
    "PRelu": "{0} < 0.0{f} ? {1} * {0} : {0}",
    "Pow": "pow{f}({a}, {b})",
    "Reciprocal": "1.0{f} / {0}",
    "Relu": "larger{t}({a}, 0.0{f})",
    "Round": "rint{f}({a})",
    "Selu": "{gamma} * ({0} > 0.0{f} ? {0} : {alpha} * expm1{f}({a}))",
    "Sigmoid": "sigmoid{t}({a})",
    "Sign": "{0} != {0} ? {0} : ({type})(({0} > 0) - ({0} < 0))",
    "Sin": "sin{f}({a})",
    "Softplus": "larger{t}({a}, 0.0{f}) + log1p{f}(exp{f}(-fabs{f}({a})))",
    "Softsign": "{0} / (1.0{f} + fabs{f}({a}))",
    "Sqrt": "sqrt{f}({a})",
    "Sub": "{0} - {1}",
    "Sum": "",
    "Tanh": "tangent{t}({a})",
    "ThresholdedRelu": "{0} > {alpha} ? {0} : 0.0{f}",
    "Where": "{0} ? {1} : {2}",
    "Xor": "{0} != {1}",
}
"""C code by operator. {0}, {1}, {2} are the operands, and {a}, {b} those of a call; {f} is the ending of the names for
float, {t} that of the functions of a type."""
_OF_INTEGERS = {
    "Abs": "{0} < 0 ? -{0} : {0}",
    "Mod": "remainder_of{t}({a}, {b})",
    "Relu": "larger{t}({a}, 0)",
    "Sign": "({type})(({0} > 0) - ({0} < 0))",
}
_NEEDS_FRACTIONS = frozenset(["Pow", "Reciprocal"])
_GELU = "0.5{f} * {0} * (1.0{f} + tangent{t}(0.79788456080286536{f} * ({0} + 0.044715{f} * {0} * {0} * {0})))"
_DEFAULTS: dict[str, dict[str, float]] = {
    "Celu": {"alpha": 1.0},
    "Elu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "LeakyRelu": {"alpha": 0.01},
    "ThresholdedRelu": {"alpha": 1.0},
    "Selu": {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875},
}
_ENDINGS = {"float32": "", "float64": "_double", "int32": "_int32", "int64": "_int64", "bool": "_int32"}
OPERATORS = EXPRESSIONS.keys()


def expression(op: str, operands: Sequence[str], attributes: Mapping[str, Any], read: str, made: str) -> str:
    """Return an operator as C code.

    Args:
        op: its name.
        operands: C code of its inputs, "" where one is absent.
        attributes: those of the node.
        read: the type of its first input, as numpy names it.
        made: the type of its result.

    Raises:
        SpecError: the operator needs numbers with a fraction.
    """
    terms = [atom(text) for text in operands]
    values = {"f": "f" if read == "float32" else "", "t": _ENDINGS[read], "type": C_TYPES[made]}
    numbers = _DEFAULTS.get(op, {}) | {key: v for key, v in attributes.items() if isinstance(v, float)}
    values |= {key: number(value, read) for key, value in numbers.items()}
    is_real = read.startswith("float")
    if not is_real and op in _NEEDS_FRACTIONS:
        raise SpecError(f"a node {op} is of {read}, which C code does not have; put a Cast to float32 before it")
    if op in ("Max", "Min", "Clip"):
        return _bounded(op, operands, values["t"])
    if op == "Sum":
        return " + ".join(terms)
    if op == "Gelu" and attributes.get("approximate") == b"tanh":
        return _GELU.format(*terms, **values)
    if op == "Mod" and not is_real and attributes.get("fmod", 0):
        return f"{terms[0]} % {terms[1]}"
    if op == "Cast" and made == "bool":
        return f"{terms[0]} != 0"
    if op == "Cast" and is_real and made.startswith("int"):
        return f"whole{values['t']}_{made}({operands[0]})"
    if op == "Pow" and operands[1] in ("2.0f", "2.0"):
        return f"{terms[0]} * {terms[0]}"
    text = EXPRESSIONS[op] if is_real or op not in _OF_INTEGERS else _OF_INTEGERS[op]
    return text.format(*terms, a=operands[0], b=operands[-1], **values)


def _bounded(op: str, operands: Sequence[str], ending: str) -> str:
    """Return the larger or smaller of two or more operands, or one between bounds of which some are absent."""
    text, *others = operands
    names = ("larger", "smaller") if op == "Clip" else ("larger" if op == "Max" else "smaller",) * len(others)
    for name, other in zip(names, others, strict=False):
        if other:
            text = f"{name}{ending}({text}, {other})"
    return text


def repeats(op: str) -> bool:
    """Whether the C code of an operator has its first operand more than once."""
    return EXPRESSIONS.get(op, "").count("{0}") + EXPRESSIONS.get(op, "").count("{a}") > 1 or op in ("Pow", "Abs")
