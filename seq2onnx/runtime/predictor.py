"""load and Predictor: an exported file, run on whole sequences."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seq2onnx.errors import NotStreamable, SpecError
from seq2onnx.runtime.inputs import read_inputs
from seq2onnx.runtime.labels import scores_to_labels
from seq2onnx.runtime.opening import Device, Optimization, SessionSettings
from seq2onnx.runtime.scoring import run_all
from seq2onnx.runtime.session import StateInfo, read_metadata, read_states
from seq2onnx.runtime.whole import check_policy
from seq2onnx.sequences import Array, PaddingPolicy, SequenceLength

if TYPE_CHECKING:
    from seq2onnx.runtime.placement import Placement
    from seq2onnx.runtime.pool import StreamPool
    from seq2onnx.runtime.stream import Stream


def load(
    path: str | Path,
    device: Device = "cpu",
    threads: int = 1,
    *,
    providers: Sequence[str] | None = None,
    provider_options: Sequence[Mapping[str, Any]] | None = None,
    optimization: Optimization = "all",
    cache: str | Path | None = None,
) -> Predictor:
    """Open an exported file. It is read at once: what becomes of the file afterwards does not matter.

    Args:
        path: what `export` wrote
        device: "cpu" or "cuda"; on a GPU streams and pools leave their states there
        threads: how many batches `predict` runs at the same time, each on one thread; answers are the same for any
            number. Streams and pools run in the thread that calls them.
        providers: onnxruntime's names of what runs the nodes, the first that can; None: those of the device
        provider_options: a dict of onnxruntime's options for each of `providers`
        optimization: what onnxruntime may make of the graph: "disabled", "basic", "extended" or "all"
        cache: a folder, in which is kept what onnxruntime made of the graph. A file is found again where its content,
            onnxruntime, processor, providers and optimization are the same; it is never removed.
    Raises: ModelFileError (not such a file), MissingExtra (an onnxruntime without this provider), SpecError,
        FileNotFoundError
    Example: >>> model = load("vowels.onnx", threads=4); model.classify(sequences)
    """
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise SpecError(f"threads: must be at least 1, got {threads!r}")
    return Predictor(path, SessionSettings(device, providers, provider_options, optimization, cache), threads)


class Predictor:
    """An exported network, ready to run; make it with `load`.

    Attributes: classes (labels of the scores, or None), metadata (all that the file says of itself),
        signature, lookahead, closed_loop (how many steps it goes on by itself, or None), policy (how sequences are
        padded), device, threads (of `predict`), states (StateInfo of each state, in order), inputs (Input of each data
        input), outputs (their names in the file), session (onnxruntime's)
    """

    def __init__(self, path: str | Path, settings: SessionSettings, threads: int) -> None:
        self.path, self.threads = Path(path), threads
        self.device = settings.device
        self.session = settings.open(self.path)
        self.metadata = read_metadata(self.session, path)
        self.signature: str = self.metadata["signature"]
        self.classes: list[str | int] | None = self.metadata["classes"]
        self.closed_loop: int | None = self.metadata.get("closed_loop")
        self.states = read_states(self.metadata)
        self.policy = PaddingPolicy(**self.metadata.get("data_policy", {}))
        self.inputs = read_inputs(self.session.get_inputs(), self.metadata)
        # Strings go in without a binding: onnxruntime binds numbers alone.
        self.keeps_states_on_device = self.device != "cpu" and not any(entry.takes_words for entry in self.inputs)
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

    def predict(
        self,
        sequences: Any,
        outputs: Sequence[str] | None = None,
        batch_size: int | None = None,
        progress: bool = False,
        *,
        sequence_length: SequenceLength | None = None,
        padding_value: float | None = None,
        padding_direction: str | None = None,
        mask_padding: bool | None = None,
    ) -> Any:
        """The network's answer to each sequence, in the order in which they came.

        Args:
            sequences: a list of [time, features] arrays of any lengths; [time, channels, height, width] for
                images; words or their numbers [time] for tokens, of a file exported with words=True words, or a text
                that `tokenize` splits; with several inputs a dict by input layer, where a FeatureInput has one [size]
                for each sequence; a SequenceDataset; or a generator of sequences. Of the last, and of data in files,
                never more than two parts are in memory, and what has been answered.
            outputs: names of layers, from an export with activations; the answer is then a dict by name
            batch_size: sequences in one run; those of like length run together. None: as many as run fastest, so
                many steps; where padding is data or sequences are cut to the shortest, 32
            progress: show how far it is, on standard error: a bar on a terminal, elsewhere lines
            sequence_length, padding_value, padding_direction, mask_padding: see PaddingPolicy; None: as the network
                was trained, which the file says
        Returns: [sequences, k] where the network answers per sequence, a list of [time, k] where it
            answers per step; with several outputs a dict by layer; from a file with a closed loop of K steps
            those that follow, [sequences, K, k]. A sequence with NaN or infinity in it is answered with NaN;
            no other is affected.
        Raises: DataError, ShapeError (naming the sequence), SpecError (an output that is not there)
        """
        names = self.outputs if outputs is None else self._activations(outputs)
        given = {
            "sequence_length": sequence_length,
            "padding_value": padding_value,
            "padding_direction": padding_direction,
            "mask_padding": mask_padding,
        }
        policy = dataclasses.replace(self.policy, **{n: v for n, v in given.items() if v is not None})  # type: ignore[arg-type]
        if sequence_length is not None:
            check_policy(self, policy)
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise SpecError(f"batch_size: must be a whole number, at least 1, got {batch_size!r}")
        results = run_all(self, sequences, names, batch_size, policy, progress)
        if outputs is None and len(names) == 1:
            return results[names[0]]
        return {name.split("_", 1)[1]: results[name] for name in names}

    def classify(
        self, sequences: Any, batch_size: int | None = None, *, top_k: int | None = None, **options: Any
    ) -> Any:
        """The label of each sequence, or of each step: `scores_to_labels(predict(sequences, …), classes, top_k)`.

        With `top_k` the labels of the highest scores and those scores, a pair. The options are those of `predict`.
        Example: >>> labels, probabilities = model.classify(sequences, top_k=3)
        """
        if self.classes is None:
            raise SpecError(f"{self.path}: has no classes; export with classes=[…], or use predict")
        scores = self.predict(sequences, batch_size=batch_size, **options)
        if isinstance(scores, dict):
            scores = next(iter(scores.values()))  # the classes are those of the first output
        return scores_to_labels(scores, self.classes, top_k)

    def forecast(
        self, history: Any, steps: int, known: Mapping[str, Any] | None = None, batch_size: int = 128
    ) -> Array:
        """The steps that follow each series, by a network that answers each step with the next.

        In a closed loop its own answers are fed back: inside the file where it was exported with closed_loop, so many
        steps in a run, else from here, a run a step. In an open loop, where `known` has the true values, they are fed.

        Args:
            history: the series, as `predict` takes sequences; or one, as an array (with several inputs: arrays)
            steps: how many to go ahead
            known: future values by input layer, as history has them, from the first step after it: `steps` − 1 at
                least, since the last answer needs no more. Every input with time but the one that is fed back needs
                them; that one too for an open loop.
            batch_size: series in one run; those of like length run together
        Returns: [series, steps, features], or of one series [steps, features]. A series, or its known values, with NaN
            or infinity in it is answered with NaN; no other is affected.
        Raises: DataError, ShapeError (naming the series), SpecError (an answer that is not all that the input takes),
            NotStreamable (a file without states)
        Example: >>> model.forecast([temperature, another], 24)
        """
        from seq2onnx.runtime.forecast import forecast

        return forecast(self, history, steps, known, batch_size)

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

    def placement(self) -> list[Placement]:
        """Where each node of the graph runs, as onnxruntime has changed it: (node, op, provider, reason).

        The reason says why it is not the first provider; onnxruntime gives none, so it is what is known of its kernels.
        Raises: SpecError (onnxruntime before 1.24 does not tell)
        Example: >>> [place for place in load("vowels.onnx", "cuda").placement() if place.reason]
        """
        from seq2onnx.runtime.placement import placement

        return placement(self)

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
                "signature='full' or 'stream', if the network can stream: one that reads ahead, as a BiLSTM, cannot"
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
