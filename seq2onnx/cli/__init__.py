"""The seq2onnx command: a file for each subcommand. Exit code 0, 1 for a check that failed, 2 for bad input."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.core import TyperGroup

import seq2onnx
from seq2onnx.cli.bench import bench
from seq2onnx.cli.data import data
from seq2onnx.cli.demo import demo
from seq2onnx.cli.export import export
from seq2onnx.cli.inspect import inspect
from seq2onnx.cli.new import new
from seq2onnx.cli.predict import predict
from seq2onnx.cli.report import report
from seq2onnx.cli.stream import stream
from seq2onnx.cli.train import train
from seq2onnx.cli.verify import verify
from seq2onnx.errors import Seq2OnnxError


class _Group(TyperGroup):
    """Bad input ends with its message on standard error, not with a traceback."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader of our output has left: typer ends quietly
        except (Seq2OnnxError, OSError) as error:
            typer.echo(f"seq2onnx: {_said(error)}", err=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def version(
    show: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True)] = False,
) -> None:
    """Sequence networks: train a layer list, ship one ONNX file, run it whole or a step at a time."""
    if show:
        typer.echo(seq2onnx.__version__)
        raise typer.Exit


for command in (demo, new, train, export, verify, predict, stream, inspect, bench, report):
    app.command()(command)
app.add_typer(data, name="data")


def _said(error: Exception) -> str:
    """The message, without the number that the operating system gives its errors."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error)


def main() -> None:
    """The command."""
    app()
