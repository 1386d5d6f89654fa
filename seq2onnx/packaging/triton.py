"""Target "triton": a model repository of the Triton Inference Server, with its states kept by the server."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from seq2onnx.contract import LENGTHS
from seq2onnx.errors import SpecError
from seq2onnx.packaging.source import Source
from seq2onnx.sequences import Array
from seq2onnx.texts import json_text, markdown, pbtxt_string

MAX_BATCH_SIZE = 64
MAX_STREAMS = 1024
IDLE_SECONDS = 60  # after which the server forgets a stream
DELAY_MICROSECONDS = 500  # that a step may wait for those of other streams
_TYPES = {
    "tensor(float)": "TYPE_FP32",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(string)": "TYPE_STRING",
}


def write_triton(source: Source, folder: Path) -> str:
    """Write NAME/config.pbtxt, NAME/1/model.onnx, the labels, and a request with its response; return README.md.

    Raises:
        SpecError: the file needs `end`, or a batch of exactly one row.
    """
    model = source.model
    if model.lookahead:
        raise SpecError(
            f"{source.path}: has lookahead, and Triton does not tell a file that a sequence ends; export it without"
        )
    if model.contract.form == "step":
        raise SpecError(f'{source.path}: runs one row at a time; Triton needs form "dynamic" or "portable"')
    home = folder / source.name
    (home / "1").mkdir(parents=True)
    shutil.copyfile(source.path, home / "1" / "model.onnx")
    if source.labels:
        (home / "labels.txt").write_text("".join(f"{label}\n" for label in source.labels), encoding="utf-8")
    (home / "config.pbtxt").write_text(_config(source), encoding="utf-8")
    request, response = _exchange(source)
    (folder / "request.json").write_text(request, encoding="utf-8")
    (folder / "response.json").write_text(response, encoding="utf-8")
    return _readme(source)


def _config(source: Source) -> str:
    model = source.model
    lines = [f"name: {pbtxt_string(source.name)}", 'backend: "onnxruntime"', f"max_batch_size: {MAX_BATCH_SIZE}"]
    scores = model.outputs[0].tensor
    of_states = {name for state in model.states for name in (state.name, state.new_name)}
    types: dict[str, str] = {}
    for kind, tensors in (("input", model.session.get_inputs()), ("output", model.session.get_outputs())):
        for tensor in tensors:
            types[tensor.name] = f"data_type: {_TYPES[tensor.type]}"
            if tensor.name not in of_states:
                labels = 'label_filename: "labels.txt" ' * (tensor.name == scores and bool(source.labels))
                about = f"{types[tensor.name]} {_dims(tensor.shape)} {labels}"
                lines.append(f"{kind} {{ name: {pbtxt_string(tensor.name)} {about}}}")
    if model.states:
        lines += [
            "sequence_batching {",
            f"  max_sequence_idle_microseconds: {IDLE_SECONDS * 1_000_000}",
            f"  oldest {{ max_candidate_sequences: {MAX_STREAMS} max_queue_delay_microseconds: {DELAY_MICROSECONDS} }}",
        ]
        for state in model.states:
            name, new_name = pbtxt_string(state.name), pbtxt_string(state.new_name)
            about = f"{types[state.name]} dims: {list(state.shape[1:])}"
            lines += [
                f"  state {{ input_name: {name} output_name: {new_name} {about}",
                f"    initial_state {{ name: {name} {about} zero_data: true }} }}",
            ]
        lines.append("}")
    else:
        lines.append(f"dynamic_batching {{ max_queue_delay_microseconds: {DELAY_MICROSECONDS} }}")
    lines += [
        "instance_group { kind: KIND_CPU count: 1 }",
        'parameters { key: "intra_op_thread_count" value { string_value: "1" } }',
    ]
    return "\n".join(lines) + "\n"


def _dims(shape: list[Any]) -> str:
    """Return the dimensions without the batch. Triton has no tensors of one dimension, so they are reshaped to [1]."""
    rest = [size if isinstance(size, int) else -1 for size in shape[1:]]
    return f"dims: {rest}" if rest else "dims: [ 1 ] reshape: { shape: [ ] }"


def _exchange(source: Source) -> tuple[str, str]:
    """Return a request with a sample, in the protocol KServe v2 over HTTP, and the response to it, as JSON."""
    model = source.model
    x = {layer: np.nan_to_num(sample[None]) for layer, sample in source.sample.items()}  # JSON has no NaN
    steps = max(sample.shape[1] for entry, sample in zip(model.inputs, x.values(), strict=True) if entry.has_time)
    lengths = np.array([steps], np.int32)
    results = model.run(x, lengths, model.zeros(1) if model.states else None)
    inputs = [(entry.tensor, x[entry.layer]) for entry in model.inputs]
    inputs += [(LENGTHS, lengths[:, None])] if model.takes_lengths else []
    request: dict[str, Any] = {"inputs": [_tensor(name, values) for name, values in inputs]}
    if model.states:
        request["parameters"] = {"sequence_id": 1, "sequence_start": True, "sequence_end": True}
    answers = [(output, results.answers[output.layer]) for output in model.outputs]
    outputs = [_tensor(output.tensor, answer.values) for output, answer in answers]
    outputs += [
        _tensor(output.lengths_tensor, answer.lengths[:, None]) for output, answer in answers if output.lengths_tensor
    ]
    response = {"model_name": source.name, "model_version": "1", "outputs": outputs}
    return (json_text(request) + "\n", json_text(response) + "\n")


def _tensor(name: str, values: Array) -> dict[str, Any]:
    kind = {"f": "FP32", "U": "BYTES"}.get(values.dtype.kind, f"INT{8 * values.itemsize}")
    data = [round(float(v), 7) if kind == "FP32" else v for v in np.ravel(values).tolist()]
    return {"name": name, "shape": list(values.shape), "datatype": kind, "data": data}


def _readme(source: Source) -> str:
    states = source.model.states
    name = source.name
    text = f"""\
# {markdown(source.title)} on Triton

```sh
tritonserver --model-repository="$PWD" &
curl -s localhost:8000/v2/models/{name}/infer -d @request.json
```

The first command starts the server, from the root of this folder; NVIDIA's container image of Triton has it. The second
command sends the sample in `request.json`. The response is that in `response.json`, up to rounding.

| file | content |
|---|---|
| `{name}/config.pbtxt` | inputs, outputs and states of the model |
| `{name}/1/model.onnx` | the model |
"""
    if source.labels:
        text += f"| `{name}/labels.txt` | the labels of the scores, in order: {source.listed_labels} |\n"
    text += "| `request.json`, `response.json` | a sample, and what the model answers |\n"
    if states:
        text += f"""
## Streams

The server keeps the states of each stream. A client sends chunks of any number of steps with the parameters
`sequence_id` (a number other than 0, one for each stream), `sequence_start` (true in the first chunk) and
`sequence_end` (true in the last chunk). The steps of several streams run together. After {IDLE_SECONDS} seconds without
a chunk, the server forgets a stream.
"""
    return text
