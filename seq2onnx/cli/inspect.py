"""seq2onnx inspect: what an ONNX file promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from seq2onnx.cli.options import ModelFile, Quiet

if TYPE_CHECKING:
    from seq2onnx.runtime import Predictor


def inspect(file: ModelFile, quiet: Quiet = False) -> None:
    """Show inputs, outputs, states, classes and network of an exported file."""
    from seq2onnx.network import Network
    from seq2onnx.runtime import load

    model = load(file)
    typer.echo(f"{file}: {file.stat().st_size:,} bytes, written by {model.metadata['writer']}\n")
    rows = promises(model)
    width = max(len(label) for label, _ in rows)
    before = ""
    for label, text in rows:
        typer.echo(f"{label if label != before else '':<{width}}  {text}")
        before = label
    typer.echo(f"\n{Network.from_dict(model.metadata['network'], str(file)).summary()}")


def promises(model: Predictor) -> list[tuple[str, str]]:
    """What a file says of itself: (what, text), several in a row of the same."""
    meta = model.metadata
    rows = [("signature", model.signature)]
    if model.closed_loop:
        rows.append(("closed loop", f"{model.closed_loop} steps"))
    for label, entries in (("input", model.session.get_inputs()), ("output", model.session.get_outputs())):
        rows += [(label, f"{e.name}  {e.type[7:-1]} {_shape(e.shape)}") for e in entries]
    rows += [("state", f"{s['layer']} {s['kind']}: {s['in']} -> {s['out']}") for s in meta["states"]]
    for entry in model.inputs:
        if entry.words is not None:
            where = "looked up in the file" if entry.takes_words else "looked up before the run"
            rows.append(("vocabulary", f"{len(entry.words):,} words of {entry.layer}, {where}"))
    rows.append(("classes", "none" if model.classes is None else ", ".join(map(str, model.classes))))
    rows += [(name.replace("_", " "), str(meta[name])) for name in ("min_length", "time_stride", "delay_steps")]
    return rows


def _shape(shape: list[Any]) -> str:
    return f"[{', '.join(str(size) for size in shape)}]"
