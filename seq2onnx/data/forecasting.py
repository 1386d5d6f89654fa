"""Data for forecasting: the targets of a step are later steps, and what is known of these in advance joins it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from seq2onnx.data.contents import Contents
from seq2onnx.errors import DataError, SpecError
from seq2onnx.integers import whole_number
from seq2onnx.sequences import Array, Names, as_array, as_list, is_frame


def steps_ahead(lead: int, horizon: int | None) -> range:
    """Return which later steps are the target of a step."""
    if horizon is None:
        return range(whole_number(lead, "lead"), lead + 1)
    if lead != 1:
        raise SpecError(
            f"next_step: got lead={lead} and horizon={horizon}; give horizon for all steps up to it, or lead for this "
            "step alone"
        )
    return range(1, 1 + whole_number(horizon, "horizon"))


def as_series(values: Any, what: str) -> Any:
    """Return series as SequenceDataset takes sequences: a single one in a list, [time] numbers as [time, 1]."""
    if isinstance(values, Mapping):
        return {name: as_series(value, what) for name, value in values.items()}
    ndim = getattr(values, "ndim", 0)
    is_single = ndim == 1 and str(values.dtype) != "object"
    if is_frame(values) or is_single or (ndim == 2 and str(values.dtype) != "object"):
        column = as_array(values, what).astype(np.float64) if is_single else values  # integers too, as they are counts
        return [column[:, None] if is_single else column]
    found = []
    for index, value in enumerate(as_list(values)):
        is_column = not is_frame(value) and getattr(value, "ndim", 0) == 1
        array = as_array(value, f"{what} {index}") if is_column else value
        found.append(array[:, None] if is_column and array.dtype.kind == "f" else array)
    return found


def forecasting_contents(series: Contents, known: Contents | None, steps: range) -> Contents:
    """Return series with later steps as targets, and with what is known of the same steps."""
    layers = [*(known.sequences if known is not None else ())]
    _check_names([*series.sequences], layers)
    ((name, column),) = series.sequences.items()
    arrays, last = list(column), steps[-1]
    for index, array in enumerate(arrays):
        if len(array) <= last:
            raise DataError(f"sequence {index}: expected more than {last} steps, got {len(array)}; leave it out")
    parts: dict[str, list[Array]] = {name: [array[:-last] for array in arrays]}
    targets = [_later(array, steps, len(array) - last) for array in arrays]
    channels: Any = series.channels
    if known is not None:
        channels = dict(channels) if isinstance(channels, dict) else {name: channels}
        for layer, column in known.sequences.items():
            parts[layer] = _known(layer, list(column), arrays, steps)
            channels[layer] = _later_names(known.channels, layer, steps)
    about: dict[str, Any] = {"classes": None, "ignore": None, "per_step": True, "channels": channels}
    return dataclasses.replace(series, sequences=parts if name else parts[name], targets=targets, **about)


def _check_names(series: list[str], known: list[str]) -> None:
    """Raise DataError unless there is one input to forecast, whose name is its own."""
    if len(series) != 1 or (known and {"", *known} & {*series}):
        got, name = ", ".join(series) or "no name", (*known, "calendar")[0]
        raise DataError(
            f"next_step: expected one input to forecast, with a name of its own, got {got}. Write "
            f'{{"series": values}}, and give what is known in advance as known={{"{name}": values}}'
        )


def _known(layer: str, future: list[Array], arrays: list[Array], steps: range) -> list[Array]:
    """Return what is known of the target of each step."""
    if len(future) != len(arrays):
        raise DataError(f"known: expected {layer} of {len(arrays)} series, got {len(future)}")
    for index, (values, array) in enumerate(zip(future, arrays, strict=True)):
        if len(values) < len(array):
            raise DataError(
                f"known: {layer} of sequence {index} has {len(values)} steps, the series {len(array)}. Both begin at "
                "the same step: give the value of each step at its own place, next_step moves them"
            )
    return [_later(values, steps, len(array) - steps[-1]) for values, array in zip(future, arrays, strict=True)]


def _later(array: Array, steps: range, count: int) -> Array:
    """Return for each of the first `count` steps those that come later, side by side."""
    if len(steps) == 1:
        return array[steps[0] : steps[0] + count]
    return np.concatenate([array[step : step + count].reshape(count, -1) for step in steps], axis=1)


def _later_names(channels: Any, layer: str, steps: range) -> Names | None:
    names = channels.get(layer) if isinstance(channels, dict) else channels
    return names if names is None or len(steps) == 1 else [f"{name}+{step}" for step in steps for name in names]
