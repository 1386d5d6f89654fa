"""What a Keras file says about itself: its model, its input and its layers. Nothing runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from seq2onnx.errors import ModelFileError
from seq2onnx.importing.keras.file import KerasFile


def described(file: KerasFile, path: object) -> tuple[str, list[tuple[str, str]], list[tuple[str, Any]]]:
    """Return what wrote a file, a table of the inputs, and one of the layers, also of those in models and wrappers.

    Raises:
        ModelFileError: the configuration is none of Keras.
    """
    count = sum(array.size for array in file.arrays.values())
    try:
        config = file.config["config"]
        text = f"a model of the class {file.config['class_name']:.60}; Keras {file.version:.60}; {count:,} numbers"
        kinds = Counter(str(entry["class_name"]) for entry in _entries(config, nested=True))
        inputs = [(str(entry["config"]["name"]), _shape(entry["config"])) for entry in _entries(config, nested=False)]
    except Exception as error:  # a file can contain anything
        raise ModelFileError(
            f"{path}: the configuration of the model is not as Keras writes it ({type(error).__name__}: {error})"
        ) from None
    counts = sorted(kinds.items(), key=lambda entry: (-entry[1], entry[0]))
    return text, [("input", "shape"), *(each for each in inputs if each[1])], [("layers", "count"), *counts]


def _shape(config: Any) -> str:
    """Return the shape of the input of a layer, if it is the first."""
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    return f"[{', '.join(['batch', *(str(size or '?') for size in shape[1:])])}]" if shape else ""


def _entries(config: Any, nested: bool) -> Iterator[Any]:
    """Yield the configurations of the layers of a model or wrapper, if `nested` also of those in them."""
    layers = config if isinstance(config, list) else [*config.get("layers", ()), config.get("layer")]
    for entry in filter(None, layers):
        yield entry
        if nested:
            yield from _entries(entry["config"], nested)
