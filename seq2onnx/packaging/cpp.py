"""Target "cpp": a header for C++ programs with onnxruntime, and an example."""

from __future__ import annotations

import shutil
from pathlib import Path

from seq2onnx.packaging.source import Source
from seq2onnx.texts import cpp_string, fill, markdown

_FILES = Path(__file__).with_name("cpp_files")


def write_cpp(source: Source, folder: Path) -> str:
    """Write seq2onnx.hpp, model.onnx, an example with CMakeLists.txt, and a sample with its result; return README.md.

    Raises:
        SpecError: the file has several inputs or outputs, steps that are no vectors, words, or lookahead.
    """
    source.check_runs_in("the header")
    for name in ("seq2onnx.hpp", "CMakeLists.txt"):
        shutil.copyfile(_FILES / name, folder / name)
    example = (_FILES / "main.cpp").read_text(encoding="utf-8")
    channels = source.model.inputs[0].channels or ()
    example = fill(example, {"CHANNELS": ", ".join(map(cpp_string, channels))})
    (folder / "main.cpp").write_text(example, encoding="utf-8")
    shutil.copyfile(source.path, folder / "model.onnx")
    source.write_sample(folder)
    return _readme(source)


def _readme(source: Source) -> str:
    text = f"""\
# {markdown(source.title)} in C++

```sh
cmake -B build && cmake --build build && build/example < sample_input.csv
```

The command prints what is in `expected_output.csv`, up to rounding. It needs CMake, a compiler for C++17, and
onnxruntime 1.18 or newer with its CMake files, such as Debian's package `libonnxruntime-dev`. (Debian's version 1.21
writes "Schema error" lines to standard error when a program starts. They change nothing.)

| file | content |
|---|---|
| `seq2onnx.hpp` | `seq2onnx::load`, `Model::predict`, `Model::stream`, `Stream::step`, `Stream::reset`; header only |
| `model.onnx` | the model |
| `main.cpp` | the example: one step per line in, its result out, as `seq2onnx stream` does |
| `sample_input.csv`, `expected_output.csv` | a sample, and what the model answers |

A step has {source.features} numbers, a result {source.outputs}.
"""
    return text + source.labels_text()
