"""Benchmarks of reading data."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pandas as pd
from bench_report import REPORT, ratio, table, void

import seq2onnx as s2o


def resampling() -> None:
    """A data frame of 10 million rows, 3 channels and 100 sequences of 20 Hz with jitter and holes, to 10 Hz."""
    rows, sequences = 10**6 if REPORT.quick else 10**7, 100
    rng = np.random.default_rng(0)
    steps = rng.uniform(0.045, 0.055, rows) + (rng.random(rows) < 1e-4) * 10
    frame = pd.DataFrame({"id": np.repeat(np.arange(sequences), rows // sequences), "time": np.cumsum(steps)})
    for name in "xyz":
        frame[name] = rng.normal(size=rows)
    read = partial(s2o.SequenceDataset.from_frame, frame, id="id", time="time")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "holes")
        times = table(
            {
                "without time": lambda: void(s2o.SequenceDataset.from_frame(frame.drop(columns="time"), id="id")),
                "read": lambda: void(read()),
                "read, to 10 Hz": lambda: void(read(rate=10, max_gap=0.5)),
                "read, to 20 Hz": lambda: void(read(rate=20, max_gap=0.5)),
            },
            rounds=3,
        )
    for name in ("read, to 10 Hz", "read, to 20 Hz"):
        ratio(name, "read", times, 3)
