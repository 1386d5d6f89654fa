"""What every layer is made of: Layer, and the Signal, State and Weight that it speaks of.

A layer is a frozen, final dataclass (`@layer`) that answers the same verbs as every other:

    infer(*signals)   -> Signal          what comes out, or a ShapeError
    weights(*signals) -> {name: Weight}  what it learns
    states(*signals)  -> (State, ...)    what it must remember between chunks, or NotStreamable
    forward(module, xs, lengths, states) the function, in torch
    emit(graph, xs, lengths, states, weights)  the same function, as ONNX nodes
    examples()                           instances that the laws in tests/ are run on

Every verb takes as many signals as the layer has inputs; an input layer has none. `build` turns the torch
side into a `torch.nn.Module`; nothing here imports torch or onnx.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, cast, dataclass_transform

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from seq2onnx.errors import ShapeError, SpecError

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder, Value
    from seq2onnx.layers.module import LayerModule

    Tensors = tuple[Tensor, ...]
    Outputs = tuple[Tensor, Tensor | None, Tensors]
    Values = tuple[Value, ...]
    Names = tuple[str, ...]
    Nodes = tuple[str, str | None, Names]
    Arrays = Mapping[str, NDArray[Any]]


def _check_name(name: str) -> str:
    if name.endswith("_lengths"):
        raise ValueError("must not end in _lengths, which is the end of names of tensors with lengths")
    return name


PositiveInt = Annotated[int, Field(gt=0, strict=True)]
# A name ends in none of what the ONNX file appends to one, so that its tensors are told apart.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$"), AfterValidator(_check_name)]
DType = Literal["float32", "int64", "int32"]
Initializer = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float32]]


@dataclasses.dataclass(frozen=True)
class Clock:
    """When a signal ticks, compared with the network's inputs.

    stride:    input steps per step of this signal
    delay:     input steps that must follow a step before it can be computed
    windows:   how many steps come out of how many, one (padding − d(k−1), stride) for each layer that
               changes it, k the kernel size and d the dilation
    lookahead: steps may wait for later ones: the host says with the input `end` when there are no more
    """

    stride: int = 1
    delay: int = 0
    windows: tuple[tuple[int, int], ...] = ()
    lookahead: bool = False

    def after(self, extra: int, stride: int, delay: int) -> Clock:
        """The clock of what a window makes of this signal; `delay` in steps of this signal."""
        windows = self.windows
        if windows and extra == windows[-1][0] == 0:
            windows, stride_here = windows[:-1], windows[-1][1] * stride  # ⌈⌈T/a⌉/b⌉ = ⌈T/ab⌉
        else:
            stride_here = stride
        if (extra, stride_here) != (0, 1):
            windows += ((extra, stride_here),)
        return dataclasses.replace(
            self, stride=self.stride * stride, delay=self.delay + delay * self.stride, windows=windows
        )

    def ticks_with(self, other: Clock) -> bool:
        """Whether signals of both clocks have the same steps, some perhaps later than the others."""
        return (self.stride, self.windows) == (other.stride, other.windows)

    def length(self, steps: int) -> int:
        """The steps of this signal when the network's inputs have `steps`; no steps give none."""
        for extra, stride in self.windows:
            steps = max(0, (steps + extra - 1) // stride + 1) if steps else 0
        return steps


@dataclasses.dataclass(frozen=True)
class Signal:
    """What flows from layer to layer: the features of a step, and whether there are steps.

    static: without time, and the same from the first step to the last; else it is the value so far
    """

    shape: tuple[int, ...]
    has_time: bool = True
    dtype: DType = "float32"
    clock: Clock = Clock()
    static: bool = False

    @property
    def size(self) -> int:
        """Features of a step as one flat vector."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        """As tables and errors show it: [batch, time, 12]."""
        return f"[{', '.join(['batch', *['time'] * self.has_time, *map(str, self.shape)])}]"


@dataclasses.dataclass(frozen=True)
class State:
    """One tensor a layer keeps between chunks; `shape` is without the batch; all zeros mean "start"."""

    kind: str
    shape: tuple[int, ...]
    dtype: DType = "float32"


@dataclasses.dataclass(frozen=True)
class Weight:
    """One array a layer learns, and how it starts.

    decay:     L2 regularization acts on it
    trainable: gradients change it; else the layer itself does, or nothing
    """

    shape: tuple[int, ...]
    initialize: Initializer
    decay: bool = True
    trainable: bool = True


@pydantic_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Layer(ABC):
    """One layer of a network: a specification, and all that follows from it.

    name:    `[A-Za-z0-9_]+`, unique in its network; without one it gets one there: lstm_1, lstm_2
    inputs:  the names of the layers it reads; without any it reads the one before it
    """

    name: Name | None = None
    inputs: Annotated[Sequence[Name], AfterValidator(tuple)] | None = None

    kind: ClassVar[str]
    is_input: ClassVar[bool] = False
    # True where y past a sequence's end is finite whatever stands in x there: the exporter masks y elsewhere.
    masks: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """Its name, or before it has one its kind: how errors call it."""
        return self.name or self.kind

    @abstractmethod
    def infer(self, *signals: Signal) -> Signal:
        """The signal that comes out, or a ShapeError."""

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        """What the layer learns, by name; nothing unless it says so."""
        return {}

    def states(self, *signals: Signal) -> tuple[State, ...]:
        """What it must remember between chunks, nothing unless it says so.

        Raises NotStreamable where nothing would be enough.
        """
        return ()

    @abstractmethod
    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        """(y, its lengths, new states) in torch; `module[name]` is a weight.

        `states` None: nothing is carried in, and nothing need be carried out.
        """

    @abstractmethod
    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        """(y, its lengths, new states) as names in `graph`, which the nodes are added to.

        `lengths` None: every row is as long as x. `states` None: nothing is carried in or out.
        Weights go in with `graph.weight`, and are only moved about, never calculated with:
        `restore` finds them again by that.
        """

    @classmethod
    @abstractmethod
    def examples(cls) -> Sequence[Example]:
        """Instances in which every option stands at least once, each with the signals it reads."""

    def build(self, *signals: Signal) -> LayerModule:
        """The layer as a torch module with freshly initialized weights."""
        from seq2onnx.layers.module import LayerModule

        return LayerModule(self, signals)


@dataclasses.dataclass(frozen=True)
class Example:
    """A layer and the signals that it reads; an input layer reads none."""

    layer: Layer
    signals: tuple[Signal, ...] = ()

    def __str__(self) -> str:
        return repr(self.layer)


KINDS: dict[str, type[Layer]] = {}
"""Every layer class by its kind, the name it has in YAML; `@layer` fills it."""

L = TypeVar("L", bound=type[Layer])


@dataclass_transform(frozen_default=True, field_specifiers=(Field, dataclasses.field))
def layer(cls: L) -> L:
    """Make a Layer subclass a frozen, validated dataclass and known by its `kind`."""
    if cls.kind in KINDS:
        raise SpecError(f"{cls.kind}: two layers of one kind, {KINDS[cls.kind].__qualname__} and this one")
    made: Any = pydantic_dataclass(frozen=True, config=ConfigDict(extra="forbid"))(cls)
    validated = made.__init__

    @functools.wraps(validated)
    def init(self: Layer, *args: Any, **fields: Any) -> None:
        try:
            validated(self, *args, **fields)
        except ValidationError as error:
            label = fields.get("name") or cls.kind
            raise SpecError("\n".join(f"{label}.{line}" for line in explain(error, cls))) from None

    made.__init__ = init
    KINDS[cls.kind] = made
    return cast(L, made)


def explain(error: ValidationError, cls: type[Any]) -> list[str]:
    """A line for each mistake: path, rule, what was received, and for a wrong key the keys there are."""
    fields = [field.name for field in dataclasses.fields(cls)]
    fields.sort(key=lambda name: name in ("name", "inputs"))
    lines = []
    for mistake in error.errors():
        first, *rest = mistake["loc"] or (cls.__name__,)
        # An argument without a name is known by its place.
        first = fields[first] if isinstance(first, int) and first < len(fields) else first
        path = ".".join(str(part) for part in (first, *rest))
        if mistake["type"] == "missing" or mistake["type"] == "missing_argument":
            lines.append(f"{path}: is missing; {cls.__name__} needs it")
        elif "unexpected" in mistake["type"]:
            lines.append(f"{path}: is not a field of {cls.__name__}; its fields are {', '.join(fields)}")
        else:
            rule = mistake["msg"][0].lower() + mistake["msg"][1:]
            lines.append(f"{path}: {rule}; got {mistake['input']!r}")
    return lines


def one(layer: Layer, signals: Sequence[Signal]) -> Signal:
    """The only signal of a layer that reads one."""
    if len(signals) != 1:
        raise SpecError(f"{layer.label}: reads one layer, got {len(signals)}; join them with Add or Concat first")
    return signals[0]


def numbers(layer: Layer, signals: Sequence[Signal]) -> Signal:
    """The only signal of a layer that calculates with its numbers."""
    x = one(layer, signals)
    if x.dtype != "float32":
        raise ShapeError(f"{layer.label}: expected numbers, got tokens; put a WordEmbedding before it")
    return x
