"""What is done with the time stamps of a data set: they are measured and warned of, and give the sequences one rate."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from seq2onnx.data.contents import Contents
from seq2onnx.data.resampling import earlier, resample, step_count
from seq2onnx.data.stamps import Stamps, stamps
from seq2onnx.data.time_steps import TimeSteps, check_units, common_rate, measure, warn_of_time_steps
from seq2onnx.errors import DataError, warn
from seq2onnx.sequences.rates import check_number, differ, rate_text


@dataclasses.dataclass(frozen=True)
class Timing:
    """The arguments of `seq2onnx.data.read` that need time; see there."""

    sample_rate: float | None = None
    rate: float | None = None
    max_gap: float | None = None
    trusted: bool = False

    def check(self, time: str | None) -> None:
        """Raise DataError for wrong numbers, and if there are no time stamps, which is `time` None, to resample by."""
        for name in ("sample_rate", "rate", "max_gap"):
            check_number(getattr(self, name), name)
        if self.max_gap is not None and self.rate is None:
            raise DataError("max_gap: is the longest gap to fill in resampling; give the rate too: rate=… (--rate)")
        if self.rate is None:
            return
        if time is None:
            raise DataError(
                "rate: data is resampled by the time of each step, but no column of times is named. Name it: time=… "
                "(--time). If there is none, sample_rate=… (--sample-rate) says which rate the data has"
            )
        if self.sample_rate is not None:
            raise DataError("sample_rate: is that of the result where data is resampled; leave it or rate out")


def timed(contents: Contents, where: str | Path, timing: Timing) -> tuple[Contents, list[TimeSteps]]:
    """Measure the steps between the time stamps of each sequence and their rate, warn of what is wrong, and resample.

    Args:
        contents: what a format has read.
        where: the file, for warnings and errors.
        timing: what the user gives.

    Returns:
        The contents with the sample rate, and the steps of each sequence as they were: none without time stamps.
    """
    known, sample_rate, times = contents.sample_rate, timing.sample_rate, contents.times
    if sample_rate is not None and known is not None and differ(sample_rate, known):
        warn("rate-differs", f"{where}: sample_rate is {rate_text(sample_rate)}, but the file has {rate_text(known)}")
    if times is None:
        return dataclasses.replace(contents, sample_rate=sample_rate or known), []
    found = [stamps(values, times.column) for values in times.values]
    names = contents.ids or [str(index) for index in range(len(found))]
    steps = [measure(*each) for each in zip(found, names, times.back, strict=True)]
    warn_of_time_steps(steps, str(where), timing.rate is not None, timing.max_gap is not None)
    if timing.rate is not None:
        if odd := check_units(steps):
            raise DataError(f"{where}: rate: the steps are {odd}, in different units; write all stamps in one unit")
        return _resampled(contents, found, names, timing, timing.rate), steps
    measured = common_rate(steps)
    if sample_rate is not None and measured is not None and differ(sample_rate, measured):
        warn(
            "rate-differs",
            f"{where}: sample_rate is {rate_text(sample_rate)}, but the time stamps have {rate_text(measured)}",
        )
    return dataclasses.replace(contents, sample_rate=sample_rate or measured), steps


def _resampled(
    contents: Contents, found: Sequence[Stamps], names: Sequence[str], timing: Timing, rate: float
) -> Contents:
    """Return the contents with all sequences, and their targets of steps, at one rate."""
    sequences, targets = [], []
    for index, (values, one) in enumerate(zip(contents.sequences, found, strict=True)):
        count = step_count(one.seconds, rate, names[index], timing.trusted)
        sequences.append(resample(values, one.seconds, count, rate, timing.max_gap))
        if contents.per_step and contents.targets is not None:
            targets.append(contents.targets[index][earlier(one.seconds, count, rate)])
    return dataclasses.replace(
        contents, sequences=sequences, targets=targets or contents.targets, sample_rate=float(rate)
    )
