"""LEARN: networks as torch modules, and their training on pytorch-lightning."""

from seq2onnx.errors import require

require("torch", "pytorch_lightning", "safetensors", "torchmetrics", extra="train")

from seq2onnx.training.estimators import SequenceClassifier, SequenceRegressor  # noqa: E402
from seq2onnx.training.module import SequenceModule, build  # noqa: E402
from seq2onnx.training.options import TrainingOptions  # noqa: E402
from seq2onnx.training.run_folder import load_run  # noqa: E402
from seq2onnx.training.trainer import TrainingResult, train  # noqa: E402

__all__ = [
    "SequenceClassifier",
    "SequenceModule",
    "SequenceRegressor",
    "TrainingOptions",
    "TrainingResult",
    "build",
    "load_run",
    "train",
]
