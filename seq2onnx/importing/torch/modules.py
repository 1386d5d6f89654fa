"""from_torch: a torch module as a network of layers, with its weights."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from seq2onnx.building import SequenceModule
from seq2onnx.errors import ImportRefused, SpecError
from seq2onnx.importing import equivalence
from seq2onnx.importing.axes import batch_first
from seq2onnx.importing.joined_inputs import Input, entering, hold_vectors
from seq2onnx.importing.lifting import time_axis
from seq2onnx.importing.lifting.assembly import assemble
from seq2onnx.importing.lifting.layer_node import Array, LayerNode, layer_node
from seq2onnx.importing.lifting.reading import answer, flat
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.importing.lifting.windows import TooFewSteps
from seq2onnx.importing.torch.difference import first_difference
from seq2onnx.importing.torch.graph import STATE, Walk, is_passed_on
from seq2onnx.importing.torch.kept_states import kept_state
from seq2onnx.importing.torch.limits import find_limits
from seq2onnx.importing.torch.other_arguments import about_arguments
from seq2onnx.importing.torch.trace import Arguments, ModuleTrace, as_in_use, read_arguments, traces
from seq2onnx.importing.torch.wrapping import Joined, one_input, over_steps
from seq2onnx.layers import FeatureInput, SequenceInput, Softmax, WordEmbedding
from seq2onnx.layers.parts.normalization import Normalization, normalize
from seq2onnx.network import Network
from seq2onnx.texts import unfit_text


def from_torch(
    module: nn.Module,
    example: Any,
    *,
    axes: str = "BTC",
    output: int | str | None = None,
    classes: Sequence[str | int] | None = None,
    softmax: bool = False,
    normalization: Normalization = "none",
    statistics: Mapping[str, Any] | None = None,
) -> SequenceModule:
    """Turn a trained torch module into a network of layers with the same weights.

    The result is like that of `train`: export it, stream it, or train it further. Before it is returned, it is compared
    with the module: on whole sequences of four lengths, a batch of several, in single steps and in random chunks.

    Args:
        module: the torch module. In training mode it is taken as in eval mode; it stays as it is.
        example: sequences as the module takes them (integers for tokens), or the tuple of its arguments. Further
            arguments can be lengths (integers [batch], as for packed sequences), start states, which must go into a
            recurrent layer and which a stream starts with zeros, other sequences of as many steps, and vectors [batch,
            features] of whole sequences. Numbers of Python, booleans, texts and None stay as they are in the example.
        axes: what each axis of the sequences is: B (batch), T (time), C (features); of images also H and W. "TBC" for
            time first, "BT" for tokens or for one number a step, "TC" for a single sequence. "BC", without T, for a
            module that takes one step and its states, (x, *states), and returns its answer, then the new states in the
            same order: the network runs it over sequences, from states of zeros.
        output: the index or key of one of several answers. None: all of them, in order. Final states are no answers. In
            each answer, axes of features become one.
        classes: the labels of the scores.
        softmax: append a Softmax to each answer, since torch classifiers return its input.
        normalization: of the raw sequences; the result equals the module on normalized ones.
        statistics: what the normalization needs.

    Raises:
        ImportRefused: the module calculates something that no layer does, its result depends on the number of steps or
            on the other sequences of the batch, or the comparison failed.
        ShapeError: the axes do not fit the example.
        SpecError: an argument is invalid.

    Example:
        >>> module = from_torch(classifier, torch.randn(1, 100, 12), softmax=True, classes=["left", "right"])
    """
    if not isinstance(module, nn.Module):
        raise SpecError(f"from_torch: expected a torch.nn.Module, got {type(module).__name__}")
    if "T" not in axes and "B" in axes:
        module, example, axes = over_steps(module, example, axes)
    options = normalization, statistics, output, softmax
    try:
        made = _from_arguments(module, example, axes, None, *options)
    except ImportRefused as error:
        if STATE not in str(error) or not (joined := one_input(module, example, axes, vectors=True)):
            raise
        made = _from_arguments(module, example, axes, joined, *options)
    if classes is not None:
        size = made.network.signals[made.network.outputs[0]].size
        if len(classes) != size:
            raise SpecError(f"classes: {made.network.outputs[0]} gives {size} scores, got {len(classes)} classes")
        if wrong := unfit_text(classes):
            raise SpecError(f"classes: {wrong}; rename it")
        made.classes = list(classes)
    return made


def _from_arguments(
    module: nn.Module,
    example: Any,
    axes: str,
    joined: Joined | None,
    normalization: Normalization,
    statistics: Mapping[str, Any] | None,
    output: int | str | None,
    softmax: bool,
) -> SequenceModule:
    """Import a module of one input, or of several, whose sequences and vectors are `joined`; None: its sequences."""
    joined = joined or one_input(module, example, axes)
    module, example, inputs = joined or (module, example, ())
    if inputs and normalization != "none":
        raise SpecError(f"normalization: the module has {len(inputs)} inputs; normalize what they are given")
    arguments = read_arguments(example, axes)
    shape = arguments.step_shape
    size: Any = "tokens" if not shape else shape[0] if len(shape) == 1 else shape
    layer = SequenceInput(size, normalization, statistics=statistics)
    try:
        return _from_torch(module, arguments, layer, inputs, output, softmax)
    except ImportRefused as error:
        if kept := kept_state(module, arguments):
            raise ImportRefused(f"{type(module).__name__}: {kept}") from None
        if about := about_arguments(module, arguments, str(error)):
            raise ImportRefused(f"{error}. {about}") from None
        raise


def _from_torch(
    module: nn.Module,
    arguments: Arguments,
    layer: SequenceInput,
    inputs: Sequence[Input],
    output: int | str | None,
    softmax: bool,
) -> SequenceModule:
    with as_in_use(module):
        layers = [each.layer for each in inputs] or [layer]
        answers, traced = _answers(module, arguments, layers, output)
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(module).__name__).lower()
        nodes = [(label, _answer(label, x, softmax)) for label, _, x in answers]
        made = assemble(nodes, name)
        network = made.network
        places = [(place, x.axes) for _, place, x in answers]

        def source(x: Array, lengths: Array | None) -> list[Array]:
            return _run(module, traced.arguments, layer, places, softmax, x, lengths)

        def wide(x: Array, lengths: Array | None) -> list[Array]:
            exact, x = copy.deepcopy(module).double(), x if x.dtype == np.int64 else x.astype(np.float64)
            before = torch.get_default_dtype()
            torch.set_default_dtype(torch.float64)  # of the zeros that a module starts from
            try:
                return _run(exact, traced.arguments.in_float64(), layer, places, softmax, x, lengths)
            finally:
                torch.set_default_dtype(before)

        limits = find_limits(module, traced.arguments)
        samples = _samples(network, traced.arguments, layer, inputs, not (limits.reason or limits.complete))
        try:
            equivalence.prove(made, source, samples, wide, functools.partial(entering, network, inputs))
        except equivalence.ProofFailed as error:
            # torch.export writes loops and some recurrent layers out for each step: a long run would take minutes.
            short = error.steps <= equivalence.LONG and not limits.is_loop
            cause = limits.reason or (first_difference(module, traced, error.steps) if short else "")
            raise ImportRefused(f"{error}. The cause: {cause}" if cause else str(error)) from None
        if limits.reason:
            raise ImportRefused(f"{type(module).__name__}: {limits.reason}")
    return made


def _answers(
    module: nn.Module, arguments: Arguments, layers: Sequence[SequenceInput | FeatureInput], output: int | str | None
) -> tuple[list[tuple[str, int, TracedTensor]], ModuleTrace]:
    """Trace a module and lift its answers: the name, the place among all that the module returns, and the tensor."""
    for trace in traces(module, arguments):
        try:
            walk = Walk(trace, layers)
            return _chosen(walk.run(), walk.passed_on, output), trace
        except TooFewSteps as error:
            refusal = error
    raise refusal


def _chosen(returned: Any, passed_on: Sequence[Any], output: int | str | None) -> list[tuple[str, int, TracedTensor]]:
    entries, _ = pytree.tree_flatten_with_path(returned, is_leaf=lambda leaf: leaf is None)
    found = [(_label(path), place, path, leaf) for place, (path, leaf) in enumerate(entries)]
    if output is not None:
        found = [
            entry for entry in found if entry[2] and output in (_key(entry[2][0]), getattr(entry[2][0], "idx", None))
        ]
        if not found:
            raise SpecError(f"output: the module returns nothing under {output!r}")
    answers = [entry for entry in found if not is_passed_on(entry[3], passed_on)]
    answers = answers or [entry for entry in found if isinstance(entry[3], TracedTensor)]
    if not answers:
        raise ImportRefused("the module returns nothing that depends on the sequences")
    for _, _, _, leaf in answers:
        if isinstance(leaf, ImportRefused):
            raise leaf
    return [(label, place, leaf) for label, place, _, leaf in answers]


def _key(entry: Any) -> Any:
    return getattr(entry, "key", getattr(entry, "name", None))


def _label(path: Sequence[Any]) -> str:
    """Name an answer as the module names it: by the keys of dicts and the names of fields."""
    return "_".join(str(_key(entry)) for entry in path if _key(entry) is not None)


def _answer(label: str, x: TracedTensor, softmax: bool) -> LayerNode:
    scores = time_axis.standing_for(x, "log") if softmax else None
    found = answer(scores or x, f"answer {label}:" if label else "the answer")
    if scores or not softmax:
        return found
    if isinstance(found.layer, Softmax):
        raise SpecError("softmax: the module ends in a softmax already; leave softmax=True out")
    return layer_node(Softmax(), flat(found), path="")


def _samples(
    network: Network, arguments: Arguments, layer: SequenceInput, inputs: Sequence[Input], longest: bool
) -> equivalence.Samples:
    """Inputs for the comparison: random ones in the range of the statistics, and the example."""
    words = max((found.words + 1 for found in network.layers if isinstance(found, WordEmbedding)), default=2)
    known = {name: np.asarray(values) for name, values in (layer.statistics or {}).items()}

    def draw(rng: np.random.Generator, rows: int, steps: int) -> Array:
        if not arguments.step_shape:
            return rng.integers(0, words, (rows, steps))
        x = rng.normal(size=(rows, steps, *arguments.step_shape))
        trailing = (-1, *[1] * (len(arguments.step_shape) - 1))
        if "min" in known:
            low, high = (known[name].reshape(trailing) for name in ("min", "max"))
            x = low + (high - low) * rng.uniform(size=x.shape)
        elif known:
            mean, std = known["mean"], known.get("std", np.ones(1))
            x = mean.reshape(trailing) + std.reshape(trailing) * x
        hold_vectors(x, inputs)
        return x.astype(np.float32)

    example = arguments.from_source(arguments.example.detach().cpu())
    own = example.numpy().astype(np.float32 if arguments.step_shape else np.int64)
    return equivalence.Samples(draw, bool(arguments.lengths), [] if known or not own.size else [own], longest)


def _run(
    module: nn.Module,
    arguments: Arguments,
    layer: SequenceInput,
    answers: Sequence[tuple[int, tuple[str, ...]]],
    softmax: bool,
    x: Array,
    lengths: Array | None,
) -> list[Array]:
    """Run the module on x [B, T, …]: answers [B, T, K] or [B, K]."""

    def once(x: Tensor, lengths: Tensor | None) -> list[Array]:
        steps = x.shape[1]
        known = torch.full((len(x),), steps) if lengths is None else lengths
        leaves = pytree.tree_leaves(module(*arguments.call(x, known)), is_leaf=lambda leaf: leaf is None)
        found = ((leaves[place].detach().cpu(), axes) for place, axes in answers)
        exact = ((y.to(torch.promote_types(y.dtype, torch.float32)), axes) for y, axes in found)
        whole = [torch.from_numpy(batch_first(y.numpy(), axes, y.shape, len(x))) for y, axes in exact]
        return [(y.softmax(-1) if softmax else y).numpy() for y in whole]

    data = torch.from_numpy(x)
    if x.dtype != np.int64:
        data = normalize(data, layer.label, layer.normalization, layer.statistics, layer.shape)
    rows = None if lengths is None else torch.from_numpy(lengths)
    if arguments.batch:
        return once(data, rows)
    each = [once(data[i : i + 1], None if rows is None else rows[i : i + 1]) for i in range(len(data))]
    return [np.concatenate(found) for found in zip(*each, strict=True)]
