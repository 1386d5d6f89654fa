"""Model files, which may come from strangers: their bytes are checked before anything runs. Needs only numpy."""

from seq2onnx.modelfile.checking import CheckedFile, check_file, read_bytes

__all__ = ["CheckedFile", "check_file", "read_bytes"]
