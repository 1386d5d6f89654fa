"""Labels of users in pictures, letter by letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


def as_text(label: object) -> str:
    """`label` as text in which matplotlib sees no formula, as it does between two $; half a surrogate pair is a "?"."""
    return str(label).encode("utf-8", "replace").decode().replace("$", r"\$")


def add_legend(ax: Axes, entries: Sequence[Artist], labels: Sequence[object], **options: Any) -> None:
    """A legend of these entries, as `ax.legend` makes it; that one leaves out labels that begin with _."""
    legend = ax.legend(list(entries), [str(number) for number in range(len(labels))], **options)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(as_text(label))
