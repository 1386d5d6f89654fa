"""Checks of what `step` is given, for one stream or for many at once."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError, ShapeError
from seq2onnx.runtime.inputs import Input, by_layer, check_chunk
from seq2onnx.runtime.model import Model
from seq2onnx.sequences import Array, check_steps, is_frame, pad, warn_of_large_samples

MOST_STEPS = 32
"""The steps of a row in one run. In more, a run of many rows would take memory and time that others wait for."""


@dataclasses.dataclass
class StepBatch:
    """One step, or one chunk, for each of several streams.

    Attributes:
        arrays: by layer [streams, time, …], or [streams, …] without time; padded with zeros, or a
            list of [time, …] if one has more than MOST_STEPS steps.
        lengths: the steps of each stream [streams].
        single: whether each stream gets one step; the result is then one step, too.
        ragged: whether the chunks were given as a list; the results are then a list, too.
        finite: whether a stream's values are finite, or may be missing [streams]. The others must not run.
    """

    arrays: dict[str, Array | list[Array]]
    lengths: NDArray[np.int32]
    single: bool
    ragged: bool
    finite: NDArray[np.bool_]

    def piece(self, inputs: tuple[Input, ...], rows: NDArray[np.intp], start: int, steps: int) -> dict[str, Array]:
        """Return the inputs of some rows, by layer: of chunks the steps from `start` on, padded with zeros."""
        parts = {}
        for entry in inputs:
            array = self.arrays[entry.layer]
            if isinstance(array, list):
                parts[entry.layer] = pad([array[row][start : start + steps] for row in rows.tolist()])[0]
            else:
                chosen = array if len(rows) == len(array) else array[rows]
                parts[entry.layer] = chosen[:, start : start + steps] if entry.has_time else chosen
        return parts


def read_step(x: Any, inputs: tuple[Input, ...], where: str) -> tuple[dict[str, Array], bool]:
    """Convert and check the input of one stream: by layer [time, …], or […] without time; and whether it was one step.

    Raises:
        ShapeError: a shape does not fit.
        DataError: values are not numbers, NaN or infinite.
    """
    entry = inputs[0]
    if len(inputs) == 1 and entry.is_chunk(x):  # the usual case needs no conversion
        arrays, single = {entry.layer: x}, False
    else:
        arrays, single = _read_inputs(x, inputs, where)
    for entry in inputs:
        if not entry.accepts(arrays[entry.layer]):
            raise DataError(not_finite(where))
        warn_of_large_samples([arrays[entry.layer]], entry.sample_reader, 4)
    return arrays, single


def _read_inputs(x: Any, inputs: tuple[Input, ...], where: str) -> tuple[dict[str, Array], bool]:
    """Convert what one stream is given, and check its shapes."""
    given = by_layer(x, inputs, where)
    places = {entry.layer: f"{where} of {entry.layer}" if len(inputs) > 1 else where for entry in inputs}
    arrays = {entry.layer: _convert(entry, given[entry.layer], places[entry.layer]) for entry in inputs}
    single = any(entry.has_time and arrays[entry.layer].shape == entry.shape for entry in inputs)
    for entry in inputs:
        _check_shape(entry, arrays[entry.layer], single, places[entry.layer])
    lengths = {entry.layer: len(arrays[entry.layer]) for entry in inputs if entry.has_time and not single}
    if len(set(lengths.values())) > 1:
        raise ShapeError(f"{where}: expected the same number of steps for each input, got {lengths}")
    if single:
        arrays = {e.layer: arrays[e.layer][None] if e.has_time else arrays[e.layer] for e in inputs}
    return arrays, single


def check_step_file(model: Model, arrays: dict[str, Array]) -> None:
    """Raise DataError unless a step file can run these inputs [time, …]."""
    steps = next((len(arrays[entry.layer]) for entry in model.inputs if entry.has_time), None)
    if model.contract.form != "step" or steps is None:
        return
    check_chunk(steps, model.contract, "step")
    if not steps and any(not output.has_time for output in model.outputs):
        raise DataError(
            f"step: got a chunk of no steps, for which a step file has no answer; give it {model.contract.chunk_steps} "
            "steps or more"
        )


def not_finite(where: str) -> str:
    """Return the error message for a step with NaN or infinity."""
    return (
        f"{where}: x contains NaN or infinity; the step was refused and the state has not changed. "
        "Fill the gap, or skip the step"
    )


def overflowed(where: str) -> str:
    """Return the error message for a step after which the state would be infinite or NaN, although x is finite."""
    return (
        f"{where}: x is finite, but the state would become infinite or NaN; the step was refused and the state has not "
        "changed. Check the scale of x: its values may be too large for the network"
    )


def read_steps(x: Any, inputs: tuple[Input, ...], ids: NDArray[np.int64]) -> StepBatch:
    """Convert and check the input of several streams: one array, or a list with a step or chunk for each."""
    given = by_layer(x, inputs, "step")
    arrays: dict[str, Array | list[Array]] = {}
    count, clocks = len(ids), {}  # of each input with time: (one step?, lengths)
    finite: NDArray[np.bool_] = np.ones(count, bool)
    for entry in inputs:
        value, where = given[entry.layer], f"step of {entry.layer}" if len(inputs) > 1 else "step"
        if is_frame(value):
            value = given[entry.layer] = entry.convert(value, where)
        array: Array | list[Array]
        if isinstance(value, np.ndarray) and value.dtype != object:
            array, lengths, single = _from_array(entry, value, count, where)
        else:
            array, lengths, single = _from_list(entry, value, ids, where)
        if entry.has_time:
            clocks[entry.layer] = (single, lengths)
        warn_of_large_samples(array if isinstance(array, list) else [array], entry.sample_reader, 4)
        finite &= list(map(entry.accepts, array)) if isinstance(array, list) else entry.finite_rows(array)
        arrays[entry.layer] = array
    single, lengths = next(iter(clocks.values()), (False, np.zeros(count, np.int32)))
    for other, more in clocks.values():
        if other != single or (more != lengths).any():
            got = {layer: "one each" if one else steps.tolist() for layer, (one, steps) in clocks.items()}
            raise ShapeError(f"step: expected the same number of steps of a stream for each input, got {got}")
    ragged = not single and any(entry.has_time and not isinstance(given[entry.layer], np.ndarray) for entry in inputs)
    return StepBatch(arrays, lengths, single, ragged, finite)


def _from_array(entry: Input, value: Array, count: int, where: str) -> tuple[Array, NDArray[np.int32], bool]:
    """Read [streams, features], one step of each, or [streams, time, features]."""
    array, shape = entry.convert(value, where), entry.shape
    single = array.shape[1:] == shape
    if array.ndim == 0 or len(array) != count or not (single or (entry.has_time and array.shape[2:] == shape)):
        sizes = "".join(f", {size}" for size in shape)
        chunk = f" or [{count}, time{sizes}]" if entry.has_time else ""
        raise ShapeError(
            f"{where}: expected [{count}{sizes}]{chunk} for {count} streams, got {list(array.shape)}; "
            "give chunks of different lengths as a list"
        )
    if single and entry.has_time:
        array = array[:, None]
    return array, np.full(count, array.shape[1] if entry.has_time else 0, np.int32), single


def _from_list(
    entry: Input, value: Any, ids: NDArray[np.int64], where: str
) -> tuple[Array | list[Array], NDArray[np.int32], bool]:
    """Read a list with one step of each stream, or with a chunk of each."""
    if isinstance(value, str | bytes | dict) or not hasattr(value, "__len__") or len(value) != len(ids):
        got = f"{type(value).__name__} of {len(value)}" if hasattr(value, "__len__") else type(value).__name__
        raise ShapeError(f"{where}: expected an array or a list with a step or chunk of {len(ids)} streams, got {got}")
    places = [f"{where} of stream {id}" for id in ids.tolist()]
    rows = [_convert(entry, row, place) for row, place in zip(value, places, strict=True)]
    single = rows[0].shape == entry.shape
    remedy = "; give each stream one step, or each a chunk" if entry.has_time else ""
    for row, place in zip(rows, places, strict=True):
        _check_shape(entry, row, single, place, remedy)
    if not entry.has_time:
        return np.stack(rows), np.zeros(len(rows), np.int32), False
    if single:
        return pad([row[None] for row in rows])[0], np.ones(len(rows), np.int32), True
    lengths = np.array(list(map(len, rows)), np.int32)
    return rows if lengths.max() > MOST_STEPS else pad(rows)[0], lengths, False


def _convert(entry: Input, value: Any, where: str) -> Array:
    """Return `value` in the type of the input. One word is a step, a list of words a chunk; a text is refused."""
    is_word = isinstance(value, str) and (len(value.split()) < 2 or value in (entry.words or {}))
    return entry.convert(np.asarray(value) if is_word else value, where)


def _check_shape(entry: Input, array: Array, single: bool, where: str, remedy: str = "") -> None:
    """Raise ShapeError unless `array` is one step if `single`, or else a chunk; without time a row of the input."""
    if single or not entry.has_time:
        if array.shape != entry.shape:
            raise ShapeError(f"{where}: expected {list(entry.shape)}, got {list(array.shape)}{remedy}")
        return
    try:
        check_steps(array, where, entry.shape)
    except ShapeError as error:
        one_step = list(entry.shape) or "one token"  # is possible, too
        raise ShapeError(str(error).replace("expected [", f"expected {one_step} or [", 1)) from None
