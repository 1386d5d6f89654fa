"""The parts of tools/bench.py about raw signals and decisions: spectra and alarms."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_report import REPORT, ratio, table, void

import seq2onnx as s2o

KEYWORD = Path(__file__).resolve().parents[1] / "models" / "keyword"
RATE, HOP = 16000, 160
CHUNKS = 200  # of 10 ms in each round


def spectra() -> None:
    """Mel spectra of 16 kHz (400/160/512, 80 bands) relative to kaldi-native-fbank, which `pip install` adds."""
    try:
        import kaldi_native_fbank
    except ImportError:
        print("  left out: pip install kaldi-native-fbank")
        return
    x = (0.1 * np.random.default_rng(0).normal(size=(20 * RATE, 1))).astype(np.float32)
    chunks = [x[start : start + HOP] for start in range(0, CHUNKS * HOP, HOP)]
    integers = [(chunk[:, 0] * 32768).tolist() for chunk in chunks]
    whole = (x[:, 0] * 32768).tolist()

    def fbank() -> Any:
        options = kaldi_native_fbank.FbankOptions()
        options.frame_opts.dither = 0
        options.mel_opts.num_bins = 80
        return kaldi_native_fbank.OnlineFbank(options)

    online = fbank()

    def by_kaldi() -> None:
        for chunk in integers:
            online.accept_waveform(RATE, chunk)
            online.get_frame(online.num_frames_ready - 1)

    def whole_by_kaldi() -> None:
        one = fbank()
        one.accept_waveform(RATE, whole)
        one.input_finished()
        void([one.get_frame(frame) for frame in range(one.num_frames_ready)])

    online.accept_waveform(RATE, whole[:400])
    streamed: dict[str, Callable[[], None]] = {"kaldi-native-fbank": by_kaldi}
    at_once: dict[str, Callable[[], None]] = {"kaldi-native-fbank": whole_by_kaldi}
    layers = {"mel": s2o.MelSpectrogram(RATE, 400, HOP, 80, 512), "kaldi's": s2o.MelSpectrogram.kaldi(padding="causal")}
    with tempfile.TemporaryDirectory() as folder:
        for name, layer in layers.items():
            module = s2o.build(s2o.Network([s2o.SequenceInput(1), layer])).eval()
            for signature in ("full", "sequence"):
                path = Path(folder) / "mel.onnx"
                s2o.export(module, path, signature=signature)
                model = s2o.load(path)
                at_once[f"{name}, {signature}"] = _whole(model, x)
                if signature == "full":
                    streamed[f"{name}, session.run"] = _by_session(model, chunks)
                    streamed[f"{name}, Stream.step"] = _by_stream(model, chunks)
            s2o.export(module, path, form="step")
            streamed[f"{name}, Stream.step, form step"] = _by_stream(s2o.load(path), chunks)
    print(f"  {CHUNKS} chunks of 10 ms")
    times = table(streamed, rounds=25)
    for name in streamed:
        if "Stream.step" in name:
            ratio(name, "kaldi-native-fbank", times, 3)
    print("  20 s at once")
    times = table(at_once, rounds=15)
    for name in list(at_once)[1:]:
        ratio(name, "kaldi-native-fbank", times, 0.6)


def _by_session(model: Any, chunks: list[Any]) -> Callable[[], None]:
    names = [output.name for output in model.session.get_outputs()]
    states = {state.name: state.zeros(1) for state in model.states}
    new = [state.new_name for state in model.states]
    order = [names.index(name) for name in new]
    lengths = np.array([HOP], np.int32)

    def run() -> None:
        held = states
        for chunk in chunks:
            values = model.session.run(names, {"x": chunk[None], "lengths": lengths, **held})
            held = {state: values[place] for state, place in zip(states, order, strict=True)}

    return run


def _whole(model: Any, x: Any) -> Callable[[], None]:
    return lambda: void(model.predict([x]))


def _by_stream(model: Any, chunks: list[Any]) -> Callable[[], None]:
    stream = model.stream()

    def run() -> None:
        for chunk in chunks:
            stream.step(chunk)

    return run


def alarm() -> None:
    """An Alarm with all options: µs of a step, whole and streamed."""
    steps = 50_000
    with tempfile.TemporaryDirectory() as folder:
        for scores in (1, 10):
            threshold = [0.8] * (scores - 1) + [None] if scores > 1 else 0.8
            layers = [s2o.SequenceInput(scores), s2o.Alarm(threshold, 0.3, patience=3, hold=20)]
            s2o.export(s2o.build(s2o.Network(layers)), Path(folder) / "alarm.onnx")
            model = s2o.load(Path(folder) / "alarm.onnx")
            x = np.random.default_rng(0).random((steps, scores)).astype(np.float32)
            runs = {"whole": _whole(model, x), "Stream.step, 1,000 steps": _by_stream(model, list(x[:1000]))}
            times = table(runs, rounds=15)
            micros = [1e6 * seconds / steps for seconds in times["whole"]]
            REPORT.add(f"µs a step of a whole sequence, scores: {scores}", float(np.median(micros)), 1.0, micros)


def keyword() -> None:
    """The network keyword of the zoo, from samples to events: ms for 20 ms of sound, as it is and as a step file."""
    samples = s2o.SequenceDataset.load(KEYWORD / "test_slice.npz").sequences[0]
    with tempfile.TemporaryDirectory() as folder:
        s2o.export(s2o.restore(KEYWORD / "model.onnx"), Path(folder) / "step.onnx", form="step")
        files = {"Stream.step": KEYWORD / "model.onnx", "Stream.step, form step": Path(folder) / "step.onnx"}
        models = {name: s2o.load(file) for name, file in files.items()}
    size = models["Stream.step"].contract.time_stride
    chunks = [samples[start : start + size] for start in range(0, len(samples) - size + 1, size)]
    times = table({name: _by_stream(model, chunks) for name, model in models.items()}, rounds=15)
    for name, rounds in times.items():
        milliseconds = [1e3 * seconds / len(chunks) for seconds in rounds]
        REPORT.add(f"{name}, ms for 20 ms of sound", float(np.median(milliseconds)), 0.5, milliseconds)
