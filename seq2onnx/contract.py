"""The contract of an exported file: its metadata, and the names of its tensors."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from seq2onnx.errors import ModelFileError
from seq2onnx.layer_facts import INPUT_HAS_TIME, TAKES_SAMPLES
from seq2onnx.sequences import DataInfo, PaddingPolicy, TrainingStatistics
from seq2onnx.texts import is_unicode

Signature = Literal["full", "sequence", "stream"]
Storage = Literal["float32", "float16", "int8"]
Form = Literal["dynamic", "step", "portable"]

KEY = "seq2onnx"
"""The key of the contract in the metadata of the ONNX file."""
CLASSES_KEY = "classes"
"""The key of the classes alone, for other programs."""
FORMAT_VERSION = 2
"""The newest version of the contract that this seq2onnx reads."""
MOST_STATES = 100
"""The most states that a file may have: their numbers have two digits."""
FORMS = [*get_args(Form)]
"""The forms of graphs that this seq2onnx runs."""

LENGTHS, END = "lengths", "end"
"""The inputs for the valid steps of each row and, with lookahead, for whether a row ends with this chunk."""

_REQUIRED = {"network", "classes", "signature", "states", "min_length"}
_OPTIONAL = {"closed_loop", "form", "weights", "options", "emission", "channels", "missing", "sample_rate", "answer"}
_OPTIONAL |= {"quantiles", "training", "steps"}
_OPTIONAL |= {"inputs", "outputs", "tokens"}  # of files without a network


def choices(kind: Any) -> str:
    """Return the values of a Literal of texts in words: 'full', 'sequence' or 'stream'."""
    *others, last = map(repr, get_args(kind))
    return f"{', '.join(others)} or {last}"


def input_names(layers: Iterable[str]) -> dict[str, str]:
    """Return the tensor of each input layer: x, or x_{layer} if there are several."""
    return _tensor_names("x", list(layers))


def output_names(layers: Iterable[str]) -> dict[str, str]:
    """Return the tensor of each output layer: y, or y_{layer} if there are several."""
    return _tensor_names("y", list(layers))


def activation_name(layer: str) -> str:
    """Return the tensor that holds the activations of a layer."""
    return f"act_{layer}"


def lengths_name(output: str) -> str:
    """Return the tensor that holds the number of valid steps of an output."""
    return f"{output}_lengths"


def _tensor_names(prefix: str, layers: list[str]) -> dict[str, str]:
    return {layer: prefix if len(layers) == 1 else f"{prefix}_{layer}" for layer in layers}


@dataclasses.dataclass(frozen=True)
class ContractState:
    """A state of the network: a pair of tensors, one read and one written by each run.

    Attributes:
        input: the tensor that is read.
        output: the tensor that is written.
        shape: the shape of one row, without the batch dimension.
        dtype: the name of the numpy type.
        kind: what the layer keeps in it, such as "h" or "buf". A layer may have several states of one kind.
        layer: the layer that it belongs to.
        name: unique in the layer. The default is that of `state_names`.
    """

    input: str
    output: str
    shape: tuple[int, ...]
    dtype: str
    kind: str
    layer: str
    name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contract:
    """The metadata of an exported file.

    Attributes:
        network: the specification, as `Network.from_dict` reads it. None if the file was made from another model.
        classes: the labels of the scores.
        signature: the inputs and outputs of the graph, see `export`.
        states: the states, in the order of their tensors.
        min_length: the fewest steps that a sequence may have.
        time_stride: steps of x for each step of y; in step files the steps of x in each run, for which code reads
            `chunk_steps`.
        delay_steps: steps of x that must follow before a step of y can be computed.
        data_policy: the fields of the PaddingPolicy of the training.
        vocabulary: the words of each token input, numbered from 1.
        closed_loop: how many steps the file forecasts in one run. None: it has no closed loop.
        writer: the program that wrote the file, and its version.
        form: how the graph is written.
        weights: how the weights are stored.
        options: the ExportOptions of the file.
        emission: the version of the emitted nodes; every change of them increases it.
        channels: the names of the features: a list, or for several inputs a dict by layer.
        missing: whether NaN in x stands for a missing value.
        sample_rate: samples of x per second: that of a layer, or else of the training data.
        training: statistics of the training data, as `TrainingStatistics.from_dict` reads them.
        answer: what y is: "events" or "quantiles". None: scores or values.
        quantiles: which quantiles the columns of y are, if it answers "quantiles"; of several numbers, they repeat.
        steps: in step files the steps of each input and output that has a time axis.
        inputs: the names of the inputs, if there is no network.
        outputs: the names of the outputs, if there is no network.
        tokens: how many different tokens there are, if there is no network.
    """

    network: dict[str, Any] | None = None
    classes: list[str | int] | None = None
    signature: Signature
    states: tuple[ContractState, ...] = ()
    time_stride: int = 1
    min_length: int = 1
    delay_steps: int = 0
    data_policy: dict[str, Any] = dataclasses.field(default_factory=dict)
    vocabulary: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    writer: str = ""
    closed_loop: int | None = None
    form: Form = "dynamic"
    weights: Storage = "float32"
    options: dict[str, Any] | None = None
    emission: int | None = None
    channels: Any = None
    missing: bool = False
    sample_rate: float | None = None
    training: dict[str, Any] | None = None
    answer: str | None = None
    quantiles: list[float] | None = None
    steps: dict[str, int] | None = None
    inputs: list[str] | None = None
    outputs: list[str] | None = None
    tokens: int | None = None

    @cached_property
    def data_info(self) -> DataInfo:
        """The classes, quantiles, channels and data policy as a module has them.

        Raises:
            SpecError, TypeError: the data policy is wrong. `modelfile` refuses such files.
        """
        quantiles = None if self.quantiles is None else tuple(self.quantiles)
        policy = PaddingPolicy(**self.data_policy)
        training = None if self.training is None else TrainingStatistics.from_dict(self.training)
        return DataInfo(self.classes, quantiles, self.channels, policy, self.sample_rate, training)

    @property
    def has_fixed_rate(self) -> bool:
        """Whether a layer needs the sample rate; else it is that of the training data."""
        return any("rate" in fields for _, fields in self.layers.values())

    @property
    def chunk_steps(self) -> int:
        """The number of steps of which sequences and chunks must be multiples: those of a run of a step file, or 1."""
        return self.time_stride if self.form == "step" else 1

    @property
    def format_version(self) -> int:
        """The lowest version of the contract that covers this file."""
        newer = self.form == "step" or self.missing or self.answer == "events" or self.network is None
        return 2 if newer else 1

    @cached_property
    def layers(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """The kind and the fields of each layer, by name."""
        layers = self.network["layers"] if self.network else ()
        return {fields["name"]: (kind, fields) for layer in layers for kind, fields in layer.items()}

    @cached_property
    def input_layers(self) -> list[str]:
        """The names of the input layers."""
        if self.network is None:
            return list(self.inputs or ())
        return [name for name, (kind, _) in self.layers.items() if kind in INPUT_HAS_TIME]

    @cached_property
    def sample_readers(self) -> dict[str, str]:
        """By input layer, the layer that takes its values as samples of a raw signal, in ±1."""
        readers, before = {}, ""
        for name, (kind, fields) in self.layers.items():
            source = (fields.get("inputs") or [before])[0]
            is_raw = source in self.input_layers and self.layers[source][1].get("normalization", "none") == "none"
            if kind in TAKES_SAMPLES and is_raw:
                readers[source] = name
            before = name
        return readers

    @property
    def channel_names(self) -> dict[str, list[str]]:
        """The names of the features of each input layer that has names."""
        layers = self.input_layers
        named = self.channels if isinstance(self.channels, dict) else {layers[0]: self.channels} if layers else {}
        return {layer: list(names) for layer, names in named.items() if names is not None}

    @cached_property
    def output_layers(self) -> list[str]:
        """The names of the output layers."""
        if self.network is None:
            return list(self.outputs or ())
        return list(self.network.get("outputs") or list(self.layers)[-1:])

    @classmethod
    def from_json(cls, text: str | None, path: str | Path) -> Contract:
        """Read the contract.

        Args:
            text: the metadata of the file under `KEY`. None: it has none.
            path: the file, for error messages.

        Raises:
            ModelFileError: the text is missing or damaged, or only a newer seq2onnx can read the file.
        """
        if text is None:
            raise ModelFileError(
                f"{path}: is an ONNX file without seq2onnx metadata; use a file that seq2onnx exported, or bring this "
                "one over: from_onnx makes layers of it, add_states gives it explicit states"
            )
        damaged = f"{path}: its seq2onnx metadata is damaged"
        try:
            data = _read_json(text)
            version = data["format_version"]
            if type(version) is not int:
                raise TypeError(f"format_version is {version!r}")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ModelFileError(f"{damaged}: {error!r:.300}") from None
        if version > FORMAT_VERSION:
            raise ModelFileError(
                f"{path}: has format version {version}, this seq2onnx reads up to {FORMAT_VERSION}: update seq2onnx"
            )
        if missing := _REQUIRED - set(data):
            raise ModelFileError(f"{damaged}: it lacks {', '.join(sorted(missing))}")
        if data.get("form", "dynamic") not in FORMS:
            raise ModelFileError(
                f"{path}: has the form {data['form']!r:.60}, which this seq2onnx cannot run: update seq2onnx"
            )
        values = {key: value for key, value in data.items() if key in _EXPECTED and value is not None}
        try:
            states = _read_states(data["states"])
            for key, value in values.items():
                expected, is_right = _EXPECTED[key]
                if not is_right(value):
                    raise ValueError(f"{key} is {value!r:.100}; expected {expected}")
            return cls(**values | {"states": states})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ModelFileError(f"{damaged}: {error!r:.300}") from None

    def to_json(self) -> str:
        """Return the contract as `from_json` reads it. Optional keys that have their default are left out."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in _OPTIONAL or getattr(self, field.name) != field.default
        }
        values |= {"states": _write_states(self.states), "vocabulary": self.vocabulary or None}
        return json.dumps({"format_version": self.format_version} | values)

    def properties(self) -> dict[str, str]:
        """Return the metadata of the ONNX file: the contract, and the classes once more for other programs."""
        classes = {} if self.classes is None else {CLASSES_KEY: json.dumps(self.classes)}
        return {KEY: self.to_json(), **classes}


def state_names(kinds: Iterable[tuple[str, str]]) -> list[str]:
    """Return the default name of each state, given as (layer, kind).

    A state is named by its kind. Where a layer has several states of one kind, they are numbered: skip_0, skip_1.
    """
    keys, numbers = list(kinds), []
    counts: dict[tuple[str, str], int] = {}
    for key in keys:
        numbers.append(counts.get(key, 0))
        counts[key] = numbers[-1] + 1
    return [key[1] if counts[key] == 1 else f"{key[1]}_{number}" for key, number in zip(keys, numbers, strict=True)]


def _read_json(text: str) -> Any:
    """Read JSON without NaN and infinity, and without texts that UTF-8 cannot hold."""
    data = json.loads(text, parse_constant=finite_number, parse_float=finite_number)
    # The text itself is UTF-8, so only an escape can be half of a character.
    if "\\" in text and ("\\ud" in text or "\\uD" in text) and not is_unicode(json.dumps(data, ensure_ascii=False)):
        raise ValueError("it contains a lone surrogate, which UTF-8 cannot hold")
    return data


def finite_number(text: str) -> float:
    """Read a number of JSON; raise ValueError if it is NaN, infinite or too large."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"it contains a number that is not finite: {text:.100}")
    return number


def _is_number(least: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value < 2**31


def _is_list_of(*types: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is list and set(map(type, value)) <= set(types)


_is_names = _is_list_of(str)


def _is_network(value: Any) -> bool:
    """Whether it is a list of layers, each its kind with its fields, of which the name must be there."""
    if type(value) is not dict or not _is_list_of(dict)(value.get("layers")):
        return False
    layers = [layer for entry in value["layers"] for layer in entry.items()]
    names = [fields.get("name") for _, fields in layers if type(fields) is dict]
    return (
        len(names) == len(value["layers"]) == len(layers) == len(set(names))
        and _is_names(names)
        and all(_is_names(fields.get("inputs") or []) for _, fields in layers)
        and _is_names(value.get("outputs", []))
        and set(value.get("outputs", [])) <= set(names)
    )


def _one_of(kind: Any) -> tuple[str, Callable[[Any], bool]]:
    return choices(kind), lambda value: value in get_args(kind)


def _is_by_layer(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: type(value) is dict and all(map(is_right, value.values()))


def _are_statistics(value: Any) -> bool:
    try:
        TrainingStatistics.from_dict(value)
    except ValueError:
        return False
    return True


_EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "network": ("layers with different names", _is_network),
    "classes": (
        "a list of different texts or whole numbers",
        lambda value: _is_list_of(str, int)(value) and len(set(map(str, value))) == len(value),
    ),
    "signature": _one_of(Signature),
    "states": ("a list", lambda value: type(value) is list),
    **dict.fromkeys(("time_stride", "min_length", "closed_loop", "tokens"), ("a whole number from 1", _is_number(1))),
    **dict.fromkeys(("delay_steps", "emission"), ("a whole number from 0", _is_number(0))),
    **dict.fromkeys(("writer", "form", "answer"), ("a text", lambda value: type(value) is str)),
    "data_policy": ("the fields of a PaddingPolicy", lambda value: type(value) is dict),
    "vocabulary": ("a list of words for each input", _is_by_layer(_is_names)),
    "weights": _one_of(Storage),
    "options": ("the fields of ExportOptions", lambda value: type(value) is dict),
    "channels": (
        "a list of names, or one for each input",
        lambda value: _is_names(value) or _is_by_layer(lambda names: names is None or _is_names(names))(value),
    ),
    "training": ("statistics of training data", _are_statistics),
    "missing": ("true or false", lambda value: type(value) is bool),
    "inputs": ("a list of one name", lambda value: _is_names(value) and len(value) == 1),
    "outputs": ("a list of different names", lambda value: _is_names(value) and 0 < len(value) == len(set(value))),
    "sample_rate": ("a number above 0", lambda value: type(value) in (int, float) and value > 0),
    "steps": ("a number of steps for each tensor", _is_by_layer(_is_number(1))),
    "quantiles": (
        "increasing numbers between 0 and 1",
        lambda value: (
            _is_list_of(float)(value) and all(0 < q < 1 for q in value) and value == sorted({*value}) and bool(value)
        ),
    ),
}
"""What each key holds, in words and as a check."""


def _read_states(entries: list[dict[str, Any]]) -> tuple[ContractState, ...]:
    if len(entries) > MOST_STATES:
        raise ValueError(f"it names {len(entries)} states; at most {MOST_STATES} are allowed")
    keys = [(entry.get("layer", ""), entry.get("kind", "")) for entry in entries]
    for entry in entries:
        texts = {type(entry.get(key, "")) for key in ("in", "out", "dtype", "kind", "layer", "name")}
        if texts != {str} or any(type(size) is not int or size < 0 for size in entry["shape"][1:]):
            raise ValueError(f"a state is {entry!r:.200}; expected names, and a shape of whole numbers")
    states = tuple(
        ContractState(
            entry["in"], entry["out"], tuple(entry["shape"][1:]), entry["dtype"], kind, layer, entry.get("name", name)
        )
        for entry, (layer, kind), name in zip(entries, keys, state_names(keys), strict=True)
    )
    if len({(state.layer, state.name) for state in states}) < len(states):
        raise ValueError("two states of a layer have one name")
    return states


def _write_states(states: tuple[ContractState, ...]) -> list[dict[str, Any]]:
    defaults = state_names((state.layer, state.kind) for state in states)
    return [
        {"in": state.input, "out": state.output, "shape": [None, *state.shape], "dtype": state.dtype}
        | {"kind": state.kind, "layer": state.layer, **({} if state.name == default else {"name": state.name})}
        for state, default in zip(states, defaults, strict=True)
    ]
