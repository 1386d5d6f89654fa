"""The parts of an HTML page that needs nothing but itself: no script, no file beside it, no network."""

from __future__ import annotations

import base64
import html
from collections.abc import Collection, Iterable, Sequence

# Nothing may be fetched, whatever stands in the page; pictures are in it.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1f23; --soft: #57606a; --line: #d0d7de; --good: #116329;
  --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --back: #15191e; --text: #e6e9ec; --soft: #a3acb5; --line: #3b434c;
  --good: #6fd08c; --bad: #ff8f85; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 58rem; padding: 1.5rem 1rem 4rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
p { margin: .5rem 0; max-width: 46rem; }
.soft, figcaption, caption { color: var(--soft); font-size: .9rem; }
dl { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1.2rem 0; }
dl div { border: 1px solid var(--line); border-radius: .4rem; padding: .5rem .8rem; min-width: 8rem; flex: 1 0 8rem; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; font-size: 1.2rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .9rem; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem 1.1rem .25rem 0; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 600; }
tbody th { font-weight: 500; }
@media (min-width: 40rem) { caption { white-space: nowrap; } }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 700; }
figure { margin: 1rem 0; }
figure img { max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line); border-radius: .3rem; }
@media print { :root { color-scheme: light; --back: #fff; --text: #000; --soft: #333; --line: #999; --good: #000;
  --bad: #000; } body { padding: 0; max-width: none; font-size: 10pt; } .wide { overflow: visible; }
  h2 { break-after: avoid; } figure, tr, dl div { break-inside: avoid; } figure img { max-height: 11cm; width: auto; } }
"""


def escaped(text: object) -> str:
    """Text as HTML shows it, in an element or an attribute."""
    return html.escape(str(text), quote=True)


def page(title: str, lead: str, parts: Iterable[str]) -> bytes:
    """The whole page; title and lead are text, parts are HTML."""
    content = "\n".join(parts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escaped(POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escaped(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{escaped(title)}</h1>
<p class="soft">{escaped(lead)}</p>
</header>
<main>
{content}
</main>
</body>
</html>
""".encode("utf-8", "replace")  # a file name may hold what is no text


def section(title: str, *parts: str) -> str:
    """A heading, and HTML below it."""
    return "\n".join(["<section>", f"<h2>{escaped(title)}</h2>", *parts, "</section>"])


def paragraph(text: str, kind: str = "") -> str:
    """Text; kind: good, bad or soft."""
    return f"<p{_kind(kind)}>{escaped(text)}</p>"


def key_figures(figures: Sequence[tuple[str, str]]) -> str:
    """What matters most, large: (name, value)."""
    entries = "\n".join(f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in figures)
    return f"<dl>\n{entries}\n</dl>"


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], numbers: Collection[int] = (), caption: str = ""
) -> str:
    """A table whose rows are named by their first cells; numbers: which columns are set to the right.

    A cell "ok" or "FAILED" is coloured as well.
    """
    lines = ['<div class="wide">', "<table>"]
    if caption:
        lines.append(f"<caption>{escaped(caption)}</caption>")
    cells = [f'<th scope="col"{_kind("number" * (i in numbers))}>{escaped(cell)}</th>' for i, cell in enumerate(head)]
    lines += ["<thead>", f"<tr>{''.join(cells)}</tr>", "</thead>", "<tbody>"]
    for first, *rest in rows:
        cells = [f'<th scope="row"{_kind("number" * (0 in numbers))}>{escaped(first)}</th>']
        for place, cell in enumerate(rest, 1):
            kind = {"ok": "good", "FAILED": "bad"}.get(str(cell), "number" * (place in numbers))
            cells.append(f"<td{_kind(kind)}>{escaped(cell)}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</tbody>", "</table>", "</div>"])


def picture(png: bytes, says: str, caption: str) -> str:
    """A picture of 120 dots an inch in the page; says: what it shows, for who cannot see it."""
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))  # of a PNG file's header
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return "\n".join(
        [
            "<figure>",
            f'<img src="{source}" width="{width * 4 // 5}" height="{height * 4 // 5}" alt="{escaped(says)}">',
            f"<figcaption>{escaped(caption)}</figcaption>",
            "</figure>",
        ]
    )


def _kind(name: str) -> str:
    return f' class="{name}"' if name else ""
