"""Mutants of model files, opened in every way: each must end in the right answer or in one error of ours.

`python -m tests.mutants FILE SEED COUNT` prints a line of JSON with the number of each outcome, and what went wrong.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import onnx

import seq2onnx as s2o

MOST_CHARACTERS = 2000


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """Change, delete, insert or repeat a few bytes, mostly outside the weights."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(changed))
        kind = rng.randrange(5)
        if kind < 2:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            changed[at] = rng.randrange(256)
        elif kind == 3:
            del changed[at : at + rng.randint(1, 4)]
        else:
            changed[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 4)))
    return bytes(changed)


def mutate_structure(content: bytes, rng: random.Random) -> bytes:
    """Change one part of the graph or of the metadata."""
    model = onnx.load_from_string(content)
    graph = model.graph
    kind = rng.randrange(9)
    node = rng.choice(graph.node)
    if kind == 0:
        node.op_type = rng.choice(["Tanh", "Identity", "Loop", "ConstantOfShape", "Sigmoid", "Relu", "If", "Range"])
    elif kind == 1 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice([*(t.name for t in graph.initializer), "x", "", "none"])
    elif kind == 2 and node.attribute:
        attribute = rng.choice(node.attribute)
        attribute.i = rng.choice([-1, 0, 1, 2, 7, 2**31, 2**62])
        if attribute.ints:
            attribute.ints[0] = rng.choice([-1, 0, 2**40])
    elif kind == 3:
        array = rng.choice(graph.initializer)
        values = onnx.numpy_helper.to_array(array).copy()
        if values.size:
            values.reshape(-1)[rng.randrange(values.size)] = rng.choice([0, -1, 7, 2**30])
        array.CopyFrom(onnx.numpy_helper.from_array(values, array.name))
    elif kind == 4:
        array = rng.choice(graph.initializer)
        if array.dims:
            array.dims[0] = rng.choice([0, 1, 2**20, 2**62])
    elif kind == 5:
        values = rng.choice([graph.input, graph.output])
        rng.choice(values).name = rng.choice(values).name
    elif kind == 6:
        dims = rng.choice([*graph.input, *graph.output]).type.tensor_type.shape.dim
        if dims:
            rng.choice(dims).dim_value = rng.choice([0, 1, 3, 2**40])
    elif kind == 7:
        entry = next(p for p in model.metadata_props if p.key == "seq2onnx")
        data = json.loads(entry.value)
        change(data, rng)
        entry.value = json.dumps(data)
    else:
        del graph.node[rng.randrange(len(graph.node))]
    return model.SerializeToString()


def change(data, rng: random.Random) -> None:
    """Change one value somewhere in JSON."""
    keys = list(data) if isinstance(data, dict) else list(range(len(data)))
    key = rng.choice(keys) if keys else None
    if key is None:
        return
    if isinstance(data[key], dict | list) and data[key] and rng.random() < 0.8:
        change(data[key], rng)
    else:
        data[key] = rng.choice([None, -1, 0, 10**12, 1.5, "full", "stream", "", [], {}, [[]], True, "a\x1b[31m"])


def open_every_way(path: Path, sequences: list[np.ndarray]) -> str:
    """Return the outcome: an error of ours, or that whole and steps agree."""
    try:
        model = s2o.load(path)
        answers = model.predict(sequences)
        if model.classes and not isinstance(answers, dict):
            model.classify(sequences)
    except s2o.Seq2OnnxError as error:
        check_message(error)
        return type(error).__name__
    outcome = "opened"
    try:
        stream = model.stream()
        found = [np.asarray(stream.step(x), np.float64) for x in sequences[0]]
        if model.lookahead:
            found.append(np.asarray(stream.finish(), np.float64))
        whole = np.asarray(answers[0], np.float64)
        mine = np.concatenate([y.reshape(-1, whole.shape[-1]) for y in found]) if whole.ndim > 1 else found[-1]
        if model.closed_loop:  # a step answers with a forecast of its own
            return outcome
        if mine.shape != whole.shape or np.abs(mine - whole).max(initial=0) > 1e-4 * max(1, np.abs(whole).max()):
            # A graph that was rewired may open: verify must then find it out.
            outcome = "rewired"
            if s2o.verify(path).ok:
                raise AssertionError("the stream differs from the whole, and verify passes")
    except s2o.Seq2OnnxError as error:
        check_message(error)
        outcome = type(error).__name__
    try:
        s2o.restore(path)
    except s2o.Seq2OnnxError as error:
        check_message(error)
    return outcome


def check_message(error: Exception) -> None:
    text = str(error)
    assert len(text) <= MOST_CHARACTERS, "the message is too long"
    assert text.replace("\n", "").isprintable(), f"control characters in {text!r}"


def main(file: str, seed: int, count: int) -> None:
    warnings.simplefilter("ignore")
    content, rng = Path(file).read_bytes(), random.Random(seed)
    shape = s2o.load(file).inputs[0].shape
    sequences = [np.random.default_rng(1).normal(size=(n, *shape)).astype("f") for n in (5, 3)]
    outcomes, wrong = Counter[str](), []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            mutant = (mutate_bytes, mutate_structure)[number % 2](content, rng)
            path = Path(folder) / "mutant.onnx"
            path.write_bytes(mutant)
            try:
                outcomes[open_every_way(path, sequences)] += 1
            except Exception as error:
                wrong.append([number, f"{type(error).__name__}: {error}"[:400]])
    print(json.dumps({"outcomes": outcomes, "wrong": wrong}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
