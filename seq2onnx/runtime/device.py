"""States that stay on the device on which the network runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import onnxruntime

from seq2onnx.sequences import Array

if TYPE_CHECKING:
    from seq2onnx.runtime.predictor import Predictor


class DeviceStates:
    """The states of one stream, or of the slots of a pool, left where a run writes them.

    The arrays of the host are what counts at first, and after `fetch`; the next run takes them over to the device.
    """

    def __init__(self, model: Predictor) -> None:
        self._model = model
        self._values: list[onnxruntime.OrtValue] | None = None

    def run(self, feeds: Mapping[str, Array], names: Sequence[str], states: Sequence[Array]) -> dict[str, Array]:
        """The outputs `names` of a run that goes on from the states; `states` are the host's arrays of them."""
        model, device = self._model, self._model.device
        if self._values is None:
            self._values = [onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0) for array in states]
        binding = model.session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        for info, value in zip(model.states, self._values, strict=True):
            binding.bind_ortvalue_input(info.name, value)
        for name in names:
            binding.bind_output(name, "cpu")
        for info in model.states:
            binding.bind_output(info.new_name, device)
        model.session.run_with_iobinding(binding)
        found = binding.get_outputs()
        self._values = found[len(names) :]
        return {name: value.numpy() for name, value in zip(names, found, strict=False)}

    def fetch(self, states: Sequence[Array]) -> None:
        """Bring the states into the host's arrays, which are what counts until the next run."""
        if self._values is not None:
            for array, value in zip(states, self._values, strict=True):
                array[...] = value.numpy()
            self._values = None
