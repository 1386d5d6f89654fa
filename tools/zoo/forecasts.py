"""Forecasting: what comes next, with true values coming in, or going on by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from real_data import co2, sunspots

import seq2onnx as s2o
from seq2onnx import plots
from seq2onnx.runtime import Predictor
from zoo.pictures import save
from zoo.recipe import Data, Figures, Recipe, ridge, rmse

Values = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Task:
    """A series, from whose step `start` on forecasts begin, `ahead` steps far; a season has so many steps.

    unit, step: of the values, and what lies between two of them
    window, hop: the parts that are learned from, and how far apart they begin
    shift, noise: how far a part is moved up or down, so that what is learned holds at any level, and the largest
        deviation of what is added to its inputs, since a closed loop sees its own errors
    """

    series: Callable[[], Values]
    unit: str
    step: str
    start: int
    ahead: int
    season: int
    window: int
    hop: int
    shift: float
    noise: float

    def data(self) -> Data:
        """Windows of the series before `start`; and all of it."""
        series = self.series()[:, None].astype(np.float32)
        parts = [series[i : i + self.window + 1] for i in range(0, self.start - self.window, self.hop)]
        training = s2o.SequenceDataset.next_step(parts).transformed(self._moved)
        return training, s2o.SequenceDataset([series])

    def _moved(self, x: Values, target: Values, rng: np.random.Generator) -> tuple[Values, Values]:
        """A window moved up or down, with noise added to its inputs."""
        by = np.float32(rng.uniform(-self.shift, self.shift))
        noise = rng.normal(0, rng.uniform(0, self.noise), x.shape).astype(np.float32)
        return x + by + noise, target + by

    def origins(self, series: Values) -> range:
        """Where forecasts begin."""
        return range(self.start, len(series) - self.ahead + 1, self.ahead // 6)

    def naive(self, series: Values) -> Values:
        """From each origin the season before it, over and over, [origins, ahead]."""
        return np.stack([np.resize(series[o - self.season : o], self.ahead) for o in self.origins(series)])

    def error(self, series: Values, answers: Values) -> float:
        """RMSE of forecasts [origins, ahead], or of one that all of them get."""
        truth = np.stack([series[o : o + self.ahead] for o in self.origins(series)])
        return rmse(truth, np.broadcast_to(answers, truth.shape))

    def figures(self, model: Predictor, test: s2o.SequenceDataset) -> Figures:
        """Skill is 1 − RMSE / RMSE of a simple forecast: of seasonal naive, and in the open loop of the last value."""
        series = test.sequences[0][:, 0]
        answers = model.forecast([series[:o, None] for o in self.origins(series)], self.ahead)[:, :, 0]
        closed = self.error(series, answers)
        after, before = series[self.start :], series[self.start - 1 : -1]
        opened = rmse(after, model.predict([series[:-1, None]])[0][self.start - 1 :, 0])
        return {
            f"skill of {self.ahead} steps in a closed loop": 1 - closed / self.error(series, self.naive(series)),
            f"RMSE in a closed loop, {self.unit}": closed,
            "skill of the next step, against the last value": 1 - opened / rmse(after, before),
            f"RMSE of the next step, {self.unit}": opened,
        }

    def linear(self, series: Values) -> Values:
        """Ridge regression of all steps ahead on three seasons, both less the last value, learned before `start`.

        The penalty is the best of five by the last fifth of what is learned from.
        """
        span = 3 * self.season

        def windows(origins: Any) -> Values:
            """The three seasons before each origin, less the last value."""
            return np.stack([series[o - span : o] - series[o - 1] for o in origins])

        origins = np.arange(span, self.start - self.ahead + 1)
        x, t = windows(origins), np.stack([series[o : o + self.ahead] - series[o - 1] for o in origins])
        aside = origins >= origins[-len(origins) // 5]
        before = origins + self.ahead <= origins[aside][0]

        def error(penalty: float) -> float:
            return rmse(t[aside], ridge(x[before], t[before], x[aside], penalty))

        penalty = min((1, 10, 100, 1000, 10000), key=error)
        last = np.array([series[o - 1] for o in self.origins(series)])[:, None]
        return np.asarray(last + ridge(x, t, windows(self.origins(series)), penalty))

    def baselines(self, training: s2o.SequenceDataset, test: s2o.SequenceDataset) -> Figures:
        """Skill of others in the same forecasts."""
        series = test.sequences[0][:, 0]
        naive = self.error(series, self.naive(series))
        others = {
            f"seasonal naive (repeats the last {self.season} steps)": self.naive(series),
            "baseline (repeats the last value)": np.array([[series[o - 1]] for o in self.origins(series)]),
            f"ridge regression of all {self.ahead} steps on the last {3 * self.season} steps": self.linear(series),
            "baseline (mean of the training data)": series[: self.start].mean(),
        }
        return {name: 1 - self.error(series, answers) / naive for name, answers in others.items()}

    def pictures(self, model: Predictor, test: s2o.SequenceDataset, folder: Path) -> dict[str, str]:
        """A forecast from the origin in the middle."""
        series = test.sequences[0][:, 0]
        starts = self.origins(series)
        middle = len(starts) // 2
        origin = starts[middle]
        true, history = series[origin : origin + self.ahead], series[:origin, None]
        answers = {
            "open loop": model.forecast(history, self.ahead, {"input": true[:, None]})[:, 0],
            "closed loop": model.forecast(history, self.ahead)[:, 0],
            "seasonal naive": self.naive(series)[middle],
        }
        first = origin - self.ahead
        ax = plots.forecast_chart(series[first:origin], true, answers, unit=self.unit, start=1 - self.ahead)
        ax.set_xlabel(
            f"{self.step}s after the last known one"
        )  # those since the beginning of the record look like years
        save(ax, folder / "forecast.png")
        return {
            "forecast.png": "A forecast in the middle of the test years: open loop, closed loop and seasonal naive."
        }


def _recipe(name: str, problem: Task, layers: list[Any], options: dict[str, Any], **texts: str) -> Recipe:
    """The last value, and what `layers` say that it changes by."""
    return Recipe(
        data=problem.data,
        call=f"forecast(data, {problem.ahead})",
        network=s2o.Network([s2o.SequenceInput(1, "zscore", name="input"), *layers], name=name),
        options={"batch_size": 16, "learning_rate": 5e-3, "gradient_clip": 1.0, "schedule": "cosine"} | options,
        figures=problem.figures,
        baselines=problem.baselines,
        pictures=problem.pictures,
        **texts,  # type: ignore[arg-type]
    )


CO2 = _recipe(
    "co2",
    Task(co2, "ppm", "week", start=1764, ahead=104, season=52, window=364, hop=13, shift=30, noise=0.5),
    [
        s2o.Conv1d(16, 105, padding="causal"),  # two years
        s2o.LSTM(32),
        s2o.FullyConnected(1, name="change"),
        s2o.Add(inputs=["input", "change"]),
    ],
    {"epochs": 80, "l2": 1e-6},
    title="CO2 at Mauna Loa",
    task="Weekly CO2 in the air, in ppm: what is the value next week, and in each of the next 104 weeks?",
    source=(
        "Weekly averages from air samples at Mauna Loa, 1958 to 2001 (Keeling & Whorf 2004), public domain, in the "
        "package statsmodels (BSD 3-Clause), downloaded with pip. Measured, not simulated. Missing weeks are "
        "interpolated linearly."
    ),
    split=(
        "Training: the first 1,764 weeks, in windows of 364. Test: the other 520 weeks. A closed loop starts at every "
        "17th of these weeks that has 104 weeks after it, and knows all weeks before its start."
    ),
    limits=(
        "It was trained on one station, with windows shifted up or down at random. It cannot foresee a change of the "
        "trend. Ridge regression on three years forecasts the 104 weeks better (below)."
    ),
)

SUNSPOTS = _recipe(
    "sunspots",
    Task(sunspots, "sunspot number", "month", start=2520, ahead=132, season=132, window=660, hop=12, shift=0, noise=15),
    [
        s2o.Conv1d(1, 133, padding="causal", name="season"),
        s2o.LSTM(32, inputs=["input"]),
        s2o.FullyConnected(1, name="change"),
        s2o.Add(inputs=["input", "season", "change"]),
    ],
    {"epochs": 40, "l2": 1e-3},
    title="Sunspots",
    task="Monthly mean sunspot numbers: what is the value next month, and in each month of the next eleven years?",
    source=(
        "Monthly mean sunspot numbers since January 1749 (National Geophysical Data Center), public domain, in the "
        "package statsmodels (BSD 3-Clause), downloaded with pip. Observed, not simulated."
    ),
    split=(
        "Training: the first 2,520 months, in windows of 660. Test: the other 600 months. A closed loop starts at "
        "every 22nd of these months that has 132 months after it, and knows all months before its start."
    ),
    limits=(
        "Cycles last nine to fourteen years and differ in height. The skill of the closed loop is small and differs "
        "from seed to seed. Ridge regression on three times eleven years forecasts these years better (below). For the "
        "forty years before, with the data known at that time, it is worse than seasonal naive."
    ),
)
