"""Imports of networks trained elsewhere: compared with their source, or refused with the reason."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from seq2onnx.errors import require

if TYPE_CHECKING:
    from seq2onnx.importing.keras.models import from_keras
    from seq2onnx.importing.onnx.networks import from_onnx
    from seq2onnx.importing.states.adding_states import add_states
    from seq2onnx.importing.torch.modules import from_torch

_HOMES = {
    "add_states": ("states.adding_states", "onnx"),
    "from_keras": ("keras.models", "torch"),
    "from_onnx": ("onnx.networks", "onnx"),
    "from_torch": ("torch.modules", "torch"),
}
"""For each function its module, and the package that it needs."""

__all__ = ["add_states", "from_keras", "from_onnx", "from_torch"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, package = _HOMES[name]
    require(package, extra="train")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
