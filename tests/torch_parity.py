"""Compare exported files with the torch modules that they were imported from, by no code of the importer."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

import seq2onnx as s2o


def differences(network, example, made, path, axes="BTC", softmax=False, double=False) -> dict[str, float]:
    """Export what a module was imported as, and compare the file with the module as `file_differences` does."""
    s2o.export(made, path)
    return file_differences(network, example, path, axes, softmax, double)


def file_differences(network, example, path, axes="BTC", softmax=False, double=False) -> dict[str, float]:
    """The largest difference of a file from its source, over max(1, largest number): whole, steps and chunks.

    double: the source calculates in float64. Some random networks, such as a LayerNorm over three features that hardly
    differ, magnify the roundings of float32 so much that torch alone is off by 1e-6.
    """
    model, rng = s2o.load(path), np.random.default_rng(0)
    arguments = example if isinstance(example, tuple) else (example,)
    sequences = [draw(arguments[0], axes, rng, steps) for steps in (53, 37, 61, 61)]
    outputs = {output.layer: output.has_time for output in model.model.outputs}
    if double:
        network = copy.deepcopy(network).double()
    torch.set_default_dtype(torch.float64 if double else torch.float32)
    try:
        expected = [source_answers(network, arguments, axes, x, softmax) for x in sequences]
    finally:
        torch.set_default_dtype(torch.float32)
    whole = model.predict(sequences)
    rows = [[as_list(whole, outputs)[n][i] for n in range(len(outputs))] for i in range(len(sequences))]
    found = {"whole": worst(rows, expected)}
    if model.signature != "sequence":
        for check, most in (("steps", 1), ("chunks", 6)):
            rows = [streamed(model, outputs, x, rng, most) for x in sequences]
            found[check] = worst(rows, expected)
    return found


def can_stream(made) -> bool:
    """Whether the network has states, or needs none."""
    try:
        made.network.states()
    except s2o.NotStreamable:
        return False
    return True


def draw(example, axes, rng, steps):
    """A random sequence [steps, …] like the example."""
    if not example.is_floating_point():
        return rng.integers(0, int(example.max()) + 1, steps)
    sizes = dict(zip(axes, example.shape, strict=True))
    shape = [sizes[letter] for letter in "CHW" if letter in sizes] or [1]
    return rng.normal(size=(steps, *shape)).astype(np.float32)


def source_answers(network, arguments, axes, x, softmax) -> list[Any]:
    """What the torch module answers for one sequence, alone in its batch."""
    tensor = torch.from_numpy(x)
    tensor = tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor
    letters = "T" + "".join(letter for letter in "CHW" if letter in axes)
    if not tensor.is_floating_point():
        letters = "T"
    elif "C" not in axes:
        tensor, letters = tensor[:, 0], "T"
    if "B" in axes:
        tensor, letters = tensor[None], "B" + letters
    given = [letter for letter in axes if letter in letters]
    rest = []
    for argument in arguments[1:]:
        if isinstance(argument, list):
            rest.append([len(x)])
        elif argument.is_floating_point():  # a start state [layers, batch, units]
            rest.append(torch.zeros(argument.shape[0], 1, argument.shape[2]))
        else:
            rest.append(torch.tensor([len(x)]))
    with torch.no_grad():
        y = network(tensor.permute([letters.index(letter) for letter in given]), *rest)
    leaves = [leaf for leaf in pytree.tree_leaves(y) if isinstance(leaf, torch.Tensor)]
    return [(leaf.softmax(-1) if softmax else leaf).numpy() for leaf in leaves]


def as_list(found, names) -> list[Any]:
    """The outputs in order."""
    return [found[name] for name in names] if isinstance(found, dict) else [found]


def streamed(model, outputs, x, rng, most) -> list[Any]:
    """The outputs of a stream that gets x in single steps, or in chunks of at most `most` steps.

    `outputs` says of each whether it has time.
    """
    stream, at, pieces = model.stream(), 0, []
    while at < len(x):
        size = 1 if most == 1 else int(rng.integers(0, most + 1))
        pieces.append(as_list(stream.step(x[at : at + size]), outputs))
        at += size
    parts = zip(*pieces, strict=True)
    return [
        np.concatenate(part) if has_time else part[-1] for has_time, part in zip(outputs.values(), parts, strict=True)
    ]


def worst(rows, expected) -> float:
    """The largest difference, over max(1, largest expected number)."""
    errors = [0.0]
    for row, answers in zip(rows, expected, strict=True):
        for y, want in zip(row, answers, strict=False):
            error = np.abs(y - arranged(want, y.shape)).max(initial=0)
            errors.append(float(error) / max(1.0, float(np.abs(want).max(initial=0))))
    return float(np.max(errors))


def arranged(want, shape):
    """The answer of one sequence in our layout, [steps, features] or [features]."""
    want = want.squeeze()
    kept = [n for n in shape if n != 1]
    for order in itertools.permutations(range(want.ndim)):
        if [want.shape[i] for i in order] == kept:
            return want.transpose(order).reshape(shape)
    assert want.size == np.prod(shape), f"the source gives {want.shape}, the file {shape}"
    return want.reshape(shape)
