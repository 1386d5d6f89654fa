"""Foreign ONNX files: read without trust, and brought over as layers."""
