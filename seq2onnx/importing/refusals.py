"""Refusals that say more than their text: what lies behind a node, and which options may help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from seq2onnx.errors import ImportRefused


class NodeRefused(ImportRefused):
    """A node that cannot be followed.

    Attributes:
        reached: how many nodes before it could be.
        behind: how many nodes need what it gives, and how many there are. None: no node is in the way.
    """

    def __init__(self, message: str, reached: int, behind: tuple[int, int] | None = None) -> None:
        super().__init__(message)
        self.reached, self.behind = reached, behind


class OptionNeeded(ImportRefused):
    """A refusal that an option may lift; `values` has for the name of the option the values to try."""

    def __init__(self, message: str, **values: Sequence[Any]) -> None:
        super().__init__(message)
        self.values = values


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it was raised for; `from None` hides these in tracebacks only."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
