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


def tuned():
    """An alarm that finds one of two events, and has a false alarm."""
    scores = np.array([0, 5, 0, 0, 9, 9, 0, 0, 3, 0.0])
    return s2o.tune_alarm(scores, [(4, 6), (8, 8)], steps_per_second=1, false_alarms_per_hour=360), scores


PICTURES = {
    "alarms_over_time": lambda ax: plots.alarms_over_time(tuned()[1], s2o.Alarm(4), [(4, 6), (8, 8)], ax=ax),
    "misses_against_false_alarms": lambda ax: plots.misses_against_false_alarms(tuned()[0], ax),
    "activations_heatmap": lambda ax: plots.activations_heatmap(np.ones((4, 3)), ax=ax),
    "bands_over_time": lambda ax: plots.bands_over_time([1, 5], [[0, 1, 2]] * 2, (0.1, 0.5, 0.9), ax=ax),
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
    "alarms_over_time",
    "bands_over_time",
    "forecast_chart",
    "misses_against_false_alarms",
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
    assert image.get_extent() == [0.5, 4.5, 0.5, 2.5]  # steps and units are counted from 1
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "unit, the first 2 of 3")
    assert ax.figure.axes[1].get_ylabel() == "activation"  # of the colorbar
    grey = image.cmap(np.linspace(0, 1, 64))[:, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(grey) > 0).all()
    red, green, blue, _ = image.cmap(0.5)
    assert max(red, green, blue) - min(red, green, blue) < 0.03
    assert plots.activations_heatmap(np.zeros((2, 2))).get_images()[0].get_clim() == (-1, 1)
    assert plots.activations_heatmap(np.zeros((2, 2))).get_ylabel() == "unit"


def test_a_heatmap_names_the_channels_of_an_input():
    names = ["ax", "$ay$", "az"]
    ax = plots.activations_heatmap(np.ones((4, 3)), 2, channels=names)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["ax", "\\$ay\\$"]
    assert ax.get_yticks().tolist() == [1, 2]
    assert ax.get_ylabel() == "channel, the first 2 of 3"
    many = plots.activations_heatmap(np.ones((4, 100)), channels=[str(n) for n in range(100)])
    assert len(many.get_yticks()) == 25


def test_no_peak_of_thousands_of_steps_is_left_out_of_a_heatmap():
    values = np.zeros((5003, 2))
    values[4321], values[17, 0] = (-7, 5), np.nan
    ax = plots.activations_heatmap(values)
    (image,) = ax.get_images()
    shown = image.get_array()
    assert shown.shape == (2, 556)  # blocks of 9 steps
    assert not np.ma.is_masked(shown)
    assert (shown[:, 4321 // 9] == [-7, 5]).all()
    assert ax.get_xlim() == (0.5, 5003.5)
    assert ax.figure.axes[1].get_ylabel() == "activation, furthest from 0 of 9 steps"


def padded(ax, label):
    """(begin, end) of the bar of each sequence."""
    (found,) = [patch for patch in ax.patches if patch.get_label() == label]
    ends, _, begins = found.get_data()
    return list(zip(np.broadcast_to(begins, ends.shape).tolist(), ends.tolist(), strict=True))


@pytest.mark.parametrize("direction", ["right", "left"])
def test_cut_steps_are_shown_with_step_numbers_that_exist(direction):
    data = s2o.SequenceDataset([np.ones((n, 1)) for n in (2, 3, 6)])
    policy = {"sequence_length": 3, "padding_direction": direction, "mask_padding": False}
    ax = plots.padding_bars(s2o.padding_report(data, 3, "none", **policy))
    assert padded(ax, "data") == [(0.5, 2.5), (0.5, 3.5), (0.5, 3.5)]
    assert padded(ax, "padding") == [(2.5, 3.5), (3.5, 3.5), (3.5, 3.5)]
    assert padded(ax, "cut") == [(2.5, 2.5), (3.5, 3.5), (3.5, 6.5)]
    assert (ax.get_xlim(), ax.get_ylim()) == ((0.5, 3.5), {"right": (0.5, 6.5), "left": (6.5, 0.5)}[direction])
    assert ax.get_ylabel() == {"right": "step", "left": "step, counted back from the last"}[direction]
    assert ax.get_title() == "11% of the steps run are padding, 27% of the data are cut"
    assert legend(ax) == ["data", "padding", "cut"]
    ax.figure.canvas.draw()
    low, high = sorted(ax.get_ylim())
    ticks = [tick for tick in ax.get_yticks() if low <= tick <= high]
    assert set(ticks) <= {1, 2, 3, 4, 5, 6}
    assert len(ticks) >= 3


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


def test_the_steps_of_a_forecast_are_counted_from_1_as_in_other_pictures():
    ax = plots.forecast_chart([3, 4], [5], {"naive": [4]})
    assert line(ax, "before").get_xdata().tolist() == [1, 2]
    assert line(ax, "naive").get_xdata().tolist() == [3]


def bars(ax):
    """(begin, end, colour) of each stretch of the band."""
    found = []
    for bar in ax.collections:
        (path,) = bar.get_paths()
        found.append((path.vertices[:, 0].min(), path.vertices[:, 0].max(), tuple(bar.get_facecolor()[0])))
    return found


def test_true_labels_are_a_band_with_names_below_the_scores():
    labels = np.array(["walk"] * 30 + ["up"] + ["sit"] * 20 + ["walk"] * 9, object)
    labels[-3:] = None
    scores = np.tile([0.5, 0.3, 0.2], (60, 1))
    ax = plots.scores_over_time(scores, ["walk", "sit", "up"], truth=labels)
    found = bars(ax)
    assert [bar[:2] for bar in found] == [(0.5, 30.5), (30.5, 31.5), (31.5, 51.5), (51.5, 57.5)]
    assert found[0][2] == found[3][2]
    assert found[1][2] == matplotlib.colors.to_rgba("C2", 0.35)  # "up", as its line
    assert len({colour for *_, colour in found}) == 3
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
    assert legend(ax) == list("abcdef")  # no class is left out
    assert len({(found.get_color(), found.get_linestyle()) for found in ax.get_lines()}) == 6
    assert (ax.get_xlim(), ax.get_ylim()) == ((1, 5), (-0.02, 1.02))
    assert not ax.texts
    assert not ax.collections
    for column, label in enumerate("abcdef"):
        np.testing.assert_array_equal(line(ax, label).get_xydata(), np.stack([np.arange(1, 6), scores[:, column]], 1))


def test_scores_of_thousands_of_steps_are_a_heat_map():
    """Each detection is in it, be it of one step, and each true label, be it no class of the network."""
    scores = np.tile([0.9, 0.1, 0.0], (5000, 1))
    scores[4000] = 0.05, 0.15, 0.8
    truth = np.array(["noise"] * 5000, object)
    truth[3990:4003], truth[4500:4600], truth[:10] = "go", "other", None
    ax = plots.scores_over_time(scores, ["noise", "stop", "go"], truth=truth)
    (image,) = ax.get_images()
    shown = image.get_array()
    assert shown.shape == (4, 556)
    np.testing.assert_allclose(shown[:3, 4000 // 9], [0.9, 0.15, 0.8])
    assert shown[3].mask.all()
    assert not ax.get_lines()
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["noise", "stop", "go", "other"]
    assert (ax.get_xlim(), ax.get_ylim()) == ((0.5, 5000.5), (3.5, -0.5))
    assert ax.figure.axes[1].get_ylabel() == "highest score of 9 steps"
    assert [bar[:2] for bar in bars(ax)] == [
        (10.5, 3990.5),
        (3990.5, 4003.5),
        (4003.5, 4500.5),
        (4500.5, 4600.5),
        (4600.5, 5000.5),
    ]
    rows = [bar.get_paths()[0].vertices[:, 1].mean() // 1 for bar in ax.collections]
    assert rows == [0, 2, 0, 3, 0]
    assert legend(ax) == ["true class"]


@pytest.mark.parametrize(("steps", "classes"), [(500, 10), (501, 10), (500, 11), (5, 100)])
def test_lines_or_a_heat_map(steps, classes):
    ax = plots.scores_over_time(np.full((steps, classes), 0.1))
    ax.figure.canvas.draw()
    are_lines = steps <= 500 and classes <= 10
    assert len(ax.get_lines()) == (classes if are_lines else 0)
    assert len(ax.get_images()) == (not are_lines)
    if not are_lines:
        boxes = [tick.get_window_extent() for tick in ax.get_yticklabels()]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    else:
        assert len(legend(ax)) == classes


def test_legends_of_long_names_stay_inside_the_figure():
    names = [f"a rather long name of class {number}" for number in range(10)]
    ax = plots.scores_over_time(np.full((20, 10), 0.1), names)
    ax.figure.canvas.draw()
    box = ax.get_legend().get_window_extent()
    assert 0 <= box.x0 < box.x1 <= ax.figure.bbox.width
    assert 0 <= box.y0 < box.y1 < ax.xaxis.label.get_window_extent().y0


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
        (
            lambda: plots.activations_heatmap(np.eye(3), channels=["a"]),
            s2o.ShapeError,
            "channels: expected 3 names, .* 1",
        ),
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


@pytest.mark.parametrize(("first", "last"), [(2.0, 0.001), (1.05, 0.96), (0.5, 0.05)])
def test_the_axis_of_the_loss_has_numbers_that_can_be_read(first, last):
    ax = plots.training_curve([{"epoch": 1, "loss": first}, {"epoch": 2, "loss": last}])
    ax.figure.canvas.draw()
    low, high = ax.get_ylim()
    shown = [
        text.get_text() for tick, text in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True) if low <= tick <= high
    ]
    assert len(shown) >= 3
    assert all(float(text) > 0 for text in shown)


def test_validations_of_every_second_epoch_are_points_on_a_line():
    history = [{"epoch": e, "loss": 1 / e} | ({} if e % 2 else {"validation_loss": 2 / e}) for e in range(1, 7)]
    ax = plots.training_curve(history)
    assert line(ax, "validation loss").get_xydata().tolist() == [[2, 1], [4, 0.5], [6, 1 / 3]]
    assert line(ax, "validation loss").get_marker() == "o"
    assert line(ax, "loss").get_marker() == ""
    assert legend(ax) == ["loss", "validation loss"]


def test_a_negative_loss_is_drawn_on_a_linear_axis():
    ax = plots.training_curve([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": -1.0}])
    ax.figure.canvas.draw()
    assert ax.get_yscale() == "linear"
    assert ax.get_ylim()[0] < -1


def test_alarms_over_time_tells_right_alarms_from_false_ones():
    _, scores = tuned()
    ax = plots.alarms_over_time(scores, s2o.Alarm(4, release=2), [(4, 6), (8, 8)], steps_per_second=2)
    assert legend(ax) == ["event", "score", "threshold", "release", "alarm in an event", "false alarm"]
    assert line(ax, "alarm in an event").get_xydata().tolist() == [[2, 9]]
    assert line(ax, "false alarm").get_xydata().tolist() == [[0.5, 5]]
    assert ax.get_xlabel() == "time in seconds"
    with pytest.raises(s2o.SpecError, match="alarm: expected one threshold, got a list"):
        plots.alarms_over_time(scores, s2o.Alarm([0.5, None]))


def test_misses_against_false_alarms_shows_every_threshold_and_the_bound():
    found, _ = tuned()
    ax = plots.misses_against_false_alarms(found)
    chosen = line(ax, f"threshold {found.threshold:.4g}").get_xydata()
    np.testing.assert_allclose(chosen, [[found.false_alarms_per_hour, 100 - 50 * found.found]])
    bound = line(ax, "95 % bound").get_xdata()
    np.testing.assert_allclose(bound, [found.false_alarms_per_hour, found.upper_bound])
    assert line(ax, "all thresholds").get_ydata()[0] == 50  # 9 finds one of two events without a false alarm
