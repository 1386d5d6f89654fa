"""Networks to start from, a YAML file each; its first line says what it is for."""

from __future__ import annotations

from pathlib import Path

from seq2onnx.errors import SpecError

FOLDER = Path(__file__).parent


def descriptions() -> dict[str, str]:
    """What each template is for, by name."""
    return {
        path.stem: path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        for path in sorted(FOLDER.glob("*.yaml"))
    }


def text(name: str) -> str:
    """The YAML of a template, for `Network.load` once it is in a file.

    Raises: SpecError where there is none of that name
    """
    if name not in descriptions():
        raise SpecError(f"{name}: is no template; there are {', '.join(descriptions())}")
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
