"""Modules that take one step and their states, as modules of sequences: a loop over steps calls them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from seq2onnx.errors import ImportRefused, SpecError
from seq2onnx.importing.torch.trace import with_rows

STEPS = 3
"""The steps of the example that a module of sequences gets."""


class OverSteps(nn.Module):
    """Calls a module for each step of x [batch, time, …], with the states that the call before has returned."""

    step: nn.Module
    rows: int

    def __init__(self, module: nn.Module, states: tuple[Any, ...], rows: int) -> None:
        super().__init__()
        # The parts of the module are those of this one, so that they have the same names.
        self._modules, self._parameters, self._buffers = module._modules, module._parameters, module._buffers
        self.__dict__ |= {"step": module, "rows": rows}
        self.leaves, self.nesting = pytree.tree_flatten(states)

    def forward(self, x: Tensor) -> Tensor:
        """Return the answers [batch, time, …] to x."""
        states = [torch.zeros(with_rows(leaf, self.rows, len(x))).to(leaf) for leaf in self.leaves]
        answers, before = [], self.step.training
        self.step.training = self.training
        try:
            for step in x.unbind(1):
                found = pytree.tree_leaves(self.step(step, *pytree.tree_unflatten(states, self.nesting)))
                answers.append(found[0])
                states = self._states(found)
        finally:
            self.step.training = before
        return torch.stack(answers, 1)

    def _states(self, found: list[Any]) -> list[Any]:
        """Return the new states among what the module returns: the last tensors, in the order of the arguments."""
        count = len(self.leaves)
        states, expected = found[-count:] if count else [], [list(leaf.shape[1:]) for leaf in self.leaves]
        if len(found) not in (count, count + 1) or [list(state.shape[1:]) for state in states] != expected:
            raise ImportRefused(
                "a module that takes one step must return its answer and then its new states, in the order of the "
                f"arguments; it returns {[list(each.shape) for each in found]}"
            )
        return states


def over_steps(module: nn.Module, example: Any, axes: str) -> tuple[nn.Module, Any, str]:
    """Make a module of sequences of a module of steps: the module, an example of its argument, and the axes of it."""
    x, *states = example if isinstance(example, tuple) else (example,)
    if not isinstance(x, Tensor) or x.ndim != len(axes) or axes[0] != "B":
        raise SpecError(
            f"axes: {axes!r} has no T, so the module takes one step; its example must be the tuple of x, with the "
            "batch first, and the states"
        )
    kind = type(type(module).__name__, (OverSteps,), {})  # messages name the class of the user
    return kind(module, tuple(states), len(x)), torch.stack([x] * STEPS, 1), axes.replace("B", "BT")
