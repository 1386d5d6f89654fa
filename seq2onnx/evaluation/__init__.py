"""Predictions against targets: figures, tables of predictions, comparison of files, thresholds of alarms."""

from seq2onnx.evaluation.scores import ClassEvaluation, ClassFigures, NumberEvaluation, evaluate

__all__ = ["ClassEvaluation", "ClassFigures", "NumberEvaluation", "evaluate"]
