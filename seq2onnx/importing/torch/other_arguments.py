"""Arguments of a module that are no sequences, lengths or start states: what they seem to be, for the refusal."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from seq2onnx.importing.torch.graph import STATE
from seq2onnx.importing.torch.trace import Arguments

ALLOWED = (
    "Arguments can be sequences [batch, time, features], their lengths (whole numbers [batch]), vectors [batch, "
    "features], and start states that go into a recurrent layer unchanged: "
)
REMEDIES = {
    "a mask": "leave it out, since layers take lengths in its place",
    "another sequence": "give both their axes of features, [batch, time, features]",
    "another sequence of whole numbers": "give it as floats [batch, time, features], such as those of one_hot",
    "numbers for each sequence": "give them as a tensor of floats [batch, features]",
    "numbers that no sequence has": "make them an attribute of the module if they are always the same",
    "one number": "give a number of Python, which stays the same in each run",
    "lengths": "if they are not, give the module other numbers, such as the features of each step",
}


def about_arguments(module: nn.Module, arguments: Arguments, refusal: str) -> str:
    """Describe the arguments that a refusal may come from; "" if there are none."""
    positions = pytree.tree_unflatten(range(len(arguments.leaves)), arguments.structure)
    names = list(inspect.signature(module.forward).parameters)
    found = []
    for number, position in enumerate(positions):
        for place in pytree.tree_leaves(position):
            leaf, kind = arguments.leaves[place], _kind(arguments, place)
            expected = {"a start state": STATE in refusal, "lengths": "does not run" in refusal}.get(kind, True)
            if place != arguments.first and isinstance(leaf, Tensor) and expected:
                kind = "numbers for each sequence" if kind == "a start state" else kind
                name = names[min(number, len(names) - 1)] if names else number
                verb = "is taken for" if kind == "lengths" else "seems to be"
                found.append(f"{name} {list(leaf.shape)} {verb} {kind}; {REMEDIES[kind]}")
    return ("" if STATE in refusal or not found else ALLOWED) + ". ".join(found)


def _kind(arguments: Arguments, place: int) -> str:
    """Return what an argument seems to be, by its type and its shape."""
    leaf, sizes = arguments.leaves[place], dict(zip(arguments.axes, arguments.example.shape, strict=True))
    if place in arguments.lengths or not isinstance(leaf, Tensor):
        return "lengths"
    leading = [sizes[letter] for letter in arguments.axes if letter in "BT"]
    if leaf.ndim == len(leading) and list(leaf.shape) == leading and (leaf.dtype == torch.bool or _is_mask(leaf)):
        return "a mask"
    if leaf.ndim >= len(leading) and list(leaf.shape[: len(leading)]) == leading:
        return "another sequence" if leaf.is_floating_point() else "another sequence of whole numbers"
    if "B" in sizes and leaf.is_floating_point() and leaf.ndim in (2, 3) and leaf.shape[leaf.ndim - 2] == sizes["B"]:
        return "a start state"
    if not leaf.ndim:
        return "one number"
    return "numbers for each sequence" if sizes.get("B") in leaf.shape[:1] else "numbers that no sequence has"


def _is_mask(leaf: Tensor) -> bool:
    return bool(((leaf == 0) | (leaf == 1)).all())
