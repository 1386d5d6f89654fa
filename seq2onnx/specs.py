"""Layers as plain data, and YAML and JSON files of networks."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from seq2onnx import limits
from seq2onnx.contract import finite_number
from seq2onnx.errors import SpecError
from seq2onnx.file_kinds import instead
from seq2onnx.files import check_regular_file, write_atomically
from seq2onnx.layers import KINDS, Layer
from seq2onnx.layers.base import FieldErrors


def write_spec(path: str | Path, data: dict[str, Any]) -> None:
    """Write a .yaml, .yml or .json file."""
    path = Path(path)
    if path.suffix == ".json":
        text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    elif path.suffix in (".yaml", ".yml"):
        text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    else:
        raise SpecError(f"{path}: a network can be saved as .yaml, .yml or .json, got {path.suffix!r}")
    write_atomically(path, text.encode())


def read_spec(path: str | Path, trusted: bool = False) -> Any:
    """Read a .json file as JSON, any other as YAML; raise SpecError if it is neither, or beyond a limit."""
    if other := instead(path, "a network"):
        raise SpecError(other)
    check_regular_file(path)
    kind = "JSON" if Path(path).suffix == ".json" else "YAML"
    if not trusted and (size := Path(path).stat().st_size) > limits.SPEC_BYTES:
        raise SpecError(f"{path}: has {size:,} bytes, more than {limits.SPEC_BYTES:,}{limits.TRUST}")
    return parse_spec(Path(path).read_bytes(), str(path), kind, trusted)


def parse_spec(content: bytes, where: str, kind: str = "YAML", trusted: bool = False, nan: bool = False) -> Any:
    """Read YAML or JSON as plain data; `where` begins the errors, the others are those of `read_spec`.

    JSON may have NaN and infinity with `nan`.
    """
    try:
        text = content.decode()
        if kind == "JSON":
            constant = float if nan else finite_number
            return json.loads(text, parse_constant=constant, parse_float=finite_number, parse_int=_whole)
        if not trusted:
            _check_size(yaml.parse(text, _Loader), where)
        return yaml.load(text, Loader=_Loader)
    except SpecError:
        raise
    except RecursionError:
        raise SpecError(f"{where}: is not {kind} that can be read: it is nested too deep") from None
    except Exception as error:  # noqa: BLE001 (values such as `!!int x` raise many types)
        raise SpecError(f"{where}: is not {kind}: {error}") from None


def _whole(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (number := int(text)) < 2**64:
        raise ValueError(f"{text:.40} is too large for a whole number")
    return number


def _check_size(events: Iterable[yaml.Event], where: str) -> None:
    """Raise SpecError if YAML has too many values, with those that aliases repeat, or is nested too deep."""
    total = 0
    open_nodes: list[tuple[str | None, int]] = []  # the anchor of each, and the values before it
    heights: list[int] = [0]  # how deep is what the document, and each open node, has contained so far
    known: dict[str, tuple[int, int]] = {}  # the values and the height of what an anchor names
    for event in events:
        added, height = 0, 0
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in known:
                raise SpecError(f"{where}: the alias {event.anchor!r:.40} stands before or within what it repeats")
            added, height = known[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total))
            heights.append(0)
            added = 1
        elif isinstance(event, yaml.ScalarEvent):
            added = 1
            known |= {event.anchor: (1, 0)} if event.anchor else {}
        elif isinstance(event, yaml.CollectionEndEvent):
            (anchor, start), height = open_nodes.pop(), heights.pop() + 1
            known |= {anchor: (total - start, height)} if anchor else {}
        total += added
        heights[-1] = max(heights[-1], height)
        if total > limits.SPEC_VALUES:
            raise SpecError(f"{where}: has more than {limits.SPEC_VALUES:,} values{limits.TRUST}")
        if len(open_nodes) + heights[-1] > limits.SPEC_DEPTH:
            raise SpecError(f"{where}: is nested deeper than {limits.SPEC_DEPTH} levels{limits.TRUST}")


def read_layer(entry: Any, where: str) -> Layer:
    """Read a layer from {kind: {fields}}, or from its kind alone; `where` begins the path to the mistake in errors."""
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise SpecError(f"{where}: expected one layer such as `lstm: {{hidden_size: 100}}`, got {entry!r}")
    ((kind, fields),) = entry.items()
    if kind not in KINDS:
        raise SpecError(f"{where}.{kind!s:.60}: is not a kind of layer; the kinds are {', '.join(sorted(KINDS))}")
    fields = fields or {}
    if not isinstance(fields, dict) or not all(isinstance(key, str) and not key.startswith("__") for key in fields):
        raise SpecError(f"{where}.{kind}: expected the layer's fields as a mapping, got {fields!r}")
    try:
        return KINDS[kind](**fields)
    except FieldErrors as errors:
        raise FieldErrors(f"{where}.{kind}", errors.lines) from None


def layer_to_dict(layer: Layer, default_name: str, every_field: bool) -> dict[str, Any]:
    """Return a layer as {kind: {fields}}; raise SpecError if a field is a function.

    Args:
        layer: the layer.
        default_name: the name that the network would give it.
        every_field: include fields that have their default.
    """
    entry: dict[str, Any] = {}
    for field in dataclasses.fields(layer):
        value = getattr(layer, field.name)
        default = default_name if field.name == "name" else field.default
        if field.name in layer.unsaved_fields or value is None:
            continue
        if value == default and (not every_field or field.name in layer.later_fields):
            continue
        if callable(value):
            raise SpecError(
                f"{layer.label}.{field.name}: is a function, which YAML, JSON and ONNX files cannot contain"
            )
        entry[field.name] = _plain(value)
    return {layer.kind: entry}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return list(value) if isinstance(value, tuple) else value


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Loads plain data only, and refuses duplicate keys."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    if odd := [key for key, _ in node.value if not isinstance(key, yaml.ScalarNode)]:
        raise yaml.constructor.ConstructorError(None, None, "a key must be text", odd[0].start_mark)
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key, count in collections.Counter(keys).items():
        if count > 1:
            raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", node.start_mark)
    return dict(zip(keys, (loader.construct_object(value, deep=True) for _, value in node.value), strict=True))


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    number: int = loader.construct_yaml_int(node)
    if not -(2**63) <= number < 2**64:
        raise yaml.constructor.ConstructorError(
            None, None, f"{node.value:.40} is too large for a whole number", node.start_mark
        )
    return number


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


class _Dumper(yaml.SafeDumper):
    """Writes one line per layer: block style outside, flow style for the fields."""


def _flow_innermost(dumper: _Dumper, data: dict[str, Any]) -> yaml.Node:
    nested = any(isinstance(value, dict) or key == "layers" for key, value in data.items())
    return dumper.represent_mapping("tag:yaml.org,2002:map", data.items(), flow_style=not nested)


_Dumper.add_representer(dict, _flow_innermost)
