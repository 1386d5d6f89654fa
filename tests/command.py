"""The command: `run` calls it in this process, `python -m tests.command` is a process that can be started again."""

from __future__ import annotations

from typer.testing import CliRunner

from seq2onnx.cli import app, main


def run(*arguments, stdin=None, code=0):
    """(standard output, standard error) of the command, which must end with `code`."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
    assert result.exit_code == code, f"{result.exit_code}\n{result.output}{result.exception!r}"
    return result.stdout, result.stderr


if __name__ == "__main__":
    main()
