"""Limits for files that nobody vouches for. Each stands here with its reason; `trusted=True` lifts those of data files.

A file may need memory and time in proportion to its own size, and a fixed amount besides.
"""

from __future__ import annotations

from seq2onnx.errors import DataError

UNPACKED_BYTES = 2**28
"""Base limit for the arrays of a data file, in bytes."""
UNPACKED_PER_BYTE = 20
"""Additional limit per byte of the file. A file of zeros can be packed 1000 to 1."""

SECONDS_APART = 60.0
"""Base limit for a process that reads a file, in seconds of the processor."""
SECONDS_APART_PER_MEGABYTE = 1.0
"""Additional limit per megabyte of the file, in seconds."""
WAITING_APART = 4
"""The same process may take this many times as long by the clock, which also counts what else the machine does."""
MEMORY_APART = 2**30
"""Base limit for the memory of a process that reads a file, in bytes."""
MEMORY_APART_PER_BYTE = 200
"""Additional limit per byte of the file: numbers can be stored as text, or one number in each cell."""

SPEC_BYTES = 2**24
"""The size of a network, or of options, as YAML or JSON. A vocabulary of 100,000 words has about a megabyte."""
SPEC_VALUES = 300_000
"""The values in such a file. An alias of YAML counts as often as all that it repeats."""
SPEC_DEPTH = 50
"""The depth of lists and mappings in such a file."""
LAYERS = 10_000
"""The layers of a network in a file."""
PARAMETERS = 2**31
"""The weights of a network in a file: 8 GB."""

PADDED_BYTES = 2**24
"""A sequence may be padded to so many bytes, or as many as the longest of its batch has."""
STEPS = 2**31 - 1
"""The steps of a sequence, whose number is an int32 in every file."""

LINE_BYTES = 2**24
"""The length of a line that `seq2onnx stream` reads."""

TRUST = "; if you trust the file, read it with trusted=True, or --trusted"
"""The remedy in messages about a file that goes beyond a limit."""


def check_unpacked(path: object, declared: int, size: int, trusted: bool) -> None:
    """Raise DataError if the arrays of a file of `size` bytes would take too many bytes, unless it is trusted."""
    most = UNPACKED_BYTES + UNPACKED_PER_BYTE * size
    if not trusted and declared > most:
        raise DataError(
            f"{path}: has {size:,} bytes, and its arrays would take {declared:,}, more than the limit of {most:,}"
            f"{TRUST}"
        )


STACK = 65536
"""Bytes of stack that a step of generated C code may take, unless the caller gives another number."""
