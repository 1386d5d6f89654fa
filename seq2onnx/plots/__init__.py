"""SEE: pictures of training and of what a network answers; a function a picture, each takes and gives `ax`."""

from seq2onnx.errors import require

require("matplotlib", extra="train")

from seq2onnx.plots.confusion import confusion_chart  # noqa: E402
from seq2onnx.plots.padding import padding_bars  # noqa: E402
from seq2onnx.plots.scores import scores_over_time  # noqa: E402
from seq2onnx.plots.training import training_curve  # noqa: E402

__all__ = ["confusion_chart", "padding_bars", "scores_over_time", "training_curve"]
