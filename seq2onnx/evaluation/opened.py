"""A trained network as a file that runs, whatever form it has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeAlias

from seq2onnx.errors import SpecError

if TYPE_CHECKING:
    from seq2onnx.building import SequenceModule
    from seq2onnx.runtime import Predictor

    Trained: TypeAlias = Predictor | SequenceModule | str | Path


@contextmanager
def opened(model: Trained) -> Iterator[Predictor]:
    """Give an open file: the model itself, that of a path, or that of an exported module."""
    import seq2onnx
    from seq2onnx.runtime import Predictor

    if isinstance(model, Predictor):
        yield model
    elif isinstance(model, str | Path):
        yield seq2onnx.load(model)
    elif hasattr(model, "data_info"):  # a SequenceModule; torch is not imported to tell
        with TemporaryDirectory() as folder:
            seq2onnx.export(model, path := Path(folder) / "model.onnx")
            yield seq2onnx.load(path)
    else:
        raise SpecError(f"model: expected a file that load opened, its path, or a module, got {type(model).__name__}")
