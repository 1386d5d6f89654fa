"""Layers as plain data, and YAML and JSON files of networks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import yaml

from seq2onnx.errors import SpecError
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


def read_spec(path: str | Path) -> Any:
    """Read a .json file as JSON, any other as YAML.

    Raises:
        SpecError: the file is neither.
        OSError: the file cannot be read.
    """
    is_json = Path(path).suffix == ".json"
    check_regular_file(path)
    content = Path(path).read_bytes()
    try:
        text = content.decode()
        return json.loads(text) if is_json else yaml.load(text, Loader=_Loader)
    except (ValueError, yaml.YAMLError) as error:
        raise SpecError(f"{path}: is not {'JSON' if is_json else 'YAML'}: {error}") from None


def read_layer(entry: Any, where: str) -> Layer:
    """Read a layer from {kind: {fields}}, or from its kind alone.

    Args:
        entry: the plain data.
        where: begins the path to the mistake in errors.

    Raises:
        SpecError: the data does not describe a layer.
    """
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise SpecError(f"{where}: expected one layer such as `lstm: {{hidden_size: 100}}`, got {entry!r}")
    ((kind, fields),) = entry.items()
    if kind not in KINDS:
        raise SpecError(f"{where}.{kind}: is not a kind of layer; the kinds are {', '.join(sorted(KINDS))}")
    fields = fields or {}
    if not isinstance(fields, dict):
        raise SpecError(f"{where}.{kind}: expected the layer's fields as a mapping, got {fields!r}")
    try:
        return KINDS[kind](**{str(key): value for key, value in fields.items()})
    except FieldErrors as errors:
        raise FieldErrors(f"{where}.{kind}", errors.lines) from None


def layer_to_dict(layer: Layer, default_name: str, every_field: bool) -> dict[str, Any]:
    """Return a layer as {kind: {fields}}.

    Args:
        layer: the layer.
        default_name: the name that the network would give it.
        every_field: include fields that have their default.

    Raises:
        SpecError: a field is a function.
    """
    entry: dict[str, Any] = {}
    for field in dataclasses.fields(layer):
        value = getattr(layer, field.name)
        default = default_name if field.name == "name" else field.default
        if field.name in layer.unsaved_fields or value is None or (value == default and not every_field):
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


class _Loader(yaml.SafeLoader):
    """Loads plain data only, and refuses duplicate keys."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", node.start_mark)
    return dict(zip(keys, (loader.construct_object(value, deep=True) for _, value in node.value), strict=True))


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


class _Dumper(yaml.SafeDumper):
    """Writes one line per layer: block style outside, flow style for the fields."""


def _flow_innermost(dumper: _Dumper, data: dict[str, Any]) -> yaml.Node:
    nested = any(isinstance(value, dict) or key == "layers" for key, value in data.items())
    return dumper.represent_mapping("tag:yaml.org,2002:map", data.items(), flow_style=not nested)


_Dumper.add_representer(dict, _flow_innermost)
