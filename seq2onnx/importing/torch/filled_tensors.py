"""Tensors that a module fills step by step, y[:, t] = h, as torch.stack and torch.cat write them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import fx

SELECT, SLICE, COPY = torch.ops.aten.select.int, torch.ops.aten.slice.Tensor, torch.ops.aten.copy_.default
JOINS: dict[Any, Any] = {SELECT: torch.ops.aten.stack.default, SLICE: torch.ops.aten.cat.default}
"""For each way to take a piece of a tensor, what joins pieces to it."""


@dataclasses.dataclass(frozen=True)
class _Piece:
    """One element of an axis of a tensor, taken in one way, and the copy of a value into it."""

    filled: fx.Node
    way: Any
    axis: int
    number: int
    taken: fx.Node
    value: fx.Node
    copy: fx.Node

    @property
    def is_whole(self) -> bool:
        """Whether the value is the whole piece, and nothing else reads it."""
        old, new = self.taken.meta["val"], self.value.meta["val"]
        same = old.shape == new.shape and old.dtype == new.dtype
        return same and len(self.taken.users) == 1 and not self.copy.users


def join_pieces(graph: fx.Graph) -> None:
    """Put joins in place of tensors that are filled along one axis, in order and completely, before they are read."""
    filled: dict[fx.Node, list[_Piece]] = {}
    for piece in _pieces(graph):
        filled.setdefault(piece.filled, []).append(piece)
    order = {node: place for place, node in enumerate(graph.nodes)}
    for tensor, pieces in filled.items():
        readers = tensor.users.keys() - {piece.taken for piece in pieces}
        is_read = any(order[reader] < order[pieces[-1].copy] for reader in readers)
        if _is_new(tensor) and not is_read and _are_all(pieces):
            _join(graph, pieces, sorted(readers, key=order.__getitem__))


def _is_new(tensor: fx.Node) -> bool:
    """Whether a tensor is no view of another, which would be filled, too."""
    schema = getattr(tensor.target, "_schema", None)
    return schema is not None and all(result.alias_info is None for result in schema.returns)


def _pieces(graph: fx.Graph) -> Iterator[_Piece]:
    for copy in graph.nodes:
        if copy.target is not COPY:
            continue
        taken, value = copy.args[:2]
        if taken.target not in JOINS:
            continue
        filled, axis, number, *end = taken.args
        if taken.target is SELECT or end == [number + 1]:
            yield _Piece(filled, taken.target, axis % filled.meta["val"].ndim, number, taken, value, copy)


def _are_all(pieces: Sequence[_Piece]) -> bool:
    first = pieces[0]
    size = first.filled.meta["val"].shape[first.axis]
    places = [(piece.way, piece.axis, piece.number) for piece in pieces]
    return places == [(first.way, first.axis, number) for number in range(size)] and all(p.is_whole for p in pieces)


def _join(graph: fx.Graph, pieces: Sequence[_Piece], readers: Sequence[fx.Node]) -> None:
    last = pieces[-1]
    with graph.inserting_after(last.copy):
        joined = graph.call_function(JOINS[last.way], ([piece.value for piece in pieces], last.axis))
    joined.meta = {**last.copy.meta, "val": last.filled.meta["val"]}
    for reader in readers:
        reader.replace_input_with(last.filled, joined)
    for piece in pieces:
        graph.erase_node(piece.copy)
        graph.erase_node(piece.taken)
