"""Packages: a folder with a file and all that a program in another language needs to run it."""

from seq2onnx.packaging.packages import TARGETS, package
from seq2onnx.packaging.source import Source

__all__ = ["TARGETS", "Source", "package"]
