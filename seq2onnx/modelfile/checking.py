"""Read a model file, and check it by all rules before anything in it runs."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import NamedTuple

from seq2onnx.contract import KEY, Contract
from seq2onnx.errors import ModelFileError
from seq2onnx.file_kinds import instead
from seq2onnx.modelfile.contract_rules import check_classes_key, check_contract, check_texts
from seq2onnx.modelfile.foreign_rules import check_foreign
from seq2onnx.modelfile.graph_rules import check_changed, check_graph
from seq2onnx.modelfile.protos import FileContent, read_file

MOST_BYTES = 2**31 - 1
"""The largest file: what protobuf can hold."""

CHANGED = (
    "; use the file that seq2onnx wrote. If another program changed it on purpose, and you trust it, open it with "
    "allow_changed=True, or --allow-changed, and prove it with verify"
)


class CheckedFile(NamedTuple):
    """A file that keeps all rules.

    Attributes:
        path: where it was.
        content: its bytes.
        onnx: its parts.
        contract: its metadata.
        is_ours: whether it has only operators that files of seq2onnx have.
        allow_changed: whether another program may have changed it.
    """

    path: Path
    content: bytes
    onnx: FileContent
    contract: Contract
    is_ours: bool
    allow_changed: bool


def read_checked(path: str | Path, allow_changed: bool = False) -> CheckedFile:
    """Read a model file, and check it before anything in it runs.

    Raises:
        ModelFileError: as `read_bytes` and `check_file`.
        OSError: it cannot be read.
    """
    return check_file(read_bytes(Path(path)), Path(path), allow_changed)


def read_bytes(path: Path) -> bytes:
    """Read a model file.

    Raises:
        ModelFileError: it is not a regular file, or larger than 2 GB.
        FileNotFoundError: there is no such file.
        OSError: it cannot be read.
    """
    try:
        info = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise FileNotFoundError(f"{path}: there is no such file") from None
    if stat.S_ISDIR(info.st_mode):
        raise ModelFileError(instead(path, "a model") or f"{path}: is a folder, expected an ONNX file")
    if not stat.S_ISREG(info.st_mode):  # reading a pipe or a device might never end
        raise ModelFileError(f"{path}: is a pipe or a device; copy the model to a file")
    if info.st_size > MOST_BYTES:
        raise ModelFileError(f"{path}: has {info.st_size:,} bytes; ONNX files have at most {MOST_BYTES:,}")
    return path.read_bytes()


def check_file(content: bytes, path: Path, allow_changed: bool = False) -> CheckedFile:
    """Check a file before anything in it runs.

    Args:
        content: the bytes of the file.
        path: the file, for error messages.
        allow_changed: whether operators, sizes and other parts may be there that files of seq2onnx do not have.

    Raises:
        ModelFileError: the file breaks a rule.
    """
    try:
        onnx = read_file(content)
    except ModelFileError as error:
        broken = f"{path}: onnxruntime cannot open it: {error}; is it the exported file?"
        raise ModelFileError(instead(path, "a model") or broken) from None
    contract = Contract.from_json(onnx.metadata.get(KEY), path)
    try:
        check_texts(contract, onnx)
        if contract.network is None:
            check_foreign(content, onnx)
            checked = None
        elif allow_changed:
            check_changed(content, onnx)
            checked = None
        else:
            checked = check_graph(content, onnx)
        check_contract(contract, onnx.graph, checked)
        check_classes_key(contract, onnx)
    except ModelFileError as error:
        remedy = "" if "; use the" in str(error) else CHANGED
        raise ModelFileError(f"{path}: {error}{remedy}") from None
    return CheckedFile(path, content, onnx, contract, checked is not None, allow_changed)
