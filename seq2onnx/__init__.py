"""seq2onnx: describe a sequence network once, train it in torch, ship one ONNX file, run it anywhere.

Names are resolved when they are first used: importing this package imports neither torch nor onnx nor
onnxruntime nor pydantic.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seq2onnx import datasets, layers, plots, runtime, templates
    from seq2onnx.data import SequenceDataset, Vocabulary, padding_report
    from seq2onnx.errors import (
        DataError,
        MissingExtra,
        ModelFileError,
        NotStreamable,
        Seq2OnnxError,
        ShapeError,
        SpecError,
        StateError,
        StreamError,
    )
    from seq2onnx.estimators import SequenceClassifier, SequenceRegressor
    from seq2onnx.exporting import export, restore
    from seq2onnx.layers import *  # noqa: F403
    from seq2onnx.network import Network
    from seq2onnx.parity import verify
    from seq2onnx.runtime import Predictor, Stream, StreamPool, load, scores_to_labels
    from seq2onnx.sequences import tokenize
    from seq2onnx.training import SequenceModule, TrainingOptions, TrainingResult, build, train

__version__ = "0.1.0"

_HOMES = {
    "": ("datasets", "layers", "plots", "runtime", "templates"),
    "data": ("SequenceDataset", "Vocabulary", "padding_report"),
    "errors": (
        "DataError",
        "MissingExtra",
        "ModelFileError",
        "NotStreamable",
        "Seq2OnnxError",
        "ShapeError",
        "SpecError",
        "StateError",
        "StreamError",
    ),
    "estimators": ("SequenceClassifier", "SequenceRegressor"),
    "exporting": ("export", "restore"),
    "network": ("Network",),
    "parity": ("verify",),
    "runtime": ("Predictor", "Stream", "StreamPool", "load", "scores_to_labels"),
    "sequences": ("tokenize",),
    "training": ("SequenceModule", "TrainingOptions", "TrainingResult", "build", "train"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DataError",
    "MissingExtra",
    "ModelFileError",
    "Network",
    "NotStreamable",
    "Predictor",
    "Seq2OnnxError",
    "SequenceClassifier",
    "SequenceDataset",
    "SequenceModule",
    "SequenceRegressor",
    "ShapeError",
    "SpecError",
    "StateError",
    "Stream",
    "StreamError",
    "StreamPool",
    "TrainingOptions",
    "TrainingResult",
    "Vocabulary",
    "build",
    "datasets",
    "export",
    "layers",
    "load",
    "padding_report",
    "plots",
    "restore",
    "runtime",
    "scores_to_labels",
    "templates",
    "tokenize",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        home = _HOME[name]
    elif name[0].isupper() and name in importlib.import_module("seq2onnx.layers").__all__:
        home = "layers"  # every layer is a public name, and is listed there alone
    else:
        raise AttributeError(f"module 'seq2onnx' has no attribute {name!r}")
    if not home:
        return importlib.import_module(f"seq2onnx.{name}")
    value = getattr(importlib.import_module(f"seq2onnx.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    layers = importlib.import_module("seq2onnx.layers").__all__
    return sorted({*__all__, *(name for name in layers if name[0].isupper())})
