"""Make docs/layers.md from the docstrings of the layers: python tools/make_docs.py (seq2onnx installed)."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

from seq2onnx.layers import KINDS, Layer

PAGE = Path(__file__).resolve().parent.parent / "docs" / "layers.md"

HEAD = """# The layers

Made from the docstrings by `tools/make_docs.py`; a test fails where this page is stale.

Fields are positional in the order shown. Every layer also takes `name=`, and `inputs=[names]` where it does not
simply read the one before it. The name in YAML is the kind.

| layer | kind in YAML | |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    layers = sorted((cls for cls in KINDS.values() if cls.__module__.startswith("seq2onnx.")), key=lambda c: c.__name__)
    rows = [f"| [{c.__name__}](#{c.__name__.lower()}) | `{c.kind}` | {summary(c)} |" for c in layers]
    return HEAD + "\n".join(rows) + "\n" + "".join(section(c) for c in layers)


def summary(cls: type[Layer]) -> str:
    """The first sentence of the docstring."""
    return inspect.cleandoc(cls.__doc__ or "").splitlines()[0]


def section(cls: type[Layer]) -> str:
    """Heading, signature and docstring of a layer."""
    fields = [field for field in dataclasses.fields(cls) if field.name not in ("name", "inputs")]
    shown = ", ".join(
        f.name if f.default is dataclasses.MISSING else f"{f.name}={getattr(f.default, 'default', f.default)!r}"
        for f in fields
    )
    first, *rest = inspect.cleandoc(cls.__doc__ or "").split("\n", 1)
    return (
        f"\n## {cls.__name__}\n\n`{cls.__name__}({shown})`\n\n{first}\n\n```text\n{''.join(rest).strip(chr(10))}\n```\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
