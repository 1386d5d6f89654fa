"""Tables of text that fit a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence

from seq2onnx.texts import html

WIDTH = 80
LEAST_WIDTH = 8  # of a column whose cells are continued on the next line


class ShownAsText:
    """What prints as text that fits 80 columns, and shows it in notebooks."""

    def _repr_html_(self) -> str:
        return as_html(str(self))


def as_html(text: str) -> str:
    """Return text that is in columns as HTML."""
    return f'<pre style="line-height: 1.25">{html(text)}</pre>'


def text_table(
    rows: Sequence[Sequence[object]], right: Collection[int] = (), *, rule: bool = False, width: int = WIDTH
) -> str:
    """Return rows in columns. Cells that are too long continue on the next line.

    Args:
        rows: the cells; the first row is usually the head.
        right: the columns that are aligned on the right. They are never continued.
        rule: whether a line follows the first row.
        width: the longest line.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > width:
        place = max((i for i in range(len(widths)) if i not in right), key=widths.__getitem__, default=None)
        if place is None or widths[place] <= LEAST_WIDTH:
            break
        widths[place] -= 1
    lines: list[str] = []
    for row in cells:
        parts = [_wrapped(cell, size) for cell, size in zip(row, widths, strict=True)]
        for number in range(max(map(len, parts))):
            texts = [part[number] if number < len(part) else "" for part in parts]
            padded = [
                f"{t:>{w}}" if i in right else f"{t:<{w}}" for i, (t, w) in enumerate(zip(texts, widths, strict=True))
            ]
            lines.append("  ".join(padded).rstrip())
        if rule:
            lines.append("  ".join("-" * size for size in widths))
            rule = False
    return "\n".join(lines)


def about(name: object, text: str, width: int = WIDTH) -> str:
    """Return "name: text", on several lines if it is too long for one."""
    line = f"{name}: {text}"
    if len(line) <= width:
        return line
    return "\n".join([*_wrapped(f"{name}:", width), *_wrapped(text, width)])


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]
