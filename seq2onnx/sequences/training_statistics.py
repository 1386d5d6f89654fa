"""TrainingStatistics: what the recordings were like that a network was trained on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class InputStatistics:
    """The steps of an input, and how much its recordings differ: a number for each channel, over all finite values.

    Attributes:
        mean, std, min, max: of all steps; std is that of N − 1.
        mean_of_means, std_of_means: of the recordings' means. std is 0 where there is one recording.
        mean_of_log_spreads, std_of_log_spreads: of the natural logarithm of the recordings' standard deviations, which
            count as at least a thousandth of `std`. Where `std` is 0 they are 0.
        distance: the largest of the recordings' means of |x − mean| ÷ std. Where `std` is 0 it is 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    min: tuple[float, ...]
    max: tuple[float, ...]
    mean_of_means: tuple[float, ...]
    std_of_means: tuple[float, ...]
    mean_of_log_spreads: tuple[float, ...]
    std_of_log_spreads: tuple[float, ...]
    distance: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class TrainingStatistics:
    """Statistics of training data, which `build` and `train` make and exported files keep.

    Attributes:
        recordings: the number of sequences.
        steps: the number of their steps, together.
        sample_rate: steps per second, if they are known.
        inputs: the statistics of each input layer of numbers.
    """

    recordings: int
    steps: int
    sample_rate: float | None
    inputs: Mapping[str, InputStatistics]

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics as `from_dict` reads them, of lists and numbers with 9 digits, as float32 has."""
        inputs = {
            name: {key: [float(f"{v:.9g}") for v in values] for key, values in vars(found).items()}
            for name, found in self.inputs.items()
        }
        rate = None if self.sample_rate is None else float(self.sample_rate)
        return {"recordings": self.recordings, "steps": self.steps, "sample_rate": rate, "inputs": inputs}

    @classmethod
    def from_dict(cls, values: Any) -> TrainingStatistics:
        """Read what `to_dict` wrote; raise ValueError for anything else."""
        try:
            counts, rate = (values["recordings"], values["steps"]), values["sample_rate"]
            inputs = {name: _input_statistics(found) for name, found in values["inputs"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"expected statistics of training data, got {values!r:.100}: {error!r:.100}") from None
        if any(type(count) is not int or not 0 < count < 2**63 for count in counts):
            raise ValueError(f"expected numbers of recordings and steps, got {counts!r:.100}")
        if rate is not None and (type(rate) not in (int, float) or not 0 < rate < math.inf):
            raise ValueError(f"expected a sample_rate above 0, got {rate!r:.100}")
        return cls(*counts, rate, inputs)


def _input_statistics(found: dict[str, list[float]]) -> InputStatistics:
    columns = {field.name: found[field.name] for field in dataclasses.fields(InputStatistics)}
    for name, column in columns.items():
        if type(column) is not list or any(type(v) not in (int, float) or not math.isfinite(v) for v in column):
            raise ValueError(f"expected {name} as a list of finite numbers, got {column!r:.100}")
    if len(set(map(len, columns.values()))) > 1:
        raise ValueError(f"expected lists of one length, got {[len(column) for column in columns.values()]}")
    return InputStatistics(**{name: tuple(map(float, column)) for name, column in columns.items()})
