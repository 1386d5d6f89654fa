"""load and Predictor: an exported file, run on whole sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import NotStreamable, SpecError
from seq2onnx.runtime.inputs import Rows, read_inputs, read_rows
from seq2onnx.runtime.labels import scores_to_labels
from seq2onnx.runtime.session import Device, StateInfo, open_session, read_metadata, read_states
from seq2onnx.sequences import Array, chunk, pad

if TYPE_CHECKING:
    from seq2onnx.runtime.pool import StreamPool
    from seq2onnx.runtime.stream import Stream

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
        signature, lookahead, states (StateInfo of each state, in order), inputs (Input of each data
        input), outputs (their names in the file), session (onnxruntime's)
    """

    def __init__(self, path: str | Path, device: Device = "cpu", threads: int = 1) -> None:
        self.path = Path(path)
        self.session = open_session(path, device, threads)
        self.metadata = read_metadata(self.session, path)
        self.signature: str = self.metadata["signature"]
        self.classes: list[str | int] | None = self.metadata["classes"]
        self.states = read_states(self.metadata)
        self.inputs = read_inputs(self.session.get_inputs(), self.metadata)
        names = {entry.name for entry in self.session.get_inputs()}
        self.takes_lengths, self.lookahead = "lengths" in names, "end" in names
        self.shapes: dict[str, list[int | str]] = {e.name: e.shape for e in self.session.get_outputs()}
        network = self.metadata["network"]
        answering = network.get("outputs") or [next(iter(network["layers"][-1].values()))["name"]]
        self.outputs = ["y"] if len(answering) == 1 else [f"y_{name}" for name in answering]
        self.counts = [name for name in (f"{output}_lengths" for output in self.outputs) if name in self.shapes]
        # What a stream must keep from step to step: with lookahead also what was said of the whole sequence,
        # since `finish` runs once more and is given nothing.
        self.memory = self.states + tuple(
            StateInfo(entry.tensor, entry.tensor, (1, *entry.shape), np.dtype(entry.dtype))
            for entry in self.inputs
            if self.lookahead and not entry.has_time
        )

    def __repr__(self) -> str:
        sizes = ", ".join(f"{entry.layer} {list(entry.shape)}" for entry in self.inputs)
        return f"Predictor({str(self.path)!r}, signature={self.signature!r}, inputs: {sizes})"

    def predict(self, sequences: Any, outputs: Sequence[str] | None = None, batch_size: int | None = None) -> Any:
        """The network's answer to each sequence, in the order in which they came.

        Args:
            sequences: a list of [time, features] arrays of any lengths; [time, channels, height, width] for
                images; words or their numbers [time] for tokens; a SequenceDataset; with several inputs a
                dict by input layer, where a FeatureInput has one [size] for each sequence
            outputs: names of layers, from an export with activations; the answer is then a dict by name
            batch_size: sequences in one run; those of like length run together
        Returns: [sequences, k] where the network answers per sequence, a list of [time, k] where it
            answers per step; with several outputs a dict by layer. A sequence with NaN or infinity in it
            is answered with NaN; no other is affected.
        Raises: DataError, ShapeError (naming the sequence), SpecError (an output that is not there)
        """
        names = self.outputs if outputs is None else self._activations(outputs)
        rows = read_rows(sequences, self.inputs, self.metadata["min_length"])
        results = self._run_sorted(rows, names, BATCH_SIZE if batch_size is None else batch_size)
        if outputs is None and len(names) == 1:
            return results[names[0]]
        return {name.split("_", 1)[1]: results[name] for name in names}

    def classify(self, sequences: Any, batch_size: int | None = None) -> Any:
        """The label of each sequence, or of each step: `scores_to_labels(predict(sequences), classes)`."""
        if self.classes is None:
            raise SpecError(f"{self.path}: has no classes; export with classes=[…], or use predict")
        scores = self.predict(sequences, batch_size=batch_size)
        if isinstance(scores, dict):
            scores = next(iter(scores.values()))  # the classes are those of the first output
        return scores_to_labels(scores, self.classes)

    def stream(self) -> Stream:
        """A new stream, at its start: the network one step, or one chunk, after another.

        Raises: NotStreamable where the file has no states to carry
        """
        from seq2onnx.runtime.stream import Stream

        self._must_have_states()
        return Stream(self)

    def pool(
        self,
        capacity: int = 1024,
        maximum: int | None = None,
        idle_seconds: float | None = None,
        gather_ms: float = 0,
        on_evict: Callable[[list[int]], object] | None = None,
    ) -> StreamPool:
        """A pool of streams, none of them open yet: thousands of streams that step together.

        Args:
            capacity: streams that there is room for at first; when full, the room doubles
            maximum: streams, beyond which `open` raises StreamError instead; None: 2²⁴
            idle_seconds: when room is needed, streams that were not stepped for so long are closed first
            gather_ms: how long `push` waits for others to run with; 0: until the next turn of the event loop
            on_evict: is called with the ids of the streams that `idle_seconds` has closed
        Raises: NotStreamable where the file has no states to carry; SpecError (an argument that cannot be)
        Example: >>> pool = model.pool(1000); ids = [pool.open() for _ in range(3)]; pool.step(ids, np.zeros((3, 12)))
        """
        from seq2onnx.runtime.pool import StreamPool

        self._must_have_states()
        return StreamPool(self, capacity, maximum, idle_seconds, gather_ms, on_evict)

    @property
    def is_plain(self) -> bool:
        """Whether a step is one float array in and one out, so that its buffers can be bound once."""
        (entry, *more), (_, *others) = self.inputs, self.outputs
        return entry.has_time and not (more or others or self.counts or entry.is_tokens or self.lookahead)

    def has_time(self, name: str) -> bool:
        """Whether an output has a time axis."""
        shape = self.shapes[name]
        return len(shape) > 1 and isinstance(shape[1], str)

    def must_have_lookahead(self) -> None:
        """Raise NotStreamable unless steps wait for others to come: `finish` is for those alone."""
        if not self.lookahead:
            raise NotStreamable(
                f"{self.path}: was exported without lookahead, so nothing waits; every step has been answered"
            )

    def _must_have_states(self) -> None:
        if self.signature == "sequence":
            raise NotStreamable(
                f"{self.path}: was exported with signature 'sequence', which has no states; export it with "
                "signature='full' or 'stream'"
            )

    def _activations(self, layers: Sequence[str]) -> list[str]:
        if isinstance(layers, str):
            raise SpecError(f"outputs: expected a list of layer names, got the string {layers!r}")
        if not layers:
            raise SpecError("outputs: expected the names of some layers, got none; None gives the network's answer")
        there = [name.removeprefix("act_") for name in self.shapes if name.startswith("act_")]
        for layer in layers:
            if layer not in there:
                raise SpecError(
                    f"outputs: {layer!r} is not in the file, which has {there or 'no activations'}; export with "
                    f"activations=[{layer!r}], or True for all layers"
                )
        return [f"act_{layer}" for layer in layers]

    def _run_sorted(self, rows: Rows, names: Sequence[str], batch_size: int) -> dict[str, Any]:
        """Run in batches of like length, and put the results back in order."""
        if not isinstance(batch_size, int) or batch_size < 1:
            raise SpecError(f"batch_size: must be a whole number, at least 1, got {batch_size!r}")
        timed = next((entry.layer for entry in self.inputs if entry.has_time), None)
        count = len(rows[self.inputs[0].layer])
        lengths = np.zeros(count, int) if timed is None else np.array([len(array) for array in rows[timed]])
        order = np.argsort(lengths, kind="stable")
        batches = chunk(order, batch_size)
        if not self.takes_lengths:
            # A file without lengths takes batches without padding: only sequences of one length run together.
            same = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
            batches = [batch for group in same for batch in chunk(group, batch_size)]
        found: dict[str, list[Array]] = {name: [np.empty(0)] * count for name in names}
        for batch in batches:
            results = self.run_batch({layer: [arrays[i] for i in batch] for layer, arrays in rows.items()}, names)
            for name, result in results.items():
                for index, row in zip(batch, result, strict=True):
                    found[name][index] = row
        return {name: found[name] if self.has_time(name) else np.stack(found[name]) for name in names}

    def run_batch(self, rows: Rows, names: Sequence[str]) -> dict[str, list[Array]]:
        """One run over a few sequences from the start: for each name a result for each sequence, unpadded."""
        count = len(rows[self.inputs[0].layer])
        finite = np.ones(count, bool)
        feeds: dict[str, Array] = {}
        lengths = np.zeros(count, np.int32)
        for entry in self.inputs:
            arrays = rows[entry.layer]
            finite &= np.array([bool(np.isfinite(array).all()) for array in arrays])
            if entry.has_time:
                feeds[entry.tensor], lengths = pad(arrays)
            else:
                feeds[entry.tensor] = np.stack(arrays)
        for entry in self.inputs:
            # onnxruntime's recurrent operators make finite numbers of NaN; they must not pass for an answer.
            feeds[entry.tensor][~finite] = 0
        if self.takes_lengths:
            feeds["lengths"] = lengths
        if self.lookahead:
            feeds["end"] = np.ones(count, np.int32)
        feeds.update({state.name: state.zeros(count) for state in self.states})
        extra = [f"{name}_lengths" for name in names if f"{name}_lengths" in self.shapes]
        found = dict(zip([*names, *extra], self.session.run([*names, *extra], feeds), strict=True))
        results: dict[str, list[Array]] = {}
        for name in names:
            values: NDArray[Any] = found[name]
            if values.dtype.kind == "f":
                values[~finite] = np.nan
            steps = found.get(f"{name}_lengths", lengths)
            timed = self.has_time(name)
            results[name] = [row[:n] if timed else row for row, n in zip(values, steps, strict=True)]
        return results
