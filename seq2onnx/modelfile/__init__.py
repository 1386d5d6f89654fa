"""Model files, which may come from strangers: their bytes are checked before anything runs.

It needs numpy, and for files whose results may wait for later steps also what `seq2onnx.network` needs.
"""

from seq2onnx.modelfile.checking import CHANGED, CheckedFile, check_file, read_bytes, read_checked

__all__ = ["CHANGED", "CheckedFile", "check_file", "read_bytes", "read_checked"]
