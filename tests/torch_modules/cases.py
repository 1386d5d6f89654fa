"""A module with an example of its arguments: the cases of the other files."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

C, H, K = 6, 10, 4  # features, units, classes


@dataclasses.dataclass(frozen=True)
class Case:
    """A module, an example of its arguments, and the arguments of from_torch."""

    make: Any
    example: Any
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    streams: bool = True
    says: str = ""


def x(rows=2, steps=9, features=C):
    return torch.randn(rows, steps, features)


LIFTED: dict[str, Case] = {}
REFUSED: dict[str, Case] = {}


def lifted(example=None, streams=True, **options):
    """Register a module that must be lifted."""

    def register(make):
        LIFTED[make.__name__] = Case(make, x() if example is None else example, options, streams)
        return make

    return register


def refused(says, example=None, **options):
    """Register a module that must be refused, and what the refusal says."""

    def register(make):
        REFUSED[make.__name__] = Case(make, x() if example is None else example, options, says=says)
        return make

    return register
