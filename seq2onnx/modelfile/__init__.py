"""Model files, which may come from strangers: their bytes are checked before anything runs. Needs only numpy."""

from seq2onnx.modelfile.checking import CHANGED, CheckedFile, check_file, read_bytes, read_checked

__all__ = ["CHANGED", "CheckedFile", "check_file", "read_bytes", "read_checked"]
