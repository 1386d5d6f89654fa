"""Collect what a report shows: the model, its results on data, parity and latency."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import seq2onnx
from seq2onnx.data import SequenceDataset
from seq2onnx.errors import DataError, ModelFileError, ShapeError, require
from seq2onnx.evaluation.importance import Importance, importance
from seq2onnx.evaluation.scores import Evaluation, NothingToCompare, evaluate
from seq2onnx.network import Network
from seq2onnx.reporting.benchmark import measure
from seq2onnx.runtime.inputs import Input
from seq2onnx.runtime.unlike_training import find_unlike
from seq2onnx.sequences import Channels, is_finite

MAX_SEQUENCES, MAX_SECONDS, REPEATS = 1000, 20.0, 3  # for the importance of channels
SECONDS = 0.5  # for each measurement of latency
STEPS = 100
MAX_PARITY_SEQUENCES = 100


ReadData = Callable[[Path, Channels], SequenceDataset]


class Facts:
    """The figures of a report: a model is opened, verified, measured, and run on data.

    Args:
        source: a run folder or an ONNX file. Of a run, model.onnx is used; if it does not exist, it is exported.
        path: a data file, or None.
        read: reads the data by the names of the model's features.
        allow_changed: whether another program may have changed the file.

    Attributes:
        comparison: predictions and targets, or a sentence that says why there is nothing to compare.
        unlike: which channels of the data are unlike the training data; None: none is known to be.
        importance: which channels matter, a sentence that says why this is not measured, or None.
        sample: the sequences for the parity checks, None if there are none without gaps.
        steps: the length of the sequence that latency was measured on.
    """

    def __init__(self, source: Path, path: Path | None, read: ReadData, allow_changed: bool = False) -> None:
        self.source, self.path = source, path
        self.is_run, self.is_exported = source.is_dir(), False
        with TemporaryDirectory() as folder:
            module, file = None, source
            if self.is_run:
                from seq2onnx.training import load_run

                module, file = load_run(source), source / "model.onnx"
                if not file.is_file():
                    file, self.is_exported = Path(folder) / "model.onnx", True
                    seq2onnx.export(module, file)
            self.model, self.file_bytes = seq2onnx.load(file, allow_changed=allow_changed), file.stat().st_size
            if self.model.contract.network is None:
                raise ModelFileError(
                    f"{file}: was made by add_states and has no layers to report on; use inspect, verify and bench"
                )
            self.network = Network.from_dict(self.model.contract.network, str(file))
            self.parameters = sum(count for _, _, count, _ in self.network.table())
            self.data = None if path is None else read(path, self.model.channels)
            self.comparison: Evaluation | str | None = None
            try:
                self.unlike = None if self.data is None else find_unlike(self.model.model, self.data)
                self.comparison = None if self.data is None else evaluate(self.model, self.data)
            except NothingToCompare as error:
                self.comparison = str(error)
            except (DataError, ShapeError) as error:
                raise type(error)(f"{path}: {error}") from None
            self.importance: Importance | str | None = None
            if self.comparison and not isinstance(self.comparison, str):
                require("matplotlib", extra="train")  # for the charts; fail before the long checks
                self.importance = self._importance()
            self.sample = None if self.data is None else _parity_sample(self.data, self.model.inputs)
            self.parity = seq2onnx.verify(file, module, self.sample, allow_changed=allow_changed)
        self.steps = max(STEPS, self.model.contract.min_length)
        self.latency, _ = measure(self.model, (self.steps, self.steps), SECONDS)

    def _importance(self) -> Importance | str | None:
        """Which channels matter; None for a single channel, a sentence if this would take long."""
        count = sum(0 if entry.is_tokens else entry.shape[0] for entry in self.model.inputs)
        if self.data is None or count < 2 or len(self.data) < 2 or self.model.closed_loop:
            return None
        some = self.data
        if len(some) > MAX_SEQUENCES:
            some = some.subset(np.sort(np.random.default_rng(0).permutation(len(some))[:MAX_SEQUENCES]))
        start = time.perf_counter()
        try:
            evaluate(self.model, some)
            if (time.perf_counter() - start) * count * REPEATS > MAX_SECONDS:
                return f"Which of the {count} channels matter takes long: seq2onnx evaluate --importance says it."
            return importance(self.model, some, repeats=REPEATS)
        except DataError:  # all targets are equal, or there are too few sequences without gaps
            return None


def _parity_sample(data: SequenceDataset, inputs: Sequence[Input]) -> SequenceDataset | None:
    """The first sequences, of which `verify` skips those with gaps; None if all have gaps that the network refuses."""
    sample = data.subset(slice(0, MAX_PARITY_SEQUENCES))
    refuses = {entry.layer for entry in inputs if not entry.missing and not entry.is_tokens}
    parts = {name or inputs[0].layer: part for name, part in sample.parts.items()}
    floats = [part.take(range(len(sample))) for layer, part in parts.items() if layer in refuses]
    is_usable = not floats or any(all(map(is_finite, arrays)) for arrays in zip(*floats, strict=True))
    return sample if is_usable else None
