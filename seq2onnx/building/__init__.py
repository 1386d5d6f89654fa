"""The torch form of a network: SequenceModule, build, append, and the checks of data against a network."""

from seq2onnx.errors import require

require("torch", extra="train")

from seq2onnx.building.appending import append, without  # noqa: E402
from seq2onnx.building.module import SequenceModule, build  # noqa: E402

__all__ = ["SequenceModule", "append", "build", "without"]
