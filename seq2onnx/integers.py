"""Check arguments that must be whole numbers."""

from __future__ import annotations

import operator
from typing import Any

from seq2onnx.errors import SpecError


def whole_number(value: Any, where: str, least: int = 1, most: int | None = None) -> int:
    """Return `value`, an integer of Python or numpy and no bool, as an int; raise SpecError if it is out of range."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least or (most is not None and number > most):
        limits = f", at least {least}" if most is None else f" from {least} to {most}"
        raise SpecError(f"{where}: must be a whole number{limits}, got {value!r}")
    return number
