"""Random networks: valid ones of every layer and option.

Options are drawn from the fields of the layer classes, by their types; what a layer's own checks or the
signals before it refuse is drawn again. A new layer is drawn without a line here.
"""

from __future__ import annotations

import dataclasses
import math
import random
import types
import typing
from collections import Counter
from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

import seq2onnx as s2o
from seq2onnx.layers import KINDS, Layer
from seq2onnx.layers.parts.normalization import NEEDED

INPUTS = sorted(kind for kind, cls in KINDS.items() if cls.is_input)
# A decision changes with the last bit of a score, so no tolerance fits what follows it. Layers for raw signals have
# fields that depend on each other, and examples of their own.
OTHERS = sorted(kind for kind, cls in KINDS.items() if not (cls.is_input or cls.decides or cls.takes_samples))
JOINS = ("add", "concat", "multiply")
MOST_FEATURES = 60
# Steps of a run of a step file. Some have more than 64, which one Split does not cut.
MOST_STEPS = 150
STRIDES = ("length", "hop", "stride", "factor")
# What a network or the data decides, and no option.
NO_OPTIONS = ("name", "inputs", "vectors")
# The others of WindowStatistics enlarge the rounding of what is nearly constant, or jump at 0.
STATISTICS = ("mean", "std", "rms", "min", "max")


def networks(most: int = 8) -> st.SearchStrategy[s2o.Network]:
    """Networks for hypothesis, which shrinks them."""
    return st.randoms(use_true_random=False).map(lambda rng: compose(rng, most))


def compose(rng: random.Random, most: int = 8, seen: Counter[str] | None = None) -> s2o.Network:
    """A valid network of up to `most` layers, perhaps with branches, several inputs and several outputs.

    seen: how often each option was drawn before; those that were drawn least come first
    """
    seen = Counter() if seen is None else seen
    layers: list[Layer] = []
    count = rng.randint(1, most)
    for _ in range(60):
        if len(layers) >= count:
            break
        kinds = ["sequence_input"] if not layers else rng.choices(OTHERS * 4 + INPUTS, k=3)
        kind = min(kinds, key=seen.__getitem__)
        drawn = [with_missing(rng, draw_layer(rng, kind, layers), layers) for _ in range(20)]
        good = [some for some in drawn if some and fits([*layers, *some])]
        if good:
            layers += min(good, key=lambda some: min(seen[option] for layer in some for option in options_of(layer)))
    return s2o.Network(layers, unread(layers))


def draw_layer(rng: random.Random, kind: str, layers: list[Layer]) -> Layer | None:
    """A layer of that kind that reads some of `layers`, or None where its own checks refuse the options."""
    options = {name: value(rng, hint, name) for name, hint in hints(KINDS[kind]).items()}
    names = [layer.name for layer in layers]
    if kind in JOINS:
        options["inputs"] = [rng.choice(names) for _ in range(rng.randint(2, 3))]
    elif kind not in INPUTS:
        options["inputs"] = [names[-1] if rng.random() < 0.8 else rng.choice(names)]  # mostly a chain
    try:
        layer = KINDS[kind](name=f"{kind}_{len(layers) + 1}", **options)
    except s2o.SpecError:
        return None
    return with_statistics(rng, layer) if kind in INPUTS else layer


def with_missing(rng: random.Random, layer: Layer | None, layers: list[Layer]) -> list[Layer]:
    """The layer, and behind an input whose values may be missing the layer that must read it; none if there is none."""
    if layer is None or not getattr(layer, "missing", False):
        return [layer] if layer else []
    filling = draw_layer(rng, "missing", [*layers, layer])
    return [layer, dataclasses.replace(filling, inputs=[layer.name])] if filling else []


def fits(layers: list[Layer]) -> bool:
    """Whether they make a network, of small signals."""
    try:
        signals = s2o.Network(layers, unread(layers)).signals
    except (s2o.SpecError, s2o.ShapeError):
        return False
    run = math.lcm(*(signal.clock.stride for signal in signals.values()))
    return signals[layers[-1].name].size <= MOST_FEATURES and run <= MOST_STEPS


def unread(layers: list[Layer]) -> list[str]:
    """The names of the layers that no other reads: the outputs."""
    read = {name for layer in layers for name in layer.inputs or ()}
    return [layer.name for layer in layers if layer.name not in read]


def hints(cls) -> dict[str, typing.Any]:
    """The options of a layer, and their types."""
    found = typing.get_type_hints(cls, include_extras=True)
    left_out = (*NO_OPTIONS, "statistics") if cls.is_input else NO_OPTIONS
    return {field.name: found[field.name] for field in dataclasses.fields(cls) if field.name not in left_out}


def value(rng: random.Random, hint, name: str):
    """A value for an option, by its type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return rng.choice(arguments)
    if origin in (typing.Union, types.UnionType):
        plain = [a for a in arguments if typing.get_origin(a) is not Callable]  # no file holds a function
        return value(rng, rng.choice(plain), name)
    if hint is types.NoneType:
        return None
    if hint is bool:
        return rng.random() < 0.5
    if name == "statistics":
        return rng.sample(STATISTICS, rng.randint(1, 3))
    if name in ("scale", "offset"):
        return rng.choice([2.0, -0.5, 0.25])
    if hint is float:
        return rng.choice([0.0, 0.2, 0.7])
    if origin is typing.Annotated:
        base = arguments[0]
        if base is float:
            return rng.choice([0.1, 0.5, 0.9])
        if base is int:
            least = 1 if "gt=0" in repr(hint) else 0
            if name in STRIDES and rng.random() < 0.2:
                return rng.choice([65, 70])
            return rng.choice([least, 1, 2, 2, 3, 4])
        return value(rng, base, name)
    if origin is tuple:
        count = rng.randint(2, 3) if ... in arguments else 2
        return tuple(value(rng, arguments[0], name) for _ in range(count))
    if name == "vocabulary":
        return ["good", "bad", "so-so"]
    raise TypeError(f"no way to draw {name}: {hint}; add one to tests/networks.py")


def with_statistics(rng: random.Random, layer):
    """An input layer with statistics, if its normalization needs some."""
    needed = NEEDED[layer.normalization]
    channels = layer.size[0] if isinstance(layer.size, tuple) else layer.size
    if not needed:
        return layer
    numbers = np.random.default_rng(rng.randrange(100))
    low, spread = numbers.normal(size=channels), numbers.uniform(0.5, 2, channels)
    known = {"mean": low, "std": spread, "min": low, "max": low + spread}
    return dataclasses.replace(layer, statistics={name: known[name] for name in needed})


def options_of(layer: Layer):
    """The kind of a layer, and each of its options; numbers as 0, 1 and more."""
    yield layer.kind
    for field in hints(type(layer)):
        found = getattr(layer, field)
        if isinstance(found, str | bool):
            shown = str(found)
        elif isinstance(found, int):
            shown = str(found) if found < 2 else "more"
        else:
            shown = type(found).__name__
        yield f"{layer.kind}.{field} = {shown}"


def network_of(example) -> s2o.Network:
    """Make a network of an example and the input layers that it reads."""
    front = []
    for signal in example.signals:
        if not signal.has_time:
            front.append(s2o.FeatureInput(signal.size))
        elif signal.dtype == "int64":
            front.append(s2o.SequenceInput("tokens"))
        else:
            size = signal.shape if len(signal.shape) > 1 else signal.size
            front.append(s2o.SequenceInput(size, missing=signal.missing))
    front = [dataclasses.replace(layer, name=f"in_{i}") for i, layer in enumerate(front)]
    layer = dataclasses.replace(example.layer, inputs=[f.name for f in front] or None)
    back = [s2o.Missing()] if layer.infer(*example.signals).missing else []
    network = s2o.Network([*front, layer, *back])
    assert [network.signals[f.name] for f in front] == list(example.signals)
    return network
