"""Networks to start from: one YAML file each, whose first line describes it."""

from __future__ import annotations

from pathlib import Path

from seq2onnx.errors import SpecError

FOLDER = Path(__file__).parent


def descriptions() -> dict[str, str]:
    """Describe each template, by its name."""
    return {
        path.stem: path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        for path in sorted(FOLDER.glob("*.yaml"))
    }


def text(name: str) -> str:
    """Read the YAML of a template; `Network.load` reads it from a file.

    Raises:
        SpecError: there is no template of that name.
    """
    if name not in descriptions():
        raise SpecError(f"{name}: is not a template; the templates are {', '.join(descriptions())}")
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
