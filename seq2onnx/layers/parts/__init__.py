"""What the layers share: their torch functions and ONNX nodes, windows, frames, gates, initializers."""
