"""What can go wrong, as a tree; each error says where, which rule, what was received and what to do.

Seq2OnnxError
├── SpecError        a layer, network or option that cannot be            (ValueError)
├── ShapeError       shapes that do not fit together                      (ValueError)
├── DataError        sequences or targets that cannot be used             (ValueError)
├── NotStreamable    a network or file that cannot run a step at a time   (ValueError)
├── StateError       a state of the wrong name, shape or type             (ValueError)
├── StreamError      a stream that is not open or in use, a full pool     (RuntimeError)
├── ModelFileError   a file that is not a seq2onnx model or run folder    (ValueError)
└── MissingExtra     a package that is not installed                      (ImportError)
"""

from __future__ import annotations

import importlib.util


class Seq2OnnxError(Exception):
    """The root: `except Seq2OnnxError` catches all that this package raises on bad input."""


class SpecError(Seq2OnnxError, ValueError):
    """A layer, network or option that cannot be."""


class ShapeError(Seq2OnnxError, ValueError):
    """Shapes that do not fit together."""


class DataError(Seq2OnnxError, ValueError):
    """Sequences or targets that cannot be used."""


class NotStreamable(Seq2OnnxError, ValueError):
    """A network or file that cannot run a step at a time."""


class StateError(Seq2OnnxError, ValueError):
    """A state of the wrong name, shape or type."""


class StreamError(Seq2OnnxError, RuntimeError):
    """A stream that is not open, or that another thread steps at this moment; a pool that is full."""


class ModelFileError(Seq2OnnxError, ValueError):
    """A file that is not a seq2onnx model or run folder."""


class MissingExtra(Seq2OnnxError, ImportError):
    """A package that is not installed."""


def require(*modules: str, extra: str) -> None:
    """Raise MissingExtra with the install command unless all `modules` can be imported."""
    for module in modules:
        try:
            found = importlib.util.find_spec(module)
        except ImportError:
            found = None
        if found is None:
            raise MissingExtra(
                f'{module} is not installed; it comes with the extra {extra!r}: pip install "seq2onnx[{extra}]"'
            )
