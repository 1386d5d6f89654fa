"""The steps between the time stamps of each sequence: their rate, and what is wrong with them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.stamps import Stamps, unit_name
from seq2onnx.errors import warn
from seq2onnx.sequences.channels import listed
from seq2onnx.sequences.rates import differ, rate_text

SMALL_JITTER = 0.01
"""Below this deviation of the steps, in parts of a step, a measured rate is rounded to three digits."""
_LARGEST_RATIO = 300
"""Steps of files that differ by more are in different units, such as milliseconds beside seconds."""
_MOST_SORTED = 0.25
"""If more of the stamps go back, the rows are in no order of time, and the user wants them sorted."""
_NAMES = 5


@dataclasses.dataclass(frozen=True)
class TimeSteps:
    """The steps between the time stamps of one sequence, in seconds.

    Attributes:
        name: the name of the sequence.
        unit: that of its stamps, as in Stamps.
        is_known: whether the unit is known, or the steps are no counts, see Stamps.
        count: how many steps there are.
        median, smallest, largest: of all steps; the median of those above 0.
        mean, deviation: of the steps above 0 that are no holes. NaN if there are none.
        is_regular: whether the steps have a rate: half of them differ by at most half of the median.
        holes: how many steps are much longer than the others.
        duplicates: how many steps are 0.
        back: how many stamps went back before the rows were sorted.
    """

    name: str
    unit: float | None
    is_known: bool
    count: int
    median: float
    smallest: float
    largest: float
    mean: float
    deviation: float
    is_regular: bool
    holes: int
    duplicates: int
    back: int


def measure(stamps: Stamps, name: str, back: int = 0) -> TimeSteps:
    """Measure the steps of one sequence."""
    steps: NDArray[np.float64] = np.diff(stamps.seconds)
    rising = np.sort(steps[steps > 0])
    smallest, largest = (float(steps.min()), float(steps.max())) if len(steps) else (np.nan, np.nan)
    if not len(rising):
        return TimeSteps(
            name, stamps.unit, False, len(steps), np.nan, smallest, largest, np.nan, np.nan, False, 0, len(steps), back
        )
    first, median, third = (float(rising[(len(rising) - 1) * part // 4]) for part in (1, 2, 3))
    spread = third - first
    limit = 1.5 * median + 3 * spread if len(rising) > 2 else np.inf
    kept = rising[: int(np.searchsorted(rising, limit, "right"))]
    mean = float(kept.mean())
    is_count = not stamps.is_known and median == 1 and not (steps % 1).any()
    duplicates = int((steps == 0).sum())
    return TimeSteps(
        name, stamps.unit, not is_count, len(steps), median, smallest, largest, mean, float(kept.std()),
        spread <= median / 2, len(rising) - len(kept), duplicates, back,
    )  # fmt: skip


def common_rate(found: Sequence[TimeSteps]) -> float | None:
    """Return the steps per second that all sequences share, rounded to three digits where the jitter is small.

    None: they differ, or are irregular, or only count from 1 to 1.
    """
    timed = [steps for steps in found if steps.mean > 0]
    if not timed or not all(steps.is_known and steps.is_regular for steps in timed) or any(_apart(timed).values()):
        return None
    weights = np.array([steps.count for steps in timed], float)
    mean = float(np.average([steps.mean for steps in timed], weights=weights))
    jitter = np.average([(steps.deviation / steps.mean) ** 2 for steps in timed], weights=weights) ** 0.5
    return float(f"{1 / mean:.3g}") if jitter < SMALL_JITTER else 1 / mean


def check_units(found: Sequence[TimeSteps]) -> str:
    """Return which sequences have steps of other units than most; "" if none has."""
    timed = [steps for steps in found if steps.mean > 0]
    if not timed:
        return ""
    others, common = _apart(timed)["units"], _commonest(timed)
    return f"{_named([(steps, f'{steps.mean:.3g}') for steps in others])} beside {common.mean:.3g}" if others else ""


def warn_of_time_steps(found: Sequence[TimeSteps], where: str, is_resampled: bool, has_limit: bool) -> None:
    """Warn of what is wrong with the time stamps: once of each kind, with the sequences.

    Args:
        found: the steps of each sequence.
        where: the file.
        is_resampled: all sequences get one rate, so that they may have different ones.
        has_limit: resampling leaves long holes open.
    """
    timed = [steps for steps in found if steps.mean > 0]
    apart = _apart(timed)
    if others := apart["units"]:
        warn(
            "units-differ",
            f"{where}: {len(others):,} of {len(found):,} sequences have time stamps in another unit. Their steps are "
            f"{check_units(found)} s in most. Are these milliseconds beside seconds? Write all in one unit",
        )
    elif others := apart["known units"]:
        units = [(steps, unit_name(steps.unit or 1)) for steps in others]
        warn(
            "units-differ",
            f"{where}: {len(others):,} of {len(found):,} sequences have time stamps in another unit, and are read so: "
            f"{_named(units)} beside {unit_name(_commonest(timed).unit or 1)}. Write all in one unit",
        )
    if (others := apart["rates"]) and not is_resampled:
        rates = [(steps, rate_text(1 / steps.mean)) for steps in others]
        rate = rate_text(1 / _commonest(timed).mean)
        warn(
            "rates-differ",
            f"{where}: {len(others):,} of {len(found):,} sequences have another rate than {rate}: {_named(rates)}. A "
            f"network cannot know this; give all one rate: rate={1 / _commonest(timed).mean:.3g} (--rate)",
        )
    if (others := [steps for steps in found if steps.holes and steps.is_regular]) and not has_limit:
        holes = [(steps, f"{steps.holes:,}, the longest {steps.largest:.3g} s") for steps in others]
        remedy = "Lines across them are no measurements; leave them open: max_gap=… (--max-gap), for a layer Missing"
        warn(
            "holes",
            f"{where}: {len(others):,} of {len(found):,} sequences have holes between their time stamps: "
            f"{_named(holes)}. " + (remedy if is_resampled else "Fill them: rate=…, max_gap=… (--rate, --max-gap)"),
        )
    if others := [steps for steps in found if steps.duplicates]:
        warn(
            "duplicates",
            f"{where}: {len(others):,} of {len(found):,} sequences have equal time stamps, one after another: "
            f"{_named([(steps, f'{steps.duplicates:,}') for steps in others])}. Remove the lines that are there twice, "
            "or write the stamps with more digits",
        )
    if others := [steps for steps in found if 0 < steps.back <= _MOST_SORTED * steps.count]:
        warn(
            "stamps-back",
            f"{where}: {len(others):,} of {len(found):,} sequences have time stamps that go back: "
            f"{_named([(steps, f'{steps.back:,}') for steps in others])}. Their steps were sorted by time. If a clock "
            "was set, or two recordings have one id, this mixes them: give each its own id",
        )


def _apart(timed: Sequence[TimeSteps]) -> dict[str, list[TimeSteps]]:
    """Return the sequences that differ from most in their unit, as it is known or as it seems, or in their rate."""
    if not timed:
        return {"units": [], "known units": [], "rates": []}
    common = _commonest(timed)
    found: dict[str, list[TimeSteps]] = {"units": [], "known units": [], "rates": []}
    for steps in timed:
        has_other_unit = None not in (steps.unit, common.unit) and steps.unit != common.unit
        if has_other_unit:
            found["known units"].append(steps)
        if differ(steps.mean, common.mean, _LARGEST_RATIO) and not has_other_unit:
            found["units"].append(steps)
        elif steps.is_regular and differ(steps.mean, common.mean, 0.01 + _uncertainty(steps, common)):
            found["rates"].append(steps)
    return found


def _uncertainty(a: TimeSteps, b: TimeSteps) -> float:
    """Return how far the means of two sequences with the same rate may be apart, in parts of a step.

    A short sequence shows little of its jitter, so both are taken to have that of the one with more.
    """
    jitter = max(a.deviation / a.mean, b.deviation / b.mean)
    return 3 * jitter * (1 / math.sqrt(a.count) + 1 / math.sqrt(b.count))


def _commonest(timed: Sequence[TimeSteps]) -> TimeSteps:
    """Return a sequence with the mean that most others share, to 1 %; of several such means that of the first."""
    means = np.array([steps.mean for steps in timed])
    ordered = np.sort(means)
    near = np.searchsorted(ordered, means * 1.01, "right") - np.searchsorted(ordered, means / 1.01)
    return timed[int(np.argmax(near))]


def _named(others: Sequence[tuple[TimeSteps, str]]) -> str:
    return listed([f"{steps.name} ({text})" for steps, text in others], _NAMES)
