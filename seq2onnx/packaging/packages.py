"""package: a folder with a file and what runs it elsewhere. A target is one function and its row in TARGETS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from seq2onnx.errors import SpecError
from seq2onnx.files import atomic_folder
from seq2onnx.integers import whole_number
from seq2onnx.limits import STACK
from seq2onnx.packaging.c import write_c
from seq2onnx.packaging.cpp import write_cpp
from seq2onnx.packaging.source import Source
from seq2onnx.packaging.triton import write_triton
from seq2onnx.packaging.web import write_web


def package(
    path: str | Path,
    target: str,
    folder: str | Path,
    *,
    runtime_folder: str | Path | None = None,
    weights: Literal["float32", "int8"] | None = None,
    stack: int = STACK,
) -> None:
    """Write a folder with an exported file and everything that its target needs.

    Each folder has a README.md, which begins with the command that builds and runs it, and a sample with its expected
    result.

    Args:
        path: the exported file.
        target: "c", C99 code of one step, without heap; "cpp", a header for C++ programs with onnxruntime; "triton", a
            model repository of the Triton Inference Server; or "web", a static folder with a page and a JavaScript
            module.
        folder: the new folder, which may be there if it is empty.
        runtime_folder: for target "web" the folder with onnxruntime-web. None: npm downloads it.
        weights: for target "c" how the code has the weights: "float32"; "int8", with a scale for each output; None: as
            the file stores them.
        stack: for target "c" how many bytes of stack a step may take. The header says how many it takes.

    Raises:
        SpecError: there is no such target, it cannot run the file, or a step takes more stack.
        ModelFileError: `path` is not an exported file.
        NotStreamable: the target needs states, which the file does not keep.
        MissingExtra: a program that the target needs is not there.
        FileExistsError: the folder is not empty.

    Example:
        >>> package("vowels.onnx", "triton", "repository")
    """
    if target not in TARGETS:
        raise SpecError(f"target: must be one of {', '.join(TARGETS)}, got {target!r:.60}")
    if runtime_folder is not None and target != "web":
        raise SpecError(f'runtime_folder: is for target "web" only, got target {target!r}')
    stack = whole_number(stack, "stack")
    if stack != STACK and target != "c":
        raise SpecError(f'stack: is for target "c" only, got target {target!r}')
    if weights is not None and target != "c":
        raise SpecError(
            f'weights: is for target "c" only, got target {target!r}; export writes files with other weights'
        )
    if weights not in (None, "float32", "int8"):
        raise SpecError(f"weights: must be float32 or int8, got {weights!r:.60}")
    folder = Path(folder)
    source = Source.open(path, runtime_folder, stack, weights)
    with atomic_folder(folder, may_be_empty=True) as made:
        readme = TARGETS[target](source, made)
        (made / "README.md").write_text(readme, encoding="utf-8")


TARGETS: dict[str, Callable[[Source, Path], str]] = {
    "c": write_c,
    "cpp": write_cpp,
    "triton": write_triton,
    "web": write_web,
}
"""The function that fills the folder and returns the text of README.md, for each target."""
