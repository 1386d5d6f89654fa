"""verify: proof that an exported file computes what the torch module does, whole, in batches and in chunks."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError, ShapeError
from seq2onnx.runtime import Predictor, load
from seq2onnx.runtime.inputs import Input, Rows, read_rows
from seq2onnx.sequences import MASKED, as_tokens, is_finite, pad

if TYPE_CHECKING:
    from seq2onnx.training import SequenceModule

Arrays = dict[str, NDArray[Any]]

# float32 carries 7 digits; sums of a few hundred products lose one or two of them.
TOLERANCE = 1e-5
SEQUENCES, LONGEST, WARM_UP = 12, 40, 8
MOST_FOR_TORCH = 128


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison of one tensor.

    max_rel is max_abs over max(1, largest number of the reference); the row holds if it is ≤ tolerance.
    """

    check: str
    tensor: str
    max_abs: float
    max_rel: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the comparison holds; an error that is not a number does not."""
        return self.max_rel <= self.tolerance


@dataclasses.dataclass(frozen=True)
class Report:
    """All comparisons of a file; printed, a table."""

    path: str
    rows: list[Row]

    @property
    def ok(self) -> bool:
        """Whether every row holds; False where there is none."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    def __str__(self) -> str:
        check = max(len(row.check) for row in self.rows)
        tensor = max(len(row.tensor) for row in self.rows)
        lines = [f"{'check':<{check}}  {'tensor':<{tensor}}  max abs  max rel"]
        lines += [
            f"{row.check:<{check}}  {row.tensor:<{tensor}}  {row.max_abs:7.1e}  {row.max_rel:7.1e}  "
            f"{'ok' if row.ok else 'FAILED'}"
            for row in self.rows
        ]
        failed = sum(not row.ok for row in self.rows)
        verdict = f"{failed} of {len(self.rows)} FAILED" if failed else "all hold"
        lines.append(f"{self.path}: {verdict}, at {self.rows[0].tolerance:g} of max(1, largest)")
        return "\n".join(lines)


def verify(path: str | Path, module: SequenceModule | None = None, data: Any = None, *, seed: int = 0) -> Report:
    """Compare an exported file with the torch module, and with itself run in other ways.

    Random sequences of ragged lengths, scaled to the network's normalization, and those of `data`:
        torch = onnxruntime           whole, or from random states that the network can be in, with a row of
                                      no steps; the first 128 sequences. Of a closed loop: torch answers the history
                                      with the file's answers after it, each of which must be what it says next
        batch = one at a time         `predict` of all against each alone; of a closed loop the first step
        whole = steps, whole = chunks `Stream`, in single steps and in random chunks, empty ones among them; the
                                      first 12 sequences; not of a closed loop, which is more than a step
    A row holds if its largest error is at most 1e-5 of max(1, largest number of the reference).
    Args:
        path: the file
        module: what was exported; without one it is restored from the file, where torch is installed
        data: a SequenceDataset, or what `predict` takes, at best real ones; sequences with NaN are left out
        seed: of what is random
    Returns: a Report: `ok`, and `rows` with check, tensor, max_abs, max_rel, tolerance
    Raises: ModelFileError, ShapeError (a module of another network), DataError
    Example: >>> print(verify("vowels.onnx", result.module, test))
    """
    model, rng = load(path), np.random.default_rng(seed)
    model.policy = MASKED  # what the network computes, and not how batches are laid out for it
    if module is None and importlib.util.find_spec("torch") and importlib.util.find_spec("onnx"):
        from seq2onnx.exporting import restore

        module = restore(path)
    if module is not None:
        _check_same_network(model, module)
    sources = {"random": random_sequences(model, rng)}
    if data is not None:
        sources["data"] = _finite(read_rows(data, model.inputs, model.metadata["min_length"]))
    rows: list[Row] = []
    for name, sequences in sources.items():
        if module is not None:
            rows += _torch(model, module, _first(sequences, MOST_FOR_TORCH), rng, f"torch = onnxruntime, {name}")
        whole, alone = _answers(model, sequences), [_answers(model, one) for one in _each(sequences)]
        joined = {output: np.concatenate([a[output] for a in alone]) for output in whole}
        if model.closed_loop:  # further steps magnify a rounding, where the network is chaotic
            whole, joined = {"y": whole["y"][:, 0]}, {"y": joined["y"][:, 0]}
        rows += compare(f"batch = one at a time, {name}", whole, joined)
        if model.signature != "sequence" and not model.closed_loop:
            few = _first(sequences, SEQUENCES)
            rows += _streamed(model, few, rng, f"whole = steps, {name}", 1)
            rows += _streamed(model, few, rng, f"whole = chunks, {name}", 6)
    return Report(str(path), rows)


def random_sequences(model: Predictor, rng: np.random.Generator, lengths: Sequence[int] | None = None) -> Rows:
    """Normal sequences of ragged lengths, or of those given; where the network normalizes scaled like its data."""
    if lengths is None:
        least = model.metadata["min_length"]
        lengths = rng.integers(least, least + LONGEST, SEQUENCES).tolist()
    specs = [next(iter(layer.values())) for layer in model.metadata["network"]["layers"]]
    statistics = {spec["name"]: spec.get("statistics") or {} for spec in specs}
    return {
        entry.layer: [_random(entry, steps, statistics[entry.layer], rng) for steps in lengths]
        for entry in model.inputs
    }


def _random(entry: Input, steps: int, statistics: Mapping[str, Any], rng: np.random.Generator) -> NDArray[Any]:
    shape = (steps, *entry.shape) if entry.has_time else entry.shape
    if entry.is_tokens:
        numbers = rng.integers(0, len(entry.words or range(8)) + 2, shape)
        return entry.spell(numbers) if entry.takes_words else numbers
    known = {
        name: np.asarray(values, float).reshape(-1, *[1] * (len(entry.shape) - 1))
        for name, values in statistics.items()
    }
    center, scale = known.get("mean", 0.0), known.get("std", 1.0)
    if "min" in known:
        center, scale = (known["min"] + known["max"]) / 2, (known["max"] - known["min"]) / 2
    return (center + scale * rng.normal(size=shape)).astype(np.float32)


def compare(check: str, found: Mapping[str, Any], reference: Mapping[str, Any]) -> Iterator[Row]:
    """A row for each tensor of the reference; a shape that differs, or a NaN, is an infinite error."""
    for name, expected in reference.items():
        got, expected = (np.asarray(value, np.float64) for value in (found[name], expected))
        error = np.inf
        if got.shape == expected.shape:
            error = float(np.max(np.abs(got - expected), initial=0.0))
        largest = float(np.max(np.abs(expected), initial=1.0))
        error = np.inf if np.isnan(error) else error
        yield Row(check, name, error, error / largest, TOLERANCE)


def _check_same_network(model: Predictor, module: SequenceModule) -> None:
    def layers(spec: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {kind: {key: value for key, value in fields.items() if key != "statistics"}}
            for layer in spec["layers"]
            for kind, fields in layer.items()
        ]

    in_file, given = layers(model.metadata["network"]), layers(module.network.to_dict(every_field=True))
    for a, b in zip(in_file, given, strict=False):
        if a != _as_json(b):
            raise ShapeError(f"{model.path}: holds another network than the module: {a} there, {b} here")
    if len(in_file) != len(given):
        raise ShapeError(f"{model.path}: holds {len(in_file)} layers, the module has {len(given)}")


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_json(entry) for key, entry in value.items()}
    return [_as_json(entry) for entry in value] if isinstance(value, tuple | list) else value


def _finite(rows: Rows) -> Rows:
    good = [all(map(is_finite, arrays)) for arrays in zip(*rows.values(), strict=True)]
    if not any(good):
        raise DataError("data: has NaN or infinity in every sequence; there is nothing to compare")
    return {name: [a for a, ok in zip(arrays, good, strict=True) if ok] for name, arrays in rows.items()}


def _first(rows: Rows, count: int) -> Rows:
    return {name: arrays[:count] for name, arrays in rows.items()}


def _each(rows: Rows) -> list[Rows]:
    return [{name: [arrays[i]] for name, arrays in rows.items()} for i in range(len(next(iter(rows.values()))))]


def _answers(model: Predictor, rows: Rows) -> Arrays:
    """`predict`, all rows after one another: for each output [rows or steps, …]."""
    found = model.predict(rows)
    named = found if isinstance(found, dict) else {"y": found}
    return {
        name: np.concatenate([np.asarray(row)[None] if _single(model, name) else row for row in rows_])
        for name, rows_ in named.items()
    }


def _single(model: Predictor, output: str) -> bool:
    """Whether an output answers once a sequence."""
    return not model.has_time(output if output == "y" else f"y_{output}")


def _torch(model: Predictor, module: SequenceModule, rows: Rows, rng: np.random.Generator, check: str) -> Iterator[Row]:
    """Both on one padded batch, from the states that a few random steps leave; with lookahead whole rows."""
    import torch

    def tensors(arrays: Rows) -> tuple[Any, torch.Tensor, Arrays, NDArray[np.int32]]:
        x: Arrays = {}
        lengths = np.zeros(0, np.int32)
        for entry in model.inputs:
            if entry.has_time:
                x[entry.layer], lengths = pad(arrays[entry.layer])
            else:
                x[entry.layer] = np.stack(arrays[entry.layer])
        numbers = {
            entry.layer: as_tokens(x[entry.layer], entry.layer, entry.words) if entry.takes_words else x[entry.layer]
            for entry in model.inputs
        }
        moved = {name: torch.from_numpy(array).to(device) for name, array in numbers.items()}
        single = next(iter(moved.values())) if len(moved) == 1 else moved
        return single, torch.from_numpy(lengths).to(device), x, lengths

    timed = [entry.layer for entry in model.inputs if entry.has_time]
    carries = bool(model.states) and not model.lookahead
    if not model.takes_lengths and timed:
        shortest = min(len(array) for array in rows[timed[0]])
        rows = {name: [a[:shortest] if name in timed else a for a in arrays] for name, arrays in rows.items()}
    elif carries:  # a row of no steps keeps its state
        rows = {name: [*arrays, arrays[0][:0] if name in timed else arrays[0]] for name, arrays in rows.items()}
    was_training, device = module.training, next(module.parameters(), torch.zeros(())).device
    module.eval()
    try:
        with torch.no_grad():
            state = None
            if carries:
                # A few steps of another row in any order: a state that the network can be in, and not its start,
                # for the row of no steps too.
                before = {
                    name: [
                        a[rng.permutation(len(a))][:WARM_UP] if name in timed else a for a in [arrays[-1], *arrays[:-1]]
                    ]
                    for name, arrays in rows.items()
                }
                x, lengths, _, _ = tensors(before)
                _, _, state = module(x, lengths)
            x, lengths, arrays, counts = tensors(rows)
            start = (
                [tensor.cpu().numpy() for tensor in state] if state else [s.zeros(len(counts)) for s in model.states]
            )
            found = _run(model, arrays, counts, start)
            if model.closed_loop:
                (name,) = rows
                pairs = zip(rows[name], found["y"], strict=True)
                x, lengths, _, _ = tensors({name: [np.concatenate([a, y[:-1]]) if len(a) else a for a, y in pairs]})
            y, y_lengths, new_state = module(x, lengths, state, return_state=carries)
    finally:
        module.train(was_training)
    reference: Arrays = {}
    for output in model.outputs:
        layer = output.removeprefix("y_")
        values = (y[layer] if isinstance(y, dict) else y).cpu().numpy()
        steps = y_lengths[layer] if isinstance(y_lengths, dict) else y_lengths
        got = found.get(f"{output}_lengths", counts)
        if model.closed_loop:  # what follows no steps is not part of the answer
            some = counts > 0
            found[output] = found[output][some]
            ends = steps[some] - model.closed_loop
            values = np.stack([row[n:][: model.closed_loop] for row, n in zip(values[some], ends, strict=True)])
        elif steps is not None:  # what stands past a row's end is not part of the answer
            found[output] = np.concatenate([row[:n] for row, n in zip(found[output], got, strict=True)])
            values = np.concatenate([row[:n] for row, n in zip(values, steps.cpu().numpy(), strict=True)])
        reference[output] = values
    if carries:
        reference |= {i.new_name: t.cpu().numpy() for i, t in zip(model.states, new_state, strict=True)}
    return compare(check, found, reference)


def _run(model: Predictor, x: Arrays, lengths: NDArray[np.int32], states: list[NDArray[Any]]) -> Arrays:
    """All outputs of the file, by name, for one padded batch."""
    feeds: Arrays = {entry.tensor: x[entry.layer] for entry in model.inputs}
    if model.takes_lengths:
        feeds["lengths"] = lengths
    if model.lookahead:
        feeds["end"] = np.ones(len(lengths), np.int32)
    feeds.update({info.name: array for info, array in zip(model.states, states, strict=True)})
    return dict(zip(model.shapes, model.session.run(list(model.shapes), feeds), strict=True))


def _streamed(model: Predictor, rows: Rows, rng: np.random.Generator, check: str, longest: int) -> Iterator[Row]:
    """`Stream` in chunks of up to `longest` steps (1: in single steps) against `predict`."""
    timed = [entry.layer for entry in model.inputs if entry.has_time]
    found: dict[str, list[NDArray[Any]]] = {name.removeprefix("y_"): [] for name in model.outputs}
    for one in _each(rows):
        sequence = {name: arrays[0] for name, arrays in one.items()}
        steps = len(sequence[timed[0]]) if timed else 1
        stream, at, answers = model.stream(), 0, []
        while at < steps:
            size = 1 if longest == 1 else int(rng.integers(0, longest + 1))
            cut = slice(at, at + size)
            piece = {name: array[cut] if name in timed else array for name, array in sequence.items()}
            if longest == 1:
                piece = {name: array[0] if name in timed else array for name, array in piece.items()}
            answers.append(stream.step(piece if len(piece) > 1 else next(iter(piece.values()))))
            at += size
        if model.lookahead:
            answers.append(stream.finish())
        for name, parts in found.items():
            mine = [answer[name] if isinstance(answer, dict) else answer for answer in answers]
            if _single(model, name):
                parts.append(mine[-1][None])
            else:
                width = model.shapes[name if name == "y" else f"y_{name}"][2:]
                parts += [part.reshape(-1, *width) for part in mine]
    return compare(check, {name: np.concatenate(parts) for name, parts in found.items()}, _answers(model, rows))
