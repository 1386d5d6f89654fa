"""The layers of a foreign network, as they are found, before they become a Network."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import ImportRefused, NotStreamable, Seq2OnnxError
from seq2onnx.layers import FeatureInput, LastStep, Layer, SequenceInput
from seq2onnx.layers.signal import Signal

Array = NDArray[Any]
Handler = TypeVar("Handler", bound=Callable[..., Any])
Made = TypeVar("Made")

NOT_LAST = (
    "reads a single step that is not the last. A loop over steps becomes layers if it begins with zeros and reads all "
    "steps in order, and only nn.LSTM, nn.GRU, nn.RNN and their cells carry numbers from step to step; call nn.LSTM, "
    "nn.GRU or nn.RNN once with the whole sequence"
)


def filling(table: dict[str, Handler]) -> Callable[..., Callable[[Handler], Handler]]:
    """Return a decorator that enters a function in a table under the names of operators."""

    def operators(*names: str) -> Callable[[Handler], Handler]:
        def enter(handler: Handler) -> Handler:
            table.update(dict.fromkeys(names, handler))
            return handler

        return enter

    return operators


def reason_of(error: Exception, remedy: str = "") -> str:
    """Return the text of a refusal; of any other error, that an operation cannot be followed, and the `remedy`."""
    known = isinstance(error, Seq2OnnxError)
    return str(error) if known else f"cannot be followed ({type(error).__name__}: {error}){remedy}"


@dataclasses.dataclass(eq=False)
class Lifting:
    """State of one import: the path of what is lifted, after which layers are named, and the sizes of all time axes.

    `window` is how many steps the network flattens, if the user says that it does. Nodes of the same layer, inputs and
    weights are one node, of `made`. `steps` has the single steps of sequences that were read, by their number.
    """

    place: str = ""
    times: set[int] = dataclasses.field(default_factory=set)
    window: int | None = None
    made: dict[tuple[Any, ...], LayerNode] = dataclasses.field(default_factory=dict)
    steps: dict[tuple[LayerNode, int], LayerNode] = dataclasses.field(default_factory=dict)

    @contextlib.contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Lift the operations of a foreign module or node."""
        before, self.place = self.place, place
        try:
            yield
        finally:
            self.place = before


@dataclasses.dataclass(frozen=True, eq=False)
class LayerNode:
    """A layer without name, the nodes that it reads, its weights and its output. Two nodes are never equal.

    `barred` says why no layer computes it; it may be carried along as long as nothing reads it. A node can stand for
    one that it becomes under one operation: ("log", the probabilities) under a softmax, ("softmax", the scores) in a
    product, ("weighted", the pooled sequence) in a sum, ("window", the steps) in a weighted sum, ("norm", a Norm) in a
    division; ("step", the sequence and the number of the step) and ("cell", the LSTM and this number) in a loop over
    all steps. `path` is its place in the foreign network.
    """

    layer: Layer | None
    reads: tuple[LayerNode, ...]
    weights: Mapping[str, Array]
    signal: Signal
    lifting: Lifting
    path: str = ""
    barred: str = ""
    stands_for: tuple[str, Any] = ("", None)

    @property
    def size(self) -> int:
        """Number of features of a step."""
        return self.signal.size

    @property
    def has_time(self) -> bool:
        """Whether it has a time axis."""
        return self.signal.has_time

    @functools.cached_property
    def final_state(self) -> LayerNode:
        """The states of both directions after the whole sequence, of a bidirectional layer with all steps."""
        return self._with_output("last", "final")

    @functools.cached_property
    def cell_state(self) -> LayerNode:
        """The cell states after the whole sequence, of an LSTM in one or both directions with all steps."""
        return self._with_output("cell", "cell")

    def _with_output(self, mode: str, label: str) -> LayerNode:
        assert self.layer is not None
        fields: dict[str, Any] = {"output_mode": mode}
        layer = dataclasses.replace(self.layer, **fields)
        return layer_node(layer, *self.reads, weights=self.weights, path=f"{self.path}.{label}")


def input_node(layer: SequenceInput | FeatureInput, lifting: Lifting) -> LayerNode:
    """Make the node of an input of an import."""
    return LayerNode(layer, (), {}, layer.infer(), lifting, layer.name or "input")


def layer_node(
    layer: Layer, *reads: LayerNode, weights: Mapping[str, Array] | None = None, path: str | None = None
) -> LayerNode:
    """Make the node of a layer, named after `path` (None: the place of the foreign operation), if it can read these."""
    if step := _step_of_result(layer, reads, weights, path):
        return step
    for read in reads:
        if read.barred:
            raise ImportRefused(read.barred)
    signals = [read.signal for read in reads]
    try:
        signal = layer.infer(*signals)
        expected = {name: weight.shape for name, weight in layer.weights(*signals).items()}
    except Seq2OnnxError as error:
        raise ImportRefused(str(error)) from None
    arrays = {name: np.asarray(array, np.float32).reshape(expected[name]) for name, array in (weights or {}).items()}
    assert set(arrays) == set(expected), f"{layer.label}: weights {sorted(arrays)}, expected {sorted(expected)}"
    lifting = reads[0].lifting
    found = LayerNode(layer, reads, arrays, signal, lifting, lifting.place if path is None else path)
    digests = [(name, sha256(array.tobytes()).digest()) for name, array in sorted(arrays.items())]
    return lifting.made.setdefault((repr(layer), reads, *digests), found)


def single_step(found: LayerNode, number: int, is_last: bool) -> LayerNode:
    """Make the node of one step of a sequence. Only the last one can be read, and in loops over all steps each."""
    signal = dataclasses.replace(found.signal, has_time=False)
    node, stands_for = barred(NOT_LAST, found, signal), ("step", (found, number))
    if is_last:
        node = layer_node(LastStep(), found)
    return found.lifting.steps.setdefault((found, number), dataclasses.replace(node, stands_for=stands_for))


def _step_of_result(
    layer: Layer, reads: Sequence[LayerNode], weights: Mapping[str, Array] | None, path: str | None
) -> LayerNode | None:
    """In a loop over steps, what a layer makes of one step is that step of what it makes of the sequence."""
    steps = [read.stands_for[1] for read in reads if read.stands_for[0] == "step"]
    if len({number for _, number in steps}) != 1:
        return None
    sequences = [read.stands_for[1][0] if read.stands_for[0] == "step" else read for read in reads]
    found = layer_node(layer, *sequences, weights=weights, path=path)
    is_last = not any(read.barred for read in reads)
    return single_step(found, steps[0][1], is_last) if acts_on_each_step(found) else None


def helper(layer: Layer, *reads: LayerNode, weights: Mapping[str, Array] | None = None) -> LayerNode:
    """Make the node of a layer that the foreign operation needs and that is not the operation itself."""
    return layer_node(layer, *reads, weights=weights, path=f"{reads[0].lifting.place}.{layer.kind}")


def barred(
    reason: str, like: LayerNode, signal: Signal | None = None, stands_for: tuple[str, Any] = ("", None)
) -> LayerNode:
    """Make a node of something that no layer computes, with the signal of `like` if it has no other."""
    return LayerNode(None, (), {}, signal or like.signal, like.lifting, barred=reason, stands_for=stands_for)


def in_order(
    ends: Sequence[LayerNode], reads: Callable[[LayerNode], Sequence[LayerNode]] = lambda one: one.reads
) -> list[LayerNode]:
    """List all nodes that lead to `ends`, each after those that it reads. Chains may be longer than Python's stack."""
    found: dict[LayerNode, None] = {}
    waiting = [(end, False) for end in reversed(ends)]
    while waiting:
        one, is_after = waiting.pop()
        if one in found:
            continue
        if is_after:
            found[one] = None
        else:
            waiting.append((one, True))
            waiting += [(read, False) for read in reversed(reads(one))]
    return list(found)


def rebuilt(
    found: LayerNode, reads: Callable[[LayerNode], Sequence[LayerNode]], make: Callable[[LayerNode, list[Made]], Made]
) -> Made:
    """Make something of a node, given what is made of the nodes that it `reads`, from the first ones on."""
    made: dict[LayerNode, Made] = {}
    for one in in_order([found], reads):
        made[one] = make(one, [made[read] for read in reads(one)])
    return made[found]


def acts_on_each_step(found: LayerNode) -> bool:
    """Whether each step of the output depends on that step of the inputs alone."""
    if found.layer is None or not found.reads:
        return False
    signals = [read.signal for read in found.reads]
    try:
        stateless = not found.layer.states(*signals)
    except NotStreamable:
        return False
    clocks = [signal.clock for signal in signals if signal.has_time]
    return stateless and found.has_time == bool(clocks) and all(found.signal.clock == clock for clock in clocks)
