"""C code of an ONNX graph with fixed shapes. This module alone knows emx-onnx-cgen."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seq2onnx.errors import SpecError, require

if TYPE_CHECKING:
    from onnx import ModelProto

_UNUSED_LOADER = re.compile(r"^_Bool \w+_load\(const char \*path\) \{.*?^\}\n", re.MULTILINE | re.DOTALL)


def generate(model: ModelProto, function: str) -> str:
    """Return C99 code in which everything is static: a function that calculates a graph, without heap.

    Its arguments are pointers to the inputs and then to the outputs, in the order of the graph. It needs libm, memcpy
    and memset.

    Args:
        model: a model with fixed shapes. A comment of the code quotes its metadata and names.
        function: the name of the function.

    Raises:
        MissingExtra: emx-onnx-cgen is not installed.
        SpecError: it cannot translate the model.
    """
    require("emx_onnx_cgen", extra="edge")
    from emx_onnx_cgen.compiler import Compiler, CompilerOptions
    from emx_onnx_cgen.errors import CompilerError

    # Thresholds above which tensors would be on the heap or in a file; 0: never.
    options = CompilerOptions(model_name=function, large_temp_threshold_bytes=0, large_weight_threshold=0)
    try:
        code: str = Compiler(options).compile(model)
    except CompilerError as error:
        raise SpecError(f"emx-onnx-cgen cannot translate the network: {error}") from None
    code = re.sub(r"^extern const [^;]*;\n", "", code, flags=re.MULTILINE)  # the definitions follow
    code = re.sub(r"^const EMX_UNUSED", "static const EMX_UNUSED", code, flags=re.MULTILINE)
    code = _UNUSED_LOADER.sub("", code)
    return code.replace(f"\nvoid {function}(", f"\nstatic void {function}(")
