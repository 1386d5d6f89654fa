"""Target "c": one step of a stream as C99, made from the graph of a step file."""

from seq2onnx.packaging.c.package import step_source, write_c
from seq2onnx.packaging.c.ports import ports_of

__all__ = ["ports_of", "step_source", "write_c"]
