"""The seq2onnx command, with one file for each subcommand.

To add a subcommand, write a file with a function of its name, import it here and add it to COMMANDS.
Exit codes: 0; 1 for a check that failed; 2 for bad input.
"""

from __future__ import annotations

import io
import sys
import threading
import warnings
from contextlib import suppress
from typing import Annotated, Any

import typer

import seq2onnx
from seq2onnx.cli.bench import bench
from seq2onnx.cli.data import data
from seq2onnx.cli.demo import demo
from seq2onnx.cli.evaluate import evaluate
from seq2onnx.cli.export import export
from seq2onnx.cli.help import Command, Group
from seq2onnx.cli.import_ import import_
from seq2onnx.cli.inspect import inspect
from seq2onnx.cli.new import new
from seq2onnx.cli.options import flush, set_encodings, show
from seq2onnx.cli.package import package
from seq2onnx.cli.predict import predict
from seq2onnx.cli.report import report
from seq2onnx.cli.stream import stream
from seq2onnx.cli.train import train
from seq2onnx.cli.tune import tune
from seq2onnx.cli.verify import verify
from seq2onnx.errors import Seq2OnnxError, Seq2OnnxWarning, plain

COMMANDS = (demo, new, train, export, import_, package, verify, predict, evaluate, tune, stream, inspect, bench, report)


class _Group(Group):
    """Print the message of bad input to standard error, without a traceback."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        try:
            try:
                return super().invoke(ctx)
            finally:
                flush()
        except BrokenPipeError:
            raise  # the reader of our output has closed the pipe; typer ends quietly
        except (Seq2OnnxError, OSError) as error:
            if isinstance(error, OSError) and error.filename == "standard output":
                sys.stdout = io.StringIO()  # Python would try again at its end, with a traceback
            with suppress(OSError):  # standard error may be full too
                show(f"seq2onnx: {_message(error)}", err=True)
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
def version(show: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True)] = False) -> None:
    """Train networks for sequences, export them to one ONNX file, and run it on whole sequences or step by step."""
    if show:
        typer.echo(seq2onnx.__version__)
        raise typer.Exit


for command in COMMANDS:
    app.command(command.__name__.rstrip("_"), cls=Command)(command)  # `import` is a word of Python
app.add_typer(data, name="data")


def _message(error: Exception) -> str:
    """The message of an error, without the error number of the operating system."""
    if isinstance(error, OSError) and not isinstance(error, Seq2OnnxError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return plain(str(error))


def main() -> None:
    """Run the command. Warnings, which may quote a file, are printed without control characters."""
    set_encodings()
    layout, report = warnings.formatwarning, threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        """Report the error of a thread, such as TensorBoard's, which cannot write its log to a full disk."""
        if isinstance(args.exc_value, OSError):
            show(f"seq2onnx: {_message(args.exc_value)}", err=True)
        else:
            report(args)

    def line(message: Warning | str, category: type[Warning], *args: Any, **more: Any) -> str:
        is_ours = issubclass(category, Seq2OnnxWarning)
        return plain(f"seq2onnx: {message}\n" if is_ours else layout(message, category, *args, **more), None)

    warnings.formatwarning = line
    threading.excepthook = hook
    app()
