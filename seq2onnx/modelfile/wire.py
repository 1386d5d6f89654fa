"""The wire format of protobuf: the fields of a message, as places in the bytes of the file."""

from __future__ import annotations

import re

from seq2onnx.errors import ModelFileError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# The integers of an attribute, one after another.
_INTS = re.compile(rb"(?:\x40[\x80-\xff]{0,8}[\x00-\x7f])+")

Field = tuple[int, int, int]
"""The tag (number · 8 + wire type), and the value of an integer, or the start and stop of anything else."""


def fields(content: bytes, start: int, stop: int, what: str, long: bool = False) -> list[Field]:
    """Read the fields of the message content[start:stop]. No value is copied.

    Args:
        content: the file.
        start: where the message begins.
        stop: where it ends.
        what: the kind of message, for the error.
        long: whether it is an attribute with a list of many thousands of integers or texts: those that follow each
            other are then returned as one field, from the start of the first to the stop of the last.

    Raises:
        ModelFileError: these bytes are no message.
    """
    entries: list[Field] = []
    at = start
    try:
        while at < stop:
            tag = content[at]
            if long and tag in (8 << 3 | VARINT, 9 << 3 | BYTES):
                end = _end_of_list(content, at, stop)
                if end > at:
                    entries.append((tag, at, end))
                    at = end
                    continue
            at += 1
            if tag > 127:
                tag, at = varint(content, at - 1)
            kind = tag & 7
            if kind == BYTES:
                size = content[at]
                at += 1
                if size > 127:
                    size, at = varint(content, at - 1)
                end = at + size
                entries.append((tag, at, end))
                at = end
            elif kind == VARINT:
                value = content[at]
                at += 1
                if value > 127:
                    value, at = varint(content, at - 1)
                entries.append((tag, value, 0))
            elif kind in (FIXED32, FIXED64):
                end = at + (4 if kind == FIXED32 else 8)
                entries.append((tag, at, end))
                at = end
            else:
                raise ModelFileError(
                    f"a field of {what} at byte {at} has the wire type {kind}, which ONNX does not use"
                )
            if tag < 8:
                raise ModelFileError(f"a field of {what} at byte {at} has the number 0")
    except IndexError:
        at = stop + 1
    if at != stop:
        raise ModelFileError(f"a field of {what} ends after byte {stop}, where its message ends")
    return entries


def _end_of_list(content: bytes, start: int, stop: int) -> int:
    """Return where the integers or the short texts of an attribute end that follow each other from `start`."""
    if content[start] == 8 << 3 | VARINT:
        match = _INTS.match(content, start, stop)
        return start if match is None else match.end()
    at = start
    while at < stop - 1 and content[at] == 9 << 3 | BYTES and content[at + 1] < 128:
        at += 2 + content[at + 1]
    return at


def packed(content: bytes, start: int, stop: int) -> list[int]:
    """Read the integers of a packed field."""
    values = []
    try:
        while start < stop:
            value, start = varint(content, start)
            values.append(signed(value))
    except IndexError:
        start = stop + 1
    if start != stop:
        raise ModelFileError(f"a list of integers ends after byte {stop}, where its field ends")
    return values


def signed(value: int) -> int:
    """Return an int64 that was read as an unsigned number."""
    return value - 2**64 if value >= 2**63 else value


def text(content: bytes, start: int, stop: int) -> str:
    """Decode UTF-8."""
    try:
        return content[start:stop].decode()
    except UnicodeDecodeError:
        raise ModelFileError(f"the text {content[start:stop][:60]!r} is not UTF-8") from None


def varint(content: bytes, at: int) -> tuple[int, int]:
    """Read an integer; return it and where it ends."""
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        if shift > 63:
            raise ModelFileError(f"the number at byte {at} has more than 10 bytes")
    if value >= 2**64:
        raise ModelFileError(f"the number at byte {at} has more than 64 bits")
    return value, at
