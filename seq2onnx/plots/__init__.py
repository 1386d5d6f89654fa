"""Pictures of training and predictions. Each function draws one picture into `ax`, and returns it."""

from seq2onnx.errors import require

require("matplotlib", extra="train")

from seq2onnx.plots.activations import activations_heatmap  # noqa: E402
from seq2onnx.plots.alarms import alarms_over_time, misses_against_false_alarms  # noqa: E402
from seq2onnx.plots.bands import bands_over_time  # noqa: E402
from seq2onnx.plots.confusion import confusion_chart  # noqa: E402
from seq2onnx.plots.forecast import forecast_chart  # noqa: E402
from seq2onnx.plots.latency import accuracy_against_latency  # noqa: E402
from seq2onnx.plots.padding import padding_bars  # noqa: E402
from seq2onnx.plots.png import as_png  # noqa: E402
from seq2onnx.plots.regression import predicted_against_true, series_over_time  # noqa: E402
from seq2onnx.plots.scores import scores_over_time  # noqa: E402
from seq2onnx.plots.training import training_curve  # noqa: E402

__all__ = [
    "accuracy_against_latency",
    "activations_heatmap",
    "alarms_over_time",
    "as_png",
    "bands_over_time",
    "confusion_chart",
    "forecast_chart",
    "misses_against_false_alarms",
    "padding_bars",
    "predicted_against_true",
    "scores_over_time",
    "series_over_time",
    "training_curve",
]
