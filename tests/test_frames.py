"""Data frames: long tables, columns by name from the data to the file, and columns that are no features."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import seq2onnx as s2o

COLUMNS = ["ax", "ay", "az"]
OPTIONS = s2o.TrainingOptions(epochs=3, progress=False, device="cpu", threads=1)
TABLE = {
    "pump": ["b", "b", "a", "a", "a"],
    "hour": [2, 1, 1, 2, 3],
    "ax": [1.0, 2.0, 3.0, 4.0, 5.0],
    "ay": [10, 20, 30, 40, 50],
    "label": ["x", "x", "y", "y", "y"],
    "step": ["p", "q", "p", "q", "p"],
}
from_frame = s2o.SequenceDataset.from_frame
both = pytest.mark.parametrize("frame", [pd.DataFrame(TABLE), pl.DataFrame(TABLE)], ids=["pandas", "polars"])


def recordings(count=40):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(n, 3)) * [1, 10, 100] for n in rng.integers(4, 9, count)]
    labels = ["up" if x[-1, 0] > 0 else "down" for x in arrays]
    return [pd.DataFrame(x, columns=COLUMNS) for x in arrays], labels


def classifier(size=3):
    return s2o.Network([s2o.SequenceInput(size, "zscore"), s2o.LSTM(8, "last"), s2o.FullyConnected(2), s2o.Softmax()])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Frames, the same in another order of columns, labels, and the file of a network trained on the first."""
    frames, labels = recordings()
    folder = tmp_path_factory.mktemp("frames")
    result = s2o.train(classifier(), s2o.SequenceDataset(frames, labels), options=OPTIONS, run_dir=folder / "run")
    s2o.export(result.module, folder / "m.onnx")
    return frames, [frame[["az", "ax", "ay"]] for frame in frames], labels, folder


# Long tables


@both
def test_a_long_table_becomes_sequences_in_the_order_of_their_time(frame):
    data = from_frame(frame, id="pump", time="hour", features=["ay", "ax"], targets="label")
    assert [x.tolist() for x in data.sequences] == [[[20, 2], [10, 1]], [[30, 3], [40, 4], [50, 5]]]
    assert (data.labels.tolist(), data.ids, data.channels) == (["x", "y"], ["b", "a"], ["ay", "ax"])
    unsorted = from_frame(frame, id="pump", features=["ax"])
    assert unsorted.sequences[0].tolist() == [[1], [2]]


@both
def test_targets_of_a_long_table(frame):
    steps = from_frame(frame, id="pump", time="hour", features=["ax"], targets="step", per_step=True)
    assert [row.tolist() for row in steps.labels] == [["q", "p"], ["p", "q", "p"]]
    by_id = from_frame(frame, id="pump", features=["ax"], targets={"a": 1.5, "b": 2.5, "other": 0.0})
    assert by_id.targets.tolist() == [2.5, 1.5]
    assert from_frame(frame, id="pump", features=["ax"], targets=pd.Series({"a": "A", "b": "B"})).labels[0] == "B"
    cases = [
        ({"targets": "step"}, "sequence b has different values in 'step'; give per_step=True"),
        ({"targets": {"a": "A"}}, "has no target for 'b'"),
        ({"targets": ["A", "B"]}, "expected a column, or a dict or Series by id, got list"),
        ({"targets": pd.Series(["A", "B"], ["a", "a"])}, "an id occurs more than once"),
        ({"per_step": True}, "per_step=True needs the name of a column"),
    ]
    for arguments, message in cases:
        with pytest.raises(s2o.DataError, match=message):
            from_frame(frame, id="pump", features=["ax"], **arguments)


@both
def test_errors_name_the_column_of_a_long_table(frame):
    cases = [
        ({"id": "nothing"}, "from_frame: has no nothing; its columns are pump, hour"),
        ({"id": ["pump", "hour"]}, "from_frame: expected the name of one column, got "),
        ({"id": "pump", "features": "ax"}, "features: expected a list of names, got 'ax'"),
        ({"id": "pump", "features": ["pump"]}, "features: 'pump' is the id, the time or the target"),
        ({"id": "pump"}, "column 'label': expected numbers, got .* such as 'x'; leave the column out"),
        ({"id": "pump", "time": "step", "features": ["ax"]}, "'step': holds text such as 'p', which has no order in"),
        ({"id": "label", "time": "ay", "features": ["ax", "ax"]}, "names of channels must differ, got 'ax' twice"),
    ]
    for arguments, message in cases:
        with pytest.raises(s2o.DataError, match=message):
            from_frame(frame, **arguments)
    with pytest.raises(s2o.DataError, match="sequences: .* got one data frame; .*SequenceDataset.from_frame"):
        s2o.SequenceDataset(frame)


def test_rows_without_an_id_or_with_the_same_time_are_refused():
    table = pd.DataFrame({"id": [1, 1, 2], "t": [5, 5, 5], "x": [1.0, 2.0, 3.0]})
    with pytest.raises(s2o.DataError, match="sequence 1 has several rows with t = 5"):
        from_frame(table, id="id", time="t")
    gaps = table.assign(id=[1, None, 2])
    for frame in (gaps, gaps.assign(id=gaps.id.astype("Int64")), pl.from_pandas(gaps)):
        with pytest.raises(s2o.DataError, match="id column 'id': row 1 has no value"):
            from_frame(frame, id="id", features=["x"])
    with pytest.raises(s2o.DataError, match="'id' is in the index of the frame; make it a column: frame.reset_index"):
        from_frame(table.set_index("id"), id="id")
    with pytest.raises(s2o.DataError, match="expected a data frame of pandas or polars, got dict"):
        from_frame({"id": [1]}, id="id")


def test_times_may_be_timestamps_and_the_index_does_not_matter():
    days = pd.to_datetime(["2026-01-02", "2026-01-01", "2026-01-03"])
    for times in (days, days.tz_localize("Europe/Berlin"), days - days[0]):
        frame = pd.DataFrame({"id": ["a"] * 3, "t": times, "x": [1.0, 2.0, 3.0]}, index=[7, 7, 2])
        assert from_frame(frame, id="id", time="t").sequences[0].tolist() == [[2], [1], [3]]
    assert from_frame(pl.from_pandas(frame), id="id", time="t").sequences[0].tolist() == [[2], [1], [3]]


def test_missing_targets_of_steps_can_be_ignored():
    frame = pd.DataFrame({"id": [1, 1, 1], "x": [1.0, 2.0, 3.0], "y": [0.5, np.nan, 1.5]})
    data = from_frame(frame, id="id", features=["x"], targets="y", per_step=True, ignore=np.nan)
    assert np.isnan(data.targets[0]).tolist() == [False, True, False]
    labels = frame.assign(y=pd.array([1, None, 2], "Int64"))
    for table in (labels, pl.from_pandas(labels)):
        with pytest.raises(s2o.DataError, match="targets of sequence 0: step 1 has no value"):
            from_frame(table, id="id", features=["x"], targets="y", per_step=True)


# Columns by name, from the data to the file


def test_a_file_reads_frames_by_name_in_any_order(trained):
    frames, exchanged, _, folder = trained
    model = s2o.load(folder / "m.onnx")
    assert model.channels == COLUMNS
    expected = model.predict([frame.to_numpy() for frame in frames])
    forms = {
        "pandas": exchanged,
        "polars": [pl.from_pandas(frame) for frame in exchanged],
        "generator": (frame for frame in exchanged),
        "surplus": [frame.assign(note="text") for frame in exchanged],
        "data set": s2o.SequenceDataset(exchanged),
        "subset": s2o.SequenceDataset(exchanged)[: len(frames)],
        "transformed": s2o.SequenceDataset(exchanged).transformed(lambda x, target, rng: (x, target)),
        "Series of frames": pd.Series(exchanged),
        "counted columns": [pd.DataFrame(frame.to_numpy()) for frame in frames],
    }
    for name, given in forms.items():
        np.testing.assert_array_equal(model.predict(given), expected, err_msg=name)
    for lacking in ([frame[["ax", "az"]] for frame in frames], s2o.SequenceDataset([f[["ax", "az"]] for f in frames])):
        with pytest.raises(s2o.DataError, match="has no ay; its columns are ax, az"):
            model.predict(lacking)


@pytest.mark.parametrize("suffix", [".parquet", ".h5", ".npz"])
def test_files_of_data_keep_the_names(trained, tmp_path, suffix):
    frames, exchanged, labels, folder = trained
    model, path = s2o.load(folder / "m.onnx"), tmp_path / f"data{suffix}"
    ids = [f"recording {number}" for number in range(len(frames))]
    s2o.SequenceDataset(exchanged, labels, ids=ids).save(path)
    data = s2o.SequenceDataset.load(path)
    assert (data.channels, data.ids) == (["az", "ax", "ay"], ids)
    np.testing.assert_array_equal(model.predict(data), model.predict(frames))
    part = data.with_channels(["ay", "az"]).subset([5, 2])
    np.testing.assert_array_equal(part.sequences[0], frames[5][["ay", "az"]].to_numpy(np.float32))
    part.save(path.with_stem("part"))
    again = s2o.SequenceDataset.load(path.with_stem("part"))
    assert (again.channels, again.ids) == (["ay", "az"], ["recording 5", "recording 2"])
    np.testing.assert_array_equal(again.sequences[1], part.sequences[1])


def test_streams_pools_and_forecasts_read_by_name(trained, tmp_path):
    frames, exchanged, _, folder = trained
    model = s2o.load(folder / "m.onnx")
    expected = model.predict(frames[:1])[0]
    first = exchanged[0]
    chunks = {
        "frame": [first],
        "rows": [row for _, row in first.iterrows()],
        "rows with text": [row for _, row in first.assign(note="text").iterrows()],
        "named tuples": list(first.itertuples()),
        "list of rows": [[row for _, row in first.iterrows()]],
        "list of named tuples": [list(first.itertuples(index=False))],
        "polars": [pl.from_pandas(first)],
    }
    for name, steps in chunks.items():
        stream = model.stream()
        for step in steps:
            answer = stream.step(step)
        np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-6, err_msg=name)
    with pytest.raises(s2o.DataError, match="step: has no az; its columns are ax, ay"):
        model.stream().step(frames[0][["ax", "ay"]].iloc[0])
    pool = model.pool(2)
    streams = [pool.open(), pool.open()]
    np.testing.assert_allclose(pool.step(streams, exchanged[:2]), model.predict(frames[:2]), rtol=0, atol=1e-6)

    series = [frame[["ax", "ay"]] for frame in frames]
    network = s2o.Network([s2o.SequenceInput(2, "zscore"), s2o.LSTM(4), s2o.FullyConnected(2)])
    data = s2o.SequenceDataset.next_step([series[0], *(frame[["ay", "ax"]] for frame in series[1:])])
    np.testing.assert_array_equal(data.targets[1], series[1].to_numpy(np.float32)[1:])  # in the order of the first
    s2o.export(s2o.train(network, data, loss="mse", options=OPTIONS).module, tmp_path / "f.onnx")
    forecaster, history = s2o.load(tmp_path / "f.onnx"), series[0][["ay", "ax"]]
    expected = forecaster.forecast(series[0].to_numpy(), 4)
    for given in (history, pl.from_pandas(history), torch.tensor(series[0].to_numpy(), requires_grad=True)):
        np.testing.assert_array_equal(forecaster.forecast(given, 4), expected)
    for given in ([history], s2o.SequenceDataset([history])):
        np.testing.assert_array_equal(forecaster.forecast(given, 4)[0], expected)


def test_validation_and_further_training_use_the_names(trained):
    frames, exchanged, labels, folder = trained
    same, other = s2o.SequenceDataset(frames, labels), s2o.SequenceDataset(exchanged, labels)
    histories = [s2o.train(classifier(), same, data, options=OPTIONS).history for data in (same, other)]
    assert [h["validation_loss"] for h in histories[0]] == [h["validation_loss"] for h in histories[1]]
    modules = [s2o.train(s2o.restore(folder / "m.onnx"), data, options=OPTIONS).module for data in (same, other)]
    assert modules[1].channels == COLUMNS
    for one, two in zip(modules[0].parameters(), modules[1].parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert s2o.training.load_run(folder / "run").channels == COLUMNS
    assert s2o.verify(folder / "m.onnx", s2o.training.load_run(folder / "run"), other).ok
    lacking = s2o.SequenceDataset([frame[["ax"]] for frame in frames], labels)
    with pytest.raises(s2o.DataError, match="validation: data: has no ay, az; its columns are ax"):
        s2o.train(classifier(), same, lacking, options=OPTIONS)


def test_several_inputs_and_vectors_are_read_by_name(tmp_path):
    frames, labels = recordings()
    rng = np.random.default_rng(1)
    person = pd.DataFrame({"weight": rng.normal(80, 9, len(frames)), "height": rng.normal(1.8, 0.1, len(frames))})
    layers = [s2o.SequenceInput(3, "zscore", name="x"), s2o.LSTM(4, "last", name="h")]
    layers += [s2o.FeatureInput(2, "zscore", name="person"), s2o.Concat(inputs=["h", "person"])]
    network = s2o.Network([*layers, s2o.FullyConnected(2), s2o.Softmax()])
    data = s2o.SequenceDataset({"x": frames, "person": person}, labels)
    module = s2o.train(network, data, options=OPTIONS).module
    assert module.channels == {"x": COLUMNS, "person": ["weight", "height"]}
    s2o.export(module, tmp_path / "m.onnx")
    model = s2o.load(tmp_path / "m.onnx")
    expected = model.predict({"x": [frame.to_numpy() for frame in frames], "person": person.to_numpy()})
    turned, other = [frame[["az", "ay", "ax"]] for frame in frames], person[["height", "weight"]]
    rows = [row for _, row in other.iterrows()]
    for form in (other, pl.from_pandas(other), rows):
        np.testing.assert_array_equal(model.predict({"x": turned, "person": form}), expected)
    for form in (other, rows):
        np.testing.assert_array_equal(model.predict(s2o.SequenceDataset({"x": turned, "person": form})), expected)
    answer = model.stream().step({"x": turned[0], "person": rows[0]})
    np.testing.assert_allclose(answer, expected[0], rtol=0, atol=1e-6)
    with pytest.raises(s2o.DataError, match="channels: expected a dict with names for some of x, person, got a list"):
        data.with_channels(["ax"])


def test_channels_of_images_have_names():
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(n, 3, 4, 4)) for n in (2, 3)]
    data = s2o.SequenceDataset(images, channels=["red", "green", "blue"])
    turned = data.with_channels(["blue", "red", "green"])
    np.testing.assert_array_equal(turned.sequences[1], images[1].astype(np.float32)[:, [2, 0, 1]])


def test_a_transform_reads_the_channels_of_the_data():
    frames, _ = recordings(4)
    doubled = s2o.SequenceDataset(frames).transformed(lambda x, target, rng: (x * [1, 2, 1], target))
    turned = doubled.with_channels(["ay", "ax"])
    np.testing.assert_allclose(turned[0][0], frames[0][["ay", "ax"]].to_numpy(np.float32) * [2, 1], rtol=1e-6)
    np.testing.assert_allclose(turned.statistics()["mean"], doubled.statistics()["mean"][[1, 0]])
    wider = s2o.SequenceDataset(frames).transformed(lambda x, target, rng: (np.hstack([x, x]), target))
    assert wider.channels is None  # three names for six features
    assert s2o.build(classifier(6), wider).channels is None


def test_all_frames_of_a_data_set_have_the_same_columns():
    frames, _ = recordings(2)
    cases = [
        (
            [frames[0], frames[1].assign(temperature=1)],
            "sequence 1: has a column 'temperature', which sequence 0 lacks",
        ),
        ([frames[0], frames[1][["ax", "ay"]]], "sequence 1: has no az; its columns are ax, ay"),
        ([frames[0], frames[1].to_numpy()], "sequence 1: expected a data frame, as other sequences are, got ndarray"),
        ([frames[0].to_numpy(), frames[1]], "sequence 0: expected a data frame, as other sequences are, got ndarray"),
        ([frames[0], pd.DataFrame(frames[1].to_numpy())], "sequence 1: only some of the data frames have names"),
        ([pd.concat([frames[0], frames[0]], axis=1)], "sequence 0: has several columns 'ax'; rename or remove one"),
        ([frames[0].set_axis([2024, 2025, 2026], axis=1)], "expected column names that are strings, got 2024; rename"),
        ([frames[0].set_axis([2, 1, 0], axis=1)], "expected column names that are strings, got 2; rename"),
        ([frames[0].set_axis(pd.MultiIndex.from_product([["a"], COLUMNS]), axis=1)], r"got \('a', 'ax'\); rename"),
        ([pd.DataFrame(index=[0, 1])], "at least one column of numbers, got none"),
    ]
    for given, message in cases:
        with pytest.raises(s2o.DataError, match=message):
            s2o.SequenceDataset(given)
    chosen = s2o.SequenceDataset([frames[0], frames[1].assign(temperature=1)], channels=["az", "ax"])
    np.testing.assert_array_equal(chosen.sequences[1], frames[1][["az", "ax"]].to_numpy(np.float32))
    named = s2o.SequenceDataset([pd.DataFrame(frames[0].to_numpy())], channels=COLUMNS)  # by position
    np.testing.assert_array_equal(named.with_channels(["az"]).sequences[0], frames[0][["az"]].to_numpy(np.float32))


# Types of columns

DAY = datetime.datetime(2026, 1, 1)
NUMBERS = [
    pd.Series([1, None], dtype="Int64"),
    pd.Series([1, None], dtype="Float32"),
    pd.Series([True, None], dtype="boolean"),
    pd.Series([1, None], dtype="int64[pyarrow]"),
    pd.Series([1, None], dtype=object),
    pd.Series([decimal.Decimal(1), None], dtype=object),
    pd.Series(pd.arrays.SparseArray([1.0, np.nan])),
    pl.Series([1, None]),
    pl.Series([1, None], dtype=pl.Float32),
    pl.Series([True, None]),
    pl.Series([decimal.Decimal(1), None]),
]
NO_NUMBERS = [
    (
        pd.Series([DAY]),
        r"holds timestamps \(datetime64\[us\]\); leave it out, or convert it to seconds since the start",
    ),
    (pd.Series([DAY]).dt.tz_localize("UTC"), "holds timestamps"),
    (pd.Series([datetime.timedelta(1)]), "holds timestamps"),
    (pd.Series([DAY.date()]), "holds timestamps"),
    (pd.Series([DAY], dtype="timestamp[ns][pyarrow]"), "holds timestamps"),
    (pd.Series(["1"]), "expected numbers, got str such as '1'; leave the column out, or convert it to numbers"),
    (pd.Series(["x"], dtype="category"), "expected numbers, got category such as 'x'"),
    (pd.Series([3], dtype="category"), "expected numbers, got category such as 3"),
    (pd.Series([1j]), "expected numbers, got complex128"),
    (pd.Series([np.ones(2)]), r"expected numbers, got object such as array\(\[1., 1.\]\)"),
    (pd.Series([1, "x"], dtype=object), "expected values of one type, got int and str"),
    (pd.Series(pd.period_range("2026", periods=1, freq="M")), "expected numbers, got period"),
    (pl.Series([DAY.date()]), r"holds timestamps \(Date\)"),
    (pl.Series([DAY]), "holds timestamps"),
    (pl.Series([datetime.time(1)]), "holds timestamps"),
    (pl.Series([datetime.timedelta(1)]), "holds timestamps"),
    (pl.Series(["x"], dtype=pl.Categorical), "expected numbers, got Categorical such as 'x'"),
    (pl.Series(["x"], dtype=pl.Enum(["x"])), "expected numbers, got Enum"),
    (pl.Series([[1, 2]]), "expected numbers, got List"),
    (pl.Series([[1, 2]], dtype=pl.Array(pl.Float64, 2)), "expected numbers, got Array"),
    (pl.Series([{"p": 1}]), "expected numbers, got Struct"),
    (pl.Series([b"x"]), "expected numbers, got Binary"),
]


def one_column(column):
    return pl.DataFrame({"a": column}) if isinstance(column, pl.Series) else pd.DataFrame({"a": column})


@pytest.mark.parametrize("column", NUMBERS, ids=lambda column: str(column.dtype))
def test_columns_of_numbers_are_features_and_their_gaps_are_nan(column):
    for data in (s2o.SequenceDataset([one_column(column)]), s2o.SequenceDataset([one_column(column)], channels=["a"])):
        np.testing.assert_array_equal(data.sequences[0], [[1], [np.nan]])
    is_polars = isinstance(column, pl.Series)
    frame = one_column(column).with_columns(id=pl.lit(1)) if is_polars else one_column(column).assign(id=1)
    np.testing.assert_array_equal(from_frame(frame, id="id").sequences[0], [[1], [np.nan]])


@pytest.mark.parametrize(("column", "message"), NO_NUMBERS, ids=lambda value: str(getattr(value, "dtype", "")))
def test_columns_of_other_types_are_refused_with_what_to_do(trained, column, message):
    with pytest.raises(s2o.DataError, match=f"sequence 0, column 'a': {message}"):
        s2o.SequenceDataset([one_column(column)])
    model = s2o.load(trained[3] / "m.onnx")
    frame = pl.DataFrame(dict.fromkeys(COLUMNS, column)) if isinstance(column, pl.Series) else None
    frame = pd.DataFrame(dict.fromkeys(COLUMNS, column)) if frame is None else frame
    with pytest.raises(s2o.DataError, match=f"sequence 0, column 'ax': {message}"):
        model.predict([frame])
    with pytest.raises(s2o.DataError, match=f"step, column 'ax': {message}"):
        model.stream().step(frame)
