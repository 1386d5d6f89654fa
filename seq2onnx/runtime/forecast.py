"""forecast: what follows a history, from the network's own answers or from known values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from seq2onnx.errors import DataError, NotStreamable, SpecError
from seq2onnx.runtime.inputs import Input, Rows, by_layer, read_rows
from seq2onnx.runtime.scoring import batches, run_sorted
from seq2onnx.runtime.whole import feeds_of
from seq2onnx.sequences import MASKED, Array, as_list, check_steps

if TYPE_CHECKING:
    from seq2onnx.runtime.predictor import Predictor


def forecast(model: Predictor, history: Any, steps: int, known: Mapping[str, Any] | None, batch_size: int) -> Array:
    """`Predictor.forecast`, which see."""
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise SpecError(f"steps: must be a whole number, at least 1, got {steps!r}")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise SpecError(f"batch_size: must be a whole number, at least 1, got {batch_size!r}")
    _check_file(model, steps)
    given = by_layer(getattr(history, "sequences", history), model.inputs, "history")
    single = all(_is_one_series(given[entry.layer], entry) for entry in model.inputs if entry.has_time)
    if single:
        given = {layer: [value] for layer, value in given.items()}
    rows = read_rows(given, model.inputs, model.metadata["min_length"])
    future = _read_known(model, {} if known is None else known, steps - 1, rows, single)
    fed_back = _fed_back(model, future)
    if fed_back is None:
        for layer, arrays in future.items():
            rows[layer] = [np.concatenate(pair) for pair in zip(rows[layer], arrays, strict=True)]
        found = np.stack([answers[-steps:] for answers in run_sorted(model, rows, ["y"], batch_size, MASKED)["y"]])
    else:
        found = np.empty((len(rows[fed_back.layer]), steps, *fed_back.shape), np.float32)
        for batch in batches(model, rows, batch_size, MASKED):
            part, ahead = ({n: [a[i] for i in batch] for n, a in r.items()} for r in (rows, future))
            found[batch] = _loop(model, part, ahead, fed_back, steps)
    return found[0] if single else found


def _check_file(model: Predictor, steps: int) -> None:
    """Raise unless the file answers each step with what the next will be."""
    if len(model.outputs) > 1:
        raise SpecError(f"{model.path}: forecast needs one output, this file has {', '.join(model.outputs)}")
    if model.lookahead:
        raise NotStreamable(f"{model.path}: was exported with lookahead, and answers with a delay; export it without")
    if model.signature == "sequence" and steps > (model.closed_loop or 0):
        raise NotStreamable(
            f"{model.path}: was exported with signature 'sequence', which has no states to go on from"
            f"{f' after its {model.closed_loop} steps' if model.closed_loop else ''}; export it with signature='full'"
        )
    if "y_lengths" in model.shapes or not (model.closed_loop or model.has_time("y")):
        raise SpecError(
            f"{model.path}: forecast needs an answer each step, y [batch, time, …]; use stride=1 and "
            'output_mode="sequence"'
        )


def _is_one_series(value: Any, entry: Input) -> bool:
    return isinstance(value, np.ndarray) and value.dtype != object and value.ndim == 1 + len(entry.shape)


def _read_known(model: Predictor, known: Mapping[str, Any], steps: int, rows: Rows, single: bool) -> Rows:
    """The known values of the `steps` that follow each series, by input layer."""
    inputs = {entry.layer: entry for entry in model.inputs if entry.has_time}
    if not isinstance(known, Mapping) or not inputs.keys() >= known.keys():
        got = ", ".join(map(str, known)) if isinstance(known, Mapping) else type(known).__name__
        raise DataError(f"known: expected a dict with future values of some of {', '.join(inputs)}, got {got}")
    if known and model.closed_loop:
        raise SpecError(
            f"{model.path}: feeds its answers back inside, by closed_loop={model.closed_loop}; to forecast from known "
            "values, export it without"
        )
    future: Rows = {}
    for layer, values in known.items():
        entry = inputs[layer]
        series = [values] if single else as_list(values, len(entry.shape) + 1)
        if len(series) != len(rows[layer]):
            raise DataError(f"known: expected values of {layer} for {len(rows[layer])} series, got {len(series)}")
        future[layer] = []
        for index, value in enumerate(series):
            where = f"known {layer} of sequence {index}"
            array = entry.convert(value, where)
            check_steps(array, where, entry.shape)
            if len(array) < steps:
                raise DataError(
                    f"{where}: has {len(array)} steps, and {steps + 1} ahead need {steps}: from the first after the "
                    "history to the last but one"
                )
            future[layer].append(array[:steps])
    return future


def _fed_back(model: Predictor, future: Rows) -> Input | None:
    """The input that the answers are fed back into; None where all are known."""
    unknown = [entry for entry in model.inputs if entry.has_time and entry.layer not in future]
    if len(unknown) > 1:
        names = ", ".join(entry.layer for entry in unknown)
        raise DataError(
            f"known: the answers can be fed back into one input, and there are {names}; give the future values of the "
            "others: known={layer: values}"
        )
    for entry in unknown:
        answer = model.shapes["y"][2:]
        if entry.is_tokens or answer != list(entry.shape):
            takes = "tokens" if entry.is_tokens else list(entry.shape)
            raise SpecError(
                f"{model.path}: answers a step with {answer}, and {entry.layer} takes {takes}: only a network that "
                "answers with all that it reads can go on from its own answers; let what it does not answer be an "
                f"input of its own, whose future is known, or give known={{{entry.layer!r}: values}}"
            )
        return entry
    return None


def _loop(model: Predictor, rows: Rows, future: Rows, fed_back: Input, steps: int) -> Array:
    """[series, steps, …] of one batch: a run over the history, then runs that each read the last answer."""
    feeds, lengths, finite = feeds_of(model, rows, MASKED)
    feeds |= {state.name: state.zeros(len(lengths)) for state in model.states}
    ahead = {entry.tensor: np.stack(future[entry.layer]) for entry in model.inputs if entry.layer in future}
    for values in ahead.values():
        finite &= np.isfinite(values).reshape(len(values), -1).all(1)
    parts: list[Array] = []
    done = 0
    while True:
        y, *states = model.session.run(["y", *(state.new_name for state in model.states)], feeds)
        if not model.closed_loop:
            y = y[np.arange(len(y)), lengths - 1, None]
        parts.append(y)
        done += y.shape[1]
        if done >= steps:
            break
        feeds[fed_back.tensor] = y[:, -1:]
        feeds |= {tensor: values[:, done - 1 : done] for tensor, values in ahead.items()}
        feeds |= {state.name: array for state, array in zip(model.states, states, strict=True)}
        lengths = np.ones_like(lengths)
        if model.takes_lengths:
            feeds["lengths"] = lengths
    found = np.concatenate(parts, 1)[:, :steps]
    # onnxruntime's recurrent operators make finite numbers of NaN: what follows a broken answer is none.
    broken = ~np.isfinite(found.reshape(*found.shape[:2], -1)).all(2) | ~finite[:, None]
    found[np.logical_or.accumulate(broken, 1)] = np.nan
    return found
