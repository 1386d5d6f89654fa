"""Read a file in a process of its own, which ends if the library that reads it crashes, hangs or fills the memory.

The process sends plain arrays and JSON through a pipe. Nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import IO, Any

import numpy as np

from seq2onnx.errors import DataError, Seq2OnnxError

SECONDS = 60.0
"""A file may take so long, and longer if it is large."""
SECONDS_PER_MEGABYTE = 1.0
MEMORY = 2**30
"""The process may use so many bytes, and more if the file is large."""
MEMORY_PER_BYTE = 200

_PACKAGE = Path(__file__).resolve().parents[3]
_PROGRAM = "from seq2onnx.data.formats.apart import main; main()"


def read_apart(reader: str, path: str | Path, *arguments: str, kind: str, trusted: bool = False) -> Any:
    """Return what a function reads from a file: arrays in dicts, lists and tuples, strings and numbers.

    Args:
        reader: the function, "module:name"; it is called with the path and the arguments.
        path: the file.
        *arguments: further arguments.
        kind: what the file should be, for error messages.
        trusted: whether the file may take any time and memory.

    Raises:
        DataError: the process crashed, or went beyond a limit; or the function raised an error.
    """
    size = Path(path).stat().st_size
    seconds = None if trusted else SECONDS + SECONDS_PER_MEGABYTE * size / 2**20
    memory = 0 if trusted else MEMORY + MEMORY_PER_BYTE * size
    command = [sys.executable, "-P", "-c", _PROGRAM, reader, str(memory), str(path), *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(_PACKAGE), *sys.path]), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    assert process.stdout is not None
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    watch = threading.Timer(seconds or threading.TIMEOUT_MAX, end)
    watch.daemon = True
    watch.start()
    try:
        with process.stdout as pipe:
            answer = _receive(pipe)
    except (ValueError, EOFError, OSError, KeyError, TypeError):
        answer = None
    finally:
        watch.cancel()
        process.kill()
        process.wait()
    if answer is None or late.is_set():
        why = f"it took longer than {seconds:.0f} s" if late.is_set() else "the library that reads it crashed on it"
        raise DataError(f"{path}: is not {kind}, or is damaged: {why}; if you trust the file, read it with trusted=True")
    if "error" in answer:
        raise DataError(answer["error"])
    return answer["value"]


def main() -> None:
    """Read the file that the command line names, and send the result to standard output."""
    reader, memory, path, *arguments = sys.argv[1:]
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the arrays
    if int(memory):
        with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limit
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    module, name = reader.split(":")
    try:
        _send(pipe, {"value": getattr(importlib.import_module(module), name)(path, *arguments)})
    except MemoryError:
        _send(pipe, {"error": f"{path}: needs more than {int(memory) >> 20} MB of memory; is it damaged?"})
    except (Seq2OnnxError, OSError) as error:
        _send(pipe, {"error": str(error)})


def _send(pipe: IO[bytes], value: Any) -> None:
    arrays: list[Any] = []
    outline = json.dumps(_outline(value, arrays)).encode()
    pipe.write(len(outline).to_bytes(8, "little") + outline)
    stream: Any = types.SimpleNamespace(write=pipe.write)  # numpy would seek in a file object, which a pipe cannot
    for array in arrays:
        np.lib.format.write_array(stream, array, allow_pickle=False)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    size = int.from_bytes(_exactly(pipe, 8), "little")
    outline = json.loads(_exactly(pipe, size))
    stream: Any = types.SimpleNamespace(read=pipe.read)
    return _rebuild(outline, lambda: np.lib.format.read_array(stream, allow_pickle=False))


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    found = pipe.read(count)
    if len(found) < count:
        raise EOFError
    return found


def _outline(value: Any, arrays: list[Any]) -> Any:
    """Return a value as JSON in which {"array": shape} stands for each array; collect the arrays."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        return {"cells": list(value.shape), "items": [_outline(item, arrays) for item in value.flat]}
    if isinstance(value, np.ndarray):
        arrays.append(np.ascontiguousarray(value))
        return {"array": list(value.shape)}
    if isinstance(value, dict):
        return {"names": list(value), "items": [_outline(item, arrays) for item in value.values()]}
    if isinstance(value, list | tuple):
        return {"items": [_outline(item, arrays) for item in value]}
    return {"plain": value}


def _rebuild(outline: Any, read: Any) -> Any:
    if "plain" in outline:
        return outline["plain"]
    if "array" in outline:
        return read().reshape(outline["array"])  # write_array makes [1] of []
    items = [_rebuild(item, read) for item in outline["items"]]
    if "names" in outline:
        return dict(zip(outline["names"], items, strict=True))
    if "cells" not in outline:
        return items
    cells = np.empty(tuple(outline["cells"]), object)
    for place, item in enumerate(items):
        cells.flat[place] = item
    return cells
