"""A torch module, run once by torch.export, as a graph of operations; and run again for the comparison."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from seq2onnx.errors import ImportRefused, ShapeError, SpecError
from seq2onnx.importing.axes import FEATURES, step_letters
from seq2onnx.importing.torch.filled_tensors import join_pieces
from seq2onnx.importing.torch.longest_row import longest_row
from seq2onnx.importing.torch.packing import without_packing

ROWS, STEPS = (5, 7, 11), (13, 67, 307)
"""Sizes of the traced run, in the order in which they are tried: few modules have such a number of features."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The arguments of the example, flattened, and their nesting; the letter of each axis of the sequences.

    `first`, `lengths` and `states` are the leaves that are sequences, lengths (a tensor, or all leaves of a list of
    integers) and start states. `batch`: the module runs several sequences at once.
    """

    leaves: tuple[Any, ...]
    structure: pytree.TreeSpec
    axes: str
    first: int
    lengths: tuple[int, ...]
    states: tuple[int, ...]
    batch: bool

    @property
    def example(self) -> Tensor:
        """The sequences of the example."""
        found: Tensor = self.leaves[self.first]
        return found

    @property
    def step_shape(self) -> tuple[int, ...]:
        """The shape of a step: (C,), (C, H, W), or () for tokens."""
        if not self.example.is_floating_point():
            return ()
        sizes = dict(zip(self.axes, self.example.shape, strict=True))
        return tuple(sizes[letter] for letter in step_letters(self.axes)) or (1,)

    def in_float64(self) -> Arguments:
        """Return the arguments of the same module in float64."""
        wide = (x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for x in self.leaves)
        return dataclasses.replace(self, leaves=tuple(wide))

    def call(self, x: Tensor, lengths: Tensor | None) -> tuple[Any, ...]:
        """Return the arguments for x [B, T, …]."""
        leaves, rows = list(self.leaves), len(x)
        leaves[self.first] = self.to_source(x)
        for place in self.states:
            leaves[place] = torch.zeros(with_rows(leaves[place], self._example_rows, rows)).to(leaves[place])
        if self.lengths and lengths is not None:
            if isinstance(leaves[self.lengths[0]], Tensor):
                leaves[self.lengths[0]] = lengths.to(leaves[self.lengths[0]])
            else:  # a list of lengths changes its number of elements, and so the nesting
                flat = pytree.tree_unflatten(leaves, self.structure)
                return tuple(lengths.tolist() if _is_list_of_lengths(a, self._example_rows) else a for a in flat)
        arguments: tuple[Any, ...] = pytree.tree_unflatten(leaves, self.structure)
        return arguments

    @property
    def _example_rows(self) -> int:
        return self.example.shape[self.axes.index("B")] if "B" in self.axes else 1

    def to_source(self, x: Tensor) -> Tensor:
        """Bring x [B, T, …] into the layout of the module."""
        letters = f"BT{step_letters(self.axes)}"
        if "C" not in self.axes and x.is_floating_point():
            x, letters = x[..., 0], "BT"
        if "B" not in self.axes:
            x, letters = x[0], letters[1:]
        x = x.permute([letters.index(letter) for letter in self.axes])
        return x if x.is_meta else x.to(self.example)

    def from_source(self, x: Tensor) -> Tensor:
        """Bring the sequences of a call into the layout [B, T, …]."""
        letters = "".join(letter for letter in "BTCHW" if letter in self.axes)
        x = x.permute([self.axes.index(letter) for letter in letters])
        x = x if "B" in self.axes else x[None]
        return x if "C" in self.axes or not x.is_floating_point() else x[..., None]


def read_arguments(example: Any, axes: str) -> Arguments:
    """Find sequences, lengths and start states among the arguments of a module."""
    given = example if isinstance(example, tuple) else (example,)
    leaves, structure = pytree.tree_flatten(given)
    first = next((i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)), None)
    if first is None:
        raise SpecError(
            f"example: expected a tensor, or the tuple of the module's arguments, got {type(example).__name__}"
        )
    x = leaves[first]
    letters = set(axes)
    if (
        letters - {*"BT", *FEATURES}
        or len(letters) != len(axes)
        or "T" not in letters
        or ((letters & {"H", "W"}) and "C" not in letters)
    ):
        raise SpecError(
            "axes: expected the letters B (batch), T (time) and C (features), of images also H and W, each at most "
            f"once and T always, got {axes!r}"
        )
    if not x.is_floating_point() and len(axes) == x.ndim + 1:
        axes = axes.replace("C", "")  # tokens have no features
    if len(axes) != x.ndim:
        raise ShapeError(
            f"axes: {axes!r} names {len(axes)} axes, but the example has {x.ndim}, {list(x.shape)}; give a letter for "
            'each axis, such as "BTC", "TBC", "TC" or "BT"'
        )
    if not x.is_floating_point() and "C" in axes:
        raise ShapeError(f"example: tokens have no features; expected [batch, time], got {list(x.shape)} {x.dtype}")
    rows = x.shape[axes.index("B")] if "B" in axes else 1
    lengths = [
        i
        for i, leaf in enumerate(leaves)
        if i > first and isinstance(leaf, Tensor) and not leaf.is_floating_point() and tuple(leaf.shape) == (rows,)
    ][:1]
    listed = any(_is_list_of_lengths(argument, rows) for argument in given)
    if listed and not lengths:
        lengths = [i for i, leaf in enumerate(leaves) if isinstance(leaf, int) and not isinstance(leaf, bool)]
    states = [i for i, leaf in enumerate(leaves) if i > first and isinstance(leaf, Tensor) and leaf.is_floating_point()]
    return Arguments(tuple(leaves), structure, axes, first, tuple(lengths), tuple(states), "B" in axes)


def _is_list_of_lengths(argument: Any, rows: int) -> bool:
    return isinstance(argument, list) and len(argument) == rows and all(type(n) is int for n in argument)


def with_rows(state: Tensor, old: int, new: int) -> list[int]:
    """Return the shape of a start state for another number of rows: [layers, batch, H] or [batch, H]."""
    shape = list(state.shape)
    axis = 1 if state.ndim == 3 else 0
    if shape and shape[axis] == old:
        shape[axis] = new
    return shape


@contextlib.contextmanager
def as_in_use(module: nn.Module) -> Iterator[None]:
    """Put a module into eval mode; afterwards all of its attributes are as before."""
    before = [
        (part, {k: dict(v) if type(v) is dict else v for k, v in vars(part).items()}) for part in module.modules()
    ]
    plain = (value for _, attributes in before for name, value in attributes.items() if not name.startswith("_"))
    tensors = [*module.buffers(), *(leaf for leaf in pytree.tree_leaves([*plain]) if isinstance(leaf, Tensor))]
    buffers = [(buffer, buffer.clone()) for buffer in tensors]
    try:
        module.eval()
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for part, attributes in before:
            vars(part).clear()
            vars(part).update(attributes)
        for buffer, numbers in buffers:
            if not torch.equal(buffer, numbers):
                buffer.data.copy_(numbers)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep torch from logging and printing what it cannot trace; the error says it."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


@dataclasses.dataclass(frozen=True)
class ModuleTrace:
    """A module's operations for a run with these arguments, flattened: its rows, its steps and the lengths of rows."""

    program: ExportedProgram
    arguments: Arguments
    leaves: Sequence[Any]
    rows: int
    steps: int
    lengths: Tensor


def traces(module: nn.Module, arguments: Arguments) -> Iterator[ModuleTrace]:
    """Trace a module with more and more steps; one sequence at a time if it refuses several."""
    if any(torch.nn.parameter.is_lazy(part) for part in module.parameters()):
        raise ImportRefused("the module has parameters without numbers; run it once, and train it")
    if any(part.dtype in (torch.float16, torch.bfloat16) for part in module.parameters()):
        raise ImportRefused("the module calculates with 16 bits, and layers with 32; convert it first with .float()")
    sizes = {n for part in (*module.parameters(), *module.buffers()) for n in part.shape}
    rows = next((n for n in ROWS if n not in sizes), ROWS[0])
    error: Exception | None = None
    for batch in (True, False) if arguments.batch else (False,):
        one = dataclasses.replace(arguments, batch=batch)
        for steps in (*STEPS, arguments.example.shape[arguments.axes.index("T")]):
            steps = next(n for n in range(steps, steps + 1000) if n not in sizes) if steps in STEPS else steps
            try:
                yield trace(module, one, rows if batch else 1, steps)
            except ImportRefused:
                raise
            except Exception as raised:  # whatever the module raises for this size, or torch.export for the module
                error = error or raised
    assert error is not None
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if "data-dependent expression" in text:
        text = "a size or a branch depends on the numbers of a tensor, and only lengths.max() may be one"
    raise ImportRefused(
        f"{type(module).__name__}: does not run, or cannot be traced by torch.export, with {rows} sequences of "
        f"{STEPS[0]} steps: {text}. A network of layers takes every batch and length: remove what fixes them, and "
        f"what depends on the numbers of a tensor{_code_of(error)}"
    )


def _code_of(error: Exception) -> str:
    """Return the line of the user's code in which an error was raised."""
    frames = [(frame.filename.replace("\\", "/"), frame.line) for frame in traceback.extract_tb(error.__traceback__)]
    own = [line for name, line in frames if line and "/torch/" not in name and "/seq2onnx/importing/" not in name]
    return f" [code: {own[-1]}]" if own else ""


def trace(module: nn.Module, arguments: Arguments, rows: int, steps: int) -> ModuleTrace:
    """Trace a module for a run of this size."""
    shape = (rows, steps, *arguments.step_shape)
    x = torch.zeros(shape, dtype=arguments.example.dtype)
    if arguments.example.is_floating_point():
        x = torch.from_numpy(np.random.default_rng(0).normal(size=shape)).to(x)
    lengths = torch.tensor([max(1, steps - 2 * i - i * i) for i in range(rows)])
    call = arguments.call(x, lengths)
    module(*arguments.call(x, lengths))  # torch.export prints what the module raises; here it is only raised
    with without_packing(), silent(), longest_row(module, arguments.lengths, steps):
        program = torch.export.export(module, call, strict=False)
    join_pieces(program.graph)
    return ModuleTrace(program, arguments, pytree.tree_leaves(call), rows, steps, lengths)
