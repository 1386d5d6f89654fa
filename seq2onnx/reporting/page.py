"""Build a self-contained HTML page: no scripts, no other files, no network access."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from seq2onnx.texts import fill, html as escape

# The page and its style. Its policy forbids the browser to load anything; pictures are embedded.
TEMPLATE = Path(__file__).with_name("page.html")


def html_page(title: str, subtitle: str, parts: Iterable[str]) -> bytes:
    """Build the whole page from its heading and the line below it, as text, and its content, as HTML."""
    values = {"TITLE": escape(title), "SUBTITLE": escape(subtitle), "CONTENT": "\n".join(parts)}
    return fill(TEMPLATE.read_text(encoding="utf-8"), values).encode()


def section(title: str, *parts: str) -> str:
    """Put a heading above HTML parts."""
    return "\n".join(["<section>", f"<h2>{escape(title)}</h2>", *parts, "</section>"])


def paragraph(text: str, style: str = "") -> str:
    """Make a paragraph of text; style: good, bad or soft."""
    return f"<p{_class(style)}>{escape(text)}</p>"


def spaced(name: str) -> str:
    """Return a name of Python as words."""
    return name.replace("_", " ")


def key_figures(figures: Iterable[tuple[str, str]]) -> str:
    """Show pairs of name and value in large type."""
    entries = "\n".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in figures)
    return f"<dl>\n{entries}\n</dl>"


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], numeric: Collection[int] = (), caption: str = ""
) -> str:
    """Make a table; the first cell of each row is its header, and the cells "ok" and "FAILED" are coloured.

    The columns in `numeric` are aligned on the right. The caption is above the table.
    """
    lines = ['<div class="wide">', "<table>"]
    if caption:
        lines.append(f"<caption>{escape(caption)}</caption>")
    cells = [f'<th scope="col"{_class("number" * (i in numeric))}>{escape(cell)}</th>' for i, cell in enumerate(head)]
    lines += ["<thead>", f"<tr>{''.join(cells)}</tr>", "</thead>", "<tbody>"]
    for first, *rest in rows:
        cells = [f'<th scope="row"{_class("number" * (0 in numeric))}>{escape(first)}</th>']
        for column, cell in enumerate(rest, 1):
            style = {"ok": "good", "FAILED": "bad"}.get(str(cell), "number" * (column in numeric))
            cells.append(f"<td{_class(style)}>{escape(cell)}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</tbody>", "</table>", "</div>"])


def picture(png: bytes, alt: str, caption: str) -> str:
    """Embed a PNG file of 120 dots per inch, with a text for readers who cannot see it, and the text below it."""
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))  # in the header of the PNG file
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    size = f'width="{width * 4 // 5}" height="{height * 4 // 5}"'
    image = f'<img src="{source}" {size} alt="{escape(alt)}">'
    return f"<figure>\n{image}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
