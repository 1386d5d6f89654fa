"""Running exported files: needs only numpy and onnxruntime."""

from seq2onnx.errors import require

require("onnxruntime", extra="cpu")

from seq2onnx.runtime.labels import scores_to_labels  # noqa: E402
from seq2onnx.runtime.pool import StreamPool  # noqa: E402
from seq2onnx.runtime.predictor import Predictor, load  # noqa: E402
from seq2onnx.runtime.stream import Stream  # noqa: E402

__all__ = ["Predictor", "Stream", "StreamPool", "load", "scores_to_labels"]
