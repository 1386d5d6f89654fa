"""Target "c": one step of a stream as C99, for devices without an operating system."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from seq2onnx import __version__
from seq2onnx.contract import LENGTHS, Storage
from seq2onnx.errors import SpecError, require
from seq2onnx.packaging.c.memory import C_TYPES, indented
from seq2onnx.packaging.c.ports import Port, largest_error, ports_of, self_test_texts
from seq2onnx.packaging.source import Source
from seq2onnx.texts import c_string, fill, markdown

FILES = Path(__file__).with_name("files")
BYTES_OF_FRAMES = 768
"""Addresses, counters and registers of the functions that are on the stack together, beside the work array."""


def write_c(source: Source, folder: Path) -> str:
    """Write NAME.h and NAME.c, an example with its Makefile, and a sample with its result; return README.md.

    Raises:
        SpecError: the network has an operator that C code does not have, its form cannot be "step", or a step takes
            more stack than the source allows.
        NotStreamable: the network cannot stream.
        MissingExtra: onnx, which reads the file, is not installed.
    """
    require("onnx", extra="train")
    if source.model.closed_loop:
        raise SpecError(
            f"{source.path}: was exported with closed_loop, which the C code does not run; export it without"
        )
    source.check_has_numbers("the C code")
    source.check_streams()
    with step_source(source) as step, _rounded(source, step) as (step, error):
        inputs, outputs = ports_of(step)
        texts = _texts(source, step, inputs, outputs, error)
        made = {"header.h": f"{source.name}.h", "step.c": f"{source.name}.c"}
        made |= {"self_test.c": f"{source.name}_self_test.c", "Makefile": "Makefile"}
        is_single = len(inputs) == len(outputs) == 1
        made |= {"main.c" if is_single else "main_of_several.c": "main.c"}
        texts["SOURCES"] = f"main.c {source.name}.c" + ("" if is_single else f" {source.name}_self_test.c")
        for template, file in made.items():
            filled = fill((FILES / template).read_text(encoding="utf-8"), texts)
            (folder / file).write_text(filled, encoding="utf-8")
        if is_single:
            step.write_sample(folder)
    return _readme(source, texts, is_single, error)


@contextmanager
def step_source(source: Source, weights: Storage | None = None) -> Iterator[Source]:
    """Give the file in the form "step", if asked with other weights; a file that has no layers as it is."""
    contract = source.model.contract
    if contract.network is None or (contract.form == "step" and weights in (None, contract.weights)):
        yield source
        return
    from seq2onnx.exporting import ExportOptions, build_model
    from seq2onnx.exporting.restorer import read_model

    network, arrays, contract = read_model(source.path)
    options = ExportOptions.of_contract(contract, False)
    options = dataclasses.replace(options, signature="stream", form="step", activations=())
    if weights is not None:
        options = dataclasses.replace(options, weights=weights)
    content: bytes = build_model(network, arrays, options, contract.data_info).SerializeToString()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "step.onnx")
        path.write_bytes(content)
        yield Source.open(path)


MOST_ERROR = 5e-3
"""How much results may change if all weights become 8 bits, relative to max(1, result). Beyond, and in small networks,
weights are as `export(weights="int8")` stores them: some, or all, as float16."""


@contextmanager
def _rounded(source: Source, step: Source) -> Iterator[tuple[Source, float | None]]:
    """Give a step file with the weights of the code, and how much its results differ; None: they do not."""
    if source.weights != "int8":
        yield step, None
        return
    import onnx

    from seq2onnx.exporting.storage import SMALL_NETWORK

    rounded = _code(source, step, *ports_of(step)).rounded
    error = largest_error(step, rounded)
    is_small = sum(math.prod(tensor.dims) for tensor in rounded.graph.initializer) <= SMALL_NETWORK
    if source.model.contract.network is None or (error <= MOST_ERROR and not is_small):
        yield step, error
        return
    with step_source(source, "int8") as smaller:
        yield smaller, largest_error(step, onnx.load_from_string(smaller.path.read_bytes()))


def _code(source: Source, step: Source, inputs: list[Port], outputs: list[Port]) -> Any:
    """Return the generated code of the file in its step form."""
    import onnx

    from seq2onnx.packaging.c.generator import StepModel, generate

    model, steps = step.model, step.model.contract.chunk_steps
    sizes = {entry.tensor: (1, *([steps] if entry.has_time else []), *entry.shape) for entry in model.inputs}
    sizes |= {state.name: state.shape for state in model.states}
    given = {LENGTHS: np.array([steps], np.int32)} if model.takes_lengths else {}
    arguments = {port.tensor: port.name for port in (*inputs, *outputs)}
    states = {state.name: state.new_name for state in model.states}
    checked = [port.tensor for port in inputs if not port.may_lack]
    proto = onnx.load_from_string(step.path.read_bytes())
    is_stored = model.contract.weights == "int8"
    try:
        step_model = StepModel(proto, sizes, given, arguments, states, checked, source.name)
        code = generate(step_model, None if is_stored and source.weights == "int8" else source.weights)
    except SpecError as error:
        raise SpecError(f"{source.path}: {error}") from None
    if (stack := code.work + BYTES_OF_FRAMES) > source.stack:
        raise SpecError(
            f"{source.path}: a step of its C code takes {stack:,} bytes of stack, and stack={source.stack} allows "
            "fewer; give a larger stack= (--stack) if the device has it, or make the network smaller"
        )
    return code


def _texts(
    source: Source, step: Source, inputs: list[Port], outputs: list[Port], error: float | None
) -> dict[str, str]:
    """Return what the templates leave open, by its mark, as text of C."""
    name, macro, contract = source.name, source.name.upper(), step.model.contract
    code = _code(source, step, inputs, outputs)
    ports = [*inputs, *outputs]
    sizes = [line for port in ports for line in port.sizes(macro)]
    facts = [line for port in inputs for line in port.facts(macro)]
    if contract.sample_rate is not None:
        facts.append(f"#define {macro}_SAMPLE_RATE {contract.sample_rate:.9g} /* samples of x a second */")
    facts = [*facts, ""] if facts else []
    lists = {f"{name}_labels": source.labels if len(outputs) == 1 else []}
    for port in inputs:
        lists[f"{name}_{port.of_several}channels"] = list(port.channels or ())
    names = {c: texts for c, texts in lists.items() if texts}
    floats, get, put = 0, list[str](), list[str]()
    for state in code.states:
        size = f"{state.count} * sizeof({C_TYPES[state.dtype]})"
        get += state.reading(f"state + {floats}")
        put.append(f"memcpy({state.written}, state + {floats}, {size});")
        put += [f"stream->{state.turn} = 0;"] if state.turn else []
        floats += state.count * np.dtype(state.dtype).itemsize // 4
    if not get:
        get = put = ["(void)stream;", "(void)state;"]
    else:
        put.insert(0, f"{name}_reset(stream);")
    size = sum(field.bytes for field in code.fields)
    may_lack = any(port.may_lack for port in inputs)
    block = len(inputs) == len(outputs) == 1
    types = {"NAME": name, "MACRO": macro, "TYPE": inputs[0].c_type, "RESULT_TYPE": outputs[0].c_type}
    texts = {
        "WRITER": f"seq2onnx {__version__}",
        "VERSION": c_string(contract.writer),
        "CHECKSUM": c_string(hashlib.sha256(source.path.read_bytes()).hexdigest()[:16]),
        "NAME": name,
        "MACRO": macro,
        "SIZES": "\n".join(sizes),
        "FACTS": "\n".join(facts),
        "STACK": str(code.work + BYTES_OF_FRAMES),
        "STATE_NUMBERS": str(floats),
        "STREAM_BYTES": f"{size:,}",
        "WEIGHT_BYTES": f"{code.weights:,}",
        "FIELDS": "\n".join(f"    {field.declaration} /* {field.note} */" for field in code.fields),
        "SHAPES": ", ".join(f"{port.name} [{port.counts}]" for port in ports),
        "WRONG": "NaN is a missing value. If the state would become infinite"
        if may_lack
        else f"If {' or '.join(port.name for port in inputs)} contains NaN or infinity, or makes the state infinite",
        "REFUSED": "NaN" if all(port.is_real for port in outputs) else "NaN, tokens -1",
        "DECLARED": _parameters(name, [port.declaration for port in ports]),
        "DEFINED": _parameters(name, [port.definition for port in ports]),
        "SOURCES": f"main.c {name}.c" + ("" if block else f" {name}_self_test.c"),
        "FUNCTIONS": fill(code.functions, {"MACRO": macro}),
        "ARRAYS": code.arrays,
        "BODY": "\n".join(line.rstrip() for line in indented(code.body)),
        "CHECK": code.check,
        "REFUSE": "\n".join(line for port in outputs for line in port.refused()),
        "COMMITS": "\n".join(indented(code.commits)),
        "GET_STATE": "\n".join(indented(get)),
        "SET_STATE": "\n".join(indented(put)),
        "DECLARED_BLOCK": fill(BLOCK_DECLARED, types) if block else "",
        "DEFINED_BLOCK": fill(BLOCK, types) if block else "",
        "DECLARED_NAMES": "".join(
            f"\n/* As UTF-8. */\nextern const char *const {c}[{len(t)}];\n" for c, t in names.items()
        ),
        "DEFINED_NAMES": "".join(
            f"\nconst char *const {c}[{len(t)}] = {{{', '.join(map(c_string, t))}}};\n" for c, t in names.items()
        ),
    }
    return texts | self_test_texts(step, inputs, outputs, error) | _example_texts(source, inputs, outputs)


def _parameters(name: str, parameters: list[str]) -> str:
    """Return parameters behind the stream: in one line, if they fit."""
    start = f"int {name}_step("
    line = ", ".join(parameters)
    if len(f"{start}{name}_stream *stream, {line}) {{") <= LINE:
        return line
    return (",\n" + " " * len(start)).join(parameters)


LINE = 120
BLOCK_DECLARED = """
/* Run many calls of @NAME@_step: x and y have room for all of them. Returns how many were refused. */
int @NAME@_block(@NAME@_stream *stream, const @TYPE@ *x, int steps, @RESULT_TYPE@ *y);
"""
BLOCK = """
int @NAME@_block(@NAME@_stream *stream, const @TYPE@ *x, int steps, @RESULT_TYPE@ *y) {
    int refused = 0;
    for (int i = 0; i < steps; ++i, x += @MACRO@_STEPS * @MACRO@_FEATURES, y += @MACRO@_RESULTS * @MACRO@_OUTPUTS) {
        refused += @NAME@_step(stream, x, y);
    }
    return refused;
}
"""


def _example_texts(source: Source, inputs: list[Port], outputs: list[Port]) -> dict[str, str]:
    """Return what main.c needs: the names of the columns, and the cells of the labels."""
    cells = ", ".join(c_string(_cell(label)) for label in source.labels)
    macro = source.name.upper()
    best = f"""\
    int best = 0;
    for (int i = 1; i < {macro}_OUTPUTS; ++i) {{
        best = y[i] > y[best] ? i : best;
    }}
    printf("%s,", isnan(y[0]) ? "" : cells_of_labels[best]);"""
    return {
        "TYPE": inputs[0].c_type,
        "RESULT_TYPE": outputs[0].c_type,
        "MAY_LACK_VALUES": str(int(inputs[0].may_lack)),
        "REFUSED_VALUE": outputs[0].refused_value,
        "CHANNELS": ", ".join([*map(c_string, inputs[0].channels or ())] or ["NULL"]),
        "WRITE_LABEL": f"    static const char *const cells_of_labels[] = {{{cells}}};\n{best}" if cells else "",
    }


def _cell(label: str) -> str:
    return '"' + label.replace('"', '""') + '"' if set(label) & set(',"\r\n') else label


def _readme(source: Source, texts: Mapping[str, str], is_single: bool, error: float | None) -> str:
    name, macro = source.name, source.name.upper()
    run = "make && ./example < sample_input.csv" if is_single else "make && ./example"
    does = (
        f"The command prints what is in `expected_output.csv`, up to rounding{' of the weights' * (error is not None)}."
        if is_single
        else "The command runs the sample and compares the results."
    )
    sample = (
        "| `main.c`, `Makefile` | the example: one step per line in, its result out, as `seq2onnx stream` does |\n"
        "| `sample_input.csv`, `expected_output.csv` | a sample, and what the model answers |"
        if is_single
        else "| `main.c`, `Makefile` | the example: it runs the sample |"
    )
    rounding = ""
    if error is not None:
        change = f"results change by at most {error:.1e}, relative to the result or 1" if error else "no result changes"
        rounding = (
            f"The weights are rounded to 8 bits, or to 16 where results need it. On a random sample, {change}.\n\n"
        )
    text = f"""\
# {markdown(source.title)} in C

```sh
{run}
```

{does} It needs make and a compiler for C99.

| file | content |
|---|---|
| `{name}.h`, `{name}.c` | the calls; no heap, no library but libm (and memcpy, memmove and memset) |
| `{name}_self_test.c` | `{name}_self_test()` runs a sample and compares |
{sample}

```c
#include "{name}.h"

static {name}_stream stream; /* {texts["STREAM_BYTES"]} bytes */

{name}_reset(&stream);
{name}_step(&stream, {texts["PASSED_NAMES"]}); /* {texts["SHAPES"]} */
```

Two streams are two variables. The sizes, the names of the inputs, the sample rate and the checksum of the model are in
`{name}.h`.

| memory | bytes |
|---|---|
| flash: weights and tables | {texts["WEIGHT_BYTES"]} |
| static memory of a stream | {texts["STREAM_BYTES"]} |
| stack of a step, at most, beside what libm takes | {int(texts["STACK"]):,} |

{rounding}`make CFLAGS="-O3 -march=native -ffp-contract=fast -std=gnu99"` uses all that this processor has, which is two
to three times faster. With `-D{macro}_LIBM`, tanh and sigmoid are those of libm; the own ones differ by at most 4e-7.
Never compile with `-ffast-math`: it removes the checks for NaN and the exactness of long averages.
"""
    return text + (source.labels_text() if is_single else "")
