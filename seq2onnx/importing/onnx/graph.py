"""Foreign ONNX files: read without trust, and made plain, so that one walk over the nodes sees everything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
from onnx import ModelProto, helper, numpy_helper

from seq2onnx.contract import KEY
from seq2onnx.errors import ImportRefused, ModelFileError
from seq2onnx.file_kinds import instead
from seq2onnx.importing.onnx.file_rules import check_contents
from seq2onnx.importing.onnx.graph_parts import DOMAINS, Array, remove_unused, replace, take_constants
from seq2onnx.modelfile import read_bytes

LEAST_OPSET = 11
"""The oldest operators that a plain graph has; older files are converted."""


def read_graph(path: str | Path, fixed: Mapping[str, Any] | None = None) -> ModelProto:
    """Read a foreign ONNX file and make it plain: functions are written out, constants are initializers.

    Inputs are data alone, but for those that `fixed` makes constants, and no node is unused. Files that are damaged or
    have their weights in others raise ModelFileError; files of seq2onnx, and `fixed` that does not fit, ImportRefused.
    """
    model = parse(path)
    check_foreign(model, path)
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        if opset(model) < LEAST_OPSET:
            model = onnx.version_converter.convert_version(model, LEAST_OPSET)
    except Exception as error:  # errors of the C++ code have no common class
        raise ImportRefused(
            f"{path}: its operators of version {opset(model)} cannot be brought to version {LEAST_OPSET} "
            f"({first_line(error)}); export it with opset {LEAST_OPSET} or newer"
        ) from None
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in weights]  # in old files, weights are inputs, too
    for name, value in (fixed or {}).items():
        entry = next((entry for entry in inputs if entry.name == name), None)
        if entry is None:
            raise ImportRefused(f"fixed: {path} has no input {name!r}, only {', '.join(e.name for e in inputs)}")
        dtype = helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
        try:
            array = np.asarray(value, dtype)
        except (ValueError, TypeError) as error:
            raise ImportRefused(f"fixed: {name!r} must be {dtype}, got {value!r:.60} ({error})") from None
        graph.initializer.append(numpy_helper.from_array(array, name))
        inputs.remove(entry)
    replace(graph.input, inputs)
    replace(graph.value_info, [])
    model.ir_version = max(model.ir_version, 4)  # from then on initializers need not be inputs
    take_constants(graph)
    remove_unused(graph)
    if not graph.output:
        raise ModelFileError(f"{path}: has no output")
    return model


def check_foreign(model: ModelProto, path: str | Path) -> None:
    """Raise ImportRefused if seq2onnx has written the file."""
    if any(entry.key == KEY for entry in model.metadata_props):
        raise ImportRefused(
            f"{path}: was written by seq2onnx; open it with load, or with restore to train it further. "
            "`seq2onnx inspect` shows what it is"
        )


def parse(path: str | Path) -> ModelProto:
    """Read a foreign ONNX file as it is, or raise ModelFileError if it is damaged or has its weights in others."""
    content = read_bytes(Path(path))
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's DecodeError, whose module differs between its implementations
        broken = f"{path}: is not an ONNX file, or is incomplete: {first_line(error)}"
        raise ModelFileError(instead(path, "a model") or broken) from None
    model.DiscardUnknownFields()  # onnxruntime may know more of them
    try:
        check_contents(model)
        open_session(model, optimized=False)
    except (ModelFileError, RunFailed) as error:
        raise ModelFileError(f"{path}: {error}") from None
    return model


class RunFailed(ImportRefused):
    """onnxruntime does not run a graph with these inputs; its own errors have no common class."""


def open_session(model: ModelProto, optimized: bool = True) -> onnxruntime.InferenceSession:
    """Open a graph in onnxruntime on one thread of the CPU, or raise RunFailed."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")  # not what a name of the producer looks like
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen classes of errors
        raise RunFailed(f"onnxruntime does not open the file: {first_line(error)}") from None


def run(session: onnxruntime.InferenceSession, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Run a session and return its outputs by name, or raise RunFailed."""
    taken = {entry.name for entry in session.get_inputs()}
    names = [entry.name for entry in session.get_outputs()]
    try:
        values = session.run(names, {k: v for k, v in feeds.items() if k in taken})
    except Exception as error:
        raise RunFailed(first_line(error)) from None
    return dict(zip(names, values, strict=True))


def opset(model: ModelProto) -> int:
    """Return the version of the operators of the default domain."""
    return next((entry.version for entry in model.opset_import if entry.domain in DOMAINS), 1)


def first_line(error: Exception) -> str:
    """Return the first line of an error of another package, cut to a readable length."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
