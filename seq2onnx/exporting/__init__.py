"""SHIP: a trained network as one ONNX file, and back."""

from seq2onnx.errors import require

require("onnx", extra="train")

from seq2onnx.exporting.exporter import build_model, export  # noqa: E402
from seq2onnx.exporting.restorer import restore  # noqa: E402

__all__ = ["build_model", "export", "restore"]
