"""The errors of this package. Each message says where, which rule, what was received and what to do.

Seq2OnnxError
├── SpecError        an invalid layer, network or option                  (ValueError)
├── ShapeError       shapes that do not fit                               (ValueError)
├── DataError        invalid sequences or targets                         (ValueError)
├── NotStreamable    a network or file that cannot run step by step       (ValueError)
├── StateError       a state with a wrong name, shape or type             (ValueError)
├── StreamError      a stream that is closed or in use; a full pool       (RuntimeError)
├── ModelFileError   a file that is not a seq2onnx model or run folder    (ValueError)
├── WriteFailed      a file that cannot be written, as on a full disk     (OSError)
├── ImportRefused    a foreign network that cannot be imported            (ValueError)
└── MissingExtra     a package that is not installed                      (ImportError)

Seq2OnnxWarning      data or training that is probably not what was meant (UserWarning)
"""

from __future__ import annotations

import importlib.util
import os
import re
import warnings
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"  # only in a clone


MOST_CHARACTERS = 2000
"""The length of a message; longer ones, which quote a file, are cut."""
SPACES = "\n\u00a0\u3000"
"""Characters that `plain` keeps although Python calls them not printable."""


def plain(text: str, most: int | None = MOST_CHARACTERS) -> str:
    """Return a text, which may quote a file, with control characters escaped, which a terminal would obey, and cut."""
    shown = text if most is None else text[: most + 1]  # an escape is never shorter
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() or c in SPACES else repr(c)[1:-1] for c in shown)
    return shown if most is None or len(shown) <= most else f"{shown[: most - 1]}…"


class Seq2OnnxError(Exception):
    """The base class: `except Seq2OnnxError` catches every error that this package raises on bad input.

    A message has at most 2,000 characters, and no control characters.
    """

    def __str__(self) -> str:
        """Return the message."""
        return plain(super().__str__())


class SpecError(Seq2OnnxError, ValueError):
    """An invalid layer, network or option."""


class ShapeError(Seq2OnnxError, ValueError):
    """Shapes that do not fit."""


class DataError(Seq2OnnxError, ValueError):
    """Invalid sequences or targets."""


class NotStreamable(Seq2OnnxError, ValueError):
    """A network or file that cannot run step by step."""


class StateError(Seq2OnnxError, ValueError):
    """A state with a wrong name, shape or type."""


class StreamError(Seq2OnnxError, RuntimeError):
    """A stream that is closed or that another thread is using; a pool that is full."""


class ModelFileError(Seq2OnnxError, ValueError):
    """A file that is not a seq2onnx model or run folder."""


class WriteFailed(Seq2OnnxError, OSError):
    """A file that cannot be written, as on a full disk. The attributes are those of OSError."""

    def __str__(self) -> str:
        """Return the message: the file, the reason, and what is there now."""
        reason = self.strerror or ""
        there = "What was there is unchanged" if os.path.lexists(self.filename) else "Nothing is there"
        return plain(f"{self.filename}: {reason[:1].lower()}{reason[1:]}; it is not written. {there}")


class ImportRefused(Seq2OnnxError, ValueError):
    """A foreign network that cannot be imported: it has no equal made of layers, or the comparison with it failed."""


class MissingExtra(Seq2OnnxError, ImportError):
    """A package that is not installed."""


class Seq2OnnxWarning(UserWarning):
    """Data or training that is probably not what was meant.

    Each message begins with the id of its kind, such as rates-differ, which `warnings.filterwarnings` tells apart. Each
    call warns once of each kind. `--quiet` switches these warnings off in the command.

    Example:
        >>> warnings.filterwarnings("ignore", "holes", seq2onnx.Seq2OnnxWarning)
    """

    @property
    def id(self) -> str:
        """The id of the kind."""
        return str(self).partition(":")[0]


def warn(id: str, text: str, stacklevel: int = 5) -> None:
    """Warn with a Seq2OnnxWarning of the kind `id`."""
    warnings.warn(plain(f"{id}: {text}"), Seq2OnnxWarning, stacklevel=stacklevel)


def require(*modules: str, extra: str) -> None:
    """Check that modules are installed.

    Args:
        *modules: the modules.
        extra: the extra of seq2onnx that installs them.

    Raises:
        MissingExtra: a module is not installed; the message has the command to install it.
    """
    for module in modules:
        try:
            found = importlib.util.find_spec(module)
        except ImportError:
            found = None
        if found is None:
            raise MissingExtra(f"{module} is not installed. Run: {install_command(extra) or f'pip install {module}'}")


def install_command(extra: str) -> str:
    """The command that installs the packages of an extra, or "" if they are not known.

    It names the packages, not seq2onnx itself, which may come from a clone that pip cannot find by its name.
    """
    import importlib.metadata  # slow to import
    import tomllib

    try:
        lines = importlib.metadata.requires("seq2onnx") or []
        packages = [line.split(";")[0].strip() for line in lines if re.search(rf"extra == ['\"]{extra}['\"]", line)]
    except importlib.metadata.PackageNotFoundError:  # not installed: the folder of a clone is on the path
        project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"] if PROJECT.is_file() else {}
        packages = project.get("optional-dependencies", {}).get(extra, [])
    return " ".join(["pip install", *(f'"{package}"' for package in packages)]) if packages else ""
