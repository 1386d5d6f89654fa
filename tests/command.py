"""The command in tests: `run` calls it, and `python -m tests.command` starts it in a process of its own."""

from __future__ import annotations

from typer.testing import CliRunner

from seq2onnx.cli import app, main


def run(*arguments, stdin=None, code=0):
    """Run the command, which must exit with `code`; return its standard output and standard error."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
    assert result.exit_code == code, f"{result.exit_code}\n{result.output}{result.exception!r}"
    return result.stdout, result.stderr


if __name__ == "__main__":
    main()
