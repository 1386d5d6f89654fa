"""load and Predictor: the public interface of an exported file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from seq2onnx.contract import KEY
from seq2onnx.errors import NotStreamable, SpecError, warn
from seq2onnx.integers import whole_number
from seq2onnx.modelfile import read_checked
from seq2onnx.runtime.forecast import forecast
from seq2onnx.runtime.inputs import read_rows
from seq2onnx.runtime.labels import scores_to_labels
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.outputs import Output, unwrap
from seq2onnx.runtime.placement import Placement, placement
from seq2onnx.runtime.pool import StreamPool
from seq2onnx.runtime.scoring import Scoring
from seq2onnx.runtime.session import Device, Optimization, SessionSettings
from seq2onnx.runtime.stream import Stream
from seq2onnx.runtime.unlike_training import distances
from seq2onnx.sequences import Array, SequenceLength
from seq2onnx.sequences.rates import check_rate


def load(
    path: str | Path,
    device: Device = "cpu",
    threads: int = 1,
    *,
    providers: Sequence[str] | None = None,
    provider_options: Sequence[Mapping[str, Any]] | None = None,
    optimization: Optimization = "all",
    cache: str | Path | None = None,
    allow_changed: bool = False,
) -> Predictor:
    """Open an exported file. It is read at once: later changes of the file have no effect.

    The bytes of the file are checked before anything runs. docs/security.md says what this promises for files of
    strangers.

    Args:
        path: a file that `export` wrote.
        device: "cpu" or "cuda"; on a GPU streams and pools keep their states there.
        threads: how many batches `predict` runs at the same time, each on one thread; the results are the same for
            any number. Streams and pools run in the thread that calls them.
        providers: onnxruntime's names of execution providers, in order of preference. None: those of the device.
        provider_options: a dict of onnxruntime's options for each of `providers`.
        optimization: how far onnxruntime optimizes the graph: "disabled", "basic", "extended" or "all".
        cache: a folder that keeps optimized graphs. A graph is used again for the same content, onnxruntime,
            processor, providers and optimization; it is never removed.
        allow_changed: also open a file that another program has optimized or quantized: operators, sizes and other
            parts of the graph are then not checked. Use it only for files that you trust, and prove them with `verify`.

    Raises:
        ModelFileError: it is not an exported file, or breaks a rule for files.
        MissingExtra: this onnxruntime lacks a provider.
        SpecError: an argument is wrong.
        FileNotFoundError: there is no such file.

    Example:
        >>> model = load("vowels.onnx", threads=4)
        >>> model.classify(sequences)
    """
    threads = whole_number(threads, "threads")
    settings = SessionSettings(device, providers, provider_options, optimization, cache)
    return Predictor(path, settings, threads, allow_changed)


class Predictor:
    """An exported network, ready to run; make it with `load`.

    Attributes:
        path: the file.
        classes: the labels of the scores, or None.
        quantiles: which quantiles of the target the columns of the output are, or None.
        channels: the names of the features, for several inputs a dict by layer; None if the file has none.
        signature: "full", "sequence" or "stream".
        lookahead: whether results come with a delay.
        closed_loop: how many steps the file forecasts in one run, or None.
        policy: how sequences are padded.
        device: "cpu" or "cuda".
        threads: how many batches `predict` runs at the same time.
        states: a StateInfo for each state, in order.
        inputs: an Input for each data input.
        outputs: the names of the outputs in the file.
        session: onnxruntime's session.
        contract: the metadata of the file, with types and defaults.
        model: the open file, for programs that run it themselves.
    """

    def __init__(self, path: str | Path, settings: SessionSettings, threads: int, allow_changed: bool = False) -> None:
        self.model = model = Model(read_checked(path, allow_changed), settings)
        self.path, self.device, self.threads = model.path, model.device, threads
        self.session, self.contract = model.session, model.contract
        self.signature: str = model.contract.signature
        self.classes, self.closed_loop = model.contract.classes, model.closed_loop
        self.quantiles = model.contract.quantiles
        self.channels: list[str] | dict[str, list[str] | None] | None = model.contract.channels
        self.inputs, self.states, self.lookahead = model.inputs, model.states, model.lookahead
        self.outputs = [output.tensor for output in model.outputs]
        self.policy = model.contract.data_info.policy

    def __repr__(self) -> str:
        sizes = ", ".join(f"{entry.layer} {list(entry.shape)}" for entry in self.inputs)
        return f"Predictor({str(self.path)!r}, signature={self.signature!r}, inputs: {sizes})"

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the file, unchanged; `contract` has it with types and defaults."""
        raw: dict[str, Any] = json.loads(self.session.get_modelmeta().custom_metadata_map[KEY])
        return raw

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
    ) -> Array | Any:
        """Return the output of the network for each sequence, in the given order.

        The result of a sequence that contains NaN or infinity is NaN, unless values of the input may be missing. Other
        sequences are not affected.

        Args:
            sequences: a list of [time, features] arrays of any lengths, a SequenceDataset, or a generator of sequences.
                Images are [time, channels, height, width]. Tokens are words or their numbers [time]. A file exported
                with words=True takes words, or texts, which `tokenize` splits. Data frames, and a SequenceDataset with
                `channels`, are read by the names of the features; arrays by position. With several inputs, a dict by
                input layer; a FeatureInput takes one vector [size] for each sequence. Data from generators and files is
                read in parts; at most two parts are in memory, besides the results.
            outputs: names of layers: of the network's outputs, and of others if the file was exported with activations.
                The result is then a dict by name.
            batch_size: sequences per batch; sequences of similar length run together. None: the fastest size. If
                padding counts as data or sequences are cut to the shortest, results depend on the batches: these are
                then the sequences in the given order, None: 32 in each.
            progress: show the progress on standard error: a bar on a terminal, lines elsewhere.
            sequence_length: see PaddingPolicy. None: as in training; the file contains the policy.
            padding_value: see PaddingPolicy. None: as in training.
            padding_direction: see PaddingPolicy. None: as in training.
            mask_padding: see PaddingPolicy. None: as in training.

        Returns:
            [sequences, k] if the network has an output per sequence, a list of [time, k] if it has an output per step.
            With several outputs, a dict by layer. From a file with a closed loop of K steps, the next K steps
            [sequences, K, k].

        Raises:
            DataError: sequences have wrong values; the message names the sequence.
            ShapeError: sequences have wrong shapes; the message names the sequence.
            SpecError: an argument is wrong, or the file does not have an output.
            NotStreamable: sequences are to be split, and the file has no states.
        """
        check_rate(
            getattr(sequences, "sample_rate", None),
            self.contract.sample_rate,
            "sequences",
            self.contract.has_fixed_rate,
        )
        chosen = self.model.outputs if outputs is None else self._activations(outputs)
        given = {
            "sequence_length": sequence_length,
            "padding_value": padding_value,
            "padding_direction": padding_direction,
            "mask_padding": mask_padding,
        }
        policy = dataclasses.replace(self.policy, **{n: v for n, v in given.items() if v is not None})  # type: ignore[arg-type]
        if sequence_length is not None and policy.chunk is not None and self.signature == "sequence":
            raise NotStreamable(
                f"{self.path}: was exported with signature 'sequence', which has no states to carry from chunk to "
                "chunk; export it with signature='full' or 'stream', or leave sequence_length at 'longest', which "
                "gives the same"
            )
        if batch_size is not None:
            batch_size = whole_number(batch_size, "batch_size")
        results, unlike = Scoring(self.model, chosen, policy, batch_size, self.threads).run(sequences, progress)
        if unlike is not None:
            warn("unlike-training", unlike, stacklevel=3)
        return unwrap(results) if outputs is None else results

    def classify(
        self, sequences: Any, batch_size: int | None = None, *, top_k: int | None = None, **options: Any
    ) -> Any:
        """Return the label of each sequence, or of each step.

        It is `scores_to_labels(predict(sequences, …), classes, top_k)`.

        Args:
            sequences: as for `predict`.
            batch_size: as for `predict`.
            top_k: return the labels of the highest scores and these scores, a pair.
            **options: other arguments of `predict`.

        Raises:
            SpecError: the file has no classes or answers events, or an argument is wrong.
            DataError: sequences have wrong values.
            ShapeError: sequences have wrong shapes.

        Example:
            >>> labels, probabilities = model.classify(sequences, top_k=3)
        """
        if self.contract.answer == "events":
            raise SpecError(
                f"{self.path}: answers events, 0 or 1 for each step and alarm, and no scores that give labels; use "
                "predict, or a file without the alarm"
            )
        if self.classes is None:
            raise SpecError(f"{self.path}: has no classes; export with classes=[…], or use predict")
        scores = self.predict(sequences, batch_size=batch_size, **options)
        if isinstance(scores, dict):
            scores = next(iter(scores.values()))  # the classes belong to the first output
        return scores_to_labels(scores, self.classes, top_k)

    def forecast(
        self, history: Any, steps: int, known: Mapping[str, Any] | None = None, batch_size: int = 128
    ) -> Array:
        """Forecast the steps that follow each series, with a network that predicts the next step from each step.

        In a closed loop, each output of the network is the next input. The loop runs inside the file if it was exported
        with closed_loop, otherwise in Python, with one run per step. In an open loop, the inputs are the true values in
        `known`. If a series or its known values contain NaN or infinity, its forecast is NaN, unless values of the
        input may be missing. Other series are not affected.

        Args:
            history: the series, as `predict` takes sequences; or one series as an array, with several inputs a dict
                of arrays.
            steps: the number of steps to forecast.
            known: future values by input layer, in the form of history, from the first step after it. At least
                `steps` − 1 values are needed, because the last forecast is not fed back. In a closed loop, every input
                with time needs them except the one that gets the output. In an open loop, this one needs them too.
                A network trained with `SequenceDataset.next_step(known=…)` reads each value one step early: give
                values[1 : n + 1] as history of n steps, and values[n + 1 :] here.
            batch_size: series per batch; series of similar length run together.

        Returns:
            [series, steps, features]; for one series [steps, features].

        Raises:
            DataError: a series has wrong values; the message names the series.
            ShapeError: a series has a wrong shape; the message names the series.
            SpecError: the output of the network does not fit its input.
            NotStreamable: the file has no states.

        Example:
            >>> model.forecast([temperature, another], 24)
        """
        return forecast(self.model, history, steps, known, batch_size, self.threads)

    def foreign(self, sequences: Any) -> Array | dict[str, Array]:
        """Return how far sequences are from the training data, a number for each channel and no decision.

        It is the largest of three, in standard deviations: of the mean of the sequence, of the logarithm of its spread,
        both among those of the training sequences, and of its steps, as far as their mean distance is beyond that of
        any training sequence. Fresh data is usually below 5; `predict` warns of sequences above 8.

        Args:
            sequences: a list of sequences, or a SequenceDataset, as `predict` takes them.

        Returns:
            [sequences, channels]; with several inputs of numbers, a dict by input layer. NaN if the file does not say
            what the training data was like, with a warning.

        Raises:
            SpecError: no input takes numbers.
            DataError: sequences have wrong values; the message names the sequence.
            ShapeError: sequences have wrong shapes; the message names the sequence.

        Example:
            >>> model.foreign(sequences).max(1)
        """
        found = distances(self.model, read_rows(sequences, self.model.inputs, self.contract))
        return found if len(found) > 1 else next(iter(found.values()))

    def stream(self) -> Stream:
        """Return a new stream at its start, for inference one step or chunk at a time.

        Raises:
            NotStreamable: the file has no states.
        """
        return Stream(self.model)

    def pool(
        self,
        capacity: int = 1024,
        maximum: int | None = None,
        idle_seconds: float | None = None,
        gather_ms: float = 0,
        on_evict: Callable[[list[int]], object] | None = None,
        waiting_steps: int = 100_000,
    ) -> StreamPool:
        """Return a pool without open streams: thousands of streams that step together.

        Args:
            capacity: room for streams at first; it doubles when the pool is full.
            maximum: the largest number of streams; beyond it `open` raises StreamError. None: 2²⁴.
            idle_seconds: streams without a step for this time are closed when the pool needs room.
            gather_ms: how long `push` waits for others to run with. 0: until the next turn of the event loop.
            on_evict: called with the ids of the streams that were closed because of `idle_seconds`.
            waiting_steps: how many steps of `push` may wait for one stream; beyond it `push` raises StreamError. One
                push may be longer if no other waits for its stream.

        Raises:
            NotStreamable: the file has no states, or runs one stream at a time (form="step").
            SpecError: an argument is wrong.

        Example:
            >>> pool = model.pool(1000)
            >>> ids = [pool.open() for _ in range(3)]
            >>> pool.step(ids, np.zeros((3, 12)))
        """
        return StreamPool(self.model, capacity, maximum, idle_seconds, gather_ms, on_evict, waiting_steps)

    def placement(self) -> list[Placement]:
        """Return where each node of the graph runs after onnxruntime's optimization.

        The reason says why a node does not run on the first provider. onnxruntime gives none, so it is derived from
        what is known of its kernels.

        Raises:
            SpecError: this onnxruntime is older than 1.24 and does not report it.

        Example:
            >>> [place for place in load("vowels.onnx", "cuda").placement() if place.reason]
        """
        return placement(self.model)

    def _activations(self, layers: Sequence[str]) -> list[Output]:
        if isinstance(layers, str):
            raise SpecError(f"outputs: expected a list of layer names, got the string {layers!r}")
        if not layers:
            raise SpecError("outputs: expected at least one layer name, got none; None means the network's outputs")
        by_layer = {output.layer: output for output in self.model.outputs} | self.model.activations
        for layer in layers:
            if layer not in by_layer:
                raise SpecError(
                    f"outputs: {layer!r} is not in the file, which has {list(by_layer)}; export with "
                    f"activations=[{layer!r}], or True for all layers"
                )
        return [by_layer[layer] for layer in dict.fromkeys(layers)]
