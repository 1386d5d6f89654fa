"""Data sets, batches, the npz form, and what is said of data that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx.data import batch_indices, read
from seq2onnx.sequences import pad
from tests.conftest import CLASSES, random_data

X = [np.ones((2, 3)), np.ones((4, 3))]


def test_labels_become_class_numbers():
    data = s2o.SequenceDataset(X, ["b", "a"])
    assert (data.classes, data.targets.tolist(), data.per_step) == (["a", "b"], [1, 0], False)
    assert data.labels.tolist() == ["b", "a"]
    assert s2o.SequenceDataset(X, [7, 3]).classes == [3, 7]
    assert s2o.SequenceDataset(X, ["b", "a"], classes=["b", "a"]).targets.tolist() == [0, 1]


def test_labels_are_numbered_as_in_other_classes_and_stay_the_same():
    data = s2o.SequenceDataset(X, ["b", "a"]).with_classes(["c", "b", "a"])
    assert (data.classes, data.targets.tolist(), data.labels.tolist()) == (["c", "b", "a"], [1, 2], ["b", "a"])
    steps = s2o.SequenceDataset(X, [["a", "b"], ["b"] * 4]).with_classes(["b", "a"])
    assert [row.tolist() for row in steps.targets] == [[1, 0], [0] * 4]


def test_numbers_stay_numbers():
    assert s2o.SequenceDataset(X, [0.5, 2.0]).classes is None
    assert s2o.SequenceDataset(X, np.array([[0.5, 1], [2.0, 3]])).targets.shape == (2, 2)
    assert s2o.SequenceDataset(X, [[0.5, 1.0, 2.0], [2.0, 3.0, 1.0]]).per_step is False


def test_a_list_of_rows_as_long_as_the_sequences_has_a_target_for_each_step():
    labels = s2o.SequenceDataset(X, [["a", "b"], ["b"] * 4])
    assert labels.per_step
    assert [t.tolist() for t in labels.targets] == [[0, 1], [1, 1, 1, 1]]
    numbers = s2o.SequenceDataset(X, [np.zeros((2, 5)), np.zeros((4, 5))])
    assert numbers.per_step
    assert numbers.targets[1].shape == (4, 5)


def test_statistics_equal_those_of_all_steps_joined():
    data = random_data(50)
    every = np.concatenate(data.sequences).astype(float)
    found = data.statistics()
    np.testing.assert_allclose(found["mean"], every.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found["std"], every.std(0, ddof=1), rtol=1e-12)
    np.testing.assert_array_equal(found["min"], every.min(0))
    np.testing.assert_array_equal(found["max"], every.max(0))


def test_a_constant_feature_has_a_standard_deviation_of_0():
    """Its mean rounds, so that a naive standard deviation is not quite 0; dividing by that gives garbage."""
    for value in (0.1, 0.3, 0.7, 1e-3, 1234.5):
        for steps in (10, 1010, 2311):
            assert s2o.SequenceDataset([np.full((steps, 1), value)]).statistics()["std"] == 0
    data = s2o.SequenceDataset([np.full((n, 1), 0.1) for n in (3, 1000, 7)])
    module = s2o.build(s2o.Network([s2o.SequenceInput(1, "zscore")]), data)
    y, _, _ = module(__import__("torch").full((1, 2, 1), 0.1))
    assert abs(y).max() < 1e-6


def test_padding_is_zeros_on_the_right():
    batch, lengths = pad(X)
    assert (batch.shape, lengths.tolist(), lengths.dtype) == ((2, 4, 3), [2, 4], np.int32)
    assert batch[0, :, 0].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("shuffle", ["bucket", "random", "sorted", "none"])
def test_every_sequence_is_in_one_batch(shuffle):
    lengths = np.random.default_rng(0).integers(1, 99, 101)
    found = batch_indices(lengths, 8, shuffle, np.random.default_rng(1))
    assert sorted(np.concatenate(found)) == list(range(101))
    assert max(map(len, found)) == 8
    assert len(found) == 13


def test_buckets_need_less_padding_and_stay_random():
    lengths = np.random.default_rng(0).integers(1, 600, 512)

    def padding(shuffle, seed=1):
        found = batch_indices(lengths, 32, shuffle, np.random.default_rng(seed))
        return sum(lengths[b].max() * len(b) - lengths[b].sum() for b in found), np.concatenate(found)

    assert padding("bucket")[0] < 0.2 * padding("random")[0]
    assert padding("bucket", 1)[1].tolist() != padding("bucket", 2)[1].tolist()
    found = batch_indices(lengths, 32, "bucket", np.random.default_rng(1))
    longest = [lengths[batch].max() for batch in found]
    assert longest != sorted(longest)  # the batches of a bucket do not come by length


@pytest.mark.parametrize("per_step", [False, True])
def test_npz_files_restore_labels(tmp_path, per_step):
    data = random_data(per_step=per_step)
    data.save(tmp_path / "data.npz")
    again = s2o.SequenceDataset.load(tmp_path / "data.npz")
    assert (again.classes, again.per_step) == (CLASSES, per_step)
    for a, b in zip(data, again, strict=False):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
    with np.load(tmp_path / "data.npz", allow_pickle=False) as file:
        assert file["values"].shape == (data.lengths.sum(), 4)
        assert file["targets"].dtype.kind == "U"
        assert len(file["targets"]) == (data.lengths.sum() if per_step else len(data))


def test_npz_files_restore_numbers_and_missing_targets(tmp_path):
    for targets in (None, [0.5, 2.0], [np.zeros((2, 2)), np.ones((4, 2))]):
        s2o.SequenceDataset(X, targets).save(tmp_path / "data.npz")
        again = s2o.SequenceDataset.load(tmp_path / "data.npz")
        assert (again.targets is None) == (targets is None)
        for index in range(2 if targets else 0):
            np.testing.assert_array_equal(again.targets[index], targets[index])


@pytest.mark.parametrize("targets", [None, [0.5, 1.5]])
def test_data_without_labels_has_no_class_counts(targets):
    data = s2o.SequenceDataset([np.ones((2, 3)), np.ones((1, 3))], targets)
    with pytest.raises(s2o.DataError, match="class_counts: this data set has no labels"):
        data.class_counts()
    with pytest.raises(s2o.DataError, match="labels: this data set has no labels"):
        _ = data.labels


def test_a_subset_keeps_the_classes():
    data = random_data()
    assert data.subset([0]).classes == CLASSES
    assert len(data.subset(np.arange(12) < 5)) == 5
    np.testing.assert_array_equal(data.subset([3]).sequences[0], data.sequences[3])
    with pytest.raises(s2o.DataError, match="at least one index"):
        data.subset([])


def test_japanese_vowels_is_as_documented():
    training, test = s2o.datasets.japanese_vowels()
    assert (len(training), len(test), training.sequences[0].shape[1]) == (270, 370, 12)
    assert training.classes == test.classes == [str(n) for n in range(1, 10)]
    assert np.bincount(training.targets).tolist() == [30] * 9
    assert (np.bincount(test.targets).min(), np.bincount(test.targets).max()) == (24, 88)
    lengths = np.concatenate([training.lengths, test.lengths])
    assert (lengths.min(), lengths.max()) == (7, 29)
    files = list(s2o.datasets.FOLDER.glob("japanese_vowels_*.npz"))
    assert sum(file.stat().st_size for file in files) < 700_000
    assert "licence" in (s2o.datasets.FOLDER / "japanese_vowels.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), s2o.DataError, "sequences: expected at least one sequence, got none"),
        ((np.ones((5, 3)),), s2o.ShapeError, r"got one array \[5, 3\]; put a single sequence into a list"),
        ((7,), s2o.DataError, "expected a list of .* got int"),
        (([np.ones(3)],), s2o.ShapeError, r"sequence 0: expected \[time, features\], got \[3\]"),
        (([np.ones((2, 3)), np.ones((2, 4))],), s2o.ShapeError, r"sequence 1: expected \[time, 3\] like sequence 0"),
        (([np.ones((2, 3)), [["a"]]],), s2o.DataError, "sequence 1: expected real numbers, got <U1"),
        (([np.array([["a"]], object)],), s2o.DataError, "got <U1; text becomes numbers with a Vocabulary"),
        (([np.ones((2, 3), complex)],), s2o.DataError, "sequence 0: expected real numbers, got complex128"),
        (([[[1, 2], [3]]],), s2o.DataError, "sequence 0: .* rows of different lengths"),
        ((X, ["a"]), s2o.DataError, "targets: expected 2, one for each sequence, got 1"),
        ((X, ["a", "c"], ["a", "b"]), s2o.DataError, "targets of sequence 1: label 'c' is not among the classes"),
        ((X, [["a", "b"], ["a", "b", "c", "x"]], ["a", "b", "c"]), s2o.DataError, "sequence 1: label 'x'"),
        ((X, ["a", "b"], ["a", "a"]), s2o.DataError, "classes: must differ"),
        ((X, [0.5, 1.5], ["a", "b"]), s2o.DataError, "targets: expected labels"),
        ((X, None, ["a", "b"]), s2o.DataError, "classes: were given, but there are no targets"),
        ((X, np.array([[1, 2], [3, 4]])), s2o.DataError, "integers and strings are labels; expected one for each"),
        (({},), s2o.DataError, "at least one input"),
        (({"a": X, "b": X[:1]},), s2o.DataError, "the same number for each input, got {'a': 2, 'b': 1}"),
        (
            ({"a": X, "b": X[::-1]},),
            s2o.DataError,
            "sequence 0: expected the same number of steps in each input, got 2 and 4",
        ),
        (({"a": [np.zeros(2)] * 2},), s2o.DataError, "at least one input with time"),
        (([np.ones((2, 3)), np.ones((3, 2))],), s2o.ShapeError, "is it features by time. transpose it"),
    ],
)
def test_errors_name_the_data_that_cannot_be_used(arguments, error, message):
    with pytest.raises(error, match=message):
        s2o.SequenceDataset(*arguments)


def test_errors_name_npz_files_that_cannot_be_used(tmp_path):
    path = tmp_path / "data.npz"
    random_data().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(s2o.DataError, match="data.npz: is not an .npz"):
        s2o.SequenceDataset.load(path)
    path.write_bytes(b"hello")
    with pytest.raises(s2o.DataError, match="data.npz: is not an .npz"):
        s2o.SequenceDataset.load(path)
    np.savez(path, values=np.array([{}], object), lengths=np.array([1]))
    with pytest.raises(s2o.DataError, match="data.npz: values.npy contains Python objects, which are never loaded"):
        s2o.SequenceDataset.load(path)
    np.savez(path, values=np.ones((3, 2)))
    with pytest.raises(s2o.DataError, match=r"has no array 'lengths', only \['values'\]"):
        s2o.SequenceDataset.load(path)
    np.savez(path, values=np.ones((3, 2)), lengths=np.array([1, 1]))
    with pytest.raises(s2o.DataError, match="expected lengths .* with the sum 3; got int64 .2. with the sum 2"):
        s2o.SequenceDataset.load(path)
    for lengths in ([3, -1, 1], [], [1.5, 1.5]):
        np.savez(path, values=np.ones((3, 2)), lengths=np.array(lengths))
        with pytest.raises(s2o.DataError, match="non-negative integers, at least one, with the sum 3"):
            s2o.SequenceDataset.load(path)
    np.savez(path, values=np.ones((3, 2)), lengths=np.array([1, 2]), targets=np.ones(4))
    with pytest.raises(s2o.DataError, match="each of the 2 sequences or each of the 3 steps, got 4"):
        s2o.SequenceDataset.load(path)


def test_npz_files_restore_targets_of_steps_of_short_sequences(tmp_path):
    for lengths in ([1, 1, 1], [0, 2], [2, 2]):
        data = s2o.SequenceDataset([np.zeros((n, 3)) for n in lengths], [["a", "b"][:n] for n in lengths], ["a", "b"])
        assert data.per_step
        data.save(tmp_path / "data.npz")
        again = s2o.SequenceDataset.load(tmp_path / "data.npz")
        assert again.per_step
        assert [row.tolist() for row in again.targets] == [[0, 1][:n] for n in lengths]


def test_several_inputs_are_a_dict():
    data = s2o.SequenceDataset({"a": X, "b": [np.zeros(5)] * 2, "words": [np.array([1, 2]), np.arange(4)]}, ["x", "y"])
    assert data.lengths.tolist() == [2, 4]
    sequence, target = data[1]
    assert {name: array.shape for name, array in sequence.items()} == {"a": (4, 3), "b": (5,), "words": (4,)}
    assert target == 1
    assert len(data.subset([1])) == 1
    with pytest.raises(s2o.DataError, match="stores one input, but the data set has a, b, words"):
        data.save("data.npz")


def test_masked_values_become_nan():
    masked = np.ma.array(np.ones((2, 3)), mask=[[False] * 3, [False, True, False]])
    data = s2o.SequenceDataset([masked])
    with pytest.raises(s2o.DataError, match="sequence 0, step 1: feature 1 is nan"):
        data.check_finite()


def test_gaps_are_named_by_sequence_and_channel():
    x = [np.zeros((3, 2)) for _ in range(4)]
    x[2][0, 1] = np.nan
    names = {"channels": ["voltage", "current"], "ids": ["M031", "M032", "M033", "M034"]}
    with pytest.raises(s2o.DataError, match=r"sequence 2 \(M033\), step 0: current is nan; training needs finite"):
        s2o.SequenceDataset(x, **names).check_finite()
    with pytest.raises(s2o.DataError, match=r"sequence 1 \(M033\), step 0: current is nan"):
        s2o.SequenceDataset(x, **names).subset([1, 2]).check_finite()
    images = [np.zeros((2, 3, 4, 4)), np.zeros((1, 3, 4, 4))]
    images[1][0, 2, 1, 3] = np.inf
    with pytest.raises(s2o.DataError, match=r"sequence 1, step 0: blue \[1\] \[3\] is inf"):
        s2o.SequenceDataset(images, channels=["red", "green", "blue"]).check_finite()
    with pytest.raises(s2o.DataError, match=r"targets of sequence 3 \(M034\): are not all finite"):
        s2o.SequenceDataset(x[:2] * 2, [1.0, 2.0, 3.0, np.nan], **names).check_finite()


def test_image_statistics_are_per_channel():
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(n, 3, 2, 4)) * [[[1]], [[2]], [[3]]] for n in (4, 7)]
    found = s2o.SequenceDataset(images).statistics()
    every = np.concatenate([image.astype("f") for image in images]).astype(float)
    np.testing.assert_allclose(found["std"], every.std((0, 2, 3), ddof=1), rtol=1e-9)


TS = """@problemName toy
@timeStamps false
@classLabel true a b
@data
1,2,?:4,5,6:a
7:8:b
"""


def test_ts_files_are_read(tmp_path):
    path = tmp_path / "toy.ts"
    path.write_text(TS)
    data = read(path)
    np.testing.assert_array_equal(data.sequences[0], [[1, 4], [2, 5], [np.nan, 6]])
    assert (data.labels.tolist(), data.lengths.tolist()) == (["a", "b"], [3, 1])
    path.write_text(TS.replace("@classLabel true a b", "@targetLabel true").replace(":a", ":0.5").replace(":b", ":1"))
    assert read(path).targets.tolist() == [0.5, 1.0]
    for text, message in (
        ("1,2", "has no line @data"),
        (TS.replace("5,6", "5"), r"toy.ts, line 5: features have \[2, 3\] steps"),
        (TS.replace("7:", "x:"), "toy.ts, line 6: could not convert"),
        (TS.replace("@timeStamps false", "@timeStamps true"), "has time stamps"),
    ):
        path.write_text(text)
        with pytest.raises(s2o.DataError, match=message):
            read(path)


def test_a_transform_changes_each_sequence_as_it_is_read():
    data = random_data(8, per_step=True)
    drawn = data.transformed(lambda x, target, rng: (x[1:, :2] + rng.normal(), target[1:]))
    (x, target), (again, _), (other, _) = drawn[3], drawn[3], drawn[4]
    np.testing.assert_array_equal(x, again)
    assert x.shape == (data.lengths[3] - 1, 2)
    assert target.tolist() == data.targets[3][1:].tolist()
    assert x[0, 0] - data.sequences[3][1, 0] != other[0, 0] - data.sequences[4][1, 0]
    assert drawn.take([3], seed=(0, 1))[0][""][0][0, 0] != drawn.take([3], seed=(0, 2))[0][""][0][0, 0]
    found = data.transformed(lambda x, target, rng: (10 * x, target)).statistics()
    np.testing.assert_allclose(found["mean"], 10 * data.statistics()["mean"], rtol=1e-6)
    with pytest.raises(s2o.DataError, match="has a transform, which no file can hold"):
        drawn.save("data.npz")
    assert len(drawn.subset([1, 2])[0][0]) == data.lengths[1] - 1


def test_statistics_merged_from_blocks_are_as_exact_as_of_the_whole(monkeypatch):
    from seq2onnx.data import columns

    rng = np.random.default_rng(0)
    # A mean of 10,000 deviations: a sum of squares would lose all digits of them.
    data = s2o.SequenceDataset([rng.normal(1e4, 1, (n, 3)) for n in rng.integers(0, 30, 200)])
    every = np.concatenate(data.sequences).astype(float)
    for size in (1, 1000, 2**23):
        monkeypatch.setattr(columns, "BLOCK_BYTES", size)
        found = data.statistics()
        np.testing.assert_allclose(found["mean"], every.mean(0), rtol=1e-13)
        np.testing.assert_allclose(found["std"], every.std(0, ddof=1), rtol=1e-9)
        np.testing.assert_array_equal(found["min"], every.min(0))


def test_statistics_count_and_ignore_gaps():
    data = s2o.SequenceDataset([np.array([[1.0, np.nan], [3, 4]]), np.ones((2, 2)), np.array([[np.inf, 0.0]])])
    found = data.channel_statistics()
    gap = found.first_gap
    assert (found.gaps, gap.sequence, gap.step, gap.feature) == (2, 0, 0, (1,))
    assert found.count.tolist() == [4, 4]
    np.testing.assert_allclose(found.mean, [1.5, 1.5])
    np.testing.assert_allclose(found.summary()["std"], [1.0, np.std([4, 1, 1, 0], ddof=1)])
    assert (found.low.tolist(), found.high.tolist()) == ([1, 0], [3, 4])


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda x, target, rng: x, r"transform of sequence 0: expected it to return \(x, target\), got ndarray"),
        (lambda x, target, rng: ({"a": x}, target), "expected x for '', got 'a'"),
        (lambda x, target, rng: (x[0], target), "expected x of 2 dimensions and type float32, got 1"),
        (lambda x, target, rng: (x, "a"), "expected a target like those in data.targets, int64 of 0 dimensions"),
        (lambda x, target, rng: (x, 0.5), r"labels are class numbers\), got float64"),
        (lambda x, target, rng: ([["a"]], target), "transform of sequence 0: expected real numbers"),
    ],
)
def test_errors_name_what_is_wrong_with_the_result_of_a_transform(transform, message):
    with pytest.raises(s2o.DataError, match=message):
        random_data(3).transformed(transform)[0]


def test_transforms_are_chained_and_do_not_change_the_data():
    data = random_data(3)
    before = [x.copy() for x in data.sequences]

    def add(x, target, rng):
        x += 1
        return x.tolist(), target

    changed = data.transformed(add).transformed(lambda x, target, rng: (2 * np.asarray(x), target))
    for _ in range(2):
        np.testing.assert_allclose(changed[0][0], 2 * (before[0] + 1), rtol=1e-6)
    np.testing.assert_array_equal(data.sequences[0], before[0])
    both = data.transformed(batch=lambda batch: batch + 1).transformed(batch=lambda batch: batch * 2)
    assert both.batch_transform(3) == 8


def test_errors_name_targets_that_do_not_fit_the_steps_after_a_transform():
    data = random_data(6, per_step=True).transformed(lambda x, target, rng: (x[:-1], target))
    net = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3), s2o.FullyConnected(3), s2o.Softmax()])
    for length in ("longest", ("split", 3)):
        options = s2o.TrainingOptions(epochs=1, sequence_length=length, progress=False)
        with pytest.raises(s2o.DataError, match=r"targets of sequence \d: expected \d+ for the \d+ steps that its"):
            s2o.train(net, data, options=options)


def test_errors_name_wrong_indices_and_sizes():
    data = random_data(4)
    for wrong in ([9], [1.5], "abc"):
        with pytest.raises(s2o.DataError, match="subset: expected numbers below 4, booleans or a slice"):
            data.subset(wrong)
    with pytest.raises(IndexError, match="expected an integer; subset takes several"):
        data["0"]
    for wrong in ([], ["a"], data.sequences):
        with pytest.raises((s2o.DataError, ValueError), match="lengths: expected a SequenceDataset|inhomogeneous"):
            s2o.padding_report(wrong)
    with pytest.raises(s2o.SpecError, match="batch_size: must be a whole number, at least 1, got 0"):
        s2o.padding_report(data, 0)
    with pytest.raises(s2o.DataError, match="a channel has no finite values"):
        s2o.SequenceDataset([np.zeros((0, 3))]).statistics()
