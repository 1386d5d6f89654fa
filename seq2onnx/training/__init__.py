"""Networks as torch modules, and their training with pytorch-lightning.

Names are resolved on first use: `build` needs torch, and `train` needs pytorch-lightning as well.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from seq2onnx.errors import require

if TYPE_CHECKING:
    from seq2onnx.training.module import SequenceModule, build
    from seq2onnx.training.options import TrainingOptions
    from seq2onnx.training.run_folder import load_run
    from seq2onnx.training.trainer import RunNotSaved, TrainingResult, train

require("torch", extra="train")

_HOMES = {
    "module": ("SequenceModule", "build"),
    "options": ("TrainingOptions",),
    "run_folder": ("load_run",),
    "trainer": ("RunNotSaved", "TrainingResult", "train"),
}
# What these modules need besides torch.
_PACKAGES = {"run_folder": ("safetensors",), "trainer": ("pytorch_lightning", "safetensors", "torchmetrics")}

__all__ = ["RunNotSaved", "SequenceModule", "TrainingOptions", "TrainingResult", "build", "load_run", "train"]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            require(*_PACKAGES.get(module, ()), extra="train")
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
