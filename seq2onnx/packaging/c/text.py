"""Text of C: numbers, names, and expressions. Only these three enter the code, no text of a file."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable

from seq2onnx.texts import identifier

NUMBERS_OF_A_LINE = 12
_ATOM = re.compile(r"\w[\w.>-]*|[\w>-]+\[[^][]*\]|\w+\([^()]*\)")
_STATE = re.compile(r"state_\d+_")  # what comes before the layer in the name of a state


def number(value: object, dtype: str) -> str:
    """Return a number as C reads it back, in a type of numpy."""
    if dtype not in ("float32", "float64"):
        return str(int(value))  # type: ignore[call-overload]
    real = float(value)  # type: ignore[arg-type]
    if math.isnan(real):
        return "NAN"
    if math.isinf(real):
        return "INFINITY" if real > 0 else "-INFINITY"
    text = f"{real:.9g}" if dtype == "float32" else repr(real)
    text += "" if re.search("[.e]", text) else ".0"
    return text + ("f" if dtype == "float32" else "")


def atom(text: str) -> str:
    """Return an expression that can be an operand of any operator."""
    return text if _ATOM.fullmatch(text) else f"({text})"


def rows_of(texts: Iterable[str], in_a_line: int = NUMBERS_OF_A_LINE) -> str:
    """Return texts with commas between, as indented lines."""
    found = list(texts)
    lines = [", ".join(found[i : i + in_a_line]) for i in range(0, len(found), in_a_line)]
    return "    " + ",\n    ".join(lines)


def once(stem: str, taken: Container[str]) -> str:
    """Return a name, with a number where it is taken."""
    name, count = stem, 1
    while name in taken:
        count += 1
        name = f"{stem}_{count}"
    return name


_UNSAFE = re.compile(r"[a-zA-Z0-9]+|[A-Z0-9_]+|\w+_t|(str|mem|l?gamma|explicit)\w+")
"""Names that the headers of a compiler may have, as functions, types or macros."""


class Names:
    """Names for C, each given once."""

    def __init__(self, taken: Iterable[str], start: str) -> None:
        """Begin with names that are taken; all that begin with `start` are, too."""
        self._taken, self._start = set(taken), start
        self._names: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """Return the name that stands for a text of the file: of a tensor, or of a part of it."""
        if text not in self._names:
            self._names[text] = self.new(text)
        return self._names[text]

    def new(self, text: str) -> str:
        """Return a name that nothing else has."""
        text = _STATE.sub("", text)
        layer, _, node = text.rpartition("/")
        stem = identifier(f"{layer}_{node.lower()}" if layer else node)
        is_taken = _UNSAFE.fullmatch(stem) or stem.startswith(self._start)
        made = once(f"{stem}_of_net" if is_taken else stem, self._taken)
        self._taken.add(made)
        return made
