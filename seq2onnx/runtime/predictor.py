"""load and Predictor: an exported file, run on whole sequences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError, NotStreamable, SpecError
from seq2onnx.runtime.labels import scores_to_labels
from seq2onnx.runtime.session import Device, open_session, read_metadata, read_states
from seq2onnx.sequences import Floats, as_sequences, chunk, pad

if TYPE_CHECKING:
    from seq2onnx.runtime.stream import Stream

Results = NDArray[Any] | list[NDArray[Any]]

BATCH_SIZE = 32


def load(path: str | Path, device: Device = "cpu", threads: int = 1) -> Predictor:
    """Open an exported file.

    Args:
        path: what `export` wrote
        device: "cpu" or "cuda"
        threads: of onnxruntime within an operator
    Raises: ModelFileError (not such a file), MissingExtra (no GPU build of onnxruntime), FileNotFoundError
    Example: >>> model = load("vowels.onnx"); model.classify(sequences)
    """
    return Predictor(path, device, threads)


class Predictor:
    """An exported network, ready to run; make it with `load`.

    Attributes: classes (labels of the scores, or None), metadata (all that the file says of itself),
        signature, states (StateInfo of each state, in order), features (of a step), answer_size (k),
        answers_per_step, takes_lengths, session (onnxruntime's)
    """

    def __init__(self, path: str | Path, device: Device = "cpu", threads: int = 1) -> None:
        self.path = Path(path)
        self.session = open_session(path, device, threads)
        self.metadata = read_metadata(self.session, path)
        self.signature: str = self.metadata["signature"]
        self.classes: list[str | int] | None = self.metadata["classes"]
        self.states = read_states(self.metadata)
        inputs = {entry.name: entry for entry in self.session.get_inputs()}
        self.features: int = inputs["x"].shape[-1]
        self.takes_lengths = "lengths" in inputs
        self._outputs = {entry.name: entry.shape for entry in self.session.get_outputs()}
        self.answers_per_step = self._has_time("y")
        self.answer_size: int = self._outputs["y"][-1]

    def __repr__(self) -> str:
        return f"Predictor({str(self.path)!r}, signature={self.signature!r}, features={self.features})"

    def predict(self, sequences: Any, outputs: Sequence[str] | None = None, batch_size: int | None = None) -> Any:
        """The network's answer to each sequence, in the order in which they came.

        Args:
            sequences: a list of [time, features] arrays of any lengths
            outputs: names of layers, from an export with activations; the answer is then a dict by name
            batch_size: sequences in one run; those of like length run together
        Returns: [sequences, k] where the network answers per sequence, a list of [time, k] where it
            answers per step. A sequence with NaN or infinity in it is answered with NaN; no other is
            affected.
        Raises: DataError, ShapeError (naming the sequence), SpecError (an output that is not there)
        """
        names = ["y"] if outputs is None else self._activations(outputs)
        arrays = as_sequences(sequences, self.features)
        least = self.metadata["min_length"]
        for index, array in enumerate(arrays):
            if len(array) < least:
                raise DataError(f"sequence {index}: has {len(array)} steps, the network needs at least {least}")
        results = self._run_sorted(arrays, names, BATCH_SIZE if batch_size is None else batch_size)
        if outputs is None:
            return results["y"]
        return dict(zip(outputs, results.values(), strict=True))

    def classify(self, sequences: Any, batch_size: int | None = None) -> Any:
        """The label of each sequence, or of each step: `scores_to_labels(predict(sequences), classes)`."""
        if self.classes is None:
            raise SpecError(f"{self.path}: has no classes; export with classes=[…], or use predict")
        return scores_to_labels(self.predict(sequences, batch_size=batch_size), self.classes)

    def stream(self) -> Stream:
        """A new stream, at its start: the network one step, or one chunk, after another.

        Raises: NotStreamable where the file has no states to carry
        """
        from seq2onnx.runtime.stream import Stream

        if self.signature == "sequence":
            raise NotStreamable(
                f"{self.path}: was exported with signature 'sequence', which has no states; export it with "
                "signature='full' or 'stream'"
            )
        return Stream(self)

    def _activations(self, layers: Sequence[str]) -> list[str]:
        if isinstance(layers, str):
            raise SpecError(f"outputs: expected a list of layer names, got the string {layers!r}")
        there = [name.removeprefix("act_") for name in self._outputs if name.startswith("act_")]
        for layer in layers:
            if layer not in there:
                raise SpecError(
                    f"outputs: {layer!r} is not in the file, which has {there or 'no activations'}; export with "
                    f"activations=[{layer!r}], or True for all layers"
                )
        return [f"act_{layer}" for layer in layers]

    def _run_sorted(self, arrays: list[Floats], names: list[str], batch_size: int) -> dict[str, Results]:
        """Run `arrays` in batches of like length, and put the results back in order."""
        if batch_size < 1:
            raise SpecError(f"batch_size: must be at least 1, got {batch_size}")
        lengths = np.array([len(array) for array in arrays])
        order = np.argsort(lengths, kind="stable")
        batches = chunk(order, batch_size)
        if not self.takes_lengths:
            # A file without lengths takes batches without padding: only sequences of one length run together.
            same = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
            batches = [batch for rows in same for batch in chunk(rows, batch_size)]
        rows: dict[str, list[NDArray[Any]]] = {name: [np.empty(0)] * len(arrays) for name in names}
        for batch in batches:
            results = self.run_batch([arrays[index] for index in batch], names)
            for name, result in results.items():
                for index, row in zip(batch, result, strict=True):
                    rows[name][index] = row
        return {name: rows[name] if self._has_time(name) else np.stack(rows[name]) for name in names}

    def run_batch(self, arrays: Sequence[Floats], names: Sequence[str]) -> dict[str, list[NDArray[Any]]]:
        """One run over a few sequences from the start: for each name a result for each sequence, unpadded."""
        x, lengths = pad(arrays)
        finite = np.array([bool(np.isfinite(array).all()) for array in arrays])
        # onnxruntime's recurrent operators make finite numbers of NaN; they must not pass for an answer.
        x[~finite] = 0
        feeds: dict[str, NDArray[Any]] = {"x": x}
        if self.takes_lengths:
            feeds["lengths"] = lengths
        feeds.update({state.name: state.zeros(len(x)) for state in self.states})
        extra = [f"{name}_lengths" for name in names if f"{name}_lengths" in self._outputs]
        found = dict(zip([*names, *extra], self.session.run([*names, *extra], feeds), strict=True))
        results: dict[str, list[NDArray[Any]]] = {}
        for name in names:
            values = found[name]
            values[~finite] = np.nan
            steps = found.get(f"{name}_lengths", lengths)
            results[name] = [
                row[:count] if self._has_time(name) else row for row, count in zip(values, steps, strict=True)
            ]
        return results

    def _has_time(self, name: str) -> bool:
        """Whether an output has a time axis: [batch, time, …], the time a name and not a number."""
        shape = self._outputs[name]
        return len(shape) > 2 and isinstance(shape[1], str)
