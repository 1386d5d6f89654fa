"""Target "c": one step of a stream as C99, for devices without an operating system."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from seq2onnx.errors import NotStreamable, SpecError
from seq2onnx.packaging.c_generator import generate, stack_bytes
from seq2onnx.packaging.source import Source
from seq2onnx.texts import c_comment, c_string, fill, markdown

_FILES = Path(__file__).with_name("c_files")
_TYPES = {"float32": "float", "int32": "int32_t", "int64": "int64_t"}


def write_c(source: Source, folder: Path) -> str:
    """Write NAME.h and NAME.c, an example with its Makefile, and a sample with its result; return README.md.

    Raises:
        SpecError: the file has several inputs or outputs, or results that are no vectors, its form cannot be "step", or
            a step takes more stack than the source allows.
        NotStreamable: the network cannot stream, or the file has no layers.
        MissingExtra: emx-onnx-cgen is not installed.
    """
    if source.model.closed_loop:
        raise SpecError(
            f"{source.path}: was exported with closed_loop, which the C code does not run; export it without"
        )
    source.check_runs_in("the C code")
    source.check_streams()
    with step_source(source) as step:
        function = f"{source.name}_run"
        code = generate(step.path.read_bytes(), function)
        run = step.model
        stack = stack_bytes(code, function) + (8 * run.contract.chunk_steps if run.inputs[0].is_tokens else 0)
        if stack > source.stack:
            raise SpecError(
                f"{source.path}: a step of its C code takes {stack:,} bytes of stack, and stack={source.stack} allows "
                "fewer; give a larger stack= (--stack) if the device has it, or make the network smaller"
            )
        texts = _texts(source, step) | {"STACK": str(stack)}
        made = {"main.c": "main.c", "Makefile": "Makefile"}
        made |= {"header.h": f"{source.name}.h", "wrapper.c": f"{source.name}.c"}
        for template, file in made.items():
            filled = fill((_FILES / template).read_text(encoding="utf-8"), texts)
            (folder / file).write_text(code + filled if template == "wrapper.c" else filled, encoding="utf-8")
        step.write_sample(folder)
    return _readme(source, texts)


@contextmanager
def step_source(source: Source) -> Iterator[Source]:
    """Give the file in the form "step"."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "step.onnx")
        path.write_bytes(_step_form(source))
        yield Source.open(path)


def _step_form(source: Source) -> bytes:
    """Return the file in the form "step", with float32 weights: C code would expand others in each call."""
    if source.model.contract.form == "step" and source.model.contract.weights == "float32":
        return source.path.read_bytes()
    if source.model.contract.network is None:
        raise NotStreamable(
            f"{source.path}: was made by add_states and has no layers, which the C code is made of; from_torch, "
            "from_keras and from_onnx make layers of many networks"
        )
    from seq2onnx.exporting import ExportOptions, build_model
    from seq2onnx.exporting.restorer import read_model

    network, weights, contract = read_model(source.path)
    options = ExportOptions.of_contract(contract, False)
    options = dataclasses.replace(options, signature="stream", form="step", weights="float32", activations=())
    model = build_model(network, weights, options, contract.data_info)
    content: bytes = model.SerializeToString()
    return content


def _texts(source: Source, step: Source) -> dict[str, str]:
    """Return what the templates leave open, by its mark, as text of C."""
    name, model = source.name, step.model
    macro = name.upper()
    entry, output = model.inputs[0], model.outputs[0]
    steps = model.contract.chunk_steps
    tensors = [*model.session.get_inputs(), *model.session.get_outputs()]
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    results = shapes[output.tensor][1] if output.has_time else 1
    run, checks = [], []
    x = "(const void *)x"
    if entry.is_tokens:
        x = "(const void *)tokens"
        run += [
            f"int64_t tokens[{steps}];",
            f"for (int32_t i = 0; i < {steps}; ++i) {{",
            "    tokens[i] = (int64_t)x[i];",
            "}",
        ]
    by_name = {entry.tensor: x, output.tensor: "(void *)y"}
    by_name |= {state.name: f"(const void *)stream->state[now].{state.name}" for state in model.states}
    by_name |= {state.new_name: f"(void *)stream->state[next].{state.name}" for state in model.states}
    run.append(f"{name}_run({', '.join(by_name[tensor.name] for tensor in tensors)});")
    fields = []
    for state in model.states:
        count = math.prod(state.shape)
        fields.append(f"{_TYPES[state.dtype.name]} {state.name}[{count}];")
        if state.dtype.kind == "f":
            checks.append(f"is_finite = is_finite && {name}_is_finite(stream->state[next].{state.name}, {count});")
    labels = ", ".join(map(c_string, source.labels))
    declared = f"const char *const {name}_labels[{macro}_OUTPUTS]"
    best = f"""\
    int best = 0;
    for (int i = 1; i < {macro}_OUTPUTS; ++i) {{
        best = y[i] > y[best] ? i : best;
    }}
    printf("%s,", isnan(y[0]) ? "" : cells_of_labels[best]);"""
    cells = ", ".join(c_string(_cell(label)) for label in source.labels)
    return {
        "TITLE": c_comment(source.title),
        "WRITER": c_comment(model.contract.writer),
        "NAME": name,
        "MACRO": macro,
        "FEATURES": str(source.features),
        "STEPS": str(steps),
        "S": "s" * (steps > 1),
        "RESULTS": str(results),
        "OUTPUTS": str(source.outputs),
        "STATE_BYTES": f"{8 * sum(math.prod(state.shape) for state in model.states) + 4:,}",
        "CHECKED": str(0 if entry.missing else steps * source.features),
        "X_IS_WRONG": "NaN is a missing value. If x" if entry.missing else "If x contains NaN or infinity, or",
        "MAY_LACK_VALUES": str(int(entry.missing)),
        "STATES": _indented(fields or ["int32_t none;"], 8),
        "RUN": _indented(run, 8),
        "CHECKS": _indented(checks, 8),
        "DECLARED_LABELS": f"\n/* The labels of the scores, in order, as UTF-8. */\nextern {declared};\n"
        if labels
        else "",
        "DEFINED_LABELS": f"\n{declared} = {{{labels}}};" if labels else "",
        "CHANNELS": ", ".join([*map(c_string, entry.channels or ())] or ["NULL"]),
        "WRITE_LABEL": f"    static const char *const cells_of_labels[] = {{{cells}}};\n{best}" if labels else "",
    }


def _indented(lines: Iterable[str], spaces: int) -> str:
    return "\n".join(" " * spaces + line for line in lines)


def _cell(label: str) -> str:
    return '"' + label.replace('"', '""') + '"' if set(label) & set(',"\r\n') else label


def _readme(source: Source, texts: Mapping[str, str]) -> str:
    name, stack = source.name, int(texts["STACK"])
    text = f"""\
# {markdown(source.title)} in C

```sh
make && ./example < sample_input.csv
```

The command prints what is in `expected_output.csv`, up to rounding. It needs make and a compiler for C99.

| file | content |
|---|---|
| `{name}.h`, `{name}.c` | `{name}_reset`, `{name}_step`; no heap, no library but libm (and memcpy and memset) |
| `main.c`, `Makefile` | the example: one step per line in, its result out, as `seq2onnx stream` does |
| `sample_input.csv`, `expected_output.csv` | a sample, and what the model answers |

```c
#include "{name}.h"

static {name}_stream stream; /* {texts["STATE_BYTES"]} bytes */
float x[{texts["STEPS"]} * {texts["FEATURES"]}], y[{texts["RESULTS"]} * {texts["OUTPUTS"]}];

{name}_reset(&stream);
{name}_step(&stream, x, y); /* for every {"step" if texts["STEPS"] == "1" else texts["STEPS"] + " steps"} */
```

Two streams are two variables. A step takes at most {stack:,} bytes of stack, beside what libm takes.
Do not compile with `-ffast-math`: it removes the checks for NaN and the exactness of long averages.
"""
    return text + source.labels_text()
