"""Guests that read whole nights: networks that others have trained, brought over by from_keras."""

from __future__ import annotations

import dataclasses
import datetime
import io
import os
import shutil
import statistics
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from real_data import download

import seq2onnx as s2o
from seq2onnx.reporting.benchmark import environment
from zoo.making import write_figures

SAME = "share of the steps with the package's own stage"
HOURS = (8.0, 3.0)
RECORDING = (
    "SIMULATED heart beats of two nights of 8 and 3 hours: periods of 0.9 s that follow the breath, a cycle of 90 "
    "minutes, and normally distributed noise. The second night has no beats for 40 minutes, and its age, gender and "
    "start are unknown."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Night:
    """A network that gives a stage to each 30 s of a night.

    title, task, source, licence, limits: of the card
    package, classifier: on PyPI, and the network's name there
    classes: the labels of its scores
    """

    name: str
    title: str
    task: str
    source: str
    licence: str
    limits: str
    package: str
    classifier: str
    classes: tuple[str, ...]


def beats(hours: float, seed: int) -> NDArray[np.float64]:
    """Return the times of simulated heart beats, s."""
    rng, t = np.random.default_rng(seed), 0.9 * np.arange(int(3600 * hours / 0.9))
    cycle = np.sin(2 * np.pi * t / 5400)
    breath = np.sin(2 * np.pi * 0.25 * t) * (0.05 - 0.03 * cycle)
    return np.cumsum(0.9 + 0.1 * cycle + breath + rng.normal(size=t.size) * (0.03 + 0.02 * cycle))


def make(night: Night, out: Path) -> None:
    """Bring a network over and measure it; write out/NAME, but for its card. Needs sleepecg and Keras, installed."""
    wheel = zipfile.ZipFile(io.BytesIO(download(night.package)))
    distribution = night.package.replace("==", "-")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{night.name}.") as name:
        folder, source = Path(name, "made"), Path(name, "classifier.keras")
        folder.mkdir()
        packed = io.BytesIO(wheel.read(f"sleepecg/classifiers/{night.classifier}.zip"))
        source.write_bytes(zipfile.ZipFile(packed).read("classifier.keras"))
        (folder / "LICENSE").write_bytes(wheel.read(f"{distribution}.dist-info/licenses/LICENSE"))
        module = s2o.from_keras(source, masks="lengths")
        s2o.export(module, folder / "model.onnx", classes=night.classes)
        features, own = own_answers(night)
        lengths = [len(rows) for rows in features]
        np.savez_compressed(
            folder / "test_slice.npz", features=np.concatenate(features), lengths=lengths, answers=np.concatenate(own)
        )
        report = s2o.verify(folder / "model.onnx", data=features)
        model = s2o.load(folder / "model.onnx")
        answers = np.concatenate(model.predict(features))
        write_figures(
            folder,
            {
                "figures": share(answers, np.concatenate(own)),
                "steps": lengths,
                "difference": np.abs(answers - np.concatenate(own)).max(),
                "largest": np.abs(np.concatenate(own)).max(),
                "parity": [{"check": r.check, "tensor": r.tensor, "max_abs": r.max_abs} for r in report.rows],
                "latency": {"us": latency(model, features[0]), "of": f"a night of {lengths[0]} steps"},
                "bytes": (folder / "model.onnx").stat().st_size,
                "made_with": environment(),
            },
        )
        shutil.rmtree(out / night.name, ignore_errors=True)
        folder.rename(out / night.name)


def own_answers(night: Night) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Return the features of the simulated nights and the scores of the package itself, [time, classes]."""
    os.environ["KERAS_BACKEND"] = "torch"
    import sleepecg

    own = sleepecg.load_classifier(night.classifier, "SleepECG")
    late = beats(HOURS[1], seed=1)
    records = [
        sleepecg.SleepRecord(
            sleep_stage_duration=30,
            recording_start_time=datetime.time(23, 10),
            heartbeat_times=beats(HOURS[0], seed=0),
            subject_data=sleepecg.SubjectData(gender=1, age=40),
        ),
        sleepecg.SleepRecord(sleep_stage_duration=30, heartbeat_times=late[(late < 4000) | (late > 6400)]),
    ]
    features, _, _ = sleepecg.extract_features(records, **own.feature_extraction_params)
    features = [np.where(np.isfinite(rows), rows, own.mask_value).astype(np.float32) for rows in features]
    return features, [sleepecg.stage(own, record, return_mode="prob") for record in records]


def share(answers: NDArray[Any], own: NDArray[Any]) -> dict[str, float]:
    """Return the share of steps whose stage is that of the package."""
    return {SAME: float(np.mean(answers.argmax(1) == own.argmax(1)))}


def latency(model: Any, night: NDArray[np.float32]) -> float:
    """Median microseconds of a whole night on one thread."""
    times = []
    for _ in range(50):
        began = time.perf_counter()
        model.predict([night])
        times.append(time.perf_counter() - began)
    return 1e6 * statistics.median(times)


NIGHTS: dict[str, Night] = {
    night.name: night
    for night in (
        Night(
            name="sleepecg",
            title="Sleep stages from heart beats (SleepECG)",
            task=(
                "Awake, REM or non-REM sleep, for each 30 s of a night? Two bidirectional GRUs on 36 numbers about the "
                "heart rate and the person."
            ),
            source=(
                "sleepecg 0.6.0 on PyPI, sleepecg/classifiers/wrn-gru-mesa.zip; its authors trained it with nights of "
                "the Multi-Ethnic Study of Atherosclerosis (MESA)"
            ),
            licence="BSD 3-Clause, Copyright (c) 2021, Florian Hofer, Clemens Brunner ([LICENSE](LICENSE))",
            limits=(
                "It needs the whole night: both GRUs also run backward. The features come from `extract_features` of "
                "sleepecg, with −1 for each number that is unknown. Keras skips a step of which all 36 numbers are −1; "
                "this file reads it like any other. `stage` of sleepecg never gives such a step: without beats, the "
                "count NN50 is 0. Simulated beats say nothing about sleep: they only show that this file and the "
                "package agree. It is no medical device."
            ),
            package="sleepecg==0.6.0",
            classifier="wrn-gru-mesa",
            classes=("UNDEFINED", "NREM", "REM", "WAKE"),
        ),
    )
}
