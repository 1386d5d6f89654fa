"""verify: compare an exported file with the torch module, and with itself run whole, in batches and in chunks."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError, ShapeError, SpecError
from seq2onnx.runtime.inputs import Rows, read_rows
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.outputs import unwrap
from seq2onnx.runtime.random_rows import random_sequences
from seq2onnx.runtime.scoring import Scoring
from seq2onnx.runtime.session import SessionSettings
from seq2onnx.runtime.stream import Stream
from seq2onnx.runtime.whole import Batch, make_batch
from seq2onnx.sequences import MASKED, PaddingPolicy, as_tokens
from seq2onnx.tables import about, text_table

if TYPE_CHECKING:
    from seq2onnx.building import SequenceModule

Arrays = dict[str, NDArray[Any]]

# float32 has 7 digits; sums of a few hundred products lose one or two of them.
TOLERANCE = 1e-5
MAX_TORCH_SEQUENCES, MAX_STREAMED_SEQUENCES, WARM_UP_STEPS = 128, 12, 8


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison of one tensor.

    Attributes:
        check: what is compared.
        tensor: the tensor of the file.
        max_abs: the largest error.
        max_rel: the largest error over max(1, largest number of the reference).
        tolerance: the largest max_rel that is allowed.
    """

    check: str
    tensor: str
    max_abs: float
    max_rel: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the error is within the tolerance; an error that is NaN is not."""
        return self.max_rel <= self.tolerance


@dataclasses.dataclass(frozen=True)
class Report:
    """All comparisons of a file; it prints as a table.

    Attributes:
        path: the file.
        rows: the comparisons.
        notes: what the comparisons leave out.
    """

    path: str
    rows: list[Row]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there are rows and all of them hold."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    def __str__(self) -> str:
        rows = [
            (row.check, row.tensor, f"{row.max_abs:.1e}", f"{row.max_rel:.1e}", "ok" if row.ok else "FAILED")
            for row in self.rows
        ]
        failed = sum(not row.ok for row in self.rows)
        verdict = f"{failed} of {len(self.rows)} FAILED" if failed else "all comparisons passed"
        verdict += f"; tolerance: {self.rows[0].tolerance:g} × max(1, largest value)"
        table = text_table([("check", "tensor", "max abs", "max rel", ""), *rows], (2, 3))
        return "\n".join([table, about(self.path, verdict), *(about("note", note) for note in self.notes)])


def verify(
    path: str | Path,
    module: SequenceModule | None = None,
    data: Any = None,
    *,
    seed: int = 0,
    allow_changed: bool = False,
) -> Report:
    """Compare an exported file with the torch module, and with itself run in other ways.

    The checks run on random sequences of different lengths, scaled to the network's normalization, and on `data`:

    - torch = onnxruntime: both run the first 128 sequences as a whole. If the file has states, a row without steps is
      added, and both start from the same random states, which the network can reach. They start with zeros if an
      earlier version wrote the file and its layers now have other states. For a closed loop, torch reads the history
      and the file's forecast; its prediction for each next step must equal the forecast of that step.
    - batch = one at a time: `predict` on all sequences together and on each alone. For a closed loop, only the first
      forecast step is compared.
    - whole = steps, whole = chunks: `predict` on whole sequences, and `Stream` in single steps or in random chunks,
      some of them empty, for the first 12 sequences. Files with a closed loop are not checked in this way.

    A row passes if its largest error is at most 1e-5 × max(1, largest number of the reference).

    Args:
        path: the file.
        module: the module that was exported; if the file stores its weights as float16 or int8, a copy with rounded
            weights is compared. None: it is built from the layers and the weights in the file if torch is installed. A
            file whose graph was changed then fails.
        data: a SequenceDataset, or what `predict` takes, preferably real data; sequences with NaN are left out, unless
            values of the input may be missing.
        seed: of the random numbers.
        allow_changed: also run a file that another program has optimized or quantized, as in `load`. A quantized file
            fails: its numbers differ by more than rounding.

    Returns:
        The comparisons: `ok`, `rows` with check, tensor, max_abs, max_rel, tolerance, and `notes`: how many sequences
        were left out, and whether `predict` cuts sequences, which the checks do not.

    Raises:
        ModelFileError: it is not an exported file.
        ShapeError: the module has a different network.
        DataError: `data` has no sequence that can be used.
        SpecError: `path` is no path.

    Example:
        >>> print(verify("vowels.onnx", result.module, test))
    """
    if not isinstance(path, str | Path):
        raise SpecError(f"verify: expected the path of a file first, got {type(path).__name__}; verify(path, module)")
    model, rng = Model(path, SessionSettings(), allow_changed), np.random.default_rng(seed)
    notes = _policy_notes(model)
    has_network = model.contract.network is not None  # else there is nothing that torch could run
    if module is None and has_network and importlib.util.find_spec("torch") and importlib.util.find_spec("onnx"):
        from seq2onnx.exporting.restorer import read_module

        # The comparisons below find out whether the graph is that of the layers.
        module = read_module(path, allow_changed, compare=False)
    if module is not None:
        _check_same_network(model, module)
        if model.contract.weights != "float32":
            from seq2onnx.exporting.storage import round_module

            module = round_module(module, model.contract.weights)
            notes += (f"the file stores its weights as {model.contract.weights}; those of torch were rounded alike",)
    sources = {"random": random_sequences(model, rng)}
    if data is not None:
        given = read_rows(data, model.inputs, model.contract)
        sources["data"] = _usable(model, given)
        count, kept = (len(next(iter(rows.values()))) for rows in (given, sources["data"]))
        if kept < count:
            notes += (f"{count - kept:,} of {count:,} sequences of data have NaN or infinity and were left out",)
    rows: list[Row] = []
    for name, sequences in sources.items():
        if module is not None:
            some = _first(sequences, MAX_TORCH_SEQUENCES)
            rows += _compare_with_torch(model, module, some, rng, f"torch = onnxruntime, {name}")
        whole, alone = _predict(model, sequences), [_predict(model, one) for one in _each(sequences)]
        joined = {tensor: np.concatenate([found[tensor] for found in alone]) for tensor in whole}
        if model.closed_loop:  # later steps magnify rounding errors if the network is chaotic
            whole, joined = ({tensor: y[:, 0] for tensor, y in found.items()} for found in (whole, joined))
        rows += compare(f"batch = one at a time, {name}", whole, joined)
        rows += _compare_with_streams(model, sequences, rng, name)
    return Report(str(path), rows, notes)


def _policy_notes(model: Model) -> tuple[str, ...]:
    """Say whether `predict` cuts sequences. The checks use another policy."""
    length = PaddingPolicy(**model.contract.data_policy).sequence_length
    if not isinstance(length, int) and length != "shortest":
        return ()
    cut = f"to {length} steps" if isinstance(length, int) else "to the shortest of its batch"
    return (f"predict cuts each sequence {cut}, as in training; streams and these checks do not",)


def probe(path: str | Path, module: SequenceModule) -> Report:
    """Compare a file with its module for random sequences, from random states, and its streams with the whole."""
    model, rng = Model(path, SessionSettings()), np.random.default_rng(0)
    sequences = random_sequences(model, rng)
    rows = [*_compare_with_torch(model, module, sequences, rng, "torch = onnxruntime, random")]
    return Report(str(path), [*rows, *_compare_with_streams(model, sequences, rng, "random")])


def compare(check: str, found: Mapping[str, Any], reference: Mapping[str, Any]) -> Iterator[Row]:
    """Yield a row for each tensor of the reference; a wrong shape or a NaN is an infinite error."""
    for name, expected in reference.items():
        got, expected = (np.asarray(value, np.float64) for value in (found[name], expected))
        same_shape = got.shape == expected.shape
        error = float(np.max(np.abs(got - expected), initial=0.0)) if same_shape else np.inf
        error = np.inf if np.isnan(error) else error
        largest = float(np.max(np.abs(expected), initial=1.0))
        yield Row(check, name, error, error / largest, TOLERANCE)


def _check_same_network(model: Model, module: SequenceModule) -> None:
    def layers(network: Any) -> list[dict[str, Any]]:
        return [
            {kind: {key: value for key, value in fields.items() if key != "statistics"}}
            for layer in network["layers"]
            for kind, fields in layer.items()
        ]

    if model.contract.network is None:
        raise ShapeError(f"{model.path}: was made by add_states and has no layers; call verify without a module")
    in_file = layers(model.contract.network)
    given = layers(json.loads(json.dumps(module.network.to_dict(every_field=True))))
    for a, b in zip(in_file, given, strict=False):
        if a != b:
            raise ShapeError(
                f"{model.path}: contains another network than the module: {a} in the file, {b} in the module"
            )
    if len(in_file) != len(given):
        raise ShapeError(f"{model.path}: contains {len(in_file)} layers, the module has {len(given)}")


def _usable(model: Model, rows: Rows) -> Rows:
    checks = {entry.layer: entry.accepts for entry in model.inputs}
    good = [
        all(checks[layer](array) for layer, array in zip(rows, arrays, strict=True))
        for arrays in zip(*rows.values(), strict=True)
    ]
    if not any(good):
        raise DataError("data: has NaN or infinity in every sequence; there is nothing to compare")
    return {name: [a for a, ok in zip(arrays, good, strict=True) if ok] for name, arrays in rows.items()}


def _first(rows: Rows, count: int) -> Rows:
    return {name: arrays[:count] for name, arrays in rows.items()}


def _each(rows: Rows) -> list[Rows]:
    return [{name: [arrays[i]] for name, arrays in rows.items()} for i in range(len(next(iter(rows.values()))))]


def _predict(model: Model, rows: Rows) -> Arrays:
    """Run whole sequences; return for each output all rows, or all steps of all rows."""
    # The default policy, because the numbers of the network matter here and not how batches are padded for it.
    results = Scoring(model, model.outputs, MASKED, None, 1).run_rows(rows)
    return {o.tensor: np.concatenate(results[o.layer]) if o.has_time else results[o.layer] for o in model.outputs}


def _compare_with_torch(
    model: Model, module: SequenceModule, rows: Rows, rng: np.random.Generator, check: str
) -> Iterator[Row]:
    """Run both on one padded batch, from states that a few random steps leave.

    With lookahead, or if the layers had other states in the version that wrote the file, both run from the start.
    """
    timed = [entry.layer for entry in model.inputs if entry.has_time]
    carries = bool(model.states) and not model.lookahead
    in_file = [(state.input, state.shape) for state in model.contract.states]
    is_step, multiple = model.contract.form == "step", model.contract.chunk_steps
    # A step file has no phases: they are always 0 there.
    own = [not (is_step and entry.state.kind == "phase") for entry in module.network.states()] if carries else []
    mine = [entry for entry, here in zip(module.network.states(), own, strict=True) if here] if carries else []
    if carries and in_file != [(entry.input_name, entry.state.shape) for entry in mine]:
        carries, check = False, f"{check}, from the start"
    if not model.takes_lengths and timed:
        shortest = min(len(array) for array in rows[timed[0]])
        rows = {name: [a[:shortest] if name in timed else a for a in arrays] for name, arrays in rows.items()}
    elif carries:  # a row of no steps keeps its state
        rows = {name: [*arrays, arrays[0][:0] if name in timed else arrays[0]] for name, arrays in rows.items()}
    batch = make_batch(model, rows, MASKED)
    state, states = None, None
    with _evaluating(module):
        if carries:
            # A few steps of another row in random order: a state that the network can reach and that is not its
            # start, for the row of no steps, too.
            warm_up = max(WARM_UP_STEPS // multiple, 1) * multiple
            before = {
                name: [a[rng.permutation(len(a))][:warm_up] if name in timed else a for a in [last, *others]]
                for name, (*others, last) in rows.items()
            }
            *_, state = module(*_tensors(model, module, make_batch(model, before, MASKED)))
            states = [tensor.cpu().numpy() for tensor, here in zip(state, own, strict=True) if here]
        answers, new_states = model.run(batch.x, batch.lengths, states)
        read = batch
        if model.closed_loop:
            (name,), (answer,) = rows, answers.values()
            pairs = zip(rows[name], answer.values, strict=True)
            read = make_batch(model, {name: [np.concatenate([a, y[:-1]]) if len(a) else a for a, y in pairs]}, MASKED)
        y, y_lengths, new_state = module(*_tensors(model, module, read), state, return_state=carries)
    found, reference = Arrays(), Arrays()
    for output in model.outputs:
        got, values = answers[output.layer], (y[output.layer] if isinstance(y, dict) else y).cpu().numpy()
        lengths = y_lengths[output.layer] if isinstance(y_lengths, dict) else y_lengths
        found[output.tensor], reference[output.tensor] = got.values, values
        if model.closed_loop:  # the forecast of a row without steps is undefined
            some, count = batch.lengths > 0, model.closed_loop
            found[output.tensor] = got.values[some]
            ends = zip(values[some], lengths.cpu().numpy()[some], strict=True)
            reference[output.tensor] = np.stack([row[end - count : end] for row, end in ends])
        elif lengths is not None:  # what follows the end of a row is undefined
            found[output.tensor] = np.concatenate(list(got.rows()))
            ends = zip(values, lengths.cpu().numpy(), strict=True)
            reference[output.tensor] = np.concatenate([row[:end] for row, end in ends])
    if carries:
        found |= {info.new_name: array for info, array in zip(model.states, new_states, strict=True)}
        kept = [array.cpu().numpy() for array, here in zip(new_state, own, strict=True) if here]
        reference |= {info.new_name: array for info, array in zip(model.states, kept, strict=True)}
    return compare(check, found, reference)


def _compare_with_streams(model: Model, rows: Rows, rng: np.random.Generator, name: str) -> Iterator[Row]:
    """Compare whole sequences with streams in single steps and in chunks, if the file has states and no closed loop."""
    if model.contract.signature == "sequence" or model.closed_loop:
        return
    some = _first(rows, MAX_STREAMED_SEQUENCES)
    for check, longest in (("steps", 1), ("chunks", 6)):
        found = _stream(model, some, rng, longest)
        yield from compare(f"whole = {check}, {name}", found, _predict(model, some))


@contextlib.contextmanager
def _evaluating(module: SequenceModule) -> Iterator[None]:
    """Set the module to evaluation without gradients, and back."""
    import torch

    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was_training)


def _tensors(model: Model, module: SequenceModule, batch: Batch) -> tuple[Any, Any]:
    """Return x and lengths as the module takes them."""
    import torch

    device = next(module.parameters(), torch.zeros(())).device
    x = {}
    for entry in model.inputs:
        array = batch.x[entry.layer]
        numbers = as_tokens(array, entry.layer, entry.words) if entry.takes_words else array
        x[entry.layer] = torch.from_numpy(numbers).to(device)
    return unwrap(x), torch.from_numpy(batch.lengths).to(device)


def _stream(model: Model, rows: Rows, rng: np.random.Generator, longest: int) -> Arrays:
    """Run each sequence as a stream, in random chunks of at most `longest` steps, or in single steps if it is 1."""
    timed = [entry.layer for entry in model.inputs if entry.has_time]
    parts: dict[str, list[NDArray[Any]]] = {output.tensor: [] for output in model.outputs}
    for one in _each(rows):
        stream, at, answers = Stream(model), 0, []
        is_step, multiple = model.contract.form == "step", model.contract.chunk_steps
        while at < (len(one[timed[0]][0]) if timed else 1):
            size = multiple if longest == 1 else multiple * int(rng.integers(is_step, longest + 1))
            cut = at if size == longest == 1 else slice(at, at + size)
            answers.append(stream.step(unwrap({name: a[cut] if name in timed else a for name, (a,) in one.items()})))
            at += size
        if model.lookahead:
            answers.append(stream.finish())
        for output in model.outputs:
            mine = [answer[output.layer] if isinstance(answer, dict) else answer for answer in answers]
            parts[output.tensor] += [a.reshape(-1, *output.shape) for a in (mine if output.has_time else mine[-1:])]
    return {tensor: np.concatenate(arrays) for tensor, arrays in parts.items()}
