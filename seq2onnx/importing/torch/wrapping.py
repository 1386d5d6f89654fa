"""Modules around a user's module, which give it another signature: one step for many, several inputs for one."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from seq2onnx.errors import ImportRefused, SpecError
from seq2onnx.importing.joined_inputs import Input
from seq2onnx.importing.torch.trace import with_rows

STEPS = 3
"""The steps of the example that a module of sequences gets."""


class _Wrapper(nn.Module):
    """Has the parts of a module under their own names, and calls it in its own mode."""

    inner: nn.Module

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._modules, self._parameters, self._buffers = module._modules, module._parameters, module._buffers
        self.__dict__["inner"] = module

    def call(self, *arguments: Any) -> Any:
        """Call the module."""
        before, self.inner.training = self.inner.training, self.training
        try:
            return self.inner(*arguments)
        finally:
            self.inner.training = before


def _around(kind: type[_Wrapper], module: nn.Module, *arguments: Any) -> nn.Module:
    """Make a wrapper whose class has the name of that of the module, for messages."""
    named: type[_Wrapper] = type(type(module).__name__, (kind,), {})
    return named(module, *arguments)


class _OverSteps(_Wrapper):
    """Calls a module for each step of x [batch, time, …], with the states that the call before has returned."""

    def __init__(self, module: nn.Module, states: tuple[Any, ...], rows: int) -> None:
        super().__init__(module)
        self.leaves, self.nesting = pytree.tree_flatten(states)
        self.rows = rows

    def forward(self, x: Tensor) -> Tensor:
        """Return the answers [batch, time, …] to x."""
        states = [torch.zeros(with_rows(leaf, self.rows, len(x))).to(leaf) for leaf in self.leaves]
        answers = []
        for step in x.unbind(1):
            found = pytree.tree_leaves(self.call(step, *pytree.tree_unflatten(states, self.nesting)))
            answers.append(found[0])
            states = _next_states(states, found)
        return torch.stack(answers, 1)


def _next_states(states: list[Tensor], found: list[Any]) -> list[Any]:
    """Return the new states among what a module returns: the last tensors, in the order of the arguments."""
    new = found[len(found) - len(states) :]
    if len(found) - len(states) not in (0, 1) or [each.shape for each in new] != [each.shape for each in states]:
        raise ImportRefused(
            "a module that takes one step must return its answer and then its new states, in the order of the "
            f"arguments; it returns {[list(each.shape) for each in found]}"
        )
    return new


def over_steps(module: nn.Module, example: Any, axes: str) -> tuple[nn.Module, Any, str]:
    """Make a module of sequences of a module of steps: the module, an example of its argument, and the axes of it."""
    x, *states = example if isinstance(example, tuple) else (example,)
    if not isinstance(x, Tensor) or x.ndim != len(axes) or axes[0] != "B":
        raise SpecError(
            f"axes: {axes!r} has no T, so the module takes one step; its example must be the tuple of x, with the "
            "batch first, and the states"
        )
    wrapped = _around(_OverSteps, module, tuple(states), len(x))
    return wrapped, torch.stack([x] * STEPS, 1), axes.replace("B", "BT")


Joined = tuple[nn.Module, Any, Sequence[Input]]
"""A module of one input, an example of its arguments, and the inputs of the module that are parts of this one."""


class _OneInput(_Wrapper):
    """Calls a module with parts of the features of x in place of several inputs."""

    def __init__(self, module: nn.Module, inputs: Sequence[Input], axes: str) -> None:
        super().__init__(module)
        self.inputs, self.time, self.features = inputs, axes.index("T"), axes.index("C")

    def forward(self, x: Tensor, *others: Any) -> Any:
        """Return what the module returns."""
        arguments, sizes = list(others), [each.size for each in self.inputs]
        for each, part in zip(self.inputs, torch.split(x, sizes, self.features), strict=True):
            arguments.insert(each.place, part if each.has_time else part.select(self.time, -1))
        return self.call(*arguments)


def one_input(module: nn.Module, example: Any, axes: str, vectors: bool = False) -> Joined | None:
    """Join the sequences among the arguments of a module, and with `vectors` vectors [batch, features], to one input.

    Returns:
        None if there is one input alone.
    """
    if not isinstance(example, tuple) or sorted(axes) != sorted("BTC"):
        return None
    x, names = example[0], list(inspect.signature(module.forward).parameters)
    batch, time, features = (axes.index(letter) for letter in "BTC")
    found, joined = [], []
    for place, (name, leaf) in enumerate(zip(names, example, strict=False)):
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            continue
        has_time = leaf.ndim == 3 and all(leaf.shape[axis] == x.shape[axis] for axis in (batch, time))
        is_state = leaf.ndim == 3 and leaf.shape[1] == x.shape[batch] and time == 1  # [layers, batch, units]
        if has_time and (place == 0 or not is_state):
            found.append(Input(name, leaf.shape[features], True, place))
            joined.append(leaf)
        elif vectors and leaf.ndim == 2 and len(leaf) == x.shape[batch]:
            found.append(Input(name, leaf.shape[1], False, place))
            wide = leaf[:, None].expand(-1, x.shape[time], -1)
            joined.append(wide.permute(["BTC".index(letter) for letter in axes]))
    if len(found) < 2 or not found[0].has_time:
        return None
    places = {each.place for each in found}
    others = [leaf for place, leaf in enumerate(example) if place not in places]
    return _around(_OneInput, module, found, axes), (torch.cat(joined, features), *others), found
