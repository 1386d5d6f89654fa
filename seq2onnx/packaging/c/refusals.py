"""What is said of a model that has no C code."""

from __future__ import annotations

from seq2onnx.errors import SpecError


def not_in_c(what: str) -> SpecError:
    """Return the error for something that a model has."""
    return SpecError(f"{what}, which C code does not have; make the model without it, or package it for another target")
