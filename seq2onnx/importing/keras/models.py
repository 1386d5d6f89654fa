"""from_keras: a model saved by Keras as a network of layers, with its weights. Keras is not needed."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seq2onnx.building import SequenceModule
from seq2onnx.errors import ImportRefused, ModelFileError, Seq2OnnxError, SpecError
from seq2onnx.importing import equivalence
from seq2onnx.importing.axes import batch_first
from seq2onnx.importing.joined_inputs import entering, features, hold_vectors
from seq2onnx.importing.keras import layers as keras_layers, recurrent as keras_recurrent, windows as keras_windows
from seq2onnx.importing.keras.file import read_file
from seq2onnx.importing.keras.graph import CUSTOM, KerasLayer, KerasModel, LayerCall, Tensor, read_model
from seq2onnx.importing.keras.reference import evaluate
from seq2onnx.importing.lifting import layout
from seq2onnx.importing.lifting.assembly import assemble
from seq2onnx.importing.lifting.layer_node import Array, LayerNode, Lifting, input_node, reason_of
from seq2onnx.importing.lifting.reading import answer
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.importing.lifting.windows import TooFewSteps
from seq2onnx.importing.refusals import OptionNeeded
from seq2onnx.layers import SequenceInput

FILLED_BY = (keras_layers, keras_recurrent, keras_windows)
"""The modules whose import fills the table of layers."""

ROWS, STEPS = 5, (13, 1009, 65521)
"""Sizes of the batch and of time that are followed; the next number of steps where windows leave too few."""
MOST_FEATURES = 2**20
"""The most features of a step. A file can join tensors with themselves again and again."""
MASKED = (
    "skips steps wherever they stand, which no layer does. If they are padding behind the sequences alone, import it "
    'with masks="lengths": sequences then have lengths in place of padding'
)
REASONS = {
    "Lambda": "runs code that is in the file, which is never run here; build it of layers such as Rescaling",
    "RepeatVector": "repeats one vector over all steps, as a decoder after an encoder does; no layer does that",
    "UpSampling1D": "gives more steps than it reads, which no layer does",
    "Conv1DTranspose": "gives more steps than it reads, which no layer does",
    **dict.fromkeys(
        ("MultiHeadAttention", "Attention", "AdditiveAttention", "GroupQueryAttention"),
        "is attention over all steps, of which a stream knows only those that have passed; no layer does that",
    ),
    **dict.fromkeys(
        ("TextVectorization", "StringLookup", "IntegerLookup", "Hashing", "CategoryEncoding"),
        "prepares data before the network; save the model without it, and prepare the data as before",
    ),
}


class _Located(ImportRefused):
    """A refusal that names its layer already; `behind` is how many layers need its result, and how many there are."""

    behind: tuple[int, int] | None = None


class _Mask:
    """A mask of steps, which only recurrent layers and poolings over time may take."""


def from_keras(path_or_model: Any, *, masks: str | None = None) -> SequenceModule:
    """Turn a trained Keras model into a network of layers with the same weights.

    Keras is neither imported nor needed: the file is read as data, and nothing in it is run. The result is like that of
    `train`: export it, stream it, or train it further. Before it is returned, it is compared with the equations that
    Keras documents for its layers, calculated in float64: on whole sequences of several lengths, a batch of several, in
    single steps and in random chunks.

    Args:
        path_or_model: a .keras or .h5 file of Keras 2 or 3, or a model, which is saved to a temporary file. Sequential
            and Functional models are read. An input is [batch, time, features], tokens [batch, time], or images
            [batch, time, height, width, channels]; the network takes images with their channels first. Of several
            inputs, each is [batch, time, features], or a vector [batch, features] of whole sequences.
        masks: "lengths" if a Masking layer, or mask_zero of an Embedding, marks padding behind the sequences and
            nothing else. None: a model with masks is refused.

    Raises:
        ImportRefused: the model calculates something that no layer does, or the comparison failed.
        ModelFileError: the file is damaged, or is no model of Keras.
        SpecError: an argument is invalid.
        OSError: the file cannot be read.

    Example:
        >>> module = from_keras("classifier.keras")
        >>> s2o.export(module, "classifier.onnx")
    """
    if masks not in (None, "lengths"):
        raise SpecError(f'masks: expected None or "lengths", got {masks!r}')
    if isinstance(path_or_model, str | Path):
        return _from_file(path_or_model, masks)
    if not hasattr(path_or_model, "save"):
        raise SpecError(f"from_keras: expected a path or a Keras model, got {type(path_or_model).__name__}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path_or_model.save(path)
        return _from_file(path, masks)


def _from_file(path: str | Path, masks: str | None) -> SequenceModule:
    model, name = read_model(read_file(path), path)
    masking = [
        layer
        for layer in _all_layers(model)
        if layer.kind == "Masking" or (layer.kind == "Embedding" and layer.get("mask_zero"))
    ]
    if masking and masks is None:
        raise OptionNeeded(f"{masking[0].place}: {MASKED}", masks=["lengths"])
    start = _inputs(model)
    for steps in STEPS:
        try:
            answers = _answers(model, _run(model, _sequences(start, steps)))
            break
        except (_Located, TooFewSteps) as error:
            if isinstance(error, _Located) or steps == STEPS[-1]:
                raise ImportRefused(str(error)) from None
    nodes = [(tensor[0] if len(answers) > 1 else "", _answer(tensor, x)) for tensor, x in answers]
    made = assemble(nodes, name)
    source = _source(model, [(model.outputs.index(tensor), x.axes) for tensor, x in answers])
    draw = _drawer(model, start, bool(masking))
    more = [] if steps == STEPS[0] else [draw(np.random.default_rng(i), 2, n) for i, n in enumerate((steps, 2 * steps))]
    enter = functools.partial(entering, made.network, model.parts)
    equivalence.prove(made, source, equivalence.Samples(draw, more=more), entering=enter)
    if masking:
        equivalence.prove(made, source, equivalence.Samples(draw, lengths=True), entering=enter)
    return made


def _all_layers(model: KerasModel) -> Iterator[KerasLayer]:
    """List the layers of a model, and those within them."""
    waiting = [node.layer for node in model.nodes]
    while waiting:
        layer = waiting.pop()
        yield layer
        waiting += layer.inner
        waiting += [node.layer for node in layer.model.nodes] if layer.model else []


def _inputs(model: KerasModel) -> list[LayerNode]:
    """Make the inputs of the network."""
    lifting, shape = Lifting(), model.shape
    if shape is None:
        raise ImportRefused(
            "the model was saved before it knew its input; call it once, or give it an Input, and save it"
        )
    sizes: Any = list(shape[1:])
    if any(not isinstance(n, int) or n < 1 for n in sizes) or len(sizes) > 3 or np.prod(sizes) > MOST_FEATURES:
        raise ImportRefused(
            f"the input has the shape {[None, *shape]}; expected [batch, time, features] or images of a known "
            f"size, and at most {MOST_FEATURES:,} features"
        )
    if model.parts:
        return [input_node(part.layer, lifting) for part in model.parts]
    if sizes:
        return [input_node(SequenceInput(sizes[0] if len(sizes) == 1 else (sizes[-1], *sizes[:-1])), lifting)]
    if not shape or not any(layer.kind == "Embedding" for layer in _all_layers(model)):
        raise ImportRefused(
            f"the input has the shape {[None, *shape]}, without a time axis; expected [batch, time, features], "
            "or tokens [batch, time] for an Embedding"
        )
    return [input_node(SequenceInput("tokens"), lifting)]


def _sequences(start: Sequence[LayerNode], steps: int) -> TracedTensor:
    """Return the input as Keras has it: channels last."""
    index, shape = np.arange(sum(part.size for part in start)), _step(start)
    if shape:
        index = np.moveaxis(index.reshape(shape), 0, -1)
    return TracedTensor(
        tuple(start), ("B", "T", *[""] * len(shape)), index.reshape(1, 1, *index.shape[: len(shape)]), ROWS, steps
    )


def _step(start: Sequence[LayerNode]) -> tuple[int, ...]:
    """Return the shape of a step of all inputs together; () of tokens."""
    first = start[0].signal
    return (sum(part.size for part in start),) if len(start) > 1 else first.shape if first.dtype != "int64" else ()


def _run(model: KerasModel, x: TracedTensor) -> dict[Tensor, Any]:
    """Lift each layer of a model; return all tensors."""
    values: dict[Tensor, Any] = {(model.input, 0): x}
    for node in model.nodes:
        given = [_known(values, tensor, node.layer) for tensor in node.reads]
        if not all(isinstance(_known(values, tensor, node.layer), _Mask) for tensor in node.masks):
            raise ImportRefused(f"{node.layer.place}: has a mask that is calculated in the model; {MASKED}")
        try:
            outputs = _apply(node.layer, given)
        except _Located as error:
            error.behind = _behind(model, node), len(model.nodes)
            raise
        values |= {(node.name, i): found for i, found in enumerate(outputs)}
    return values


def _behind(model: KerasModel, node: LayerCall) -> int:
    """Return how many layers need the results of one."""
    found = {node.name}
    for each in model.nodes:
        if any(name in found for name, _ in each.reads):
            found.add(each.name)
    return len(found) - 1


def _known(values: dict[Tensor, Any], tensor: Tensor, layer: KerasLayer) -> Any:
    if tensor not in values:
        raise ModelFileError(f"{layer.place}: reads {tensor[0]!r:.60}, which the model does not have")
    return values[tensor]


def _apply(layer: KerasLayer, given: Sequence[Any]) -> Sequence[Any]:
    """Lift a layer; return its outputs."""
    if layer.kind == "ops.NotEqual" or (layer.kind.startswith("ops.") and all(isinstance(x, _Mask) for x in given)):
        return [_Mask()]
    try:
        if any(isinstance(x, _Mask) for x in given):
            raise ImportRefused("reads a mask as numbers, which no layer does")
        _check_size(given)
        if layer.model:
            values = _run(layer.model, *given)
            return [values[tensor] for tensor in layer.model.outputs]
        if layer.kind == "TimeDistributed":
            return [_at_each_step(layer, *given)]
        if layer.kind not in keras_layers.LAYERS:
            raise ImportRefused(REASONS.get(layer.kind, f"is {layer.kind}, {CUSTOM}"))
        with given[0].lifting.at(layer.name):
            found = keras_layers.LAYERS[layer.kind](layer, *given)
        outputs = found if isinstance(found, list) else [found]
        _check_size(outputs)
        return outputs
    except (TooFewSteps, _Located, ModelFileError):
        raise
    except Exception as error:  # a file can contain anything
        raise _Located(f"{layer.place}: {reason_of(error, '; is its configuration as Keras writes it?')}") from None


def _check_size(xs: Sequence[TracedTensor]) -> None:
    if sum(x.index.size for x in xs) > MOST_FEATURES:
        raise ImportRefused(f"has more than {MOST_FEATURES:,} features a step")


def _at_each_step(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    """Apply the layer that a TimeDistributed wraps: as Keras, with batch and time in one axis."""
    if x.axes[:2] != ("B", "T"):
        raise ImportRefused(f"reads a tensor {list(x.shape)}, whose first axes are not batch and time")
    steps = layout.reshape(x, (x.rows * x.steps, *x.shape[2:]))
    (y,) = _apply(layer.inner[0], [steps])
    found: TracedTensor = layout.reshape(y, (x.rows, x.steps, *y.shape[1:]))
    return found


def _answers(model: KerasModel, values: dict[Tensor, Any]) -> list[tuple[Tensor, TracedTensor]]:
    """Choose what the network answers. Final states beside an answer are states of a stream."""
    found = [(tensor, values[tensor]) for tensor in model.outputs if tensor in values]
    if len(found) != len(model.outputs) or any(isinstance(x, _Mask) for _, x in found):
        raise ModelFileError("the outputs of the model are not among its layers")
    return [entry for entry in found if entry[0][1] == 0] or found


def _answer(tensor: Tensor, x: TracedTensor) -> LayerNode:
    try:
        return answer(x, "an output")
    except Seq2OnnxError as error:
        raise ImportRefused(f"{tensor[0]}: {error}") from None


def _source(model: KerasModel, answers: Sequence[tuple[int, tuple[str, ...]]]) -> equivalence.Source:
    """Return the equations of the model as the source of the comparison."""

    def run(x: Array, lengths: Array | None) -> list[Array]:
        given = x if x.dtype == np.int64 else np.moveaxis(x.astype(float), 2, -1)
        found = evaluate(model, given, None, lengths)
        return [batch_first(found[i][0], axes, found[i][0].shape, len(x)) for i, axes in answers]

    return run


def _drawer(
    model: KerasModel, start: Sequence[LayerNode], is_masked: bool
) -> Callable[[np.random.Generator, int, int], Array]:
    """Return a function that draws inputs for the comparison, near the statistics of a Normalization of them."""
    tables = [layer.weights["embeddings"] for layer in _all_layers(model) if layer.kind == "Embedding"]
    shape = _step(start)
    words = 0 if shape else min((len(table) for table in tables), default=0)
    least = 1 if is_masked and words > 1 else 0  # 0 is padding
    mean, std = np.zeros(shape[:1]), np.ones(shape[:1])
    places = {each.name: place for each, place in features(model.parts)} or {model.input: slice(None)}
    for node in model.nodes:
        if node.layer.kind == "Normalization" and node.reads[0][0] in places:
            known = [node.layer.weights.get(name, node.layer.get(name)) for name in ("mean", "variance")]
            place = places[node.reads[0][0]]
            mean[place], std[place] = np.ravel(known[0]), np.sqrt(np.ravel(known[1]))

    def draw(rng: np.random.Generator, rows: int, steps: int) -> Array:
        if words:
            return rng.integers(least, words, (rows, steps))
        x = np.moveaxis(rng.normal(size=(rows, steps, *shape)), 2, -1)
        x = np.moveaxis(mean + std * x, -1, 2).astype(np.float32)
        hold_vectors(x, model.parts)
        return x

    return draw
