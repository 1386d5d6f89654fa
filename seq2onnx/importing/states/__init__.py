"""add_states: explicit states for foreign ONNX files."""
