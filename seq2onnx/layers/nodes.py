"""A finished ONNX graph as plain Python objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

Dimension = int | str

DATA_TYPES = {"float32": 1, "int32": 6, "int64": 7, "string": 8, "bool": 9, "float64": 11}
"""The numbers of TensorProto.DataType, which Cast takes."""


@dataclasses.dataclass
class Node:
    """One operator. Attributes are numbers, text, lists of these, or a Graph."""

    op: str
    inputs: list[str]
    outputs: list[str]
    name: str = ""
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)
    domain: str = ""

    def reads(self) -> Iterator[str]:
        """Yield every name that it reads; the graphs in its attributes read, too."""
        yield from self.inputs
        for value in self.attributes.values():
            if isinstance(value, Graph):
                for node in value.nodes:
                    yield from node.reads()

    def rename(self, new_name: Callable[[str], str]) -> None:
        """Give what it reads and computes other names, within the graphs in its attributes, too."""
        self.inputs = [new_name(name) for name in self.inputs]
        self.outputs = [new_name(name) for name in self.outputs]
        for value in self.attributes.values():
            if isinstance(value, Graph):
                for node in value.nodes:
                    node.rename(new_name)


@dataclasses.dataclass(frozen=True)
class TensorType:
    """Name, type and shape of an input or output. Text in the shape names a dynamic dimension; None: unknown shape."""

    name: str
    dtype: str
    shape: Sequence[Dimension] | None


@dataclasses.dataclass(frozen=True)
class Graph:
    """A finished graph; in the body of a node `initializers` is empty, since it reads those of the graph around it."""

    nodes: Sequence[Node]
    inputs: Sequence[TensorType]
    outputs: Sequence[TensorType]
    initializers: dict[str, NDArray[Any]]
