"""YAML and JSON files of networks, from and to plain data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from seq2onnx.errors import SpecError
from seq2onnx.files import write_atomically


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
    content = Path(path).read_bytes()
    try:
        text = content.decode()
        return json.loads(text) if is_json else yaml.load(text, Loader=_Loader)
    except (ValueError, yaml.YAMLError) as error:
        raise SpecError(f"{path}: is not {'JSON' if is_json else 'YAML'}: {error}") from None


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
