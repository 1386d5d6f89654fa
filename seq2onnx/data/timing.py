"""What is done with the time stamps of a data set: they are measured, and warned of."""

from __future__ import annotations

from pathlib import Path

from seq2onnx.data.contents import Contents
from seq2onnx.data.stamps import stamps
from seq2onnx.data.time_steps import TimeSteps, measure, warn_of_time_steps


def timed(contents: Contents, where: str | Path) -> tuple[Contents, list[TimeSteps]]:
    """Measure the steps between the time stamps of each sequence, and warn of what is wrong with them.

    Args:
        contents: what a format has read.
        where: the file, for warnings and errors.

    Returns:
        The contents, and the steps of each sequence: none without time stamps.
    """
    times = contents.times
    if times is None:
        return contents, []
    found = [stamps(values, times.column) for values in times.values]
    names = contents.ids or [str(index) for index in range(len(found))]
    steps = [measure(*each) for each in zip(found, names, times.back, strict=True)]
    warn_of_time_steps(steps, str(where), is_resampled=False, has_limit=False)
    return contents, steps
