"""The length of the longest row while a module is traced: torch.export knows no numbers, but this one is the steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

COPIES = {
    *("as_tensor", "clone", "contiguous", "cpu", "cuda", "detach", "flatten", "int", "long", "reshape"),
    *("requires_grad_", "squeeze", "to", "type", "view"),
}
"""Operators whose result has the numbers of their argument."""


class _LongestRow(TorchFunctionMode):
    """Gives the number of steps as the maximum of the lengths."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.lengths: list[Tensor] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, is_lengths = getattr(function, "__name__", ""), bool(args) and any(args[0] is x for x in self.lengths)
        if is_lengths and len(args) == 1 and not kwargs and name in ("max", "amax"):
            return torch.tensor(self.steps)
        found = function(*args, **(kwargs or {}))
        if is_lengths and name in COPIES:
            self.lengths.append(found)
        return found


@contextlib.contextmanager
def longest_row(module: nn.Module, lengths: Sequence[int], steps: int) -> Iterator[None]:
    """Let a module find `steps` as the maximum of its lengths, which are these of its flattened arguments."""
    mode = _LongestRow(steps)

    def note(_: nn.Module, arguments: Any) -> None:
        leaves = pytree.tree_leaves(arguments)
        mode.lengths = [leaves[i] for i in lengths if isinstance(leaves[i], Tensor)]

    handle = module.register_forward_pre_hook(note)
    try:
        with mode:
            yield
    finally:
        handle.remove()
