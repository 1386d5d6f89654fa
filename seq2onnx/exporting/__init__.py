"""Export a trained network to one ONNX file, and restore it from there."""

from seq2onnx.errors import require

require("onnx", extra="train")

from seq2onnx.exporting.exporter import build_model, export  # noqa: E402
from seq2onnx.exporting.options import ExportOptions  # noqa: E402
from seq2onnx.exporting.restorer import restore  # noqa: E402

__all__ = ["ExportOptions", "build_model", "export", "restore"]
