"""Parquet files: data beyond memory, the same as in memory, and what is said of files that cannot be used."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.data import batch_indices, read
from seq2onnx.data.columns import Column
from seq2onnx.data.contents import Contents
from seq2onnx.data.formats import parquet, parquet_column
from tests.conftest import CLASSES, random_data

pytestmark = pytest.mark.usefixtures("in_this_process")


def assert_same(a, b):
    assert (len(a), a.classes, a.per_step) == (len(b), b.classes, b.per_step)
    assert a.lengths.tolist() == b.lengths.tolist()
    for index in range(len(a)):
        np.testing.assert_equal(a[index], b[index])


@pytest.fixture
def small_groups(monkeypatch):
    """Row groups, shards and blocks of a few sequences each."""
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 700)
    for name, size in {"BLOCK_BYTES": 500, "SHARD_BYTES": 3000, "CACHED_BYTES": 9000}.items():
        monkeypatch.setattr(parquet_column, name, size)


@pytest.mark.parametrize("per_step", [False, True])
def test_a_saved_data_set_is_read_back(tmp_path, small_groups, per_step):
    data = random_data(40, per_step=per_step)
    data.save(tmp_path / "data.parquet")
    assert pq.ParquetFile(tmp_path / "data.parquet").num_row_groups > 5
    again = read(tmp_path / "data.parquet")
    assert isinstance(again.sequences, Column)
    assert_same(again, data)
    for name, values in data.statistics().items():
        np.testing.assert_allclose(again.statistics()[name], values, rtol=1e-12)
    np.testing.assert_equal(again.class_counts(), data.class_counts())
    assert_same(again.subset([31, 2, 17]), data.subset([31, 2, 17]))
    assert_same(again.with_classes(CLASSES[::-1]), data.with_classes(CLASSES[::-1]))
    assert_same(pickle.loads(pickle.dumps(again)), data)  # as for a worker of torch's DataLoader


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("suffix", [".parquet", ".h5"])
def test_a_subset_of_a_file_keeps_its_order_and_its_repeated_sequences(tmp_path, small_groups, suffix, per_step):
    data, chosen = random_data(40, per_step=per_step), [31, 2, 17, 2, 39, 2]
    data.save(tmp_path / f"data{suffix}")
    expected, stored = data.subset(chosen), read(tmp_path / f"data{suffix}").subset(chosen)
    np.testing.assert_equal(list(stored.sequences), list(expected.sequences))
    np.testing.assert_equal(stored.labels, expected.labels)
    np.testing.assert_equal(stored.class_counts(), expected.class_counts())
    np.testing.assert_allclose(stored.statistics()["mean"], expected.statistics()["mean"], rtol=1e-12)
    for rng in (None, np.random.default_rng(0)):
        assert sorted(np.concatenate(stored.shards(rng))) == list(range(len(chosen)))
    for copy in ("copy.npz", "copy.h5", "copy.parquet"):
        stored.save(tmp_path / copy)
        assert_same(read(tmp_path / copy), expected)


@pytest.mark.parametrize(
    "data",
    [
        s2o.SequenceDataset([np.ones((2, 3, 4, 5)), np.zeros((0, 3, 4, 5))], [0.5, np.nan], ignore=np.nan),
        s2o.SequenceDataset([np.array([3, 1]), np.array([7])], np.array([[0.5, 1], [2, 3]])),
        s2o.SequenceDataset([np.ones((2, 3)), np.ones((1, 3))], [np.ones((2, 2)), np.zeros((1, 2))]),
        s2o.SequenceDataset([np.ones((2, 3)), np.ones((1, 3))], [[3, 5], [9]], ignore=9),
        s2o.SequenceDataset({"a": [np.ones((2, 3)), np.ones((1, 3))], "b": [np.ones(4), np.zeros(4)]}, ["x", "y"]),
        s2o.SequenceDataset([np.ones((2, 3)), np.ones((1, 3))]),
    ],
    ids=["images", "tokens", "numbers a step", "labels a step", "two inputs", "no targets"],
)
def test_every_kind_of_data_is_read_back(tmp_path, data):
    data.save(tmp_path / "data.parquet")
    assert_same(read(tmp_path / "data.parquet"), data)


def test_training_from_a_file_equals_training_from_memory(tmp_path):
    data = random_data(40)
    data.save(tmp_path / "data.parquet")
    net = s2o.Network([s2o.SequenceInput(4, "zscore"), s2o.LSTM(5, "last"), s2o.FullyConnected(3), s2o.Softmax()])
    options = s2o.TrainingOptions(epochs=2, batch_size=8, shuffle="none", progress=False)
    found = [s2o.train(net, d, 0.25, options=options) for d in (data, read(tmp_path / "data.parquet"))]
    for a, b in zip(*(result.module.state_dict().values() for result in found), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shuffle", ["bucket", "random", "sorted", "none"])
def test_batches_read_one_shard_after_another(tmp_path, small_groups, shuffle):
    data = random_data(100)
    data.save(tmp_path / "data.parquet")
    stored = read(tmp_path / "data.parquet")
    (column,) = stored.parts.values()
    reads = []
    original = column._read
    column._read = lambda groups, rows: reads.append(groups[0]) or original(groups, rows)
    found = batch_indices(stored.lengths, 8, shuffle, np.random.default_rng(0), stored.shards)
    assert sorted(np.concatenate(found)) == list(range(100))
    assert sorted(len(batch) for batch in found) == [4, *[8] * 12]
    for batch in found:
        stored.take(batch)
    assert len(reads) <= 2 * len(set(reads))  # a group is not read again for each batch
    assert len(set(reads)) > 10
    two = [
        np.concatenate(batch_indices(stored.lengths, 8, shuffle, rng, stored.shards))
        for rng in (np.random.default_rng(1), np.random.default_rng(2))
    ]
    assert (two[0].tolist() == two[1].tolist()) == (shuffle in ("sorted", "none"))


def test_files_of_other_programs_are_read(tmp_path):
    path = tmp_path / "data.parquet"
    left, right = [[1.0, 2.0], [3.0]], [[4.0, 5.0], [6.0]]
    pq.write_table(
        pa.table({"left": left, "label": ["a", "b"], "right": pa.array(right, pa.list_(pa.float64()))}), path
    )
    data = read(path)
    np.testing.assert_array_equal(data[0][0], np.array([[1, 4], [2, 5]], np.float32))
    assert (data.labels.tolist(), data.lengths.tolist()) == (["a", "b"], [2, 1])
    assert read(path, sequences="right")[0][0].tolist() == [[4], [5]]
    assert read(path, sequences=["right", "left"], targets="label")[0][0].tolist() == [[4, 1], [5, 2]]
    pq.write_table(pa.table({"x": [[[1.0, 2.0], [3.0, 4.0]], []], "target": [[0.5, 1.5], []]}), path)
    data = read(path)
    assert data[0][0].tolist() == [[1, 2], [3, 4]]
    assert data[1][0].shape == (0, 2)
    assert data.per_step
    pq.write_table(pa.table({"words": pa.array([[1, 5], [2]], pa.large_list(pa.int32()))}), path)
    assert [row.tolist() for row in read(path).sequences] == [[1, 5], [2]]


def table(**columns):
    return pa.table({"values": [[[1.0], [2.0]], [[3.0]]]} | columns)


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (table(values=[[[1.0], [2.0]], None]), {}, "row 1: values is null"),
        (table(values=[[[1.0]], [[2.0], [3.0, 4.0]]]), {}, "row 1, step 1: expected 1 features .* got 2"),
        (table(values=[[["a"]], [["b"]]]), {}, "values: expected lists of numbers, got strings"),
        (table(), {"sequences": "x"}, "has no column 'x'; its columns are values"),
        (table(), {"targets": "y"}, "has no column 'y'; its columns are values"),
        (pa.table({"x": [1.0, 2.0]}), {}, r"expected one column of sequences.*got x \(double\)"),
        (table(other=[[[1.0]], [[2.0]]]), {}, "name it with sequences="),
        (table(label=["a", None]), {}, "row 1: label is null"),
        (
            pa.table({"a": [[1.0, 2.0], [1.0]], "b": [[1.0, 2.0], [1.0, 3.0]]}),
            {},
            "row 1: expected the same number of steps in each column, got 2 in b, 1 in a",
        ),
        (table(values=[[[1.0]], []]).slice(0, 0), {}, "has no rows"),
        (pa.table({"values": [[1, 2], [3, None]]}), {}, "row 1, step 1: values is null"),
        (pa.table({"words": [["a"], ["b", None]]}), {}, "row 1, step 1: words is null"),
        (table(label=[[1, 0], [None]]), {}, "row 1, step 0: label is null"),
    ],
)
def test_errors_name_what_is_wrong_with_a_file(tmp_path, content, arguments, message):
    path = tmp_path / "data.parquet"
    pq.write_table(content, path)
    with pytest.raises(s2o.DataError, match=f"data.parquet: .*({message})"):
        read(path, **arguments)


def test_errors_name_damaged_files_and_row_groups(tmp_path, small_groups):
    path = tmp_path / "data.parquet"
    data = random_data(40)
    data.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(s2o.DataError, match="data.parquet: is not a parquet file, or is incomplete"):
        read(path)
    path.write_bytes(whole)
    place = pq.ParquetFile(path).metadata.row_group(3).column(0)
    begin = place.data_page_offset
    path.write_bytes(whole[:begin] + b"\xff" * 40 + whole[begin + 40 :])
    stored = read(path)
    with pytest.raises(s2o.DataError, match=r"row group 3, rows \d+ to \d+, cannot be read: .* write the file again"):
        stored.check_finite()


def test_errors_name_row_and_step_of_a_nan_in_a_large_file(tmp_path):
    """Row 1,234,567, as the issue has it."""
    path, rows = tmp_path / "data.parquet", 1_300_000
    values = np.zeros(2 * rows, np.float32)
    values[2 * 1_234_567 + 1] = np.nan
    lists = pa.ListArray.from_arrays(np.arange(0, 2 * rows + 1, 2, dtype=np.int32), pa.array(values))
    pq.write_table(pa.table({"values": lists, "label": np.arange(rows) % 2}), path, row_group_size=100_000)
    net = s2o.Network([s2o.SequenceInput(1), s2o.LSTM(1, "last"), s2o.FullyConnected(2), s2o.Softmax()])
    with pytest.raises(s2o.DataError, match="sequence 1234567, step 1: feature 0 is nan; training needs finite"):
        s2o.train(net, read(path))


def test_a_failed_write_leaves_no_file(tmp_path):
    def row_groups():
        yield {"": [np.ones((2, 3), np.float32)]}, None
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        parquet.write_row_groups(tmp_path / "data.parquet", row_groups(), Contents({}))
    assert list(tmp_path.iterdir()) == []


def test_items_are_read_from_torch_data_sets_and_generators(tmp_path, small_groups):
    data = random_data(30)

    class Mapped(torch.utils.data.Dataset):
        def __len__(self):
            return len(data)

        def __getitem__(self, index):  # as many data sets of torch do, it knows of no IndexError
            return torch.from_numpy(data.sequences[index % len(data)]), data.labels[index % len(data)]

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(zip(data.sequences, data.labels, strict=True))

    for number, items in enumerate((Mapped(), Stream(), zip(data.sequences, data.labels, strict=True))):
        assert_same(s2o.SequenceDataset.from_items(items, classes=CLASSES), data)
        again = zip(data.sequences, data.labels, strict=True) if number == 2 else items
        path = tmp_path / f"{number}.parquet"
        assert_same(s2o.SequenceDataset.from_items(again, path, classes=CLASSES), data)
        assert pq.ParquetFile(path).num_row_groups > 3
    assert s2o.SequenceDataset.from_items(data.sequences).targets is None
    steps = random_data(9, per_step=True)
    pairs = list(zip(steps.sequences, steps.labels, strict=True))
    assert_same(s2o.SequenceDataset.from_items(pairs, tmp_path / "steps.parquet", classes=CLASSES), steps)
    with pytest.raises(s2o.DataError, match="items: expected at least one sequence"):
        s2o.SequenceDataset.from_items(iter([]))
    with pytest.raises(s2o.DataError, match="items: expected at least one sequence"):
        s2o.SequenceDataset.from_items(iter([]), tmp_path / "none.parquet")
    with pytest.raises(s2o.DataError, match="must be a .parquet file, got '.npz'"):
        s2o.SequenceDataset.from_items(pairs, "data.npz")


@pytest.mark.parametrize("kept_in_a_file", [False, True])
@pytest.mark.parametrize(
    ("second", "error", "message"),
    [
        ({"a": np.ones((2, 3))}, s2o.DataError, r"sequence 1: expected the inputs \['a', 'b'\], got \['a'\]"),
        ({"a": np.ones((2, 4)), "b": np.ones(2)}, s2o.ShapeError, r"sequence 1 of a: expected \[time, 3\] like seq"),
        ({"a": np.ones((2, 3)), "b": np.ones(3)}, s2o.ShapeError, r"sequence 1 of b: expected \[2\] like sequence 0"),
        ({"a": np.ones((2, 3)), "b": np.array([], object)}, s2o.DataError, "sequence 1 of b: has no words"),
    ],
)
def test_errors_name_the_item_that_differs_from_the_first(tmp_path, second, error, message, kept_in_a_file):
    items = [{"a": np.ones((5, 3)), "b": np.ones(2)}, second]
    with pytest.raises(error, match=message):
        s2o.SequenceDataset.from_items(items, tmp_path / "items.parquet" if kept_in_a_file else None)
    assert list(tmp_path.iterdir()) == []


def test_columns_become_several_inputs(tmp_path):
    path = tmp_path / "data.parquet"
    pq.write_table(
        pa.table(
            {
                "sound": [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]],
                "speed": [[1.0, 2.0], [3.0]],
                "load": [[0.0, 1.0], [2.0]],
                "machine": pa.array([[1.0, 0.0], [0.0, 1.0]], pa.list_(pa.float32(), 2)),
                "label": ["a", "b"],
            }
        ),
        path,
    )
    data = read(path, sequences={"sound": "sound", "motion": ["load", "speed"], "machine": "machine"})
    sequence, _ = data[0]
    assert {name: x.tolist() for name, x in sequence.items()} == {
        "sound": [[1, 2], [3, 4]],
        "motion": [[0, 1], [1, 2]],
        "machine": [1, 0],
    }
    assert data.labels.tolist() == ["a", "b"]


def test_errors_name_row_groups_with_steps_of_another_shape(tmp_path):
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"values": [[[1.0, 2.0]], [[1.0, 2.0, 3.0]]]}), path, row_group_size=1)
    with pytest.raises(
        s2o.DataError, match=r"rows 1 to 1: expected steps \[2\] of float32 as in the rows before, got \[3\]"
    ):
        read(path)


def test_one_number_for_each_step_is_read_back(tmp_path):
    data = s2o.SequenceDataset([np.ones((2, 3)), np.ones((1, 3))], [np.ones(2), np.zeros(1)], per_step=True)
    data.save(tmp_path / "data.parquet")
    assert_same(read(tmp_path / "data.parquet"), data)


def test_prediction_from_columns_names_sequences_by_their_index(tmp_path):
    data = random_data(6)
    s2o.export(s2o.build(s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3, "last")])), tmp_path / "model.onnx")
    model = s2o.load(tmp_path / "model.onnx")
    for name in ("data.parquet", "data.h5"):
        data.save(tmp_path / name)
        stored = read(tmp_path / name)
        for source in (stored, stored.sequences, stored.subset([4, 1, 3])):
            expected = model.predict(data.subset([4, 1, 3]) if len(source) == 3 else data)
            np.testing.assert_allclose(model.predict(source), expected, rtol=0, atol=1e-6)
    spoiled = [*data.sequences[:5], np.zeros((0, 4))]
    s2o.SequenceDataset(spoiled).save(tmp_path / "short.parquet")
    with pytest.raises(s2o.DataError, match="sequence 0: has 0 steps"):
        model.predict(read(tmp_path / "short.parquet").subset([5, 1]))


def test_the_checksum_of_a_file_depends_on_its_content_only(tmp_path):
    import os
    import shutil

    data = random_data(6)
    for name in ("data.parquet", "data.h5"):
        data.save(tmp_path / name)
        before = read(tmp_path / name).parts[""].checksum()
        os.utime(tmp_path / name, (1, 1))
        shutil.copy(tmp_path / name, tmp_path / f"copy_{name}")
        for path in (tmp_path / f"copy_{name}", tmp_path / name):
            assert read(path).parts[""].checksum() == before
        s2o.SequenceDataset([x + 1 for x in data.sequences], data.labels, CLASSES).save(tmp_path / name)
        assert read(tmp_path / name).parts[""].checksum() != before


def test_prediction_takes_generators_of_dicts(tmp_path):
    net = s2o.Network(
        [s2o.SequenceInput(1, name="a"), s2o.SequenceInput(3, name="b"), s2o.Concat(inputs=["a", "b"]), s2o.LSTM(3)]
    )
    s2o.export(s2o.build(net), tmp_path / "model.onnx")
    model, data = s2o.load(tmp_path / "model.onnx"), random_data(5)
    items = [{"a": x[:, :1], "b": x[:, 1:]} for x in data.sequences]
    together = {name: [item[name] for item in items] for name in ("a", "b")}
    for a, b in zip(model.predict(iter(items)), model.predict(together), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shuffle", ["bucket", "random", "sorted", "none"])
def test_large_row_groups_are_not_read_in_alternation(tmp_path, monkeypatch, shuffle):
    """Each shard is a row group larger than the cache, and its rows are no multiple of the batch size."""
    monkeypatch.setattr(parquet_column, "SHARD_BYTES", 100)
    monkeypatch.setattr(parquet_column, "CACHED_BYTES", 200)
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 3000)
    random_data(200).save(tmp_path / "data.parquet")
    stored = read(tmp_path / "data.parquet")
    (column,) = stored.parts.values()
    groups = len(column._bytes)
    reads, original = [], column._read
    column._read = lambda groups, rows: reads.append(groups[0]) or original(groups, rows)
    found = batch_indices(stored.lengths, 7, shuffle, np.random.default_rng(0), stored.shards)
    assert sorted(np.concatenate(found)) == list(range(200))
    assert sorted(len(batch) for batch in found)[:2] == [200 % 7, 7]
    for batch in found:
        stored.take(batch)
    assert groups > 4
    assert len(reads) <= 3 * groups


def test_the_largest_input_decides_what_is_read_together(tmp_path, small_groups):
    rng = np.random.default_rng(0)
    parts = {"m": [rng.normal(size=2) for _ in range(60)], "x": [rng.normal(size=(20, 4)) for _ in range(60)]}
    s2o.SequenceDataset(parts).save(tmp_path / "data.parquet")
    assert len(read(tmp_path / "data.parquet").shards()) > 4


def test_inputs_may_have_the_names_of_other_columns(tmp_path):
    x, rows = [np.ones((2, 3)), np.zeros((4, 3))], [np.ones((2, 1)), np.zeros((4, 1))]
    for names in (("target", "length"), ("values", "a.b"), ("target_", "length_")):
        data = s2o.SequenceDataset(dict(zip(names, (x, rows), strict=True)), ["u", "v"])
        data.save(tmp_path / "data.parquet")
        again = read(tmp_path / "data.parquet")
        assert_same(again, data)
        assert all(part._bytes.sum() > 0 for part in again.parts.values())


def test_named_columns_keep_the_saved_description_of_the_others(tmp_path):
    path = tmp_path / "data.parquet"
    images = s2o.SequenceDataset([np.ones((2, 3, 4, 5)), np.ones((1, 3, 4, 5))], ["a", "b"], ["b", "a"])
    images.save(path)
    bare = read(path, targets="")
    assert (bare.targets, bare.parts[""].shape) == (None, (3, 4, 5))
    assert read(path, targets="target").classes == ["b", "a"]
    assert read(path, sequences="values").parts[""].shape == (3, 4, 5)
    pq.write_table(pq.read_table(path).select(["values", "target"]), path)
    assert read(path).lengths.tolist() == [2, 1]
    images.save(path)
    table = pq.read_table(path)
    shorter = table.set_column(0, table.schema.field("values"), table.column("values").take(pa.array([1, 1])))
    pq.write_table(shorter, path)
    with pytest.raises(s2o.DataError, match="row 0: has 1 steps, but its saved length is 2; write the file again"):
        read(path)[0]
    pq.write_table(pa.table({"text": ["a b", "c"], "values": [[[1.0]], [[2.0]]], "label": ["x", "y"]}), path)
    assert read(path)[0][0].tolist() == [[1]]
    pq.write_table(pa.table({"n": [1.0, 2.0]}), path)
    with pytest.raises(s2o.DataError, match="column n: expected a list or a text in each row, got double"):
        read(path, sequences="n")


def test_blocks_are_bounded_by_their_bytes(tmp_path, monkeypatch):
    """Not by their number: sequences may be long."""
    from seq2onnx.data import columns
    from seq2onnx.runtime import scoring

    data = random_data(40)
    monkeypatch.setattr(columns, "BLOCK_BYTES", 600)
    monkeypatch.setattr(scoring, "BYTES_IN_A_PART", 600)
    data.save(tmp_path / "data.h5")
    stored = read(tmp_path / "data.h5")
    largest = max(x.nbytes for x in data.sequences)
    for source in (stored.parts[""].blocks(), stored.transformed(lambda x, t, rng: (x, t))._blocks("")):
        assert max(block.values.nbytes for block in source) <= 600 + largest
    s2o.export(s2o.build(s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3, "last")])), tmp_path / "model.onnx")
    model, seen, run = s2o.load(tmp_path / "model.onnx"), [], scoring.Scoring._start
    monkeypatch.setattr(
        scoring.Scoring,
        "_start",
        lambda m, rows, *a: seen.append(sum(x.nbytes for v in rows.values() for x in v)) or run(m, rows, *a),
    )
    expected = model.predict(data)
    seen.clear()
    for source in (stored, iter(data.sequences)):
        np.testing.assert_allclose(model.predict(source), expected, rtol=0, atol=1e-6)
    assert max(seen) <= 600 + largest
    assert len(seen) > 10


def test_items_may_be_masked_arrays_and_sized_iterables():
    masked = np.ma.array(np.ones((2, 3)), mask=[[False] * 3, [False, True, False]])
    data = s2o.SequenceDataset.from_items(iter([masked]))
    assert np.isnan(data[0][0][1, 1])

    class Sized(torch.utils.data.IterableDataset):
        def __len__(self):
            return 2

        def __iter__(self):
            return iter([(np.ones((2, 3)), "a"), (np.ones((1, 3)), "b")])

    assert s2o.SequenceDataset.from_items(Sized()).labels.tolist() == ["a", "b"]
    with pytest.raises(s2o.DataError, match="items: expected an iterable of sequences, got int"):
        s2o.SequenceDataset.from_items(7)
    with pytest.raises(s2o.DataError, match="targets of sequence 1: expected one for each sequence or for none"):
        s2o.SequenceDataset.from_items([(np.ones((2, 3)), None), (np.ones((2, 3)), "a")])


def test_integers_above_those_of_int64_do_not_become_negative(tmp_path):
    values = pa.array([[1, 2**64 - 1]], pa.list_(pa.uint64()))
    pq.write_table(pa.table({"x": values}), tmp_path / "large.parquet")
    (sequence,) = read(tmp_path / "large.parquet").sequences
    np.testing.assert_array_equal(sequence, np.array([[1], [2.0**64]], np.float32))
