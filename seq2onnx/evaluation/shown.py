"""Evaluations print as tables."""

from __future__ import annotations

from typing import Any

from seq2onnx.tables import ShownAsText


class Shown(ShownAsText):
    """An evaluation, which prints as the tables of `seq2onnx evaluate`."""

    def __str__(self: Any) -> str:
        """Return the tables."""
        from seq2onnx.evaluation.tables import evaluation_text

        return evaluation_text(self)

    def __repr__(self: Any) -> str:
        """Return the main figures in one line."""
        from seq2onnx.evaluation.tables import evaluation_line

        return f"{type(self).__name__}({evaluation_line(self)})"
