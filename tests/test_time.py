"""Time stamps: what `read`, `from_frame` and `seq2onnx data inspect` find in them, the rate, and resampling."""

from __future__ import annotations

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


@pytest.mark.parametrize("jitter", [0, 0.001, 0.05, 0.15])
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
