"""The command in processes of their own, forked from one that has imported its modules, which takes seconds."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys

from tests.command import main

SERVER = multiprocessing.get_context("forkserver")
PARTS = ("training", "exporting", "importing", "parity", "evaluation", "reporting", "plots")
SERVER.set_forkserver_preload(["tests.command", "onnxruntime", "pyarrow.parquet", *(f"seq2onnx.{p}" for p in PARTS)])


class Started:
    """A command that runs, used as subprocess.Popen is.

    Args:
        arguments: those of the command.
        most_bytes: the size of a file that it can write; None: any.
    """

    def __init__(self, *arguments, most_bytes=None):
        self._errors, writer = SERVER.Pipe(duplex=False)
        self._process = SERVER.Process(target=_run, args=(writer, most_bytes, list(map(str, arguments))))
        self._process.start()
        writer.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.join()
        self._errors.close()

    @property
    def returncode(self):
        """The exit code; None: it runs."""
        return self._process.exitcode

    def kill(self):
        """End it with SIGKILL."""
        self._process.kill()

    def errors(self):
        """Wait for the end; return what it has printed on standard error."""
        with os.fdopen(os.dup(self._errors.fileno()), encoding="utf-8") as errors:
            text = errors.read()
        self._process.join()
        return text


def _run(errors, most_bytes, arguments):
    sys.argv[1:] = arguments
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    os.dup2(errors.fileno(), sys.stderr.fileno())
    errors.close()
    # Those of the server take what they wrote to for a file if they were one.
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    if most_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    main()
