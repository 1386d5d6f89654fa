"""seq2onnx import: a file of a network that was trained elsewhere becomes a file with explicit states."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from seq2onnx.cli.options import Quiet, say, show
from seq2onnx.errors import ImportRefused, Seq2OnnxError, SpecError, WriteFailed, require
from seq2onnx.tables import about

KERAS = (".keras", ".h5", ".hdf5")


def import_(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A file of another program: .onnx, .keras or .h5.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The ONNX file to write.")] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            help="The axes of the input of an ONNX file, if they are not found: B for the batch, T for time, C for "
            "features, of images also H and W. Examples: BTC, TBC, BCTW for [batch, 1, time, features], BT for tokens."
        ),
    ] = None,
    features: Annotated[int | None, typer.Option(help="The features of a step, if an ONNX file does not say.")] = None,
    window: Annotated[
        int | None,
        typer.Option(min=1, help="The number of steps that an ONNX file flattens, or takes, to answer once."),
    ] = None,
    outputs: Annotated[
        str | None, typer.Option(metavar="NAMES", help="The outputs of an ONNX file to keep, such as scores,h.")
    ] = None,
    fixed: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An input of an ONNX file that is always the same; repeatable."),
    ] = None,
    states: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IN=OUT",
            help="A state that is an input of an ONNX file, and the output that continues it; repeatable. The graph is "
            "kept.",
        ),
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(metavar="lengths", help="The masks of a Keras file stand for padding behind the sequences."),
    ] = None,
    keep_graph: Annotated[
        bool, typer.Option("--keep-graph", help="Add states to the graph of an ONNX file, and make no layers.")
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Write no file: show what SOURCE is, in which way it comes in, and what stands in the way.",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write a network that was trained elsewhere as a file with explicit states, and compare it with its source.

    Where every operation is one of a layer, the network becomes layers. `train` and `restore` in Python can continue
    with it. An ONNX file whose operations are others keeps its graph, to which only states are added. If neither gives
    the same results as the source, no file is written. With --explain, the exit code is 1 if neither does.
    """
    import seq2onnx as s2o

    is_keras = source.suffix.lower() in KERAS
    if is_keras:
        names = ("axes", "features", "window", "outputs", "fixed", "states")
        given = dict(zip(names, (axes, features, window, outputs, fixed, states), strict=True))
        if named := [f"--{name}" for name, value in given.items() if value] + ["--keep-graph"] * keep_graph:
            raise SpecError(f"{', '.join(named)}: only for ONNX files; {source} is one of Keras")
    elif masks:
        raise SpecError(f"--masks: only for files of Keras (.keras, .h5), not for {source}")
    options: dict[str, Any] = {
        "axes": axes,
        "features": features,
        "outputs": next(csv.reader([outputs])) if outputs else None,
        "fixed": {name: _value(name, text) for name, text in _pairs("--fixed", fixed).items()},
    }
    continued = _pairs("--states", states)
    if explain:
        more = {"window": window, "states": continued}
        _explain(source, out, {"masks": masks} if is_keras else options | more, is_keras, keep_graph)
        return
    if out is None:
        raise SpecError("--out: expected the ONNX file to write; only --explain writes none")
    if is_keras:
        _write(s2o.from_keras(source, masks=masks), source, out, quiet)
        return
    reason = "as --keep-graph says" if keep_graph else "its states are inputs and outputs, as --states says"
    options |= {"window": window} if window else {}
    if not keep_graph and not states:
        try:
            _write(s2o.from_onnx(source, **options), source, out, quiet, lookahead=bool(window))
            return
        except WriteFailed:
            raise
        except Seq2OnnxError as error:
            reason = str(error).removeprefix(f"{source}: ")
    try:
        report = s2o.add_states(source, out, states=continued, **options)
    except ImportRefused as error:
        text = str(error).removeprefix(f"{source}: ")
        if keep_graph or states or text == reason:
            raise
        raise ImportRefused(
            f"{source}: cannot become layers: {reason}. It cannot keep its graph either: {text}"
        ) from None
    say(about(out, f"the graph of {source} with states. It does not become layers: {reason}"), quiet)
    say(report, quiet)


def _explain(source: Path, out: Path | None, options: dict[str, Any], is_keras: bool, keep_graph: bool) -> None:
    """Print what a file is, and what came of each way in; exit with 1 if there is none."""
    require("onnx", extra="train")
    from seq2onnx.importing.explaining import explain_keras, explain_onnx

    out = out or Path(f"{source.stem}_stream.onnx")
    found = explain_keras(source, out, **options) if is_keras else explain_onnx(source, out, options, keep_graph)
    show(found)
    if not found.works:
        raise typer.Exit(1)


def _write(module: Any, source: Path, out: Path, quiet: bool, lookahead: bool = False) -> None:
    """Export a network of layers that equals its source, and print the comparison of the file with it."""
    from seq2onnx import export, verify

    export(module, out, lookahead=lookahead)  # the last that may refuse
    what = f"the network of {source} as layers, which give the same results: whole, in steps and in chunks"
    say(about(out, what), quiet)
    say(module.network.summary(), quiet)
    say(verify(out, module), quiet)


def _pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts or []]
    for name, _, value in pairs:
        if not name or not value:
            raise SpecError(f"{option}: expected NAME=VALUE, got {name!r}")
    return {name: value for name, _, value in pairs}


def _value(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise SpecError(f"--fixed {name}: expected a number, or numbers in brackets, got {text!r}") from None
