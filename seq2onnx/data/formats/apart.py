"""Read a file in a process of its own, which ends if the library that reads it crashes, hangs or fills the memory.

The process sends plain arrays and JSON through a pipe. Nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx import limits
from seq2onnx.errors import DataError, Seq2OnnxError

_PACKAGE = Path(__file__).resolve().parents[3]
_PROGRAM = "from seq2onnx.data.formats.apart import main; main()"
CRASHED = "the library that reads it crashed on it"
_OUT_OF_TIME = [signal.SIGXCPU] if hasattr(signal, "SIGXCPU") else []


def read_apart(reader: str, path: str | Path, *arguments: str, kind: str, trusted: bool = False) -> Any:
    """Return what a function reads from a file: arrays in dicts, lists and tuples, strings and numbers.

    Args:
        reader: the function, "module:name"; it is called with the path and the arguments.
        path: the file.
        *arguments: further arguments.
        kind: what the file should be, for error messages.
        trusted: whether the file may take any time and memory.
    """
    size = Path(path).stat().st_size
    seconds = limits.SECONDS_APART + limits.SECONDS_APART_PER_MEGABYTE * size / 2**20
    memory = 0 if trusted else limits.MEMORY_APART + limits.MEMORY_APART_PER_BYTE * size
    limit = str(0 if trusted else math.ceil(seconds))
    command = [sys.executable, "-P", "-c", _PROGRAM, reader, str(memory), limit, str(path), *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(_PACKAGE), *sys.path]), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    assert process.stdout is not None
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    # The system counts the time of the processor. The clock ends a process that waits, for example on a named pipe.
    watch = threading.Timer(threading.TIMEOUT_MAX if trusted else limits.WAITING_APART * seconds, end)
    watch.daemon = True
    watch.start()
    try:
        with process.stdout as pipe:
            answer = receive(pipe)
    except (ValueError, EOFError, OSError, KeyError, TypeError, RecursionError):
        answer = None
    finally:
        watch.cancel()
        process.kill()
        process.wait()
    if answer is None or late.is_set():
        why = CRASHED
        if late.is_set() or -process.returncode in _OUT_OF_TIME:
            why = f"reading took longer than {seconds:.0f} s{limits.TRUST}"
        raise DataError(f"{path}: is not {kind}, or is damaged: {why}")
    return value_of(answer)


def main() -> None:
    """Read the file that the command line names, and send the result to standard output."""
    reader, memory, seconds, path, *arguments = sys.argv[1:]
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the arrays
    if int(memory):
        with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limit
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 1))
    send_answer(pipe, reader, path, arguments, int(memory))


def send_answer(pipe: IO[bytes], reader: str, path: str, arguments: Sequence[str], memory: int = 0) -> None:
    """Call the function `reader` and send what it returns, or the text of its error; `memory` is the limit in bytes."""
    module, name = reader.split(":")
    try:
        _send(pipe, {"value": getattr(importlib.import_module(module), name)(path, *arguments)})
    except MemoryError:
        _send(pipe, {"error": f"{path}: reading needs more than {memory >> 20} MB of memory{limits.TRUST}"})
    except (Seq2OnnxError, OSError) as error:
        _send(pipe, {"error": str(error)})


def value_of(answer: Any) -> Any:
    """Return the value of an answer; raise DataError if it is an error."""
    if "error" in answer:
        raise DataError(answer["error"])
    return answer["value"]


def _send(pipe: IO[bytes], value: Any) -> None:
    arrays: list[Any] = []
    outline = json.dumps(_outline(value, arrays)).encode()
    pipe.write(len(outline).to_bytes(8, "little") + outline)
    stream: Any = types.SimpleNamespace(write=pipe.write)  # numpy would seek in a file object, which a pipe cannot
    for array in arrays:
        np.lib.format.write_array(stream, array, allow_pickle=False)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """Read an answer from a pipe."""
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
    return cell_array(tuple(outline["cells"]), items) if "cells" in outline else items


def cell_array(shape: tuple[int, ...], items: Sequence[Any]) -> NDArray[np.object_]:
    """Return an array of objects, of which each is an item; numpy would join items that are arrays."""
    cells = np.empty(shape, object)
    for place, item in enumerate(items):
        cells.flat[place] = item
    return cells
