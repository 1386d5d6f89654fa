"""seq2onnx: describe a sequence network once, train it in torch, ship one ONNX file, run it anywhere.

Names are resolved when they are first used: importing this package imports none of torch, onnx, onnxruntime and
pydantic.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers; a test compares it with `_PUBLIC`
    from seq2onnx import (
        data as data,
        datasets as datasets,
        errors as errors,
        layers as layers,
        plots as plots,
        runtime as runtime,
        templates as templates,
        training as training,
    )
    from seq2onnx.data import (
        SequenceDataset as SequenceDataset,
        Vocabulary as Vocabulary,
        padding_report as padding_report,
    )
    from seq2onnx.errors import (
        DataError as DataError,
        MissingExtra as MissingExtra,
        ModelFileError as ModelFileError,
        NotStreamable as NotStreamable,
        Seq2OnnxError as Seq2OnnxError,
        ShapeError as ShapeError,
        SpecError as SpecError,
        StateError as StateError,
        StreamError as StreamError,
    )
    from seq2onnx.estimators import (
        SequenceClassifier as SequenceClassifier,
        SequenceRegressor as SequenceRegressor,
    )
    from seq2onnx.exporting import (
        export as export,
        restore as restore,
    )
    from seq2onnx.layers import *  # noqa: F403
    from seq2onnx.network import Network as Network
    from seq2onnx.parity import verify as verify
    from seq2onnx.runtime import (
        Predictor as Predictor,
        Stream as Stream,
        StreamPool as StreamPool,
        load as load,
        scores_to_labels as scores_to_labels,
    )
    from seq2onnx.sequences import (
        PaddingPolicy as PaddingPolicy,
        tokenize as tokenize,
    )
    from seq2onnx.training import (
        SequenceModule as SequenceModule,
        TrainingOptions as TrainingOptions,
        TrainingResult as TrainingResult,
        build as build,
        train as train,
    )

__version__ = "0.2.0.dev0"

_PUBLIC = {
    "": "data datasets errors layers plots runtime templates training",
    "data": "SequenceDataset Vocabulary padding_report",
    "errors": (
        "DataError MissingExtra ModelFileError NotStreamable Seq2OnnxError ShapeError SpecError StateError StreamError"
    ),
    "estimators": "SequenceClassifier SequenceRegressor",
    "exporting": "export restore",
    "network": "Network",
    "parity": "verify",
    "runtime": "Predictor Stream StreamPool load scores_to_labels",
    "sequences": "PaddingPolicy tokenize",
    "training": "SequenceModule TrainingOptions TrainingResult build train",
}
_HOME = {name: home for home, names in _PUBLIC.items() for name in names.split()}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    home = _HOME.get(name, "layers" if name[0].isupper() else None)
    if home is None or (home == "layers" and name not in _layer_names()):
        raise AttributeError(f"module 'seq2onnx' has no attribute {name!r}")
    if not home:
        return importlib.import_module(f"seq2onnx.{name}")
    value = getattr(importlib.import_module(f"seq2onnx.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_layer_names()})


def _layer_names() -> set[str]:
    """Return the names of the layers, which seq2onnx.layers lists."""
    layers = importlib.import_module("seq2onnx.layers")
    return set(layers.__all__) - set(layers.FOR_LAYER_AUTHORS)
