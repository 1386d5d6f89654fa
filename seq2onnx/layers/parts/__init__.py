"""Shared parts of the layers: torch functions and ONNX nodes, windows, frames, gates, initializers."""
