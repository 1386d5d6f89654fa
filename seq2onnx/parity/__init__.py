"""Parity: comparisons of a file with its network and with itself, and `verify`, which reports them."""

import warnings

from seq2onnx.parity.comparing import TOLERANCE, ParityReport, ParityRow, compare
from seq2onnx.parity.verifying import verify

__all__ = ["TOLERANCE", "ParityReport", "ParityRow", "compare", "verify"]

_OLD_NAMES = {"Report": ParityReport, "Row": ParityRow}


def __getattr__(name: str) -> type:
    if name not in _OLD_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = _OLD_NAMES[name]
    warnings.warn(
        f"seq2onnx.parity.{name} is deprecated and goes with version 0.4; use seq2onnx.parity.{new.__name__}",
        DeprecationWarning,
        stacklevel=2,
    )
    return new
