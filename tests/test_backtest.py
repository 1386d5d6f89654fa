"""backtest: each forecast is made with the past alone, and its errors are those of the field."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from tests.conftest import built

SEASON = 12
SERIES = 5 + np.sin(2 * np.pi * np.arange(200) / SEASON) + np.random.default_rng(0).normal(0, 0.1, 200)


class SeasonalNaive:
    """Repeats the last season."""

    def __init__(self, known):
        self.season = known[-SEASON:, 0]

    def forecast(self, history, steps):
        return np.resize(history[-SEASON:, 0], steps)


def test_the_table_has_the_errors_of_each_fold():
    found = s2o.backtest(SeasonalNaive, SERIES, 24, 3, season=SEASON)
    assert [row.origin for row in found.table] == [128, 152, 176]
    for row in found.table:
        truth, known = SERIES[row.origin : row.origin + 24], SERIES[: row.origin]
        error = np.resize(known[-SEASON:], 24) - truth
        scale = np.mean(np.abs(known[SEASON:] - known[:-SEASON]))
        expected = np.abs(error).mean(), np.sqrt((error**2).mean()), np.abs(error).mean() / scale
        np.testing.assert_allclose(row[1:], expected)
    np.testing.assert_array_equal(found.truth.ravel(), SERIES[128:])
    assert found.rmse == pytest.approx(np.sqrt(np.mean([row.rmse**2 for row in found.table])))
    assert str(found).splitlines()[0].split() == ["origin", "MAE", "RMSE", "MASE"]
    assert "3 folds of 24 steps; MASE is relative to a season of 12" in str(found)
    assert repr(found).startswith("Backtest(3 folds of 24 steps, mae 0.1")
    assert "<pre" in found._repr_html_()


def test_a_recipe_cannot_look_ahead_nor_change_the_past_of_others():
    seen = []

    class Curious:
        def __init__(self, known):
            seen.append((known.copy(), known.base is None))
            known[:] = 0  # of a copy

        def forecast(self, history, steps):
            seen.append((history.copy(), history.base is None))
            history[:] = np.nan
            return np.zeros((steps, 1))

    series = SERIES[:, None].copy()
    s2o.backtest(Curious, series, 20, 2)
    np.testing.assert_array_equal(series[:, 0], SERIES)
    assert [len(known) for known, _ in seen] == [160, 160, 180, 180]
    for known, is_whole in seen:
        assert is_whole  # no array with the future lies behind it
        np.testing.assert_array_equal(known[:, 0], SERIES[: len(known)])


def trained(horizon=None, quantiles=None, size=1):
    def recipe(known):
        data = s2o.SequenceDataset.next_step(known, horizon=horizon)
        layers = [s2o.SequenceInput(1, "zscore"), s2o.Conv1d(size, 24, padding="causal")]
        options = s2o.TrainingOptions(epochs=60, learning_rate=0.03, progress=False, device="cpu", threads=1)
        loss = {"loss": "quantile", "quantiles": quantiles} if quantiles else {"loss": "mse"}
        return s2o.train(s2o.Network(layers), data, normalize_targets=True, options=options, **loss).module

    return recipe


@pytest.mark.filterwarnings("ignore::seq2onnx.Seq2OnnxWarning")
@pytest.mark.parametrize(
    "recipe",
    [trained(), trained(24, size=24), trained(24, (0.1, 0.5, 0.9), 72), trained(30, size=30)],
    ids=["closed loop", "direct", "median of quantiles", "a longer horizon"],
)
def test_networks_forecast_in_a_loop_or_all_steps_at_once(recipe):
    torch.manual_seed(0)
    found = s2o.backtest(recipe, SERIES, 24, 1, season=SEASON)
    assert found.rmse < 0.4  # the sine has 0.7, the noise 0.1
    # The trained module does the same: there is one fold, before which it was trained.
    torch.manual_seed(0)
    again = s2o.backtest(recipe(SERIES[:176, None]), SERIES, 24, 1, season=SEASON)
    np.testing.assert_allclose(again.forecasts, found.forecasts, rtol=1e-4)


def test_files_and_objects_forecast_without_training(tmp_path):
    module = built(s2o.Network([s2o.SequenceInput(2), s2o.GRU(4), s2o.FullyConnected(2)]), None)
    series = np.random.default_rng(0).normal(size=(60, 2))
    for name, options in (("open", {}), ("closed", {"closed_loop": 5})):
        s2o.export(module, tmp_path / f"{name}.onnx", **options)
        found = s2o.backtest(tmp_path / f"{name}.onnx", series, 10, 3)
        expected = s2o.load(tmp_path / "open.onnx").forecast(series[:30], 10)
        np.testing.assert_allclose(found.forecasts[0], expected, rtol=1e-5)
    naive = SeasonalNaive(SERIES[:, None])
    assert s2o.backtest(naive, SERIES, 24, 3).table[0].mae == s2o.backtest(SeasonalNaive, SERIES, 24, 3).table[0].mae


class Answers:
    def __init__(self, answer):
        self.answer = answer

    def forecast(self, history, steps):
        return self.answer


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"folds": 9}, s2o.DataError, "200 steps are too few for 9 folds of 24 steps, .* at least 218 steps, fewer"),
        ({"season": 160}, s2o.DataError, "161 steps or more must be known"),
        ({"horizon": 0}, s2o.SpecError, "horizon: must be a whole number"),
        ({"series": [SERIES, SERIES[:9]]}, s2o.DataError, "rows of different lengths"),
        ({"series": np.zeros((2, 9, 1))}, s2o.DataError, "one series of numbers, .* backtest several one after"),
        ({"series": np.where(np.arange(200) == 7, np.nan, SERIES)}, s2o.DataError, "step 7 is not finite"),
        ({"recipe": 3}, s2o.SpecError, "recipe: expected a function or a model, got int"),
        ({"recipe": lambda known: 3}, s2o.SpecError, "an object with forecast.*, got int"),
        ({"recipe": Answers(np.zeros(5))}, s2o.ShapeError, r"from step 152: expected \[24, 1\], got \[5\]"),
        ({"recipe": Answers(np.full(24, np.nan))}, s2o.DataError, "from step 152: is not finite"),
        ({"recipe": trained(3, size=3)}, s2o.SpecError, "has 3 numbers, and 24 steps of 1 features .* horizon=24"),
        ({"recipe": trained(24, (0.1, 0.9), 48)}, s2o.SpecError, "has no median among its quantiles"),
    ],
)
@pytest.mark.filterwarnings("ignore::seq2onnx.Seq2OnnxWarning")
def test_what_cannot_be_backtested_is_an_error_that_says_what_to_do(arguments, error, message):
    arguments = {"recipe": SeasonalNaive, "series": SERIES, "horizon": 24, "folds": 2} | arguments
    with pytest.raises(error, match=message):
        s2o.backtest(**arguments)
