"""verify: proof that an exported file computes what the torch module does, whole, in batches and in chunks."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import SpecError
from seq2onnx.runtime import Predictor, load
from seq2onnx.sequences import Floats, as_sequences, pad

if TYPE_CHECKING:
    from seq2onnx.training import SequenceModule

Arrays = dict[str, NDArray[Any]]

# float32 carries 7 digits; sums of a few hundred products lose one or two of them.
TOLERANCE = 1e-5
SEQUENCES, LONGEST, WARM_UP = 12, 40, 8


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
        lines = [f"{'check':<{check}}  {'tensor':<{tensor}}  max abs  max rel  tolerance"]
        lines += [
            f"{row.check:<{check}}  {row.tensor:<{tensor}}  {row.max_abs:7.1e}  {row.max_rel:7.1e}  "
            f"{row.tolerance:9.0e}  {'ok' if row.ok else 'FAILED'}"
            for row in self.rows
        ]
        failed = sum(not row.ok for row in self.rows)
        lines.append(f"{self.path}: {f'{failed} of {len(self.rows)} FAILED' if failed else 'all hold'}")
        return "\n".join(lines)


def verify(path: str | Path, module: SequenceModule | None = None, data: Any = None, *, seed: int = 0) -> Report:
    """Compare an exported file with the torch module, and with itself run in other ways.

    Random sequences of ragged lengths, scaled to the network's normalization, and those of `data`:
        torch = onnxruntime           from random states that the network can be in, rows of no steps too
        batch = one at a time         `predict` of all against each alone
        whole = steps, whole = chunks `Stream`, in single steps and in random chunks, empty ones among them
    Args:
        path: the file
        module: what was exported; without one it is restored from the file, where torch is installed
        data: a SequenceDataset or a list of [time, features] arrays, at best real ones
        seed: of what is random
    Returns: a Report: `ok`, and `rows` with check, tensor, max_abs, max_rel, tolerance
    Raises: ModelFileError, ShapeError, DataError
    Example: >>> print(verify("vowels.onnx", result.module, test.sequences))
    """
    model, rng = load(path), np.random.default_rng(seed)
    if module is None and importlib.util.find_spec("torch") and importlib.util.find_spec("onnx"):
        from seq2onnx.exporting import restore

        module = restore(path)
    sources = {"random": random_sequences(model, rng)}
    if data is not None:
        sources["data"] = as_sequences(getattr(data, "sequences", data), model.features)
    rows: list[Row] = []
    for name, sequences in sources.items():
        if module is not None:
            rows += _torch(model, module, sequences, rng, f"torch = onnxruntime, {name}")
        rows += _alone(model, sequences, f"batch = one at a time, {name}")
        if model.states or model.signature != "sequence":
            few = sequences[:SEQUENCES]
            rows += _streamed(model, few, rng, f"whole = steps, {name}", 1)
            rows += _streamed(model, few, rng, f"whole = chunks, {name}", 6)
    return Report(str(path), rows)


def random_sequences(model: Predictor, rng: np.random.Generator) -> list[Floats]:
    """Normal sequences of ragged lengths, where the network normalizes scaled like its training data."""
    least = model.metadata["min_length"]
    lengths = rng.integers(least, least + LONGEST, SEQUENCES)
    entry = next(iter(model.metadata["network"]["layers"][0].values()))
    given = {name: np.asarray(values) for name, values in (entry.get("statistics") or {}).items()}
    center, scale = given.get("mean", 0.0), given.get("std", 1.0)
    if "min" in given:
        center, scale = (given["min"] + given["max"]) / 2, (given["max"] - given["min"]) / 2
    return [(center + scale * rng.normal(size=(n, model.features))).astype(np.float32) for n in lengths]


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


def _torch(
    model: Predictor, module: SequenceModule, sequences: list[Floats], rng: np.random.Generator, check: str
) -> list[Row]:
    """Both on one padded batch, from the states that random sequences leave."""
    import torch

    was_training, device = module.training, next(module.parameters(), torch.zeros(())).device
    module.eval()
    try:
        sequences = sequences[:128]
        if not model.takes_lengths:
            shortest = min(len(sequence) for sequence in sequences)
            sequences = [sequence[:shortest] for sequence in sequences]
        elif model.states:
            sequences = [*sequences, sequences[0][:0]]  # a row of no steps keeps its state
        x, lengths = pad(sequences)
        with torch.no_grad():
            state = None
            if model.states:
                # A few steps in any order: a state that the network can be in, and is not its start.
                before, steps = pad([array[rng.permutation(len(array))][:WARM_UP] for array in sequences])
                _, _, state = module(torch.from_numpy(before).to(device), torch.from_numpy(steps).to(device))
            y, y_lengths, new_state = module(
                torch.from_numpy(x).to(device), torch.from_numpy(lengths).to(device), state
            )
    finally:
        module.train(was_training)
    if isinstance(y, dict):
        raise SpecError("verify: takes networks of one output")
    feeds: Arrays = {"x": x}
    if model.takes_lengths:
        feeds["lengths"] = lengths
    feeds.update({info.name: tensor.cpu().numpy() for info, tensor in zip(model.states, state or (), strict=True)})
    names = ["y", *(info.new_name for info in model.states)]
    found = dict(zip(names, model.session.run(names, feeds), strict=True))
    reference = dict(zip(names, [y.cpu().numpy(), *(tensor.cpu().numpy() for tensor in new_state)], strict=False))
    if y_lengths is not None:  # what stands past a row's end is not part of the answer
        valid = np.arange(x.shape[1]) < lengths[:, None]
        found["y"], reference["y"] = found["y"][valid], reference["y"][valid]
    return list(compare(check, found, reference))


def _alone(model: Predictor, sequences: list[Floats], check: str) -> list[Row]:
    whole = model.predict(sequences)
    alone = [model.predict([sequence])[0] for sequence in sequences]
    return list(compare(check, {"y": np.concatenate(list(whole))}, {"y": np.concatenate(alone)}))


def _streamed(
    model: Predictor, sequences: list[Floats], rng: np.random.Generator, check: str, longest: int
) -> list[Row]:
    """`Stream` in chunks of up to `longest` steps (1: in single steps) against `predict`."""
    found = []
    for sequence in sequences:
        stream, parts, at = model.stream(), [], 0
        while at < len(sequence):
            steps = 1 if longest == 1 else int(rng.integers(0, longest + 1))
            piece = sequence[at] if longest == 1 else sequence[at : at + steps]
            answer = stream.step(piece)
            parts.append(answer if model.answers_per_step and longest > 1 else answer[None])
            at += steps
        found.append(np.concatenate(parts) if model.answers_per_step else parts[-1])
    reference = model.predict(sequences)
    return list(
        compare(
            check,
            {"y": np.concatenate(found)},
            {"y": np.concatenate(list(reference)).reshape(-1, model.answer_size)},
        )
    )
