"""Forecasts: the steps that follow a history, from the network's own outputs or from known values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from seq2onnx.errors import DataError, NotStreamable, SpecError
from seq2onnx.integers import whole_number
from seq2onnx.runtime.inputs import Input, Rows, by_layer, by_name, read_rows
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.scoring import Scoring, batches
from seq2onnx.runtime.whole import make_batch
from seq2onnx.sequences import MASKED, Array, as_list, check_steps, is_frame


def forecast(
    model: Model, history: Any, steps: int, known: Mapping[str, Any] | None, batch_size: int, threads: int
) -> Array:
    """Do what `Predictor.forecast` says."""
    steps, batch_size = whole_number(steps, "steps"), whole_number(batch_size, "batch_size")
    _check_model(model, steps)
    history = by_name(history, model.inputs)
    given = by_layer(getattr(history, "sequences", history), model.inputs, "history")
    single = all(_is_one_series(given[entry.layer], entry) for entry in model.inputs if entry.has_time)
    if single:
        given = {layer: [value] for layer, value in given.items()}
    rows = read_rows(given, model.inputs, model.contract)
    future = _read_known(model, {} if known is None else known, steps - 1, rows, single)
    fed_back = _fed_back(model, future)
    if fed_back is None:
        for layer, arrays in future.items():
            rows[layer] = [np.concatenate(pair) for pair in zip(rows[layer], arrays, strict=True)]
        (results,) = Scoring(model, model.outputs, MASKED, batch_size, threads).run_rows(rows).values()
        forecasts = np.stack([result[-steps:] for result in results])
    else:
        forecasts = np.empty((len(rows[fed_back.layer]), steps, *fed_back.shape), np.float32)
        for batch in batches(model, rows, batch_size, MASKED):
            some, ahead = ({n: [a[i] for i in batch] for n, a in r.items()} for r in (rows, future))
            forecasts[batch] = _loop(model, some, ahead, fed_back, steps)
    return forecasts[0] if single else forecasts


def _check_model(model: Model, steps: int) -> None:
    """Raise an error unless the file predicts the next step from each step."""
    if len(model.outputs) > 1:
        names = ", ".join(output.tensor for output in model.outputs)
        raise SpecError(f"{model.path}: forecast needs one output, this file has {names}")
    if model.lookahead:
        raise NotStreamable(
            f"{model.path}: was exported with lookahead, so its results come with a delay; export it without"
        )
    if model.contract.signature == "sequence" and steps > (model.closed_loop or 0):
        after = f" after its {model.closed_loop} steps" if model.closed_loop else ""
        raise NotStreamable(
            f"{model.path}: was exported with signature 'sequence', which has no states to continue from{after}; "
            "export it with signature='full'"
        )
    (output,) = model.outputs
    strided = output.lengths_tensor is not None or output.stride > 1
    if strided or not (model.closed_loop or output.has_time):
        raise SpecError(
            f"{model.path}: forecast needs an output for each step, y [batch, time, …]; use stride=1 and "
            'output_mode="sequence"'
        )


def _is_one_series(value: Any, entry: Input) -> bool:
    if is_frame(value):
        return True
    return getattr(value, "ndim", 0) == 1 + len(entry.shape) and str(value.dtype) != "object"


def _read_known(model: Model, known: Mapping[str, Any], steps: int, rows: Rows, single: bool) -> Rows:
    """Return the known values of the `steps` that follow each series, by input layer."""
    inputs = {entry.layer: entry for entry in model.inputs if entry.has_time}
    if not isinstance(known, Mapping) or not inputs.keys() >= known.keys():
        got = ", ".join(map(str, known)) if isinstance(known, Mapping) else type(known).__name__
        raise DataError(f"known: expected a dict with future values of some of {', '.join(inputs)}, got {got}")
    if known and model.closed_loop:
        raise SpecError(
            f"{model.path}: feeds its own output back (closed_loop={model.closed_loop}); export it "
            "without closed_loop to forecast from known values"
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
                    f"{where}: has {len(array)} steps; a forecast of {steps + 1} needs {steps}, starting with "
                    "the first step after the history"
                )
            future[layer].append(array[:steps])
    return future


def _fed_back(model: Model, future: Rows) -> Input | None:
    """Return the input that takes the answers, or None if all inputs are known."""
    unknown = [entry for entry in model.inputs if entry.has_time and entry.layer not in future]
    if len(unknown) > 1:
        names = ", ".join(entry.layer for entry in unknown)
        raise DataError(
            f"known: the output can be fed back into only one input, but these have no known values: "
            f"{names}; give the future "
            "values of the others: known={layer: values}"
        )
    if not unknown:
        return None
    (entry,) = unknown
    if model.contract.quantiles is not None:
        raise SpecError(
            f"{model.path}: its outputs are quantiles, which are no values to feed back; give known={{{entry.layer!r}: "
            "values}, or use predict"
        )
    shape = model.outputs[0].shape[bool(model.closed_loop) :]
    if entry.is_tokens or shape != entry.shape:
        takes = "tokens" if entry.is_tokens else list(entry.shape)
        raise SpecError(
            f"{model.path}: its output for a step is {list(shape)}, but {entry.layer} takes {takes}; a network "
            "can forecast from its own output only if this is its whole input. Move the other features to an "
            f"input with known future values, or give known={{{entry.layer!r}: values}}"
        )
    return entry


def _loop(model: Model, rows: Rows, future: Rows, fed_back: Input, steps: int) -> Array:
    """Return [series, steps, …] of one batch: a run over the history, then runs that each read the last answer."""
    x, lengths, finite = make_batch(model, rows, MASKED)
    ahead = {layer: np.stack(arrays) for layer, arrays in future.items()}
    for entry in model.inputs:
        if entry.layer in ahead:
            finite &= entry.finite_rows(ahead[entry.layer])
    states, parts, done = model.zeros(len(lengths)), list[Array](), 0
    while True:
        answers, states = model.run(x, lengths, states)
        y = answers[model.outputs[0].layer].values
        if not model.closed_loop:
            y = y[np.arange(len(y)), lengths - 1, None]
        parts.append(y)
        done += y.shape[1]
        if done >= steps:
            break
        x |= {layer: values[:, done - 1 : done] for layer, values in ahead.items()}
        x[fed_back.layer] = y[:, -1:]
        lengths = np.ones_like(lengths)
    forecasts = np.concatenate(parts, 1)[:, :steps]
    # onnxruntime's recurrent operators turn NaN into finite numbers: all that follows a broken answer is NaN.
    broken = ~np.isfinite(forecasts.reshape(*forecasts.shape[:2], -1)).all(2) | ~finite[:, None]
    forecasts[np.logical_or.accumulate(broken, 1)] = np.nan
    return forecasts
