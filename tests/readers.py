"""What tests of seq2onnx.data.formats.apart let a process of its own do."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

from seq2onnx.errors import DataError


def give(path: str, word: str) -> dict:
    print("a library prints")
    cells = np.empty((1, 2), object)
    cells[0] = np.arange(3), "x"
    content = open(path).read()  # noqa: PTH123, SIM115
    return {"content": content, "word": word, "none": None, "cells": cells, "scalar": np.array(2.5), "list": [1, "a"]}


def fail(path: str) -> None:
    raise DataError(f"{path}: is wrong")


def crash(path: str) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(path: str) -> None:
    time.sleep(1000)


def fill(path: str) -> int:
    return len(bytearray(2**40))


def mistake(path: str) -> None:
    raise ZeroDivisionError


def write_and_hang(path: str) -> None:
    from pathlib import Path

    Path(path).write_text(str(os.getpid()))
    while True:
        pass
