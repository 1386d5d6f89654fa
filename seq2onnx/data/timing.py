"""What is done with the time stamps of a data set: they are measured, and warned of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from seq2onnx.data.contents import Contents
from seq2onnx.data.stamps import stamps
from seq2onnx.data.time_steps import TimeSteps, common_rate, measure, warn_of_time_steps
from seq2onnx.errors import warn
from seq2onnx.sequences.rates import check_number, differ, rate_text


def timed(contents: Contents, where: str | Path, sample_rate: float | None = None) -> tuple[Contents, list[TimeSteps]]:
    """Measure the steps between the time stamps of each sequence and their rate, and warn of what is wrong with them.

    Args:
        contents: what a format has read.
        where: the file, for warnings and errors.
        sample_rate: the steps per second that the user gives. None: as the file says, or as measured.

    Returns:
        The contents with the sample rate, and the steps of each sequence: none without time stamps.
    """
    check_number(sample_rate, "sample_rate")
    known = contents.sample_rate
    if sample_rate is not None and known is not None and differ(sample_rate, known):
        warn("rate-differs", f"{where}: sample_rate is {rate_text(sample_rate)}, but the file has {rate_text(known)}")
    sample_rate = sample_rate or known
    times = contents.times
    if times is None:
        return dataclasses.replace(contents, sample_rate=sample_rate), []
    found = [stamps(values, times.column) for values in times.values]
    names = contents.ids or [str(index) for index in range(len(found))]
    steps = [measure(*each) for each in zip(found, names, times.back, strict=True)]
    warn_of_time_steps(steps, str(where), is_resampled=False, has_limit=False)
    measured = common_rate(steps)
    if sample_rate is None:
        sample_rate = measured
    elif measured is not None and differ(sample_rate, measured):
        warn(
            "rate-differs",
            f"{where}: sample_rate is {rate_text(sample_rate)}, but the time stamps have {rate_text(measured)}",
        )
    return dataclasses.replace(contents, sample_rate=sample_rate), steps
