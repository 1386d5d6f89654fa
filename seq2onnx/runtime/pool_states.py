"""The states of the streams of a pool, in slots, and the bound buffers or the device that has the newest of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.runtime.buffers import PoolBuffers
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.outputs import Answer, RowResults
from seq2onnx.runtime.slots import Indices
from seq2onnx.runtime.steps import StepBatch
from seq2onnx.sequences import Array


class PoolStates:
    """One array [capacity, …] for each state, and for each input without time that `finish` needs."""

    def __init__(self, model: Model, capacity: int) -> None:
        self._model, self._capacity = model, capacity
        self._states = model.zeros(capacity)
        self._kept = {entry.layer: np.zeros((capacity, *entry.shape), entry.dtype) for entry in model.kept_inputs}
        # On the device all slots run, the others with no steps, so that their states need not be gathered.
        self.on_device = model.device_states() if model.keeps_states_on_device and model.takes_lengths else None
        self.buffers: PoolBuffers | None = None
        self._bind()

    def arrays(self, slots: Indices) -> list[Array]:
        """Return the arrays of all that streams keep, in which those of these slots are the newest."""
        if self.on_device is not None:
            self.on_device.fetch(self._states)
        if self.buffers is not None:
            self.buffers.put_back(slots)
        return [*self._states, *self._kept.values()]

    def clear(self, slots: Indices) -> None:
        """Set these slots back to the start."""
        for array in self.arrays(slots):
            array[slots] = 0

    def grow(self, capacity: int) -> None:
        """Make room for more streams."""
        more = capacity - self._capacity
        arrays = self.arrays(np.arange(self._capacity))
        grown = [np.pad(array, [(0, more), *[(0, 0)] * (array.ndim - 1)]) for array in arrays]
        self._states = grown[: len(self._states)]
        self._kept = dict(zip(self._kept, grown[len(self._states) :], strict=True))
        self._capacity = capacity
        self._bind()

    def kept(self, slots: Indices) -> dict[str, Array]:
        """Return a copy of the kept inputs of these slots, by layer."""
        return {layer: kept[slots] for layer, kept in self._kept.items()}

    def read(self, slots: Indices) -> list[Array]:
        """Return a copy of the states of these slots, without the kept inputs."""
        return [array[slots] for array in self.arrays(slots)[: len(self._states)]]

    def write(self, slots: Indices, states: Sequence[Array], batch: StepBatch, done: NDArray[np.bool_]) -> None:
        """Set the states of the slots whose rows are `done`, and their inputs without time; `read` came before."""
        rows: Any = slice(None) if done.all() else np.flatnonzero(done)  # a slice copies nothing
        for array, new in zip(self._states, states, strict=True):
            array[slots[rows]] = new[rows]
        for layer, array in self._kept.items():
            array[slots[rows]] = np.asarray(batch.arrays[layer])[rows]

    def run_on_device(self, slots: Indices, batch: StepBatch, end: bool) -> dict[str, RowResults]:
        """Run all slots, those without a finite row with no steps; the new states stay on the device."""
        rows = np.flatnonzero(batch.finite)
        finite = slots[rows]
        lengths, ends = np.zeros(self._capacity, np.int32), np.zeros(self._capacity, np.int32)
        lengths[finite], ends[finite] = batch.lengths[rows], end
        x: dict[str, Any] = {}
        for layer, array in batch.piece(self._model.inputs, rows, 0, int(batch.lengths.max())).items():
            x[layer] = np.zeros((self._capacity, *array.shape[1:]), array.dtype)
            x[layer][finite] = array
        answers, _ = self._model.run(x, lengths, self._states, ends, on_device=self.on_device)
        for layer, array in self._kept.items():
            array[finite] = x[layer][finite]
        results: dict[str, RowResults] = {}
        for layer, (output, values, valid) in answers.items():
            as_rows = output.lengths_tensor is not None or (output.has_time and batch.ragged)
            answer = Answer(output, values[slots], valid[slots] if output.lengths_tensor else batch.lengths)
            results[layer] = answer.rows() if as_rows else answer.values
        return results

    def _bind(self) -> None:
        if self._model.can_bind_steps and self.on_device is None:
            self.buffers = PoolBuffers(self._model, self._states, self._capacity)
