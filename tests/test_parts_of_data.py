"""Padded data with lengths, slices, splits, and the names of sequences and channels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, strategies as st

import seq2onnx as s2o

X = np.arange(24.0).reshape(2, 4, 3)
CUT = [X[0, :2].tolist(), X[1].tolist()]


def named(count=6, **arguments):
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(3 + number, 2)) for number in range(count)]
    return s2o.SequenceDataset(sequences, ["a", "b"] * (count // 2), ids=range(count), **arguments)


# Padded data


@pytest.mark.parametrize(
    "form", [np.asarray, torch.tensor, list, pd.Series, np.asfortranarray, lambda x: [x[0], x[1][:4]]]
)
def test_padded_sequences_are_cut_to_their_lengths(form):
    given = form(list(X)) if form is pd.Series else form(X)
    for lengths in ([2, 4], np.array([2, 4], np.uint8), pd.Series([2, 4]), torch.tensor([2, 4])):
        data = s2o.SequenceDataset(given, ["a", "b"], lengths=lengths)
        assert [x.tolist() for x in data.sequences] == CUT
        assert data.labels.tolist() == ["a", "b"]


def test_padded_data_frames_keep_their_names():
    frames = [pd.DataFrame(x, columns=["p", "q", "r"]) for x in X]
    data = s2o.SequenceDataset(frames, lengths=[2, 4])
    assert ([x.tolist() for x in data.sequences], data.channels) == (CUT, ["p", "q", "r"])


def test_several_padded_inputs_are_cut_and_their_vectors_are_not():
    data = s2o.SequenceDataset({"x": X, "words": np.ones((2, 4), int), "age": np.ones((2, 4))}, lengths=[2, 4])
    assert [len(x) for x in data.sequences["words"]] == [2, 4]
    assert data.shape("age") == (4,)


@pytest.mark.parametrize(
    ("targets", "per_step", "expected"),
    [
        (np.array([["a", "b", "", ""], ["a", "b", "a", "b"]]), None, [["a", "b"], ["a", "b", "a", "b"]]),
        ([["a", "b", "", ""], ["a", "b", "a", "b"]], None, [["a", "b"], ["a", "b", "a", "b"]]),
        ([["a", "b"], ["a", "b", "a", "b"]], None, [["a", "b"], ["a", "b", "a", "b"]]),
        (torch.tensor([[1, 2, 0, 0], [1, 2, 1, 2]]), None, [[1, 2], [1, 2, 1, 2]]),
        (np.arange(8.0).reshape(2, 4), True, [[0, 1], [4, 5, 6, 7]]),
        (np.arange(8.0).reshape(2, 4, 1), None, [[[0], [1]], [[4], [5], [6], [7]]]),
        (np.arange(8.0).reshape(2, 4), False, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (np.arange(6.0).reshape(2, 3), None, [[0, 1, 2], [3, 4, 5]]),
    ],
)
def test_padded_targets_of_steps_are_cut_and_vectors_are_not(targets, per_step, expected):
    data = s2o.SequenceDataset(X, targets, lengths=[2, 4], per_step=per_step)
    found = data.targets if data.classes is None else data.labels
    assert [np.asarray(row).tolist() for row in found] == expected


@pytest.mark.parametrize(
    ("sequences", "targets", "lengths", "message"),
    [
        (X, None, [2, 5], "lengths: sequence 1 has 5 steps, but sequences has 4 there"),
        (X, None, [-1, 4], "lengths: sequence 0 has -1 steps"),
        (X, None, [2.0, 4.0], "lengths: expected a whole number for each sequence, got float64"),
        (X, None, [True, True], "lengths: expected a whole number for each sequence, got bool"),
        (X, None, [2], "lengths: expected one for each of 2 sequences, got 1"),
        (X[0], None, [2, 4, 1, 1], r"with lengths, expected one array \[sequences, time, features\], got \[4, 3\]"),
        ([X[0], X[1][:3]], None, [4, 4], "lengths: sequence 1 has 4 steps, but sequences has 3 there"),
        (X, np.ones((2, 4)), [2, 4], "may be a number for each step, then give per_step=True, or a vector for each"),
    ],
)
def test_errors_name_the_length_that_does_not_fit(sequences, targets, lengths, message):
    with pytest.raises((s2o.DataError, s2o.ShapeError), match=message):
        s2o.SequenceDataset(sequences, targets, lengths=lengths)


# Slices and splits


def test_slices_are_data_sets():
    data = named(channels=["u", "v"])
    part = data[4:1:-2]
    assert (part.ids, part.labels.tolist(), part.channels) == (["4", "2"], ["a", "a"], ["u", "v"])
    assert part[-1:].ids == ["2"]
    assert len(data[:100]) == 6
    with pytest.raises(s2o.DataError, match="expected at least one index, got none"):
        data[10:]


@given(st.data())
def test_both_sides_of_a_split_have_the_labels_in_like_shares(data):
    labels = data.draw(st.lists(st.sampled_from("abc"), min_size=4, max_size=60))
    share = data.draw(st.floats(0.2, 0.8))
    whole = s2o.SequenceDataset([np.zeros((2, 1))] * len(labels), labels, list("abc"), ids=range(len(labels)))
    first, second = whole.split(share, seed=data.draw(st.integers(0, 9)))
    assert sorted(first.ids + second.ids) == sorted(whole.ids)
    assert len(first) == round(share * len(labels))
    assert (np.abs(first.class_counts() - share * whole.class_counts()) < 1).all()


@given(st.data())
def test_groups_stay_together(data):
    groups = data.draw(st.lists(st.sampled_from("pqrst"), min_size=2, max_size=40).filter(lambda g: len(set(g)) > 1))
    whole = s2o.SequenceDataset([np.zeros((2, 1))] * len(groups), ids=groups)
    first, second = whole.split(0.5, groups=groups)
    assert not set(first.ids) & set(second.ids)
    assert len(first) + len(second) == len(groups)


def test_a_seed_repeats_a_split():
    data = named(20)
    assert data.split(0.5, seed=3)[0].ids == data.split(0.5, seed=3)[0].ids
    assert len({tuple(data.split(0.5, seed=seed)[0].ids) for seed in range(5)}) > 1
    numbers = s2o.SequenceDataset(data.sequences, np.arange(20.0))
    assert [len(part) for part in numbers.split(0.8)] == [16, 4]


@pytest.mark.parametrize("form", [list, np.array, pd.Series, lambda g: torch.tensor(g)])
def test_groups_may_be_given_in_every_form(form):
    first, second = named().split(0.5, groups=form([1, 1, 2, 2, 3, 3]))
    assert {len(first), len(second)} == {2, 4}
    assert {number // 2 for number in map(int, first.ids)}.isdisjoint(number // 2 for number in map(int, second.ids))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": 1}, "expected a share between 0 and 1, got 1"),
        ({"share": "half"}, "expected a share between 0 and 1, got 'half'"),
        ({"share": 0.01}, "a share of 0.01 of 6 sequences leaves none on one side"),
        ({"seed": -1}, "seed: must be a whole number, at least 0, got -1"),
        ({"groups": [1]}, "groups: expected one for each of 6 sequences, got 1"),
        ({"groups": [1] * 6}, r"expected at least two groups to split, got \[1\]"),
        ({"groups": [1, None, 2, 2, 1, 1]}, "groups: sequence 1 has no group; give it one"),
        ({"groups": pd.Series([1, 1, np.nan, 2, 1, 1])}, "groups: sequence 2 has no group"),
        ({"groups": [[1]] * 6}, "groups: expected names or numbers, got list"),
    ],
)
def test_errors_say_why_data_cannot_be_split(arguments, message):
    with pytest.raises(s2o.Seq2OnnxError, match=message):
        named().split(**{"share": 0.5} | arguments)


# Names


def test_channels_are_selected_and_put_in_another_order():
    data = named(channels=np.array(["u", "v"]))
    assert [type(name) for name in data.channels] == [str, str]  # numpy's strings cannot be written to YAML
    turned = data.with_channels(["v", "u"])
    np.testing.assert_array_equal(turned.sequences[0], data.sequences[0][:, ::-1])
    np.testing.assert_array_equal(turned.with_channels(["u", "v"]).sequences[0], data.sequences[0])
    np.testing.assert_allclose(turned.statistics()["mean"], data.statistics()["mean"][::-1])
    assert data.with_channels(["v"]).shape() == (1,)
    assert data.with_channels(None) is data
    assert named().with_channels(["any", "name"]).channels is None  # data without names goes by position


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        (["w"], "data: has no w; its columns are u, v"),
        (["u", "u"], "names of channels must differ, got 'u' twice"),
        ("uv", "expected a list of names, got 'uv'"),
        (["u", 3], "names of channels must be strings, got 3"),
    ],
)
def test_errors_name_the_channel(channels, message):
    with pytest.raises(s2o.DataError, match=message):
        named(channels=["u", "v"]).with_channels(channels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": ["u"]}, "expected a name for each of the 2 channels, got 1: u"),
        ({"channels": "uv"}, "expected a list of names, got 'uv'"),
        ({"channels": {"x": ["u", "v"]}}, "'x' is not among the inputs"),
        ({"ids": ["one"]}, "ids: expected one for each of 3 sequences, got 1"),
        ({"ids": "abc"}, "ids: expected one for each of 3 sequences, got 1"),
    ],
)
def test_names_must_fit_the_data(arguments, message):
    with pytest.raises(s2o.DataError, match=message):
        s2o.SequenceDataset([np.zeros((2, 2))] * 3, **arguments)


def test_names_of_tokens_are_refused():
    with pytest.raises(s2o.DataError, match="has words or tokens, which have no channels"):
        s2o.SequenceDataset([np.arange(3)], channels=["a"])


@pytest.mark.parametrize("suffix", [".parquet", ".h5", ".npz"])
def test_ids_that_are_numbers_are_saved_as_text(tmp_path, suffix):
    path = tmp_path / f"data{suffix}"
    named(channels=["höhe", "a b"]).save(path)
    again = s2o.SequenceDataset.load(path)
    assert (again.ids, again.channels) == (list("012345"), ["höhe", "a b"])
