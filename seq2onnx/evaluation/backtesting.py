"""backtest: how good forecasts of a series would have been, from several origins in its past."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError, ShapeError, SpecError
from seq2onnx.evaluation.opened import opened
from seq2onnx.integers import whole_number
from seq2onnx.sequences import as_array
from seq2onnx.tables import ShownAsText, text_table

if TYPE_CHECKING:
    from seq2onnx.evaluation.opened import Trained
    from seq2onnx.runtime import Predictor

Floats = NDArray[np.float64]


class Forecaster(Protocol):
    """What a recipe returns, besides a module or an open file."""

    def forecast(self, history: Floats, steps: int) -> Any:
        """Return the `steps` that follow history [time, features]: [steps, features], or [steps] of one feature."""


class Fold(NamedTuple):
    """The errors of the forecast from one origin.

    Attributes:
        origin: the number of the first step that is forecast, counted from 0: how many steps were known.
        mae: the mean absolute error.
        rmse: the root mean square error.
        mase: the mean absolute scaled error: mae ÷ that of seasonal naive forecasts of the steps before the origin, one
            season ahead. NaN if these are without error.
    """

    origin: int
    mae: float
    rmse: float
    mase: float


@dataclasses.dataclass(frozen=True, eq=False)
class Backtest(ShownAsText):
    """Forecasts from several origins; it prints as a table.

    Attributes:
        table: a row for each fold, from the first origin to the last.
        horizon: how many steps each forecasts.
        season: the season of the scale of mase.
        truth: the true values [folds, horizon, features].
        forecasts: the forecasts of them.
    """

    table: list[Fold]
    horizon: int
    season: int
    truth: Floats
    forecasts: Floats

    @property
    def mae(self) -> float:
        """The mean absolute error of all folds."""
        return float(np.abs(self.forecasts - self.truth).mean())

    @property
    def rmse(self) -> float:
        """The root mean square error of all folds."""
        return float(np.sqrt(np.square(self.forecasts - self.truth).mean()))

    @property
    def mase(self) -> float:
        """The mean of the folds."""
        return float(np.mean([row.mase for row in self.table]))

    def __repr__(self) -> str:
        figures = f"mae {self.mae:.4g}, rmse {self.rmse:.4g}, mase {self.mase:.4g}"
        return f"Backtest({len(self.table)} folds of {self.horizon} steps, {figures})"

    def __str__(self) -> str:
        rows = [*self.table, ("all", self.mae, self.rmse, self.mase)]
        cells = [(row[0], *(f"{value:.5g}" for value in row[1:])) for row in rows]
        table = text_table([("origin", "MAE", "RMSE", "MASE"), *cells], (0, 1, 2, 3))
        return (
            f"{table}\n{len(self.table)} folds of {self.horizon} steps; MASE is relative to a season of {self.season}"
        )


def backtest(
    recipe: Callable[[Floats], Forecaster | Trained] | Forecaster | Trained,
    series: Any,
    horizon: int,
    folds: int,
    *,
    season: int = 1,
) -> Backtest:
    """Measure forecasts of the last `folds` times `horizon` steps of a series, each made with the steps before it only.

    The origins are `horizon` steps apart (rolling origin), so each step is forecast once. For each of them, a recipe
    trains anew on a copy of the steps before it. A model stays as it is: train it on steps before the first origin, or
    it has seen what it forecasts.

    Args:
        recipe: a function that gets the known steps [time, features] and returns a module, an open file, or an object
            with `forecast(history, steps)`. Or what it would return, which then forecasts all folds. A network runs in
            a closed loop, or once, if its output has several steps (`next_step(horizon=…)`); of quantiles, the median
            counts. What is known in advance a recipe brings itself: its steps begin at len(history).
        series: one series [time, features] or [time].
        horizon: how many steps are forecast from each origin.
        folds: how many origins there are.
        season: the steps after which the series repeats, for the scale of mase. 1: the last value is the simple
            forecast.

    Returns:
        A Backtest; `.table` has rows of (origin, mae, rmse, mase).

    Raises:
        DataError: the series is too short, or has values that are not finite; or a forecast has.
        ShapeError: a forecast has another shape.
        SpecError: the recipe or the model cannot forecast so many steps.

    Example:
        >>> print(backtest(lambda known: train_on(known).module, temperature, horizon=24, folds=7, season=24))
    """
    horizon, folds, season = (
        whole_number(value, name) for value, name in ((horizon, "horizon"), (folds, "folds"), (season, "season"))
    )
    values = _one_series(series)
    first = len(values) - folds * horizon
    if first <= season:
        raise DataError(
            f"series: {len(values)} steps are too few for {folds} folds of {horizon} steps, as {season + 1} steps or "
            f"more must be known before the first of them. Give at least {folds * horizon + season + 1} steps, fewer "
            "folds, or a shorter horizon"
        )
    table, truth, forecasts = [], [], []
    with ExitStack() as stack:
        is_recipe = isinstance(recipe, type) or not (_is_trained(recipe) or hasattr(recipe, "forecast"))
        model = None if is_recipe else _forecaster(recipe, stack, horizon)
        for origin in range(first, len(values), horizon):
            made = model
            if made is None:
                if not callable(recipe):
                    raise SpecError(f"recipe: expected a function or a model, got {type(recipe).__name__}")
                made = _forecaster(recipe(values[:origin].copy()), stack, horizon)
            y = _checked(made(values[:origin].copy()), (horizon, values.shape[1]), origin)
            error = y - values[origin : origin + horizon]
            scale = np.abs(values[season:origin] - values[: origin - season]).mean()
            mae, rmse = float(np.abs(error).mean()), float(np.sqrt(np.square(error).mean()))
            table.append(Fold(origin, mae, rmse, float(mae / scale) if scale else math.nan))
            truth.append(values[origin : origin + horizon])
            forecasts.append(y)
    return Backtest(table, horizon, season, np.stack(truth), np.stack(forecasts))


def _one_series(series: Any) -> Floats:
    """Return a series as [time, features]."""
    values = as_array(series, "series")
    if values.ndim not in (1, 2) or values.dtype.kind not in "fiu":
        raise DataError(
            f"series: expected one series of numbers, [time] or [time, features], got {values.dtype} "
            f"{list(values.shape)}; backtest several one after another"
        )
    values = values.reshape(len(values), -1).astype(np.float64)
    if (broken := np.flatnonzero(~np.isfinite(values).all(1))).size:
        raise DataError(f"series: step {broken[0]} is not finite, so no forecast of it can be measured; fill it")
    return values


def _is_trained(value: Any) -> bool:
    """Return whether `opened` takes a value. Neither torch nor onnxruntime is imported to tell."""
    return isinstance(value, str | Path) or hasattr(value, "data_info") or hasattr(value, "contract")


def _forecaster(made: Any, stack: ExitStack, steps: int) -> Callable[[Floats], Any]:
    """Return the function that forecasts what follows a history."""
    if _is_trained(made):
        file = stack.enter_context(opened(made))
        return lambda history: _of_model(file, history, steps)
    if not hasattr(made, "forecast"):
        raise SpecError(
            "recipe: expected that it returns a module, an open file, or an object with forecast(history, steps), got "
            f"{type(made).__name__}"
        )
    return lambda history: made.forecast(history, steps)


def _of_model(file: Predictor, history: Floats, steps: int) -> Any:
    """Forecast with a network: in a closed loop, or with all steps in one output."""
    features = history.shape[1]
    size = math.prod(file.model.outputs[0].shape)
    if file.closed_loop or (size == features and file.quantiles is None):
        return file.forecast(history, steps)
    if file.quantiles is not None and 0.5 not in file.quantiles:
        raise SpecError(f"{file.path}: has no median among its quantiles {file.quantiles}; add 0.5, or write a recipe")
    (y,) = file.predict([history])
    each = len(file.quantiles or (None,))
    last = np.reshape(y[-1] if file.model.outputs[0].has_time else y, (-1, each))
    y = last[:, 0 if file.quantiles is None else file.quantiles.index(0.5)]
    if len(y) < steps * features or len(y) % features:
        raise SpecError(
            f"{file.path}: its output has {len(y)} numbers, and {steps} steps of {features} features are to be "
            f"forecast. Train it with next_step(…, horizon={steps}), or with the next step alone for a closed loop"
        )
    return y[: steps * features].reshape(steps, features)


def _checked(y: Any, shape: tuple[int, int], origin: int) -> Floats:
    """Return a forecast as [steps, features]."""
    found = np.asarray(as_array(y, f"forecast from step {origin}"), np.float64)
    if found.shape != shape and not (shape[1] == 1 and found.shape == shape[:1]):
        raise ShapeError(f"forecast from step {origin}: expected {list(shape)}, got {list(found.shape)}")
    if not np.isfinite(found).all():
        raise DataError(f"forecast from step {origin}: is not finite")
    return found.reshape(shape)
