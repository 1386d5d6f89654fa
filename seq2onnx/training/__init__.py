"""Training with pytorch-lightning.

The names that need more packages than torch are resolved on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from seq2onnx.errors import require

require("torch", extra="train")

from seq2onnx.building import SequenceModule, append, build, without  # noqa: E402
from seq2onnx.training.options import TrainingOptions  # noqa: E402

if TYPE_CHECKING:
    from seq2onnx.training.calibration import calibrate_quantiles
    from seq2onnx.training.result import RunNotSaved, TrainingResult
    from seq2onnx.training.run_loading import load_run
    from seq2onnx.training.trainer import train

_HOMES = {"RunNotSaved": "result", "TrainingResult": "result", "load_run": "run_loading", "train": "trainer"}
_HOMES |= {"calibrate_quantiles": "calibration"}
_PACKAGES: dict[str, tuple[str, ...]] = {
    "calibration": ("torchmetrics",),
    "result": ("pytorch_lightning", "safetensors", "torchmetrics"),
    "run_loading": ("safetensors",),
    "trainer": ("pytorch_lightning", "safetensors", "torchmetrics"),
}

__all__ = [
    "RunNotSaved",
    "SequenceModule",
    "TrainingOptions",
    "TrainingResult",
    "append",
    "build",
    "calibrate_quantiles",
    "load_run",
    "train",
    "without",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require(*_PACKAGES[_HOMES[name]], extra="train")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
