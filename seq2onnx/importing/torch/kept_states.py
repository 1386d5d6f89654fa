"""Modules that keep a state as an attribute from call to call: found by calling them twice, for the refusal."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from seq2onnx.importing.torch.trace import Arguments, as_in_use

REMEDY = (
    "so that a sequence starts where the one before has ended. Layers keep their states themselves: let each call "
    "start from zeros, or take the state as an argument and return it. If it does not go into a recurrent layer "
    "unchanged, export that module with torch.onnx.export and give add_states states="
)


def kept_state(module: nn.Module, arguments: Arguments) -> str:
    """Describe the attributes that make a call of a module depend on the call before; "" if there are none."""
    with as_in_use(module):
        first = _run(module, arguments)
    with as_in_use(module):
        before = _tensors(module)
        _run(module, arguments, flipped=True)
        changed = [place for place, value in _tensors(module).items() if not _same(before.get(place), value)]
        second = _run(module, arguments)
    with as_in_use(module):
        third = _run(module, arguments)
    if first is not None and (_same(first, second) or not _same(first, third)):
        return ""  # nothing is kept, or it is random numbers that differ
    if first is None:  # the state may be that of another batch
        changed = [place for place in before if any(is_assigned for is_assigned, _ in _lines(module, place))]
    kept = [place for place in changed if _is_needed(module, arguments, place)]
    kept = kept or ([] if first is None else changed)
    if not kept:
        return ""
    lines = [line for place in kept for _, line in sorted(_lines(module, place), key=lambda line: not line[0])][:1]
    names = " and ".join(f"self.{name}" + (f" of {path}" if path else "") for path, name in kept)
    return f"keeps {names} from call to call, {REMEDY}{''.join(f' [code: {line}]' for line in lines)}"


Place = tuple[str, str]
"""The path of a module within the whole one, and the name of an attribute."""


def _tensors(module: nn.Module) -> dict[Place, Any]:
    """Return copies of the attributes that hold tensors and are no parameters."""
    found = {}
    for path, part in module.named_modules():
        for name, value in (vars(part) | part._buffers).items():
            leaves = pytree.tree_leaves(value) if isinstance(value, Tensor | tuple | list) else []
            if leaves and all(isinstance(leaf, Tensor) for leaf in leaves):
                found[path, name] = [leaf.detach().clone() for leaf in leaves]
    return found


def _run(module: nn.Module, arguments: Arguments, flipped: bool = False) -> list[Tensor] | None:
    """Call a module with its example, or with other sequences of this size; None if it does not run."""
    leaves = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in arguments.leaves]
    if flipped:
        leaves[arguments.first] = arguments.example.flip(*range(arguments.example.ndim))
    try:
        returned = module(*pytree.tree_unflatten(leaves, arguments.structure))
    except Exception:  # whatever a module raises for a state that does not fit
        return None
    return [leaf.clone() for leaf in pytree.tree_leaves(returned) if isinstance(leaf, Tensor)]


def _same(one: list[Tensor] | None, two: list[Tensor] | None) -> bool:
    if one is None or two is None or len(one) != len(two):
        return False
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, two, strict=True))


def _is_needed(module: nn.Module, arguments: Arguments, place: Place) -> bool:
    """Whether a module reads an attribute before it assigns it."""
    with as_in_use(module):
        try:
            part = module.get_submodule(place[0])
            (part._buffers if place[1] in part._buffers else vars(part)).pop(place[1], None)
            module(*pytree.tree_unflatten(arguments.leaves, arguments.structure))
        except AttributeError as error:
            return place[1] in str(error)
        except Exception:  # whatever a module raises for arguments that do not fit
            return False
    return False


def _lines(module: nn.Module, place: Place) -> list[tuple[bool, str]]:
    """Return the lines of a module's code that name an attribute, and whether they assign it; forward comes first."""
    kind = type(module.get_submodule(place[0]))
    if kind.__module__.startswith("torch."):
        return []
    try:
        code = textwrap.dedent(inspect.getsource(kind))
    except (OSError, TypeError):
        return []
    functions = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)]
    functions = [function for function in functions if function.name != "__init__"]
    functions.sort(key=lambda function: function.name != "forward")
    inner = [node for function in functions for node in ast.walk(function) if isinstance(node, ast.Attribute)]
    own = [node for node in inner if node.attr == place[1] and ast.unparse(node.value) == "self"]
    lines = code.splitlines()
    return [(isinstance(node.ctx, ast.Store), lines[node.lineno - 1].strip()) for node in own]
