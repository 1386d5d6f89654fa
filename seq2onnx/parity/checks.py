"""Comparisons of a model: with the torch module, of batches with single rows, of streams with whole sequences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.parity.comparing import ParityRow, compare
from seq2onnx.runtime.inputs import Rows
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.outputs import unwrap
from seq2onnx.runtime.random_rows import random_sequences
from seq2onnx.runtime.scoring import Scoring
from seq2onnx.runtime.stream import Stream
from seq2onnx.runtime.whole import PaddedBatch, make_batch
from seq2onnx.sequences import MASKED, as_tokens

if TYPE_CHECKING:
    from seq2onnx.building import SequenceModule

Arrays = dict[str, NDArray[Any]]

MAX_TORCH_SEQUENCES, MAX_STREAMED_SEQUENCES, WARM_UP_STEPS = 128, 12, 8


def probe(model: Model, module: SequenceModule) -> list[ParityRow]:
    """Compare a model with its module for random sequences, from random states, and its streams with the whole."""
    rng = np.random.default_rng(0)
    sequences = random_sequences(model, rng)
    rows = [*compare_with_torch(model, module, sequences, rng, "random")]
    return [*rows, *compare_with_streams(model, sequences, rng, "random")]


def compare_with_torch(
    model: Model, module: SequenceModule, rows: Rows, rng: np.random.Generator, name: str
) -> Iterator[ParityRow]:
    """Compare with torch: both run one padded batch, from states that a few random steps leave.

    With lookahead, or if the layers had other states in the version that wrote the file, both run from the start.
    """
    from seq2onnx.building.module import evaluating

    rows, check = _first(rows, MAX_TORCH_SEQUENCES), f"torch = onnxruntime, {name}"
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
    with evaluating(module):
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
    actual, reference = Arrays(), Arrays()
    for output in model.outputs:
        got, values = answers[output.layer], (y[output.layer] if isinstance(y, dict) else y).cpu().numpy()
        lengths = y_lengths[output.layer] if isinstance(y_lengths, dict) else y_lengths
        actual[output.tensor], reference[output.tensor] = got.values, values
        if model.closed_loop:  # the forecast of a row without steps is undefined
            some, count = batch.lengths > 0, model.closed_loop
            actual[output.tensor] = got.values[some]
            ends = zip(values[some], lengths.cpu().numpy()[some], strict=True)
            reference[output.tensor] = np.stack([row[end - count : end] for row, end in ends])
        elif lengths is not None:  # what follows the end of a row is undefined
            actual[output.tensor] = np.concatenate(list(got.rows()))
            ends = zip(values, lengths.cpu().numpy(), strict=True)
            reference[output.tensor] = np.concatenate([row[:end] for row, end in ends])
    if carries:
        actual |= {info.new_name: array for info, array in zip(model.states, new_states, strict=True)}
        kept = [array.cpu().numpy() for array, here in zip(new_state, own, strict=True) if here]
        reference |= {info.new_name: array for info, array in zip(model.states, kept, strict=True)}
    return compare(check, actual, reference)


def compare_batches(model: Model, rows: Rows, name: str) -> Iterator[ParityRow]:
    """Compare sequences in batches with each alone."""
    whole, alone = _predict(model, rows), [_predict(model, one) for one in _each(rows)]
    joined = {tensor: np.concatenate([arrays[tensor] for arrays in alone]) for tensor in whole}
    if model.closed_loop:  # later steps magnify rounding errors if the network is chaotic
        whole, joined = ({tensor: y[:, 0] for tensor, y in arrays.items()} for arrays in (whole, joined))
    return compare(f"batch = one at a time, {name}", whole, joined)


def compare_with_streams(model: Model, rows: Rows, rng: np.random.Generator, name: str) -> Iterator[ParityRow]:
    """Compare whole sequences with streams in single steps and in chunks, if the file has states and no closed loop."""
    if model.contract.signature == "sequence" or model.closed_loop:
        return
    some = _first(rows, MAX_STREAMED_SEQUENCES)
    for check, longest in (("steps", 1), ("chunks", 6)):
        actual = run_streams(model, some, rng, longest)
        yield from compare(f"whole = {check}, {name}", actual, _predict(model, some))


def _first(rows: Rows, count: int) -> Rows:
    return {name: arrays[:count] for name, arrays in rows.items()}


def _each(rows: Rows) -> list[Rows]:
    return [{name: [arrays[i]] for name, arrays in rows.items()} for i in range(len(next(iter(rows.values()))))]


def _predict(model: Model, rows: Rows) -> Arrays:
    """Run whole sequences; return for each output all rows, or all steps of all rows."""
    # The default policy, because the numbers of the network matter here and not how batches are padded for it.
    results = Scoring(model, model.outputs, MASKED, None, 1).run_rows(rows)
    return {o.tensor: np.concatenate(results[o.layer]) if o.has_time else results[o.layer] for o in model.outputs}


def _tensors(model: Model, module: SequenceModule, batch: PaddedBatch) -> tuple[Any, Any]:
    """Return x and lengths as the module takes them."""
    import torch

    device = next(module.parameters(), torch.zeros(())).device
    x = {}
    for entry in model.inputs:
        array = batch.x[entry.layer]
        numbers = as_tokens(array, entry.layer, entry.words) if entry.takes_words else array
        x[entry.layer] = torch.from_numpy(numbers).to(device)
    return unwrap(x), torch.from_numpy(batch.lengths).to(device)


def run_streams(model: Model, rows: Rows, rng: np.random.Generator, longest: int) -> Arrays:
    """Run each sequence as a stream, in random chunks of at most `longest` steps, or in single steps if it is 1.

    Returns for each output all steps of all rows, or all rows.
    """
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
