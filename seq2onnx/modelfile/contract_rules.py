"""The rules for the contract of a file: its graph has the inputs and outputs that the metadata names."""

from __future__ import annotations

import json
import math
from typing import Any

from seq2onnx.contract import (
    CLASSES_KEY,
    END,
    LENGTHS,
    Contract,
    activation_name,
    input_names,
    lengths_name,
    output_names,
)
from seq2onnx.errors import ModelFileError, SpecError
from seq2onnx.layer_facts import INPUT_HAS_TIME, keeps_state, may_read_later_steps, reads_state_of_full_chunk
from seq2onnx.limits import LAYERS, PADDED_BYTES
from seq2onnx.modelfile.graph_rules import STEPS, Checked
from seq2onnx.modelfile.protos import FileContent, ParsedGraph, TensorInfo
from seq2onnx.modelfile.shapes import FLOAT32, INT32, INT64, STRING
from seq2onnx.texts import unfit_name, unfit_text

MOST_STATE_BYTES = 2**28
"""The largest state of one stream."""
MOST_ANSWER_BYTES = 2**28
"""The largest answer to a step that a file may declare."""

_DTYPES = {"float32": FLOAT32, "int32": INT32, "int64": INT64}


def _differs(text: str) -> ModelFileError:
    """Return the error for a file whose graph and metadata do not go together."""
    return ModelFileError(f"{text}; use the file that seq2onnx wrote")


def wrong_text(contract: Contract) -> str | None:
    """Return which text of a contract no file may have; None: all are right.

    Names of layers and states are in the names of tensors, which generated code has as they are.
    """
    states = (name for state in contract.states for name in (state.layer, state.kind, state.name))
    name = unfit_name([*contract.layers, *contract.input_layers, *contract.output_layers, *states])
    if name is not None:
        return f"the name of a layer or state {name!r:.100}: expected letters, digits and underscores of ASCII"
    if wrong := unfit_text(contract.classes or ()):
        return f"classes: {wrong}"
    for names in contract.channel_names.values():
        if wrong := unfit_text(names):
            return f"channels: {wrong}"
    return None


def check_texts(contract: Contract, file: FileContent) -> None:
    """Check the texts that enter generated code, tables and lists: names, classes and channels.

    Raises:
        ModelFileError: one of them has characters that it may not have.
    """
    if wrong := wrong_text(contract):
        raise _differs(f"its metadata has {wrong}")
    tensors = [entry.name.decode(errors="backslashreplace") for entry in (*file.graph.inputs, *file.graph.outputs)]
    name = unfit_name(tensors)
    if name is not None:
        raise _differs(
            f"the graph has the input or output {name!r:.100}: expected letters, digits and underscores of ASCII"
        )


def check_classes_key(contract: Contract, file: FileContent) -> None:
    """Check that the classes that other programs read are those of the contract.

    Raises:
        ModelFileError: they differ.
    """
    classes = file.metadata.get(CLASSES_KEY)
    if classes is not None and classes != json.dumps(contract.classes) and not _is_json_of(contract.classes, classes):
        raise _differs(
            f"its metadata has the classes {classes!r:.100} under the key {CLASSES_KEY!r}, and others in the contract"
        )


def _is_json_of(value: Any, text: str) -> bool:
    try:
        return json.dumps(json.loads(text)) == json.dumps(value)
    except (ValueError, RecursionError):
        return False


def check_contract(contract: Contract, graph: ParsedGraph, checked: Checked | None) -> None:
    """Check that the graph has what its contract promises.

    Args:
        contract: the metadata of the file.
        graph: the graph.
        checked: what the graph computes; None: another program may have changed it, and only its inputs and outputs
            are checked.

    Raises:
        ModelFileError: the graph and the contract differ.
    """
    inputs = {entry.name.decode(errors="backslashreplace"): entry for entry in graph.inputs}
    outputs = {entry.name.decode(errors="backslashreplace"): entry for entry in graph.outputs}
    names = input_names(contract.input_layers)
    answers = output_names(contract.output_layers)
    promised = {*names.values(), *answers.values()}
    promised |= {tensor for state in contract.states for tensor in (state.input, state.output)}
    if missing := promised - inputs.keys() - outputs.keys():
        raise _differs(f"its metadata names tensors that the graph does not have: {', '.join(sorted(missing))}")
    if not contract.input_layers or not contract.output_layers or not outputs.keys() >= set(answers.values()):
        raise _differs("its metadata names no inputs, or outputs that are inputs of the graph")
    if contract.form == "step":
        _check_steps(contract, {*names.values()}, {*answers.values()} | _activations(contract, outputs))
    _check_policy(contract, inputs, names)
    _check_inputs(contract, inputs, names)
    _check_states(contract, inputs, outputs)
    _check_outputs(contract, inputs, outputs, answers)
    _check_fewest_steps(contract, inputs, names)
    _check_words(contract)
    _check_missing(contract)
    _check_delay(contract, END in inputs)
    if checked is not None:
        _check_lengths(contract, outputs, END in inputs, checked)
        _check_stream(contract, checked)


def _activations(contract: Contract, outputs: dict[str, TensorInfo]) -> set[str]:
    return {name for name in map(activation_name, contract.layers) if name in outputs}


def _axes(contract: Contract, name: str, has_time: bool) -> list[int | str]:
    """Return the axes before the features of a tensor; text is a dynamic dimension."""
    if contract.form == "step":
        return [1, (contract.steps or {}).get(name, -1)] if has_time else [1]
    return ["batch", "time"] if has_time else ["batch"]


def _check_steps(contract: Contract, inputs: set[str], outputs: set[str]) -> None:
    """Check the steps of a step file: each run has all of its input, and a part of its steps for each output."""
    of_run, steps = contract.chunk_steps, contract.steps
    if (
        contract.signature != "stream"
        or contract.network is None
        or steps is None
        or not steps.keys() <= inputs | outputs
        or any(of_run % count or (name in inputs and count != of_run) for name, count in steps.items())
    ):
        raise _differs(
            f"is a step file with the signature {contract.signature!r}, the time stride {of_run} and the steps "
            f"{steps!r:.200}, which do not go together"
        )


def _number(name: str, before: int) -> int:
    """Return the number of a state in a step file, which may leave out numbers."""
    digits = name[len("state_") :][:2]
    return int(digits) if digits.isascii() and digits.isdigit() and int(digits) > before else before + 1


def _check_inputs(contract: Contract, inputs: dict[str, TensorInfo], names: dict[str, str]) -> None:
    expected = {*names.values(), *(state.input for state in contract.states)}
    if contract.signature != "stream":
        expected.add(LENGTHS)
        _check(inputs.get(LENGTHS), LENGTHS, (INT32,), ["batch"])
    if END in inputs:
        expected.add(END)
        _check(inputs[END], END, (INT32,), ["batch"])
    if more := inputs.keys() - expected:
        raise _differs(
            f"the graph reads {sorted(more)!r:.200}, which its metadata does not name for the signature "
            f"{contract.signature!r}"
        )
    for layer, name in names.items():
        kind, fields = contract.layers[layer] if contract.network else _foreign_input(inputs.get(name), name)
        shape = _step_shape(fields.get("size"))
        is_tokens = INPUT_HAS_TIME[kind] and shape is None
        dims = [*_axes(contract, name, INPUT_HAS_TIME[kind]), *(shape or [])]
        _check(inputs.get(name), name, (INT64, STRING) if is_tokens else (FLOAT32,), dims)
        if inputs[name].dtype == STRING and not contract.vocabulary.get(layer):
            raise ModelFileError("takes words, but its metadata has no vocabulary; use the original exported file")
        channels = contract.channel_names.get(layer)
        if channels is not None and len(channels) != (shape or [0])[0]:
            raise _differs(f"its metadata names {len(channels)} channels of {layer} {shape}")
    trained = contract.data_info.training_statistics
    for layer, found in trained.inputs.items() if trained else ():
        sizes = _step_shape(contract.layers[layer][1].get("size")) if layer in names and contract.network else None
        if sizes is None or len(found.mean) != sizes[0]:
            raise _differs(f"its metadata has statistics of {len(found.mean)} channels of {layer!r:.60}")


def _foreign_input(entry: TensorInfo | None, name: str) -> tuple[str, dict[str, Any]]:
    """Return an input layer that fits the input of a file without layers."""
    if entry is None or entry.dims is None:
        raise _differs(f"the graph has no input {name!r:.100} with a shape")
    return "sequence_input", {"size": "tokens" if entry.dtype == INT64 else list(entry.dims[2:])}


def _step_shape(size: Any) -> list[int] | None:
    """Return the shape of a step of an input layer; None: tokens."""
    if size == "tokens":
        return None
    sizes = size if isinstance(size, list) else [size]
    if not sizes or any(type(number) is not int or number < 1 for number in sizes):
        raise _differs(f"an input layer has the size {size!r:.60}")
    return list(sizes)


def _check(entry: TensorInfo | None, name: str, dtypes: tuple[int, ...], dims: list[int | str]) -> None:
    """Check an input or output of the graph; text in `dims` is a dynamic dimension."""
    if entry is None:
        raise _differs(f"the graph has no tensor {name!r:.100}, or has it on the wrong side")
    declared = entry.dims or ()
    # The first dynamic dimension is the batch in every file; the names of the others differ.
    fits = len(declared) == len(dims) and entry.dtype in dtypes
    if not fits or any(a != b if isinstance(b, int) else not isinstance(a, str) for a, b in zip(declared, dims)):  # noqa: B905
        raise _differs(
            f"its metadata promises the tensor {name!r:.100} with the shape {dims!r:.100}, the graph declares "
            f"{list(declared)!r:.100} and the element type {entry.dtype}"
        )


def _check_states(contract: Contract, inputs: dict[str, TensorInfo], outputs: dict[str, TensorInfo]) -> None:
    if contract.states and contract.signature == "sequence":
        raise _differs("its metadata has states and the signature 'sequence', which has none")
    total, number = 0, -1
    for state in contract.states:
        number = _number(state.input, number) if contract.form == "step" else number + 1
        stem = f"state_{number:02d}_{state.layer}_{state.kind}"
        if (state.input, state.output) != (stem, f"new_{stem}") or not state.kind:
            raise _differs(
                f"state {number} reads {state.input!r:.100} and writes {state.output!r:.100}; the names must be "
                f"{stem!r:.100} and {'new_' + stem!r:.100}"
            )
        unknown = contract.network is not None and state.layer not in contract.layers
        if unknown or state.dtype not in ("float32", "int32", "int64"):
            raise _differs(
                f"state {number} belongs to the layer {state.layer!r:.60} and has the type {state.dtype!r:.60}; "
                "expected a layer of the network and float32, int32 or int64"
            )
        for name, entries in ((state.input, inputs), (state.output, outputs)):
            _check(entries.get(name), name, (_DTYPES[state.dtype],), [*_axes(contract, name, False), *state.shape])
        total += 8 * math.prod(state.shape)
    if total > MOST_STATE_BYTES:
        raise ModelFileError(f"the states of one stream take {total:,} bytes; at most {MOST_STATE_BYTES:,} are allowed")


def _check_outputs(
    contract: Contract, inputs: dict[str, TensorInfo], outputs: dict[str, TensorInfo], answers: dict[str, str]
) -> None:
    for name in (*answers.values(), *sorted(_activations(contract, outputs))):
        dims = outputs[name].dims or (None,)
        if contract.form == "step":
            axes = _axes(contract, name, name in (contract.steps or {}))
            is_right = list(dims[: len(axes)]) == axes
        else:
            is_right = isinstance(dims[0], str)
        sizes = [size for size in dims if isinstance(size, int)]
        is_right &= None not in dims and all(isinstance(size, int) for size in dims[2:])
        if not is_right or min(sizes, default=0) < 0 or 4 * math.prod(sizes) > MOST_ANSWER_BYTES:
            raise _differs(f"the output {name!r:.100} declares the shape {dims!r:.100}")
        if outputs[name].dtype not in (FLOAT32, INT64):
            raise _differs(f"the output {name!r:.100} has the element type {outputs[name].dtype}")
        if lengths_name(name) in outputs:
            _check(outputs[lengths_name(name)], lengths_name(name), (INT32,), ["batch"])
            if len(dims) < 2 or not isinstance(dims[1], str):
                raise _differs(f"the output {name!r:.100} has lengths but no time axis")
    first = next(iter(answers.values()))
    shape = [size for size in (outputs[first].dims or ())[1:] if isinstance(size, int)]
    if first in (contract.steps or {}):
        shape = shape[1:]
    if contract.closed_loop is not None:
        x, *more = input_names(contract.input_layers).values()
        if more or len(answers) > 1 or shape != [contract.closed_loop, *_sizes(inputs[x])]:
            raise _differs(
                f"its metadata promises a closed loop of {contract.closed_loop} steps, the graph gives {shape}"
            )
        shape = shape[1:]
    size = math.prod(shape)
    for kind, of, columns in (("classes", contract.classes, "scores"), ("quantiles", contract.quantiles, "columns")):
        repeats = of is not None and kind == "quantiles" and size and size % len(of) == 0  # of several numbers
        if of is not None and len(of) != size and not repeats:
            raise _differs(f"its metadata has {len(of)} {kind}, but {first} has {size} {columns}")


def _sizes(entry: TensorInfo) -> list[int]:
    return [size for size in entry.dims or () if isinstance(size, int)]


def _check_lengths(contract: Contract, outputs: dict[str, TensorInfo], lookahead: bool, checked: Checked) -> None:
    """Check that outputs whose steps are not those of x say how many they are."""
    for name in (*output_names(contract.output_layers).values(), *sorted(_activations(contract, outputs))):
        dims = outputs[name].dims or ()
        has_time = len(dims) > 1 and isinstance(dims[1], str)
        differs = has_time and (lookahead or checked.shapes[name.encode()][1] != STEPS)
        if differs and lengths_name(name) not in outputs:
            raise _differs(f"the output {name!r:.100} has other steps than x, but no lengths")


def _check_policy(contract: Contract, inputs: dict[str, TensorInfo], names: dict[str, str]) -> None:
    """Check that the padding of the file does not ask for more memory than a machine has."""
    try:
        policy = contract.data_info.policy
    except (SpecError, TypeError, ValueError, OverflowError) as error:
        raise _differs(f"its metadata has a wrong data_policy: {error!r:.300}") from None
    steps = policy.sequence_length
    if len(contract.layers) > LAYERS:
        raise ModelFileError(f"its network has {len(contract.layers):,} layers; at most {LAYERS:,} are allowed")
    if policy.mask_padding or not isinstance(steps, int):
        return
    _check_bytes(f"pads every sequence to {steps:,} steps", steps, inputs, names)


def _check_bytes(what: str, steps: int, inputs: dict[str, TensorInfo], names: dict[str, str]) -> None:
    """Check that a sequence of so many steps fits in memory; `what` says what has as many."""
    size = 4 * steps * sum(math.prod(_sizes(inputs[name])) for name in names.values())
    if size > PADDED_BYTES:
        raise ModelFileError(f"{what}, {size:,} bytes; at most {PADDED_BYTES:,} are allowed")


def _check_fewest_steps(contract: Contract, inputs: dict[str, TensorInfo], names: dict[str, str]) -> None:
    """Check that the fewest steps are those of the input layers, and no more than a sequence that `verify` can make."""
    steps, declared = contract.min_length, [1, *(fields.get("min_length", 1) for _, fields in contract.layers.values())]
    if steps not in declared or any(type(number) is not int or number > steps for number in declared):
        raise _differs(f"its metadata has the min_length {steps}, its layers have {declared!r:.60}")
    _check_bytes(f"takes sequences from {steps:,} steps", steps, inputs, names)


def _check_words(contract: Contract) -> None:
    """Check that words have the numbers by which their embedding knows them."""
    before = ""
    for layer, (kind, fields) in contract.layers.items():
        words = fields.get("vocabulary")
        source = (fields.get("inputs") or [before])[0]
        if kind == "word_embedding" and isinstance(words, list) and contract.vocabulary.get(source) != words:
            raise _differs(f"its metadata numbers the words of {source!r:.60} differently from {layer!r:.60}")
        before = layer


def _check_missing(contract: Contract) -> None:
    """Check that values may be missing in x if an input layer says so: NaN would pass as a number elsewhere."""
    declared = any(fields.get("missing") is True for _, fields in contract.layers.values())
    if contract.missing != declared:
        raise _differs(f"its metadata has missing={contract.missing}, its input layers {declared}")


def _check_delay(contract: Contract, has_end: bool) -> None:
    """Check that the file waits for as many later steps as its layers do, and is told the end only if it may wait."""
    options = contract.options
    lookahead = has_end if options is None else bool(options.get("lookahead"))  # version 0.1 wrote no options
    if lookahead != has_end or (has_end and (contract.network is None or contract.signature == "sequence")):
        raise _differs(
            f"its metadata has lookahead={lookahead} and the signature {contract.signature!r}, and the graph has "
            f"{'an' if has_end else 'no'} input {END!r}, which do not go together"
        )
    expected = _delay(contract)
    if expected is not None and contract.delay_steps != expected:
        raise _differs(f"its metadata has the delay_steps {contract.delay_steps}, its layers {expected}")


def _delay(contract: Contract) -> int | None:
    """Return how many later steps the outputs need. None: a layer is of the user, and not known here."""
    layers = contract.layers.values()
    if not contract.delay_steps and not any(may_read_later_steps(kind, fields) for kind, fields in layers):
        return 0
    if contract.network is None:
        return 0
    from seq2onnx.network import Network  # takes longer to import than most files to read

    try:
        network = Network.from_dict(contract.network, trusted=True)  # counts no weights, since it makes none
    except Exception:  # noqa: BLE001 (metadata that another program wrote may have any value in any field)
        return None
    return max(network.signals[name].clock.delay for name in network.outputs)


def _check_stream(contract: Contract, checked: Checked) -> None:
    """Check that every state is carried on, and that the network can run a step at a time."""
    for state in contract.states:
        if contract.form == "step" and not reads_state_of_full_chunk(contract.layers[state.layer][0]):
            continue
        if state.input.encode() not in checked.reads[state.output.encode()]:
            raise _differs(
                f"{state.output!r:.100} does not depend on {state.input!r:.100}: the states of two layers are swapped"
            )
    if contract.signature == "sequence":
        return
    if checked.reads_backward:
        raise _differs(
            f"has the signature {contract.signature!r}, but reads sequences from their end, which a stream does not "
            "know"
        )
    keeping = {state.layer for state in contract.states}
    for layer, (kind, fields) in contract.layers.items():
        needed = keeps_state(kind, fields, has_phases=contract.form != "step")
        if needed is None or (needed and layer not in keeping):
            raise _differs(
                f"has the signature {contract.signature!r}, but the layer {layer!r:.60} has no state in it: the file "
                "gives wrong results in steps"
            )
