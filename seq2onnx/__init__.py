"""seq2onnx: describe a sequence network once, train it in torch, ship one ONNX file, run it anywhere.

__init__.pyi lists the public names. They are resolved when they are first used: importing this package imports none of
torch, onnx, onnxruntime and pydantic.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

__version__ = "0.3.0.dev0"

_HOME = {
    alias.name: node.module or ""
    for node in ast.parse(Path(__file__).with_name("__init__.pyi").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}
_LAYERS = _HOME.pop("*")  # they are listed in seq2onnx.layers

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME and not (name[0].isupper() and name in _layer_names()):
        raise AttributeError(f"module 'seq2onnx' has no attribute {name!r}")
    home = _HOME.get(name, _LAYERS)
    if home == __name__:
        return importlib.import_module(f"{home}.{name}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_layer_names()})


def _layer_names() -> set[str]:
    layers = importlib.import_module(_LAYERS)
    return set(layers.__all__) - set(layers.FOR_LAYER_AUTHORS)
