"""The interface of a layer: the class Layer and the decorator `@layer`.

A layer is a frozen, final dataclass (`@layer`) with the same methods as every other:

    infer(*signals)   -> Signal          its output, or a ShapeError
    weights(*signals) -> {name: Weight}  what it learns
    states(*signals)  -> (State, ...)    what it keeps between chunks, or NotStreamable
    forward(call)     -> (y, lengths, {state: new value})    the function in torch
    emit(graph, call) -> (y, lengths, {state: new value})    the same function as ONNX nodes
    examples()                           instances that the tests use for all layers

The first three get one signal for each input of the layer; an input layer gets none. Nothing here imports torch or
onnx.
"""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, TypeVar, cast, dataclass_transform

from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from seq2onnx.errors import ShapeError, SpecError, plain
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.signal import Signal, State, Weight
from seq2onnx.mistakes import explain


def _check_name(name: str) -> str:
    if name.endswith("_lengths"):
        raise ValueError("must not end in _lengths, which is reserved for tensors with lengths")
    return name


PositiveInt = Annotated[int, Field(gt=0, strict=True)]
# The ONNX file adds endings to names; a name that had one could not be told apart from another tensor.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$"), AfterValidator(_check_name)]


@pydantic_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Layer(ABC):
    """One layer of a network: its specification, and everything derived from it.

    Attributes:
        name: `[A-Za-z0-9_]+`, unique in its network. Without one the network names it: lstm_1, lstm_2.
        inputs: names of the layers it reads. Without any it reads the one before it.
        kind: its name in YAML.
        is_input: whether data enters the network here.
        is_finite_past_end: whether y past the end of a sequence is finite whatever x holds there. The exporter masks y
            of other layers.
        decides: whether y is decisions, 0 or 1. They have no gradient, so networks with such a layer cannot be trained.
        takes_samples: whether it takes the samples of a raw signal, whose scale has a meaning.
        takes_missing: whether it takes signals in which values may be missing.
        unsaved_fields: fields that are not part of the specification, such as start values of weights.
        later_fields: fields that version 0.1 does not know. A file has them only if they differ from their default, so
            that version 0.1 can restore it.
    """

    name: Name | None = None
    inputs: Annotated[Sequence[Name], AfterValidator(tuple)] | None = None

    kind: ClassVar[str]
    is_input: ClassVar[bool] = False
    is_finite_past_end: ClassVar[bool] = False
    decides: ClassVar[bool] = False
    takes_samples: ClassVar[bool] = False
    takes_missing: ClassVar[bool] = False
    unsaved_fields: ClassVar[tuple[str, ...]] = ()
    later_fields: ClassVar[tuple[str, ...]] = ()

    @property
    def label(self) -> str:
        """Its name, or its kind if it has no name yet."""
        return self.name or self.kind

    @property
    def fewest_steps(self) -> int:
        """The fewest steps that a sequence may have here."""
        return 1

    @property
    def word_list(self) -> tuple[str, ...] | None:
        """The words of its input, in the order of their numbers 1 … V. None: no words, or only their number."""
        return None

    @property
    def missing_statistics(self) -> tuple[str, ...]:
        """The statistics of the training data that it needs and lacks, such as "mean" and "std"."""
        return ()

    @property
    def sample_rate(self) -> float | None:
        """How many steps of its input there must be in a second. None: any number."""
        return None

    def infer(self, *signals: Signal) -> Signal:
        """Return the signal of the output, by default that of the only input, which must be numbers.

        Raises:
            ShapeError: the inputs do not fit.
            SpecError: there are more or fewer inputs than the layer reads.
        """
        return numeric_input(self, signals)

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        """Return what the layer learns, by name."""
        return {}

    def states(self, *signals: Signal) -> tuple[State, ...]:
        """Return what it keeps between chunks; raise NotStreamable if it cannot run in chunks."""
        return ()

    @abstractmethod
    def forward(self, call: ForwardCall) -> Forwarded:
        """Compute (y, lengths, new states) in torch."""

    @abstractmethod
    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        """Add the nodes that compute (y, lengths, new states) to `graph`; return their names."""

    @classmethod
    @abstractmethod
    def examples(cls) -> Sequence[Example]:
        """Return instances that use every option at least once, each with the signals it reads."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A layer and the signals that it reads; an input layer reads none."""

    layer: Layer
    signals: tuple[Signal, ...] = ()

    def __str__(self) -> str:
        """Return the layer, for the names of tests."""
        return repr(self.layer)


KINDS: dict[str, type[Layer]] = {}
"""Every layer class by its kind, its name in YAML. `@layer` fills it."""

L = TypeVar("L", bound=type[Layer])


@dataclass_transform(frozen_default=True, field_specifiers=(Field, dataclasses.field))
def layer(cls: L) -> L:
    """Make a subclass of Layer a frozen, validated dataclass and register its `kind`."""
    if cls.kind in KINDS:
        raise SpecError(f"{cls.kind}: two layer classes have this kind, {KINDS[cls.kind].__qualname__} and this one")
    made: Any = pydantic_dataclass(frozen=True, config=ConfigDict(extra="forbid"))(cls)
    validated = made.__init__

    @functools.wraps(validated)
    def init(self: Layer, /, *args: Any, **fields: Any) -> None:
        try:
            validated(self, *args, **fields)
        except ValidationError as error:
            raise FieldErrors(fields.get("name") or cls.kind, explain(error, cls)) from None

    made.__init__ = init
    KINDS[cls.kind] = made
    return cast(L, made)


class FieldErrors(SpecError):
    """Mistakes in the fields of a layer or of options: their place, and a line for each that begins with the place."""

    def __init__(self, where: str, lines: Sequence[str]) -> None:
        super().__init__(where, lines)
        self.lines = lines
        self.where = where

    def __str__(self) -> str:
        """Return each line with its place before it."""
        return plain("\n".join(f"{self.where}{line}" for line in self.lines))


def single_input(layer: Layer, signals: Sequence[Signal]) -> Signal:
    """Return the signal of a layer that reads exactly one; raise SpecError otherwise."""
    if len(signals) != 1:
        raise SpecError(f"{layer.label}: reads one layer, got {len(signals)}; join them with Add or Concat first")
    return signals[0]


def numeric_input(layer: Layer, signals: Sequence[Signal]) -> Signal:
    """Return the signal of a layer that reads exactly one, of numbers; raise ShapeError on tokens."""
    x = single_input(layer, signals)
    if x.dtype != "float32":
        raise ShapeError(f"{layer.label}: expected numbers, got tokens; put a WordEmbedding before it")
    return x
