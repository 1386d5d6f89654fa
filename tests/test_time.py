"""Time stamps: what `read`, `from_frame` and `seq2onnx data inspect` find in them, the rate, and resampling."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import pytest

import seq2onnx as s2o
from seq2onnx.data import read
from tests.command import run


@pytest.fixture
def folder(tmp_path):
    """Write a CSV file of a sine with the given time stamps for each name; return the folder."""

    def write(column="time", **files):
        path = tmp_path / "data"
        path.mkdir(exist_ok=True)
        for name, times in files.items():
            rows = [f"{time},{np.sin(index)}" for index, time in enumerate(times)]
            (path / f"{name}.csv").write_text("\n".join([f"{column},x", *rows]) + "\n")
        return path

    return write


def at(rate, count=40, start=0.0):
    return (start + np.arange(count) / rate).round(6).tolist()


def iso(rate, count=40):
    return (
        np.datetime64("2024-05-31T12:00:00", "us") + (1e6 * np.arange(count) / rate).astype("timedelta64[us]")
    ).tolist()


def warned(path, **options):
    """Read; return the data and the warnings by id, of which there is one of each."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        data = read(path, **{"time": "time"} | options)
    assert all(item.category is s2o.Seq2OnnxWarning for item in found)
    by_id = {item.message.id: str(item.message) for item in found}
    assert len(by_id) == len(found)
    return data, by_id


def test_files_of_10_and_20_hz_are_warned_of_by_file(folder):
    path = folder(a=at(10), b=at(20), c=at(10), d=at(20.1), e=at(10.05))
    with pytest.warns(s2o.Seq2OnnxWarning, match=r"^rates-differ: .*data: 2 of 5 .*than 10 Hz: b.csv \(20 Hz\), d.csv"):
        read(path, time="time")
    assert warned(folder(b=iso(20), a=iso(10), c=iso(10)))[1].keys() == {"rates-differ"}


def test_milliseconds_beside_seconds_are_warned_of_by_file(folder):
    path = folder(a=at(20), b=[50 * index for index in range(40)], c=at(20))
    found = warned(path)[1]
    assert found.keys() == {"units-differ"}
    assert "1 of 3 sequences" in found["units-differ"]
    assert "b.csv (50) beside 0.05" in found["units-differ"]
    # Dates as numbers show their unit; they are read in it.
    seconds = 1717156800 + np.arange(40) / 20
    found = warned(folder(a=seconds.tolist(), b=(seconds * 1000).astype(int).tolist(), c=seconds.tolist()))[1]
    assert found.keys() == {"units-differ"}
    assert "b.csv (milliseconds) beside seconds" in found["units-differ"]


def test_holes_are_counted_by_file(folder):
    times = at(10, 100)
    path = folder(a=times, b=times[:30] + times[40:70] + times[71:], c=times[:50] + times[60:])
    found = warned(path)[1]
    assert found.keys() == {"holes"}
    assert "2 of 3 sequences" in found["holes"]
    assert "b.csv (2, the longest 1.1 s), c.csv (1, the longest 1.1 s)" in found["holes"]


def test_equal_stamps_are_counted_by_file(folder):
    times = at(10)
    found = warned(folder(a=times, b=[*times[:5], times[4], *times[5:], times[-1]]))[1]
    assert found.keys() == {"duplicates"}
    assert "1 of 2" in found["duplicates"]
    assert "b.csv (2)" in found["duplicates"]


def test_stamps_that_go_back_are_counted_where_they_are_sorted_and_else_refused(folder, tmp_path):
    again = at(10, 20) + at(10, 20, 0.05)  # the clock was set back
    with pytest.raises(s2o.DataError, match="comes after 1.9; sort the lines by time"):
        read(folder(a=again), time="time")
    frame = pd.DataFrame({"id": ["p"] * 40 + ["q"] * 20, "time": again + at(20, 20), "x": 1.0})
    frame.to_csv(tmp_path / "pumps.csv", index=False)
    for make in (
        lambda: read(tmp_path / "pumps.csv", id="id", time="time"),
        lambda: s2o.SequenceDataset.from_frame(frame, id="id", time="time"),
    ):
        with pytest.warns(s2o.Seq2OnnxWarning, match=r"^stamps-back: .* 1 of 2 .* go back: p \(1\)"):
            make()
    # Rows in no order are meant to be sorted.
    shuffled = frame[frame.id == "q"].sample(frac=1, random_state=0)
    assert len(s2o.SequenceDataset.from_frame(shuffled, id="id", time="time")) == 1


@pytest.mark.parametrize("jitter", [0, 0.001, 0.05, 0.15, 0.3])
@pytest.mark.parametrize("rate", [10, 33, 1000])
def test_jitter_alone_is_not_warned_of(folder, rate, jitter):
    rng = np.random.default_rng(0)
    files = {f"r{n}": (np.arange(n) + rng.uniform(-jitter, jitter, n)) / rate for n in (2, 3, 5, 40, 300)}
    assert not warned(folder(**{name: times.tolist() for name, times in files.items()}))[1]


def test_events_at_random_times_are_not_warned_of(folder):
    rng = np.random.default_rng(0)
    assert not warned(folder(**{f"r{n}": np.cumsum(rng.exponential(1, n)).tolist() for n in (20, 300)}))[1]


def test_each_warning_can_be_switched_off_by_its_id(folder):
    path = folder(a=at(10, 30) + at(10, 30, 9), b=at(20))
    with warnings.catch_warnings():
        warnings.simplefilter("error", s2o.Seq2OnnxWarning)
        warnings.filterwarnings("ignore", "holes", s2o.Seq2OnnxWarning)
        with pytest.raises(s2o.Seq2OnnxWarning, match="^rates-differ"):
            read(path, time="time")
        warnings.filterwarnings("ignore", "rates-differ")
        read(path, time="time")


@pytest.mark.parametrize("unit", ["s", "iso", "epoch", "epoch ms", "time_ms", "nanoseconds"])
def test_the_rate_is_measured_from_seconds_dates_and_numbers_of_a_known_unit(folder, unit):
    start, column = 1717156800, unit if "_" in unit or "nano" in unit else "time"
    makes = {
        "s": at,
        "iso": iso,
        "epoch": lambda rate: at(rate, start=start),
        "epoch ms": lambda rate: [round(1000 * t) for t in at(rate, start=start)],
        "time_ms": lambda rate: [1000 * t for t in at(rate)],
        "nanoseconds": lambda rate: [round(1e9 * t) for t in at(rate, start=55)],
    }
    data, found = warned(folder(column, a=makes[unit](25), b=makes[unit](25)), time=column)
    assert (data.sample_rate, found) == (25, {})
    frame = pd.concat([pd.read_csv(folder() / f"{n}.csv").assign(n=n) for n in "ab"])
    if unit == "iso":
        frame["time"] = pd.to_datetime(frame["time"], format="ISO8601")
        berlin = frame.assign(time=frame["time"].dt.tz_localize("Europe/Berlin"))
        assert s2o.SequenceDataset.from_frame(berlin, id="n", time="time").sample_rate == 25
    assert s2o.SequenceDataset.from_frame(frame, id="n", time=column).sample_rate == 25


def test_a_measured_rate_is_rounded_only_where_the_steps_hardly_vary(folder):
    assert warned(folder(a=(np.arange(500) / 49.98).tolist()))[0].sample_rate == 50
    steps = np.random.default_rng(0).uniform(0.95, 1.05, 500) / 49.7
    rate = warned(folder(a=np.cumsum(steps).tolist()))[0].sample_rate
    assert rate == pytest.approx(1 / steps[1:].mean())
    assert rate != float(f"{rate:.3g}")


def test_no_rate_is_made_up(folder):
    assert warned(folder(a=list(range(30))))[0].sample_rate is None  # steps that are only counted
    assert warned(folder(a=np.cumsum(np.random.default_rng(0).exponential(1, 300)).tolist()))[0].sample_rate is None
    assert warned(folder(a=at(10), b=at(20)))[0].sample_rate is None
    assert warned(folder(a=at(10), b=at(10)), time=None, channels=["x"])[0].sample_rate is None
    assert warned(folder("second", a=list(range(30)), b=[0]), time="second")[0].sample_rate == 1


def test_a_given_rate_that_differs_from_the_stamps_is_warned_of(folder, tmp_path):
    path = folder(a=at(10))
    data, found = warned(path, sample_rate=10.05)
    assert (data.sample_rate, found) == (10.05, {})
    data, found = warned(path, sample_rate=20)
    assert data.sample_rate == 20
    assert found["rate-differs"].endswith("sample_rate is 20 Hz, but the time stamps have 10 Hz")
    data.save(tmp_path / "a.npz")
    assert "but the file has 20 Hz" in warned(tmp_path / "a.npz", time=None, sample_rate=10)[1]["rate-differs"]
    for wrong in (0, -1, np.nan, "10", True):
        with pytest.raises(s2o.DataError, match="sample_rate: expected a number above 0"):
            read(path, sample_rate=wrong)


NETWORK = s2o.Network([s2o.SequenceInput(1), s2o.LSTM(3, "last"), s2o.FullyConnected(2), s2o.Softmax()])
OPTIONS = s2o.TrainingOptions(epochs=1, progress=False, device="cpu")


def test_the_rate_reaches_module_file_and_the_module_of_the_file(folder, tmp_path):
    data = read(folder(a=at(10), b=at(10)), time="time")
    data = s2o.SequenceDataset(data.sequences, ["no", "yes"], sample_rate=data.sample_rate)
    assert s2o.build(NETWORK, data).sample_rate == 10
    result = s2o.train(NETWORK, data, options=OPTIONS, run_dir=tmp_path / "run")
    assert result.module.sample_rate == 10
    s2o.export(result.module, tmp_path / "a.onnx")
    run("export", tmp_path / "run", "--out", tmp_path / "b.onnx")
    for file in ("a.onnx", "b.onnx"):
        assert s2o.load(tmp_path / file).contract.sample_rate == 10
    again = s2o.restore(tmp_path / "a.onnx")
    assert again.sample_rate == 10
    # No layer knows the rate: others are warned of beyond 1 %, and never refused.
    near, far = (s2o.SequenceDataset(data.sequences, data.labels, sample_rate=rate) for rate in (10.09, 20))
    model = s2o.load(tmp_path / "a.onnx")
    model.predict(near)
    s2o.train(again, near, options=OPTIONS)
    for call in (
        lambda: model.predict(far),
        lambda: s2o.train(s2o.restore(tmp_path / "a.onnx"), far, options=OPTIONS),
        lambda: s2o.train(NETWORK, data, validation=far, options=OPTIONS),
    ):
        with pytest.warns(s2o.Seq2OnnxWarning, match=r"^rate-differs: \w+: has 20 Hz, and the training data .* 10 Hz"):
            call()


@pytest.mark.parametrize("call", ["list", "names", "from_frame", "items", "predict"])
def test_a_datetime_index_that_goes_back_is_refused(call, tmp_path):
    index = pd.DatetimeIndex(["2024-05-31 12:00:00", "2024-05-31 12:00:02", "2024-05-31 12:00:01"])
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]}, index=index)
    calls = {
        "list": lambda frame: s2o.SequenceDataset([frame]),
        "names": lambda frame: s2o.SequenceDataset([frame], channels=["x"]),
        "from_frame": lambda frame: s2o.SequenceDataset.from_frame(frame.assign(id=1), id="id"),
        "items": lambda frame: s2o.SequenceDataset.from_items([frame]),
    }
    if call == "predict":
        s2o.export(s2o.build(NETWORK), tmp_path / "a.onnx", channels=["x"])
        calls["predict"] = lambda frame: s2o.load(tmp_path / "a.onnx").predict([frame])
    calls[call](frame.sort_index())
    message = r"the time 2024-05-31 12:00:01 in the index comes after 2024-05-31 12:00:02; sort the rows"
    with pytest.raises(s2o.DataError, match=message):
        calls[call](frame)


# -- resampling --


@pytest.mark.parametrize("jitter", [0, 0.2])
@pytest.mark.parametrize("rate", [10, 20, 33])
def test_a_resampled_sine_is_within_1_percent_of_the_true_one(tmp_path, rate, jitter):
    rng, starts = np.random.default_rng(rate), []
    for name in "ab":
        times = (np.arange(40 * rate) + rng.uniform(-jitter, jitter, 40 * rate)) / rate
        rows = [f"{time!r},{math.sin(2 * math.pi * 0.2 * time)!r}" for time in times.tolist()]
        (tmp_path / f"{name}.csv").write_text("\n".join(["time,x", *rows]))
        starts.append(times[0])
    data = read(tmp_path, time="time", rate=25)
    assert data.sample_rate == 25
    for x, start in zip(data.sequences, starts, strict=True):
        assert len(x) == pytest.approx(40 * 25, abs=30)
        true = np.sin(2 * np.pi * 0.2 * (start + np.arange(len(x)) / 25))
        np.testing.assert_allclose(x[:, 0], true, rtol=0, atol=0.01)


def test_files_of_different_rates_get_one_without_a_warning(folder):
    data, found = warned(folder(a=at(10), b=at(20), c=iso(50)), rate=10)
    assert (found, data.sample_rate) == ({}, 10)
    assert data.lengths.tolist() == [40, 20, 8]
    np.testing.assert_allclose(data.sequences[1][:, 0], np.sin(np.arange(0, 40, 2)), atol=1e-6)
    frames = [pd.DataFrame({"t": at(rate), "x": np.sin(np.arange(40)), "id": rate}) for rate in (10, 20)]
    framed = s2o.SequenceDataset.from_frame(pd.concat(frames), id="id", time="t", rate=10)
    np.testing.assert_array_equal(framed.sequences[1], data.sequences[1])


def test_gaps_longer_than_max_gap_are_nan_and_shorter_ones_are_filled(tmp_path):
    # Stamps at 0, 0.1 … 0.5, a gap to 0.8, and one to 1.8; y lacks two values at 0.2 and 0.3.
    times = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.8, 1.8, 1.9]
    rows = [f"{t},{10 * t},{'' if t in (0.2, 0.3) else -t}" for t in times]
    (tmp_path / "a.csv").write_text("\n".join(["time,x,y", *rows]))
    true = np.arange(20) / 10
    (data,) = warned(tmp_path, rate=10, max_gap=0.5)[0].sequences
    expected = np.where((true > 0.85) & (true < 1.75), np.nan, true)
    np.testing.assert_allclose(data, np.stack([10 * expected, -expected], 1), atol=1e-6)
    (data,) = warned(tmp_path, rate=10, max_gap=0.25)[0].sequences
    x = np.where((true > 0.55) & (true < 0.75), np.nan, 10 * expected)
    np.testing.assert_allclose(data[:, 0], x, atol=1e-5)
    assert np.flatnonzero(np.isnan(data[:, 1])).tolist() == [2, 3, 6, 7, *range(9, 18)]
    data, found = warned(tmp_path, rate=10)
    np.testing.assert_allclose(data.sequences[0], np.stack([10 * true, -true], 1), atol=1e-6)
    assert "Lines across them are no measurements" in found["holes"]


def test_the_label_of_a_step_is_that_of_the_nearest_earlier_stamp(tmp_path):
    (tmp_path / "a.csv").write_text("time,x,state\n0,1,on\n0.3,2,off\n0.55,3,on\n0.9,4,off\n")
    data = read(tmp_path, time="time", rate=10, targets="state", per_step=True)
    assert data.labels[0].tolist() == ["on"] * 3 + ["off"] * 3 + ["on"] * 3 + ["off"]


def test_data_with_open_gaps_trains_with_a_layer_missing(folder):
    times = at(10)
    data = warned(folder(a=times[:10] + times[20:], b=times), rate=5, max_gap=0.5)[0]
    data = s2o.SequenceDataset(data.sequences, ["no", "yes"], sample_rate=data.sample_rate)
    layers = [s2o.SequenceInput(1, missing=True), s2o.Missing("hold"), *NETWORK.layers[1:]]
    assert s2o.train(s2o.Network(layers), data, options=OPTIONS).module.sample_rate == 5


def test_without_time_stamps_nothing_is_resampled(folder, tmp_path):
    path = folder(a=at(10))
    for source in (path, tmp_path / "missing.npz"):
        with pytest.raises(s2o.DataError, match=r"rate: .* no column of times is named. Name it: time="):
            read(source, rate=10)
    with pytest.raises(s2o.DataError, match="max_gap: .* give the rate too"):
        read(path, time="time", max_gap=1)
    with pytest.raises(s2o.DataError, match="sample_rate: is that of the result"):
        read(path, time="time", rate=10, sample_rate=10)
    with pytest.raises(s2o.DataError, match="rate: expected a number above 0, got 0"):
        read(path, time="time", rate=0)
    assert "no column of times" in run("data", "inspect", path, "--rate", 10, code=2)[1]


def test_resampling_refuses_mixed_units_and_wrong_dates(folder):
    path = folder(a=at(20), b=[50 * index for index in range(40)], c=at(20))
    with (
        pytest.warns(s2o.Seq2OnnxWarning, match="units-differ"),
        pytest.raises(s2o.DataError, match=r"rate: the steps are b.csv \(50\) beside 0.05, in different units"),
    ):
        read(path, time="time", rate=10)
    path = folder(a=at(20), b=[*iso(20), "2094-01-01 00:00:00"], c=at(20))
    with (
        pytest.warns(s2o.Seq2OnnxWarning, match="holes"),
        pytest.raises(s2o.DataError, match=r"rate: b.csv would have [\d,]+ steps at 10 Hz instead of 41"),
    ):
        read(path, time="time", rate=10)


def test_sequences_of_one_step_and_with_equal_stamps_are_resampled(folder):
    data = warned(folder(a=[5], b=[0, 0.1, 0.1, 0.2]), rate=10)[0]
    np.testing.assert_allclose(data.sequences[0], [[0]])
    np.testing.assert_allclose(data.sequences[1], np.sin([[0], [2], [3]]), atol=1e-6)


def test_commands_resample(folder, tmp_path):
    path = folder(a=at(10), b=at(20))
    run("data", "convert", path, tmp_path / "a.npz", "--time", "time", "--rate", 10, "--max-gap", 0.5)
    saved = read(tmp_path / "a.npz")
    assert (saved.sample_rate, saved.lengths.tolist()) == (10, [40, 20])
    assert "rate       10 a second" in run("data", "inspect", path, "--time", "time", "--rate", 10)[0]
    NETWORK.save(tmp_path / "n.yaml")
    (tmp_path / "labels.csv").write_text("file,label\na,no\nb,yes\n")
    run(
        "train", tmp_path / "n.yaml", path, "--labels", "labels.csv", "--time", "time", "--rate", 10, "--out",
        tmp_path / "run", "--set", "epochs=1", "--set", "device=cpu", "-q",
    )  # fmt: skip
    run("export", tmp_path / "run", "-q")
    assert s2o.load(tmp_path / "run/model.onnx").contract.sample_rate == 10


def test_inspect_shows_the_steps_of_each_file(folder):
    path = folder(a=at(10), b=at(20, 10) + at(20, 10, 3) + [3.45])
    with pytest.warns(s2o.Seq2OnnxWarning):
        shown, _ = run("data", "inspect", path, "--time", "time")
    rows = {cells[0]: cells[1:] for line in shown.splitlines() if (cells := line.split())}
    assert rows["time"] == ["steps", "(s)", "median", "smallest", "largest", "holes", "repeated", "back"]
    assert rows["a.csv"] == ["0.1", "0.1", "0.1", "0", "0", "0"]
    assert rows["b.csv"] == ["0.05", "0", "2.55", "1", "1", "0"]
    assert "time steps" not in run("data", "inspect", path)[0]


def test_quiet_switches_the_warnings_of_a_command_off(folder, tmp_path):
    path = folder(a=at(10), b=at(20))
    with pytest.warns(s2o.Seq2OnnxWarning):
        run("data", "convert", path, tmp_path / "a.npz", "--time", "time")
    run("data", "convert", path, tmp_path / "a.npz", "--time", "time", "-q")
    run("data", "inspect", path, "--time", "time", "-q")
