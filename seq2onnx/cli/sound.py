"""Sound for `seq2onnx stream`: the samples of a .wav file, or raw ones from a microphone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from seq2onnx.cli.options import show, write_row
from seq2onnx.errors import ShapeError, SpecError
from seq2onnx.evaluation.predictions import begins, column_names
from seq2onnx.sequences.rates import check_rate

if TYPE_CHECKING:
    from seq2onnx.runtime import Predictor

Pcm = Literal["s16le"]
SAMPLES_AT_ONCE = 4096
PCM_BYTES = 2
"""The bytes of a sample in s16le."""


def stream_sound(model: Predictor, wav: Path | None, quiet: bool) -> None:
    """Run one stream over sound, and write a line for each result: its time, and its label and scores, or its alarms.

    The network has one input of steps [channels], and one output. Without a `wav` file, standard input is s16le.
    """
    entry, rate = model.inputs[0], model.contract.sample_rate
    if entry.is_tokens:
        raise SpecError(f"{model.path}: takes words, not samples of sound")
    (channels,) = entry.shape
    if wav is None:
        expected = "" if rate is None else f", {rate:g} samples a second"
        if not quiet:
            show(f"expecting 16-bit samples (s16le) of {channels} channel{'s' * (channels > 1)}{expected}", err=True)
        chunks = _pcm(sys.stdin.buffer, channels, quiet)
    else:
        from seq2onnx.data.formats.wav import read_samples

        samples, found = read_samples(wav)
        check_rate(found, rate, str(wav), model.contract.has_fixed_rate)
        if samples.shape[1] != channels:
            raise ShapeError(
                f"{wav}: has {samples.shape[1]} channels, the network takes {channels}; mix or select them, such as "
                "with: ffmpeg -i IN.wav -ac 1 OUT.wav"
            )
        rate = found
        chunks = (samples[at : at + SAMPLES_AT_ONCE] for at in range(0, len(samples), SAMPLES_AT_ONCE))
    _run(model, chunks, rate, quiet)


def _pcm(file: BinaryIO, channels: int, quiet: bool) -> Iterator[Any]:
    """Yield the samples that have arrived, [samples, channels] in ±1; those of an incomplete step wait."""
    rest, size = b"", PCM_BYTES * channels
    while data := file.read1(2**16):  # type: ignore[attr-defined]
        data = rest + data
        whole = len(data) - len(data) % size
        rest = data[whole:]
        yield np.frombuffer(data[:whole], "<i2").reshape(-1, channels).astype(np.float32) / 32768
    if rest and not quiet:
        show(f"{len(rest)} bytes at the end are less than a sample of {size} bytes, and are left out", err=True)


def _run(model: Predictor, chunks: Iterator[Any], rate: float | None, quiet: bool) -> None:
    stream, size = model.stream(), model.contract.chunk_steps
    results = _Results(model, rate)
    waiting = np.zeros((0, *model.inputs[0].shape), np.float32)  # of a step file, which runs several steps at a time
    for chunk in chunks:
        waiting = np.concatenate([waiting, chunk]) if len(waiting) else chunk
        whole = len(waiting) - len(waiting) % size
        if whole:
            results.add(whole, stream.step(waiting[:whole]))
        waiting = waiting[whole:]
    if len(waiting) and not quiet:
        show(f"{len(waiting)} samples at the end have no result: this step file runs {size} at a time", err=True)
    if model.lookahead and results.samples:
        results.add(0, stream.finish())


class _Results:
    """Writes the results of one stream; `samples` counts the samples heard."""

    def __init__(self, model: Predictor, rate: float | None) -> None:
        self.samples, self._count, self._rate, self._model = 0, 0, rate, model
        self._output = model.model.outputs[0]
        self._width = self._output.shape[-1]
        self._names = column_names(model)
        self._on = np.zeros(self._width)

    def add(self, samples: int, results: Any) -> None:
        """Write the results of a chunk of samples."""
        from seq2onnx.runtime import scores_to_labels
        from seq2onnx.runtime.outputs import needed_samples

        self.samples += samples
        for row in np.asarray(results).reshape(-1, self._width):
            place = self.samples
            if self._output.has_time:  # with lookahead, the last results come when the sound ends
                place = min(int(needed_samples(self._model.contract, self._output, np.array(self._count))), place)
            self._count += 1
            time = place if self._rate is None else f"{place / self._rate:.3f}"
            if self._model.contract.answer == "events":
                begun = np.flatnonzero(begins(row[None], self._on)).tolist()
                self._on = row.copy()
                cells = [self._names[k] for k in begun]
                if not cells:
                    continue
            else:
                labels = scores_to_labels(row[None], self._model.classes).tolist() if self._model.classes else []
                cells = [*labels, *(f"{score:.7g}" for score in row)]
            write_row([time, *cells])
        sys.stdout.flush()
