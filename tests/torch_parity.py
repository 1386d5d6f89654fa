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

    `network.inputs` says of the first arguments by name whether they are sequences, else vectors; without it, there is
    one sequence.
    """
    model, rng = s2o.load(path), np.random.default_rng(0)
    arguments = example if isinstance(example, tuple) else (example,)
    inputs = getattr(network, "inputs", {"x": True})
    timed = [*zip(arguments, inputs.values(), strict=False)]
    sequences = [
        [draw(one, axes, rng, steps) if time else draw(one, "BC", rng, 1)[0] for one, time in timed]
        for steps in (53, 37, 61, 61)
    ]
    outputs = {output.layer: output.has_time for output in model.model.outputs}
    if double:
        network = copy.deepcopy(network).double()
    torch.set_default_dtype(torch.float64 if double else torch.float32)
    try:
        expected = [source_answers(network, arguments, axes, xs, softmax) for xs in sequences]
    finally:
        torch.set_default_dtype(torch.float32)
    layers = model.model.inputs
    read = [list(inputs).index(each.layer) if each.layer in inputs else 0 for each in layers]  # some may be unused
    whole = model.predict({each.layer: [xs[n] for xs in sequences] for each, n in zip(layers, read, strict=True)})
    rows = [[as_list(whole, outputs)[n][i] for n in range(len(outputs))] for i in range(len(sequences))]
    found = {"whole": worst(rows, expected)}
    if model.signature != "sequence":
        for check, most in (("steps", 1), ("chunks", 6)):
            rows = [streamed(model, outputs, [xs[n] for n in read], rng, most) for xs in sequences]
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


def source_answers(network, arguments, axes, xs, softmax) -> list[Any]:
    """What the torch module answers for one sequence, or for one of each input, alone in its batch."""
    given = [laid_out(xs[0], axes), *(laid_out(x, axes if x.ndim > 1 else "BC") for x in xs[1:])]
    rest = []
    for argument in arguments[len(xs) :]:
        if isinstance(argument, list):
            rest.append([len(xs[0])])
        elif argument.is_floating_point():  # a start state [layers, batch, units]
            rest.append(torch.zeros(argument.shape[0], 1, argument.shape[2]))
        else:
            rest.append(torch.tensor([len(xs[0])]))
    with torch.no_grad():
        y = network(*given, *rest)
    leaves = [leaf for leaf in pytree.tree_leaves(y) if isinstance(leaf, torch.Tensor)]
    return [(leaf.softmax(-1) if softmax else leaf).numpy() for leaf in leaves]


def laid_out(x, axes):
    """A sequence [steps, …], or a vector, in the layout of a module, with a batch of 1."""
    tensor = torch.from_numpy(x)
    letters = ("T" if "T" in axes else "") + "".join(letter for letter in "CHW" if letter in axes)
    if not tensor.is_floating_point():
        letters = "T"
    else:
        tensor = tensor.to(torch.get_default_dtype())
        if "C" not in axes:
            tensor, letters = tensor[:, 0], "T"
    if "B" in axes:
        tensor, letters = tensor[None], "B" + letters
    return tensor.permute([letters.index(letter) for letter in axes if letter in letters])


def as_list(found, names) -> list[Any]:
    """The outputs in order."""
    return [found[name] for name in names] if isinstance(found, dict) else [found]


def streamed(model, outputs, xs, rng, most) -> list[Any]:
    """The outputs of a stream that gets its inputs xs in single steps, or in chunks of at most `most` steps.

    `outputs` says of each whether it has time.
    """
    stream, at, pieces, entries = model.stream(), 0, [], [*zip(model.model.inputs, xs, strict=True)]
    steps = next(len(x) for entry, x in entries if entry.has_time)
    while at < steps:
        size = 1 if most == 1 else int(rng.integers(0, most + 1))
        chunk = {entry.layer: x[at : at + size] if entry.has_time else x for entry, x in entries}
        pieces.append(as_list(stream.step(chunk), outputs))
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
