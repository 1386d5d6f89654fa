"""Networks trained elsewhere, as networks of layers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from seq2onnx.errors import require

if TYPE_CHECKING:
    from seq2onnx.importing.torch_modules import from_torch

_HOMES = {"from_torch": "torch_modules"}

__all__ = ["from_torch"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require("torch", extra="train")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
