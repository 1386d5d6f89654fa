"""The data and the text that the pictures show."""

from __future__ import annotations

import itertools

import matplotlib
import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx import plots

matplotlib.use("Agg")
from matplotlib import pyplot as plt


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def line(ax, label):
    (found,) = [line for line in ax.get_lines() if line.get_label() == label]
    return found


PICTURES = {
    "activations_heatmap": lambda ax: plots.activations_heatmap(np.ones((4, 3)), ax=ax),
    "confusion_chart": lambda ax: plots.confusion_chart(["a", "b"], ["a", "a"], ["a", "b"], ax),
    "forecast_chart": lambda ax: plots.forecast_chart([1, 2], [3], {"naive": [2]}, ax),
    "padding_bars": lambda ax: plots.padding_bars(
        s2o.padding_report(s2o.SequenceDataset([np.ones((n, 1)) for n in (2, 3)]), 2), ax
    ),
    "predicted_against_true": lambda ax: plots.predicted_against_true([1, 2], [1, 3], ax=ax),
    "series_over_time": lambda ax: plots.series_over_time([1, 2], [1, 3], ax=ax),
    "scores_over_time": lambda ax: plots.scores_over_time(np.eye(2), None, ax, truth=[0, 1]),
    "accuracy_against_latency": lambda ax: plots.accuracy_against_latency(
        [{"name": "a", "accuracy": 1, "latency": 3, "size": 1}], ax
    ),
    "training_curve": lambda ax: plots.training_curve([{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}], ax),
}
LEGENDS_BELOW = [
    "forecast_chart",
    "padding_bars",
    "predicted_against_true",
    "scores_over_time",
    "series_over_time",
    "training_curve",
]


def test_every_picture_is_tested():
    assert set(PICTURES) == set(plots.__all__) - {"as_png"}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_drawn_only_into_the_given_axes(name):
    figure, (left, right) = plt.subplots(1, 2, layout="constrained")
    assert PICTURES[name](right) is right
    assert not left.has_data()
    assert right.has_data()
    figure.canvas.draw()
    assert plt.get_fignums() == [figure.number]
    assert PICTURES[name](None).figure is not figure


@pytest.mark.parametrize("name", LEGENDS_BELOW)
def test_legends_are_below_the_axes_and_inside_the_figure(name):
    ax = PICTURES[name](None)
    ax.figure.canvas.draw()
    box = ax.get_legend().get_window_extent()
    assert 0 <= box.y0 < box.y1 < ax.xaxis.label.get_window_extent().y0


def test_a_heatmap_is_symmetric_about_zero_and_works_in_grey():
    values = np.arange(12.0).reshape(4, 3) - 3  # −3 … 8
    values[0, 0] = np.nan
    ax = plots.activations_heatmap(values, 2)
    (image,) = ax.get_images()
    np.testing.assert_array_equal(image.get_array(), np.ma.masked_invalid(values[:, :2].T))
    assert image.get_clim() == (-7, 7)
    assert image.get_extent() == [0.5, 4.5, -0.5, 1.5]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "unit, the first 2 of 3")
    assert ax.figure.axes[1].get_ylabel() == "activation"  # of the colorbar
    grey = image.cmap(np.linspace(0, 1, 64))[:, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(grey) > 0).all()
    red, green, blue, _ = image.cmap(0.5)
    assert max(red, green, blue) - min(red, green, blue) < 0.03
    assert plots.activations_heatmap(np.zeros((2, 2))).get_images()[0].get_clim() == (-1, 1)
    assert plots.activations_heatmap(np.zeros((2, 2))).get_ylabel() == "unit"


def test_a_forecast_has_the_steps_of_the_true_values():
    history, truth = np.arange(10.0), np.arange(10.0, 34)
    forecasts = {"open loop": truth + 1, "closed loop": (truth + 2)[:, None], "seasonal naive": truth - 3}
    ax = plots.forecast_chart(history, truth, forecasts, unit="temperature, °C", start=100)
    assert legend(ax) == ["before", "true", *forecasts]
    np.testing.assert_array_equal(line(ax, "before").get_xydata(), np.stack([np.arange(100, 110), history], 1))
    np.testing.assert_array_equal(line(ax, "true").get_xydata(), np.stack([np.arange(110, 134), truth], 1))
    for name, values in forecasts.items():
        np.testing.assert_array_equal(line(ax, name).get_xdata(), np.arange(110, 134))
        np.testing.assert_array_equal(line(ax, name).get_ydata(), values.ravel())
    assert len({line(ax, name).get_linestyle() for name in forecasts}) == 3
    assert len({line(ax, name).get_marker() for name in forecasts}) == 3
    assert [line(ax, name).get_markevery() for name in forecasts] == [(0, 2), (0, 2), (1, 2)]
    (vertical,) = [found for found in ax.get_lines() if len(set(found.get_xdata())) == 1]
    assert vertical.get_xdata()[0] == 109.5
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "temperature, °C")


def test_predicted_against_true_has_equal_axes_and_the_diagonal():
    truth, predicted = np.array([1.0, 5, np.nan, 3]), np.array([[2.0], [4], [1], [np.nan]])
    ax = plots.predicted_against_true(truth, predicted, "cycles")
    points = ax.get_lines()[1]
    np.testing.assert_array_equal(points.get_xydata(), [[1, 2], [5, 4]])
    assert ax.get_xlim() == ax.get_ylim() == (0.8, 5.2)
    assert ax.get_aspect() == 1
    np.testing.assert_array_equal(*line(ax, "predicted = true").get_data())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("true, cycles", "predicted, cycles")
    assert plots.predicted_against_true([2], [2]).get_xlim() == (1.5, 2.5)
    assert plots.predicted_against_true([], []).get_xlabel() == "true"


def test_a_series_is_drawn_from_step_1():
    ax = plots.series_over_time([3, 2, 1], [2.5, np.nan, 1], "cycles", "engine 1")
    np.testing.assert_array_equal(line(ax, "true").get_xydata(), [[1, 3], [2, 2], [3, 1]])
    np.testing.assert_array_equal(line(ax, "predicted").get_ydata(), [2.5, np.nan, 1])
    assert (ax.get_title(), ax.get_ylabel(), ax.get_xlabel()) == ("engine 1", "cycles", "step")
    assert line(ax, "true").get_linestyle() != line(ax, "predicted").get_linestyle()


def bars(ax):
    """(begin, end, grey) of each stretch of the band."""
    found = []
    for bar in ax.collections:
        (path,) = bar.get_paths()
        found.append((path.vertices[:, 0].min(), path.vertices[:, 0].max(), bar.get_facecolor()[0][0]))
    return found


def test_true_labels_are_a_band_with_names_below_the_scores():
    labels = np.array(["walk"] * 30 + ["up"] + ["sit"] * 20 + ["walk"] * 9, object)
    labels[-3:] = None
    scores = np.tile([0.5, 0.3, 0.2], (60, 1))
    ax = plots.scores_over_time(scores, ["walk", "sit", "up"], truth=labels)
    found = bars(ax)
    assert [bar[:2] for bar in found] == [(0.5, 30.5), (30.5, 31.5), (31.5, 51.5), (51.5, 57.5)]
    assert found[0][2] == found[3][2]
    assert len({grey for *_, grey in found}) == 3
    # A name that does not fit is left out.
    assert [text.get_text() for text in ax.texts] == ["walk", "sit", "walk", "true "]
    names = [text.get_position()[0] for text in ax.texts]
    assert names[:3] == [15.5, 41.5, 54.5]
    ax.figure.canvas.draw()
    for text, (begin, end) in zip(ax.texts[:3], [(0.5, 30.5), (31.5, 51.5), (51.5, 57.5)], strict=True):
        box = text.get_window_extent().transformed(ax.transData.inverted())
        assert begin <= box.x0 < box.x1 <= end
        assert ax.get_ylim()[0] < box.y0 < box.y1 < 0
    assert legend(ax) == ["walk", "sit", "up"]


def test_scores_are_drawn_without_true_labels():
    scores = np.tile(np.linspace(0.1, 0.9, 6), (5, 1))
    _, ax = plt.subplots()
    assert plots.scores_over_time(scores, list("abcdef"), ax) is ax
    assert legend(ax) == ["f", "e", "d", "c"]
    assert (ax.get_xlim(), ax.get_ylim()) == ((1, 5), (-0.02, 1.02))
    assert not ax.texts
    assert not ax.collections
    for label, column in zip("fedc", (5, 4, 3, 2), strict=True):
        np.testing.assert_array_equal(line(ax, label).get_xydata(), np.stack([np.arange(1, 6), scores[:, column]], 1))


CLOUDS = {
    "one": [(10, 0.98)],
    "one place": [(10, 0.98)] * 6,
    "a corner": [(10 + i / 5, 0.99 + i / 1000) for i in range(5)] + [(400, 0.2)],
    "all over": [(3 * 1.5**i, 0.9 + 0.01 * (i % 7)) for i in range(12)],
}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_labels_of_latencies_cover_nothing(cloud):
    rows = [
        {"name": f"network {i}", "latency": latency, "accuracy": accuracy, "size": 0.1234 * (i + 1)}
        for i, (latency, accuracy) in enumerate(CLOUDS[cloud])
    ]
    ax = plots.accuracy_against_latency(rows)
    np.testing.assert_array_equal(ax.get_lines()[0].get_xydata(), CLOUDS[cloud])
    assert [text.get_text() for text in ax.texts] == [f"{row['name']}, {row['size']:.3g} MB" for row in rows]
    assert ax.get_xscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("latency of a step, µs", "accuracy")
    assert max(ax.get_yticks()) <= 1
    ax.figure.canvas.draw()
    ticks = [tick for tick in ax.get_xticks() if ax.get_xlim()[0] <= tick <= ax.get_xlim()[1]]
    assert len(ticks) >= 2
    boxes = [matplotlib.text.Text.get_window_extent(text) for text in ax.texts]
    frame = ax.get_window_extent()
    for a, b in itertools.combinations(boxes, 2):
        assert not a.overlaps(b)
    for box in boxes:
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1
        assert not any(box.contains(*ax.transData.transform(point)) for point in CLOUDS[cloud])


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: plots.activations_heatmap(np.zeros((2, 3, 4))), s2o.ShapeError, r"got \[2, 3, 4\]. Take one"),
        (lambda: plots.activations_heatmap(np.zeros((0, 3))), s2o.ShapeError, r"got \[0, 3\]"),
        (
            lambda: plots.activations_heatmap(np.zeros((2, 3)), 0),
            s2o.SpecError,
            "units: must be a whole number, at least 1, got 0",
        ),
        (
            lambda: plots.forecast_chart(np.zeros((4, 2)), [1], {}),
            s2o.ShapeError,
            r"history: .* got \[4, 2\]. .*\[:, 0\]",
        ),
        (lambda: plots.forecast_chart([1], [1, 2], {"a": [1]}), s2o.ShapeError, "forecast 'a': expected 2 numbers"),
        (lambda: plots.predicted_against_true([1, 2], [1]), s2o.ShapeError, "predicted: expected 2 numbers, .* got 1"),
        (lambda: plots.series_over_time([1, 2], [1]), s2o.ShapeError, "predicted: expected 2 numbers, .* got 1"),
        (lambda: plots.scores_over_time(np.eye(3), truth=[1]), s2o.ShapeError, "truth: expected 3 labels.* got 1"),
        (lambda: plots.accuracy_against_latency([]), s2o.DataError, "rows: expected at least one network"),
        (
            lambda: plots.accuracy_against_latency([{"name": "a", "accuracy": 1, "latency": 0, "size": 1}]),
            s2o.DataError,
            "a: latency must be above 0 and finite, got 0",
        ),
    ],
)
def test_invalid_arguments_are_refused(draw, error, message):
    with pytest.raises(error, match=message):
        draw()


ODD = ["$\\foo$", "_hidden_", "\ud800"]


def test_labels_are_not_read_as_formulas_and_none_is_left_out():
    scores = plots.scores_over_time(np.eye(3), ODD, truth=ODD)
    forecast = plots.forecast_chart([1, 2], [3], {label: [2] for label in ODD})
    chart = plots.confusion_chart(ODD, ODD, ODD)
    point = plots.accuracy_against_latency([{"name": "$\\foo$", "accuracy": 1, "latency": 3, "size": 1}])
    for ax in (scores, forecast, chart, point):
        ax.figure.canvas.draw()  # an invalid formula raises here
    shown = ["\\$\\foo\\$", "_hidden_", "?"]
    assert legend(scores) == shown
    assert legend(forecast) == ["before", "true", *shown]
    assert [tick.get_text() for tick in chart.get_xticklabels()] == shown


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (
            lambda: plots.confusion_chart(["a"], [None], ["a"]),
            s2o.DataError,
            "predicted: None is not among the classes",
        ),
        (lambda: plots.confusion_chart([1], [1], ["1"]), s2o.DataError, "truth: 1 is not among the classes"),
        (lambda: plots.confusion_chart([[1]], [1], [1]), s2o.DataError, r"truth: \[1\] is not among the classes"),
        (lambda: plots.confusion_chart([1, 1], [1], [1]), s2o.ShapeError, "predicted: expected 2 labels, .* got 1"),
        (lambda: plots.confusion_chart([], [], []), s2o.DataError, "classes: expected at least one label, got none"),
        (lambda: plots.scores_over_time(np.zeros((0, 3))), s2o.ShapeError, r"scores: expected .* got \[0, 3\]"),
        (lambda: plots.scores_over_time(np.zeros(3)), s2o.ShapeError, r"scores: expected .* got \[3\]"),
        (lambda: plots.scores_over_time(np.eye(3), ["a"]), s2o.ShapeError, "classes: expected 3 labels, .* got 1"),
        (lambda: plots.training_curve([]), s2o.DataError, "history: expected at least one epoch, got none"),
    ],
)
def test_invalid_arguments_leave_no_figure_open(draw, error, message):
    with pytest.raises(error, match=message):
        draw()
    assert not plt.get_fignums()


def test_a_training_curve_connects_the_epochs_that_measured_a_value():
    history = [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 2.0, "validation_loss": 2.5}, {"epoch": 3, "loss": 1.0}]
    ax = plots.training_curve(history)
    assert line(ax, "validation loss").get_xydata().tolist() == [[2, 2.5]]
    assert line(ax, "validation loss").get_marker() == "o"  # a line of one point is invisible
    assert line(ax, "loss").get_marker() == ""
    assert ax.get_yscale() == "log"


def test_a_negative_loss_is_drawn_on_a_linear_axis():
    ax = plots.training_curve([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": -1.0}])
    ax.figure.canvas.draw()
    assert ax.get_yscale() == "linear"
    assert ax.get_ylim()[0] < -1
