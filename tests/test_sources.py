"""Where data comes from: .mat files as MATLAB writes them, HDF5, and text."""

from __future__ import annotations

import os
import pickle
import re
import sys

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

import seq2onnx as s2o
from seq2onnx.data import read
from seq2onnx.data.formats import hdf5
from seq2onnx.data.formats.arrays import to_arrays
from seq2onnx.data.formats.hdf5 import Hdf5Column
from tests.command import run
from tests.mat_writer import Object, cells, write_sparse_v73, write_v5, write_v73

pytestmark = pytest.mark.usefixtures("in_this_process")

RNG = np.random.default_rng(0)
X = [RNG.normal(size=(n, 3)) for n in (4, 6, 5)]
LABELS = ["yes", "no", "yes"]


def same(a: s2o.SequenceDataset, b: s2o.SequenceDataset) -> None:
    """All that a file holds of two data sets is equal, in value and in kind."""
    left, right = to_arrays(a.contents(), ""), to_arrays(b.contents(), "")
    assert list(left) == list(right)
    assert (a.per_step, a.classes) == (b.per_step, b.classes)
    for name, array in left.items():
        assert array.dtype.kind == right[name].dtype.kind
        np.testing.assert_array_equal(array, right[name])


@pytest.fixture(params=["v5", "v5 uncompressed", "v7.3"])
def save(request, tmp_path):
    """Writes variables to a .mat file of each version; gives its path."""

    def save(**variables):
        path = tmp_path / "data.mat"
        if request.param == "v7.3":
            write_v73(path, variables)
        else:
            write_v5(path, variables, compressed=request.param == "v5")
        return path

    return save


def turned(sequences):
    return cells([x.T for x in sequences])


# -- .mat: what is read --


def test_cells_of_matrices_and_of_labels_are_a_data_set(save):
    expected = s2o.SequenceDataset(X, LABELS)
    same(read(save(XTrain=cells(X), YTrain=cells(LABELS))), expected)
    same(read(save(XTrain=cells(X, row=True), YTrain=cells(LABELS, row=True))), expected)
    same(read(save(XTrain=turned(X), YTrain=cells(LABELS)), features_by_time=True), expected)
    same(read(save(XTrain=cells(X), YTrain=np.array(["yes", "no ", "yes"]))), expected)  # a char matrix
    same(read(save(XTrain=cells(X), fs=np.array([[100.0]]), note="of four hours")), s2o.SequenceDataset(X))
    single = [x.astype("f") for x in X]
    same(read(save(XTrain=cells(single))), s2o.SequenceDataset(single))


@pytest.mark.parametrize(
    ("stored", "targets"),
    [
        (np.array([[1.0], [2.0], [1.0]]), np.array([1.0, 2.0, 1.0])),  # whole, and numbers all the same
        (np.array([[1.0, 2.0, 1.0]]), np.array([1.0, 2.0, 1.0])),
        (np.array([[7], [-2], [7]], np.int32), np.array([7, -2, 7])),
        (np.array([[1, 2, 1]], np.uint8), np.array([1, 2, 1])),
        (np.array([[True], [False], [True]]), np.array([True, False, True])),
        (np.array([[1.5], [2], [3]], "f"), np.array([1.5, 2, 3])),
        (np.arange(6.0).reshape(3, 2), np.arange(6.0).reshape(3, 2)),
        (cells([np.array([[n]]) for n in (1.0, 2.0, 4.0)]), np.array([1.0, 2.0, 4.0])),
        (cells([np.array([[n]], np.int8) for n in (1, 2, 1)]), np.array([1, 2, 1])),
        (cells(["é", "", "日本"]), np.array(["é", "", "日本"])),
    ],
)
def test_targets_of_sequences_are_labels_or_numbers_by_their_class(save, stored, targets):
    found = read(save(X=cells(X), T=stored), sequences="X")
    same(found, s2o.SequenceDataset(X, targets))
    assert not found.per_step


@pytest.mark.parametrize("by_time", [False, True])
def test_targets_of_steps_have_the_layout_of_the_sequences(save, by_time):
    def stored(rows):
        return cells([row.T if by_time else row for row in rows])

    def found(rows):
        return read(save(X=stored(X), T=rows), features_by_time=by_time, sequences="X", targets="T")

    pairs = [x[:, :2] * 2 for x in X]
    same(found(stored(pairs)), s2o.SequenceDataset(X, pairs, per_step=True))
    singles = [x[:, :1] for x in X]
    expected = s2o.SequenceDataset(X, [x[:, 0] for x in X], per_step=True)
    same(found(cells(singles)), expected)  # a vector is a target a step, whichever way it lies
    same(found(cells([x.T for x in singles])), expected)
    half = [x[::2, :1] for x in X]  # a network may answer less often
    same(found(stored(half)), s2o.SequenceDataset(X, [x[:, 0] for x in half], per_step=True))
    equal = [x[:4] for x in X]
    path = save(X=stored(equal), T=stored([x[:2] for x in equal]))
    expected = s2o.SequenceDataset(equal, [x[:2] for x in equal], per_step=True)
    same(read(path, features_by_time=by_time, sequences="X", targets="T"), expected)
    numbers = [np.arange(len(x), dtype=np.int16)[:, None] % 2 for x in X]
    same(found(cells(numbers)), s2o.SequenceDataset(X, [n[:, 0] for n in numbers], per_step=True))
    words = [[LABELS[k % 3] for k in range(len(x))] for x in X]
    same(found(cells([cells(row, row=True) for row in words])), s2o.SequenceDataset(X, words, per_step=True))


def test_a_sequence_may_have_no_steps_or_one(save):
    short = [X[0][:0], X[1][:1]]
    same(read(save(X=cells(short))), s2o.SequenceDataset(short))
    same(read(save(X=turned(short)), features_by_time=True), s2o.SequenceDataset(short))


NUMBERS = st.floats(-1e6, 1e6, width=32)
KINDS = st.sampled_from(["labels", "texts", "numbers", "vectors", "steps", "step labels", "none"])


@settings(max_examples=15)  # each reads two files in processes of their own
@given(st.data(), KINDS, st.booleans(), st.sampled_from(["f4", "f8", "i2"]))
def test_mat_files_of_both_versions_h5_and_npz_files_give_the_same_data(tmp_path_factory, data, kind, by_time, dtype):
    folder = tmp_path_factory.mktemp("law")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    features = data.draw(st.integers(1, 4))
    lengths = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    sequences = [(100 * rng.normal(size=(n, features))).astype(dtype) for n in lengths]
    count = len(lengths)
    per_step = "step" in kind
    targets, stored = {
        "labels": lambda: (n := rng.integers(-3, 3, count), n[:, None]),
        "texts": lambda: (w := [f"w{n}" for n in rng.integers(0, 3, count)], cells(w)),
        "numbers": lambda: (n := rng.normal(size=count), n[None]),
        "vectors": lambda: (n := rng.normal(size=(count, 2)), n),
        "steps": lambda: (n := [rng.normal(size=(k, 2)) for k in lengths], turned(n) if by_time else cells(n)),
        "step labels": lambda: (n := [rng.integers(0, 3, k) for k in lengths], cells([k[None] for k in n])),
        "none": lambda: (None, None),
    }[kind]()
    expected = s2o.SequenceDataset(
        [x.astype("f") for x in sequences], targets, per_step=per_step if kind != "none" else None
    )
    variables = {"X": turned(sequences) if by_time else cells(sequences)} | ({} if stored is None else {"T": stored})
    for name, write in (("5", write_v5), ("73", write_v73)):
        write(folder / f"{name}.mat", variables)
        found = read(
            folder / f"{name}.mat", features_by_time=by_time, sequences="X", targets="" if stored is None else "T"
        )
        same(found, expected)
    expected.save(folder / "data.h5")
    expected.save(folder / "data.npz")
    same(read(folder / "data.h5"), expected)
    same(read(folder / "data.npz"), expected)


# -- .mat: what is refused --


TALL = [x.T for x in X]


@pytest.mark.parametrize(
    ("variables", "how", "message"),
    [
        (
            {"A": X[0]},
            {},
            "expected one cell array of matrices, found none; sequences=.*--sequences NAME.* A (double 4×3)",
        ),
        (
            {"XTrain": cells(X), "XTest": cells(X[:2])},
            {},
            "expected one cell array of matrices, found XT.*, XT.*; .* holds .*XTest (cell 2×1)",
        ),
        (
            {"X": cells(X), "C": cells(["a", "b"])},
            {"sequences": "Y"},
            "has no variable 'Y' for the sequences; .* X (cell 3×1)",
        ),
        ({"X": cells(X)}, {"targets": "Y"}, "has no variable 'Y' for the targets; the file holds X (cell 3×1)"),
        ({"X": cells(X)}, {"sequences": "A", "targets": "B"}, "has no variable 'A' .* the file holds X (cell 3×1)"),
        (
            {"X": cells(X), "Y": cells(LABELS), "T": np.ones((1, 3))},
            {},
            'expected one variable with a target for each of the 3 sequences, found .*; targets="NAME", or --targets',
        ),
        ({"X": X[0]}, {"sequences": "X"}, "X: expected a cell array of matrices, N × 1 or 1 × N, got double 4×3"),
        ({"X": cells(X)[:0]}, {"sequences": "X"}, "X: expected a cell array of matrices, .* got cell 0×1"),
        ({"X": np.repeat(cells(X), 2, 1)}, {"sequences": "X"}, "X: expected a cell array of matrices, .* got cell 3×2"),
        ({"X": cells([X[0], "b", X[1]])}, {"sequences": "X"}, "X{2}: expected a matrix of real numbers, got char 1×1"),
        (
            {"X": cells([X[0], X[0] + 1j])},
            {"sequences": "X"},
            "X{2}: expected a matrix of real numbers, got complex 4×3",
        ),
        (
            {"X": cells([X[0], np.ones((2, 2, 2))])},
            {"sequences": "X"},
            "X{2}: expected a matrix of .* got double 2×2×2",
        ),
        ({"X": cells([X[0], np.zeros((0, 0))])}, {}, "X{2}: expected a matrix of real numbers, got double 0×0"),
        (
            {"X": cells(TALL)},
            {},
            "X{2}: expected 4 columns (features) as in the first cell, got double 3×6; if the matrices are features by "
            "time, give features_by_time=True, or --features-by-time",
        ),
        (
            {"X": cells(X)},
            {"features_by_time": True},
            "X{2}: expected 4 rows (features) as in the first cell, got double 6×3; if the matrices are "
            "time by features, "
            "leave out features_by_time=True, or --features-by-time",
        ),
        (
            {"X": cells([X[0], X[1][:, :2]])},
            {},
            "X{2}: expected 3 columns .* 6×2; all sequences must have the same features",
        ),
        (
            {"X": cells(X), "T": np.ones((2, 1))},
            {"targets": "T"},
            "T: expected a row for each of the 3 .* got double 2×1",
        ),
        (
            {"X": cells(X), "T": np.array(["a", "b"])},
            {"targets": "T"},
            "T: expected a row for each of the 3 .* got char 2×1",
        ),
        (
            {"X": cells(X), "T": cells(LABELS[:2])},
            {"targets": "T"},
            "T: expected a cell for each of the 3 .* got cell 2×1",
        ),
        (
            {"X": cells(X), "T": np.ones((3, 1)) * 1j},
            {"targets": "T"},
            "T: expected labels or numbers, got complex 3×1",
        ),
        (
            {"X": cells(X), "T": np.repeat(cells(X), 2, 1)},
            {"targets": "T"},
            "T: expected labels or numbers, got cell 3×2",
        ),
        (
            {"X": cells(X), "T": cells(["a", np.ones((1, 1)), "b"])},
            {"targets": "T"},
            "T{2}: expected a text as in other cells, got double 1×1",
        ),
        (
            {"X": cells(X), "T": cells([x[:, :1] * 1j for x in X])},
            {"targets": "T"},
            "T{1}: expected labels or numbers, one for each step, got complex 4×1",
        ),
        (
            {"X": cells(X), "T": cells([X[0], np.zeros((0, 0)), X[2]])},
            {"sequences": "X", "targets": "T"},
            "T{2}: expected labels or numbers, one for each step, got double 0×0",
        ),
        (
            {"X": cells(X), "T": cells([X[0], X[1][:, :2], X[2]])},
            {"sequences": "X", "targets": "T"},
            "T{2}: expected targets like those of the first cell, got double 6×2",
        ),
        (
            {"X": cells(X), "T": cells([X[0][:, :1], cells(LABELS), X[2][:, :1]])},
            {"sequences": "X", "targets": "T"},
            "T{2}: expected targets like those of the first cell, got cell 3×1",
        ),
        (
            {"X": cells(X), "Y": Object("categorical")},
            {},
            "Y: expected labels or numbers, got categorical; save cellstr(Y) instead",
        ),
        ({"X": cells(X), "Y": Object("string")}, {}, "Y: expected labels or numbers, got string; save cellstr(Y)"),
        (
            {"X": cells(X), "A": Object("string"), "B": Object("categorical")},
            {},
            "expected one variable with a target for each of .* found A, B; .* A (string), B (categorical)",
        ),
        (
            {"X": Object("table")},
            {"sequences": "X"},
            "X: expected a cell array .* got table; save its columns as variables",
        ),
        (
            {"X": Object("dlarray")},
            {},
            "expected one cell array of matrices, found none; .* the file holds X (dlarray)",
        ),
    ],
)
def test_errors_on_mat_files_use_the_words_of_matlab(save, variables, how, message):
    pattern = re.escape(message).replace(r"\.\*", ".*").replace(r"\ ", " ")
    with pytest.raises(s2o.DataError, match=f"data.mat: {pattern}"):
        read(save(**variables), **how)


def test_objects_are_ignored_unless_they_are_named(save):
    path = save(X=cells(X), Y=Object("categorical"), Z=Object("string"))
    same(read(path, targets=""), s2o.SequenceDataset(X))


def test_errors_name_objects_structs_and_sparse_matrices_in_cells(tmp_path):
    import scipy.io
    import scipy.sparse

    path = tmp_path / "data.mat"
    scipy.io.savemat(path, {"X": {"x": X[0]}, "S": cells([scipy.sparse.csc_matrix(X[0])]), "E": cells([{"a": 1}])})
    for name, message in (
        ("X", r"got struct 1×1; save its fields as variables: save\(.file.mat., .-struct., .S.\)"),
        ("S", r"S\{1\}: expected a matrix of real numbers, got sparse 4×3; save full\(X\)"),
        ("E", r"E\{1\}: expected a matrix of real numbers, got struct 1×1"),
    ):
        with pytest.raises(s2o.DataError, match=message):
            read(path, sequences=name)
    write_v73(path, {"X": cells(X), "C": cells([Object("categorical")] * 3)})
    write_sparse_v73(path, "T")
    with pytest.raises(s2o.DataError, match=r"T: expected labels or numbers, got sparse; save full\(X\)"):
        read(path, sequences="X", targets="T")
    with pytest.raises(
        s2o.DataError, match=r"C\{1\}: .*got categorical; .* cellfun\(@cellstr, Y, UniformOutput=false\)"
    ):
        read(path, sequences="X", targets="C")


def test_only_the_named_variables_of_version_7_3_are_read(tmp_path):
    path = tmp_path / "data.mat"
    write_v73(path, {"X": cells(X), "Y": cells(LABELS), "Broken": cells(X)})
    with h5py.File(path, "r+") as file:
        file["Broken"].attrs["MATLAB_class"] = np.bytes_("double")  # references are no numbers
    same(read(path, sequences="X", targets="Y"), s2o.SequenceDataset(X, LABELS))
    with pytest.raises(s2o.DataError, match="data.mat: is not a .mat file, or is incomplete"):
        read(path)


def test_a_cell_that_contains_itself_raises_an_error(tmp_path):
    path = tmp_path / "data.mat"
    write_v73(path, {"X": cells(X)})
    with h5py.File(path, "r+") as file:
        file["X"][0, 0] = file["X"].ref
    with pytest.raises(s2o.DataError, match="or is incomplete: RecursionError"):
        read(path)


def test_errors_name_mat_files_that_are_damaged_or_missing(save, tmp_path):
    whole = save(X=cells(X), Y=cells(LABELS)).read_bytes()
    path = tmp_path / "data.mat"
    for content in (whole[: len(whole) // 2], whole[:600], b"", b"no .mat file at all" * 50):
        path.write_bytes(content)
        with pytest.raises(s2o.DataError, match="data.mat: is not a .mat file, or is incomplete"):
            read(path)
    import scipy.io

    scipy.io.savemat(path, {"X": X[0]}, format="4")
    with pytest.raises(s2o.DataError, match="data.mat: expected a .mat file of version 5 or later"):
        read(path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nowhere.mat")
    with pytest.raises(s2o.DataError, match="data.npz: sequences applies only to .parquet, .mat; leave it out"):
        read(tmp_path / "data.npz", sequences="X")


@pytest.mark.parametrize(("module", "write"), [("h5py", write_v73), ("scipy", write_v5)])
def test_errors_name_the_missing_package_and_how_to_install_it(tmp_path, monkeypatch, module, write):
    path = tmp_path / "data.mat"
    write(path, {"X": cells(X)})
    monkeypatch.setitem(sys.modules, module, None)
    message = f'{module} is not installed. Run: pip install .*"{module}>='
    with pytest.raises(s2o.MissingExtra, match=message):
        read(path)
    if module == "h5py":
        data, h5 = s2o.SequenceDataset(X), tmp_path / "data.h5"
        for use in (lambda: data.save(h5), lambda: hdf5.read(path), lambda: Hdf5Column(path)):
            with pytest.raises(s2o.MissingExtra, match=message):
                use()


# -- HDF5 --


SETS = {
    "labels": lambda: s2o.SequenceDataset(X, ["é", "日本", ""], ["", "é", "日本", "other"]),
    "numbers": lambda: s2o.SequenceDataset(X, [0.5, np.nan, 2], ignore=np.nan),
    "ignored": lambda: s2o.SequenceDataset(X, LABELS, ignore="no"),
    "steps": lambda: s2o.SequenceDataset(X, [np.arange(len(x)) % 2 for x in X], ignore=0),
    "half": lambda: s2o.SequenceDataset(X, [x[::2, :2] for x in X]),
    "none": lambda: s2o.SequenceDataset([X[0][:0], *X]),
    "tokens": lambda: s2o.SequenceDataset([np.array([1, 2]), np.array([3])], [True, False]),
    "images": lambda: s2o.SequenceDataset([RNG.normal(size=(n, 2, 3, 4)) for n in (2, 3)]),
}


@pytest.mark.parametrize("kind", SETS)
def test_hdf5_and_npz_files_hold_the_same(tmp_path, kind):
    data, path = SETS[kind](), tmp_path / "data.h5"
    data.save(path)
    found = read(path)
    same(found, data)
    data.save(tmp_path / "data.npz")
    same(found, read(tmp_path / "data.npz"))
    rows = Hdf5Column(path)
    assert rows.lengths.tolist() == data.lengths.tolist()
    for row, sequence in zip(rows, data.sequences, strict=True):
        assert row.dtype == sequence.dtype
        np.testing.assert_array_equal(row, sequence)


@pytest.fixture
def h5(tmp_path):
    path = tmp_path / "data.h5"
    s2o.SequenceDataset(X, LABELS).save(path)
    return path


def test_an_hdf5_column_reads_only_the_sequences_that_are_taken(h5, monkeypatch):
    rows = Hdf5Column(h5)
    asked, get = [], h5py.Dataset.__getitem__
    monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda self, key: (asked.append(key), get(self, key))[1])
    found = rows.take([2, 0, -1])
    assert asked == [slice(0, 4), slice(10, 15), slice(10, 15)]
    for row, index in zip(found, [2, 0, 2], strict=True):
        np.testing.assert_array_equal(row, X[index].astype("f"))
    found[0][:] = 0
    assert found[2].any()  # what is asked for twice is there twice
    assert rows.take([]) == []
    with pytest.raises(IndexError):
        rows[3]
    with pytest.raises(IndexError):
        rows.take([0.5])


def test_an_hdf5_column_can_be_pickled_and_closed(h5):
    rows = Hdf5Column(h5)
    copy = pickle.loads(pickle.dumps(rows))
    np.testing.assert_array_equal(copy[1], rows[1])
    rows.close()
    rows.close()
    np.testing.assert_array_equal(copy[1], rows[1])


def test_workers_and_their_parent_read_an_hdf5_column_at_once(tmp_path):
    path = tmp_path / "data.h5"
    sequences = [np.full((1 + n % 7, 2), n, np.float32) for n in range(400)]
    s2o.SequenceDataset(sequences).save(path)
    rows = Hdf5Column(path)

    class Opened(torch.utils.data.Dataset):
        def __len__(self):
            return len(rows)

        def __getitem__(self, index):
            return rows[index], rows._process == os.getpid()

    loader = torch.utils.data.DataLoader(
        Opened(), batch_size=8, num_workers=2, collate_fn=list, multiprocessing_context="fork"
    )
    seen = 0
    for batch in loader:
        for row, opened_here in batch:
            assert opened_here
            np.testing.assert_array_equal(row, sequences[seen])
            np.testing.assert_array_equal(rows[399 - seen], sequences[399 - seen])
            seen += 1
    assert seen == 400


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"values": None},
            r"has no array 'values' at its root, only \['classes', 'lengths', 'targets'\]; see SequenceDataset.save",
        ),
        ({"lengths": None}, "has no array 'lengths' at its root"),
        ({"lengths": np.array([4, 6, 6])}, "expected lengths .* with the sum 15; got int64 .3. with the sum 16"),
        ({"lengths": np.array([-4, 6, 13])}, "expected lengths .* non-negative integers"),
        ({"lengths": np.array([4.0, 6, 5])}, "expected lengths .* got float64"),
        ({"lengths": np.int32(15)}, r"expected lengths \[sequences\]: .* got int32 \[\]"),
    ],
)
def test_errors_name_missing_arrays_of_hdf5_files(h5, change, message):
    with h5py.File(h5, "r+") as file:
        for name, array in change.items():
            del file[name]
            if array is not None:
                file[name] = array
    for use in (read, Hdf5Column):
        with pytest.raises(s2o.DataError, match=f"data.h5: {message}"):
            use(h5)


def test_errors_name_wrong_arrays_of_hdf5_files(h5, tmp_path):
    with h5py.File(h5, "r+") as file:
        del file["targets"]
        file["targets"] = np.arange(4)
    with pytest.raises(s2o.DataError, match="expected targets with a row for each of the 3 sequences"):
        read(h5)
    with h5py.File(h5, "r+") as file:
        del file["values"]
        file.create_group("values")
    with pytest.raises(s2o.DataError, match="has no array 'values' at its root"):
        read(h5)
    with h5py.File(h5, "r+") as file:
        del file["values"]
        file["values"] = np.arange(15.0)
    with pytest.raises(s2o.ShapeError, match=r"expected values \[all steps, features\], .* got float64 \[15\]"):
        Hdf5Column(h5)
    with pytest.raises(s2o.DataError, match=r"data.h5: this format stores one input, but the data set has a, b"):
        s2o.SequenceDataset({"a": X, "b": X}).save(h5)
    h5.write_bytes(h5.read_bytes()[:900])
    for use in (read, Hdf5Column):
        with pytest.raises(s2o.DataError, match="data.h5: is not an HDF5 file, or is incomplete"):
            use(h5)
        with pytest.raises(FileNotFoundError):
            use(tmp_path / "nowhere.h5")


# -- text --


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't miss it!", ["don't", "miss", "it", "!"]),
        ("It’s so-so: 3.5/5 :-)", ["it's", "so", "-", "so", ":", "3", ".", "5", "/", "5", ":", "-", ")"]),
        ("'tis the dogs' o'clock", ["'", "tis", "the", "dogs", "'", "o'clock"]),
        ("snake_case\tand\u00a0blanks\n", ["snake_case", "and", "blanks"]),
        ("ÉTÉ e\u0301te\u0301", ["été", "été"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("日本語、です", ["日本語", "、", "です"]),
        ("ok ❤️!", ["ok", "❤️", "!"]),
        (" \n", []),
    ],
)
def test_tokenize_splits_words_and_signs(text, words):
    assert s2o.tokenize(text) == words


@given(st.text())
def test_tokenize_drops_only_spaces_and_is_idempotent(text):
    import unicodedata

    words = s2o.tokenize(text)
    whole = unicodedata.normalize("NFC", text.lower().replace("’", "'"))
    assert "".join(words) == "".join(whole.split())
    assert s2o.tokenize(" ".join(words)) == words


TEXTS = ["A fine film!", "Not so fine.", "A bad film, a bad one"]


def test_a_vocabulary_counts_in_one_pass():
    vocabulary = s2o.Vocabulary.from_texts(text for text in TEXTS)
    assert vocabulary.words == ("a", "bad", "film", "fine", "!", ",", ".", "not", "one", "so")
    assert s2o.Vocabulary.from_texts(reversed(TEXTS)) == vocabulary
    assert s2o.Vocabulary.from_texts([s2o.tokenize(text) for text in TEXTS]) == vocabulary
    assert s2o.Vocabulary.from_texts(TEXTS, size=3).words == ("a", "bad", "film")
    assert s2o.Vocabulary.from_texts(TEXTS, min_count=2).words == ("a", "bad", "film", "fine")
    assert s2o.Vocabulary.from_texts(TEXTS, size=1, min_count=2).words == ("a",)
    assert (len(vocabulary), repr(vocabulary)) == (10, "Vocabulary(10 words)")


def test_words_have_the_numbers_that_an_embedding_gives_them(tmp_path):
    vocabulary = s2o.Vocabulary.from_texts(TEXTS)
    numbers = vocabulary.encode("A film — so very BAD")
    assert numbers.dtype == np.int64
    assert numbers.tolist() == [1, 3, 11, 10, 11, 2]
    assert vocabulary.decode(numbers) == ["a", "film", "<unknown>", "so", "<unknown>", "bad"]
    assert vocabulary.decode([0, 1, -1, 12]) == ["<padding>", "a", "<unknown>", "<unknown>"]
    assert vocabulary.encode(["A", "a"]).tolist() == [11, 1]  # a list is taken as it is
    assert vocabulary.encode(np.array(["a", "film"])).tolist() == [1, 3]
    encoded = vocabulary.encode_all(TEXTS)
    data = s2o.SequenceDataset(encoded, [0.0, 1.0, 2.0])
    net = s2o.Network(
        [
            s2o.SequenceInput("tokens"),
            s2o.WordEmbedding(4, vocabulary.words),
            s2o.LSTM(3, "last"),
            s2o.FullyConnected(1),
        ]
    )
    torch.manual_seed(0)
    s2o.export(s2o.build(net, data).eval(), tmp_path / "text.onnx")
    model = s2o.load(tmp_path / "text.onnx")
    texts = [*TEXTS, "unheard of words"]
    scores = model.predict([s2o.tokenize(text) for text in texts])
    np.testing.assert_array_equal(scores, model.predict(vocabulary.encode_all(texts)))
    assert len(np.unique(scores)) == 4


@settings(max_examples=50)
@given(st.lists(st.lists(st.sampled_from("abcde"), min_size=1), min_size=1), st.randoms())
def test_a_vocabulary_does_not_depend_on_the_order_of_texts_and_decodes_its_numbers(texts, random):
    vocabulary = s2o.Vocabulary.from_texts(texts)
    shuffled = list(texts)
    random.shuffle(shuffled)
    assert s2o.Vocabulary.from_texts(shuffled) == vocabulary
    counts = [sum(text.count(word) for text in texts) for word in vocabulary.words]
    assert counts == sorted(counts, reverse=True)
    for text in texts:
        assert vocabulary.decode(vocabulary.encode(text)) == text
        assert 1 <= vocabulary.encode(text).min() <= vocabulary.encode(text).max() <= len(vocabulary)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: s2o.tokenize(3), "text: expected a string, got int"),
        (lambda: s2o.Vocabulary([]), "vocabulary: expected at least one word, got none"),
        (
            lambda: s2o.Vocabulary("abc"),
            r"vocabulary: expected a list of strings, one for each word; split a text with tokenize",
        ),
        (lambda: s2o.Vocabulary(["a", 1]), "vocabulary: expected a list of strings"),
        (lambda: s2o.Vocabulary(["a", "b", "b"]), "vocabulary: the words must differ, 'b' occurs twice"),
        (lambda: s2o.Vocabulary.from_texts([]), "texts: contain no word$"),
        (lambda: s2o.Vocabulary.from_texts([" ", ""]), "texts: contain no word$"),
        (
            lambda: s2o.Vocabulary.from_texts("one text"),
            r"texts: expected a list of texts, got one text; put it .*: \[text\]",
        ),
        (lambda: s2o.Vocabulary.from_texts(["a", 3]), "text 1: expected a string or a list of words, got 3"),
        (lambda: s2o.Vocabulary.from_texts(["a", b"b"]), "text 1: expected a string or a list of words, got b'b'"),
        (lambda: s2o.Vocabulary.from_texts(["a b"], min_count=2), "no word at least 2 times; .* occurs 1 times"),
        (lambda: s2o.Vocabulary(["a"]).encode("  "), "text: has no words, got '  '; a sequence needs at least one"),
        (lambda: s2o.Vocabulary(["a"]).encode_all(["a", []]), r"text 1: has no words, got \[\]"),
        (lambda: s2o.Vocabulary(["a"]).encode([1]), r"text: expected a string or a list of words, got \[1\]"),
        (lambda: s2o.Vocabulary(["a"]).decode([0.5]), r"numbers: expected word numbers \(integers\), got float64"),
        (lambda: s2o.SequenceDataset(["a", ["b", 3]]), "sequence 1: expected values of one type, got int and str"),
        (lambda: s2o.SequenceDataset("a text"), r"got str; a text is one sequence of words: \[tokenize\(text\)\]"),
    ],
)
def test_errors_name_texts_that_cannot_be_used(call, message):
    with pytest.raises(s2o.DataError, match=message):
        call()


def test_size_and_count_of_a_vocabulary_are_whole_numbers():
    for option, value in (("size", 0), ("size", True), ("min_count", 0.5)):
        with pytest.raises(s2o.SpecError, match=f"{option}: must be a whole number, at least 1, got {value}"):
            s2o.Vocabulary.from_texts(["a"], **{option: value})
    assert s2o.Vocabulary.from_texts(["a b"], size=np.int64(1)).words == ("a",)


def test_a_model_of_words_refuses_a_text_that_is_not_split(tmp_path):
    net = s2o.Network([s2o.SequenceInput("tokens"), s2o.WordEmbedding(2, ["good", "New York"]), s2o.LSTM(2, "last")])
    s2o.export(s2o.build(net).eval(), tmp_path / "words.onnx", classes=["a", "b"])
    model = s2o.load(tmp_path / "words.onnx")
    stream = model.stream()
    for call in (model.predict, model.classify):
        with pytest.raises(s2o.DataError, match=r"got the text 'good film'; split it: tokenize\(text\)"):
            call(["good film"])
        with pytest.raises(s2o.DataError, match=r"got str; a text is one sequence of words: \[tokenize\(text\)\]"):
            call("good film")
    with pytest.raises(s2o.DataError, match=r"step: .* got the text 'good film'; split it: tokenize\(text\)"):
        stream.step("good film")
    assert not any(state.any() for state in stream.state.values())
    np.testing.assert_array_equal(stream.step("New York"), model.predict([["New York"]])[0])  # a word of the vocabulary


# -- the command --


def test_convert_and_inspect_read_mat_and_hdf5_files(tmp_path):
    write_v73(tmp_path / "two.mat", {"XTrain": turned(X), "XTest": turned(X), "Y": cells(LABELS), "Z": np.ones((3, 1))})
    which = ["--features-by-time", "--sequences", "XTrain", "--targets", "Y"]
    out, _ = run("data", "inspect", tmp_path / "two.mat", *which)
    assert "sequences  3, 15 steps" in out
    assert ["yes", "2"] in [line.split() for line in out.splitlines()]
    out, _ = run("data", "convert", tmp_path / "two.mat", tmp_path / "data.h5", *which)
    assert out.startswith(f"{tmp_path / 'data.h5'}: SequenceDataset(3 sequences, 4 to 6 steps, features 3, 2 classes)")
    run("data", "convert", tmp_path / "data.h5", tmp_path / "data.npz")
    same(read(tmp_path / "data.npz"), s2o.SequenceDataset(X, LABELS))
    run("data", "convert", tmp_path / "two.mat", tmp_path / "none.npz", *which[:-1], "")
    assert read(tmp_path / "none.npz").targets is None
    _, err = run("data", "inspect", tmp_path / "two.mat", code=2)
    assert "--sequences NAME" in err
    _, err = run("data", "convert", tmp_path / "data.h5", tmp_path / "data.mat", code=2)
    assert "data is written as .parquet, .npz, .h5, .hdf5, got '.mat'" in err
