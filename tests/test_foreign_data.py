"""Data of other packages: torch, pandas, polars, pyarrow, Hugging Face, scipy. It is read right, or refused."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.io
import torch

import seq2onnx as s2o
from seq2onnx.sequences import as_list

pytestmark = pytest.mark.usefixtures("in_this_process")

rng = np.random.default_rng(0)
ARRAYS = [rng.normal(size=(n, 2)).astype(np.float32) for n in (3, 4, 5)]
LISTS = [x.tolist() for x in ARRAYS]
OPTIONS = s2o.TrainingOptions(epochs=1, progress=False, device="cpu", threads=1)
HUGGING_FACE = datasets.Dataset.from_dict(
    {"x": LISTS, "label": [0, 1, 0]},
    features=datasets.Features(
        {
            "x": datasets.Sequence(datasets.Sequence(datasets.Value("float32"))),
            "label": datasets.ClassLabel(names=["no", "yes"]),
        }
    ),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    network = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(3, "last"), s2o.FullyConnected(2), s2o.Softmax()])
    path = tmp_path_factory.mktemp("foreign") / "m.onnx"
    s2o.export(s2o.build(network), path)
    return s2o.load(path)


def as_cells(values):
    cells = np.empty((len(values), 1), object)
    cells[:, 0] = values
    return cells


FORMS = {
    "lists": lambda: LISTS,
    "tuples": lambda: tuple(tuple(map(tuple, x)) for x in LISTS),
    "generator": lambda: (x for x in ARRAYS),
    "tensors that need gradients": lambda: [torch.tensor(x, requires_grad=True) for x in ARRAYS],
    "lists of tensors": lambda: [[torch.tensor(step, requires_grad=True) for step in x] for x in ARRAYS],
    "pandas: a column of arrays": lambda: pd.Series(ARRAYS, index=[9, 2, 4]),
    "pandas: a column of lists": lambda: pd.Series(LISTS),
    "polars: a column of lists": lambda: pl.Series(LISTS),
    "polars: lists of rows": lambda: [pl.Series(x) for x in LISTS],
    "pyarrow: nested lists": lambda: pa.chunked_array([LISTS[:1], LISTS[1:]]),
    "Hugging Face": lambda: HUGGING_FACE["x"],
    "Hugging Face as numpy": lambda: HUGGING_FACE.with_format("numpy")["x"],
    "Hugging Face as torch": lambda: HUGGING_FACE.with_format("torch")["x"],
    "an array of objects": lambda: as_cells(ARRAYS)[:, 0],
    "a cell array of scipy": lambda: as_cells(ARRAYS),
    "objects": lambda: [x.astype(object) for x in ARRAYS],
}


@pytest.mark.parametrize("form", FORMS)
def test_sequences_of_other_packages_are_read(form, model):
    data = s2o.SequenceDataset(FORMS[form]())
    for found, expected in zip(data.sequences, ARRAYS, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(model.predict(FORMS[form]()), model.predict(ARRAYS), rtol=0, atol=1e-6)
    stream = model.stream()
    stream.step(as_list(FORMS[form]())[0])
    other = model.stream()
    other.step(ARRAYS[0])
    np.testing.assert_allclose(*(next(iter(s.state.values())) for s in (stream, other)), rtol=0, atol=1e-6)


def test_bfloat16_and_missing_values_are_numbers(model):
    half = [torch.tensor(x, dtype=torch.bfloat16) for x in ARRAYS]
    expected = [x.float().numpy() for x in half]
    np.testing.assert_array_equal(s2o.SequenceDataset(half).sequences[1], expected[1])
    np.testing.assert_array_equal(model.predict(half), model.predict(expected))
    padded = s2o.SequenceDataset(torch.ones(2, 4, 2, dtype=torch.bfloat16), lengths=torch.tensor([2, 3]))
    assert padded.lengths.tolist() == [2, 3]
    holes = [[[1.0, None], [2.0, 3.0]]]
    np.testing.assert_array_equal(s2o.SequenceDataset(holes).sequences[0], [[1, np.nan], [2, 3]])
    assert np.isnan(model.predict(holes)).all()


def test_columns_of_integers_are_tokens_and_columns_of_words_are_words():
    for tokens in (pd.Series([1, 2]), pd.Series([1, 2], dtype="Int64"), pl.Series([1, 2]), torch.tensor([1, 2])):
        found = s2o.SequenceDataset([tokens]).sequences[0]
        assert (found.tolist(), found.dtype) == ([1, 2], np.int64)
    for words in (pd.Series(["a", "b"]), pl.Series(["a", "b"]), pd.Series(["a", "b"], dtype="category")):
        assert s2o.SequenceDataset([words]).sequences[0].tolist() == ["a", "b"]


TABLE = pa.table({"a": [1.0, 2.0], "b": [3.0, 4.0]})
FRAME = pd.DataFrame({"id": [1, 1, 2], "a": [1.0, 2.0, 3.0]})
Row = collections.namedtuple("Row", ["ax", "ay"])
REFUSED = [
    (lambda: TABLE, r"got Table; make it a data frame: table.to_pandas\(\), or polars.from_arrow\(table\)"),
    (lambda: [TABLE], "sequence 0: expected an array, got Table; make it a data frame"),
    (lambda: FRAME.groupby("id"), "GroupBy; for a table with many sequences use SequenceDataset.from_frame"),
    (lambda: pl.from_pandas(FRAME).group_by("id"), "GroupBy; for a table with many sequences use"),
    (lambda: pl.from_pandas(FRAME).lazy(), r"got LazyFrame; collect it: frame.collect\(\)"),
    (lambda: [pl.from_pandas(FRAME).lazy()], "sequence 0: expected an array, got LazyFrame; collect it"),
    (lambda: HUGGING_FACE, r'give its columns: SequenceDataset\(dataset\["x"\], dataset\["label"\]\), or pairs'),
    (
        lambda: HUGGING_FACE.to_iterable_dataset(),
        "got IterableDataset. For a data set of Hugging Face give its columns",
    ),
    (lambda: [{"ax": [1.0], "ay": [2.0]}], "sequence 0: expected an array, got dict; a dict is for data of several"),
    (lambda: [[Row(1.0, 2.0), Row(3.0, 4.0)]], "is a list of rows with names; make them a data frame"),
    (lambda: [[row for _, row in FRAME.iterrows()]], "is a list of rows with names; make them a data frame"),
    (lambda: {1, 2}, r"expected a list of \[time, features\] arrays, got set"),
    (lambda: torch.ones(3, 2), r"got one array \[3, 2\]; put a single sequence into a list: \[x\]"),
    (lambda: [torch.ones(3, 2, dtype=torch.complex64)], "got complex64; give the real and the imaginary part as two"),
    (lambda: [np.zeros(3, [("a", float), ("b", float)])], "structured_to_unstructured"),
    (lambda: [np.zeros((3, 2), "M8[s]")], r"datetime64\[s\]; leave it out, or convert it to seconds since the start"),
    (lambda: [[[datetime.datetime(2026, 1, 1), 1.0]]], r"holds timestamps \(datetime\); leave it out"),
    (lambda: [[[1.0, "x"]]], "expected values of one type, got float and str"),
    (lambda: [[[1.0, 2.0], [3.0]]], "expected an array of numbers, got rows of different lengths"),
    (lambda: [(ARRAYS[0], "a")], r"for \(sequence, target\) pairs use SequenceDataset.from_items"),
    (lambda: [[1.0, 2.0, 3.0]], r"expected \[time, features\], got \[3\].* a sequence of one feature is \[time, 1\]"),
    (lambda: [pd.Series([1.0, 2.0])], r"a sequence of one feature is \[time, 1\]: x\[:, None\]"),
    (lambda: pd.Series([1.0, 2.0]), r"got a single value; put a single sequence into a list: \[x\]"),
    (lambda: [pd.Series(["a", None])], "sequence 0: expected words, but step 1 has nan; leave it out or fill it"),
    (lambda: [np.array(["a", 3], object)], "sequence 0: expected words, but step 1 has 3"),
    (lambda: [np.ma.masked_array([1, 2], [False, True])], r"some tokens are masked; fill them: x.filled\(0\)"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_other_sequences_are_refused_with_what_to_do(make, message):
    with pytest.raises((s2o.DataError, s2o.ShapeError), match=message):
        s2o.SequenceDataset(make())


@pytest.mark.parametrize(
    "make", [make for make, _ in REFUSED if make() is not None and "masked" not in _ and "one feature" not in _]
)
def test_predict_refuses_them_too(make, model):
    with pytest.raises((s2o.DataError, s2o.ShapeError)):
        model.predict(make())


def test_a_dict_of_features_by_mistake_is_refused(model):
    features = {"ax": [1.0, 2.0, 3.0], "ay": [2.0, 3.0, 4.0]}
    with pytest.raises(s2o.ShapeError, match="sequence 0 of ax: .* got a single value; a dict has a list of sequences"):
        s2o.SequenceDataset(features)
    with pytest.raises(s2o.DataError, match="expected a dict with data for sequence_input_1, got ax, ay"):
        model.predict(features)
    with pytest.raises(s2o.ShapeError, match=r"SequenceDataset.from_items\(\(row\[\"x\"\], row\[\"label\"\]\)"):
        s2o.SequenceDataset.from_items(HUGGING_FACE)


# Targets


class Side(enum.Enum):
    """Labels that are no strings."""

    LEFT = 1


LABELS = {
    "pandas": pd.Series(["a", "b", "a"], index=[9, 8, 7]),
    "pandas index": pd.Index(["a", "b", "a"]),
    "categories": pd.Series(["a", "b", "a"], dtype="category"),
    "Categorical": pd.Categorical(["a", "b", "a"]),
    "polars": pl.Series(["a", "b", "a"]),
    "polars categories": pl.Series(["a", "b", "a"], dtype=pl.Categorical),
    "pyarrow": pa.array(["a", "b", "a"]),
    "objects": np.array(["a", "b", "a"], object),
    "generator": (label for label in "aba"),
    "column": np.array([["a"], ["b"], ["a"]]),
    "cell array": as_cells([np.array([label]) for label in "aba"]),
}
WHOLE = {
    "pandas": pd.Series([7, 8, 7], dtype="Int64"),
    "categories": pd.Series([7, 8, 7], dtype="category"),
    "polars": pl.Series([7, 8, 7]),
    "torch": torch.tensor([7, 8, 7]),
    "list of tensors": [torch.tensor(7), torch.tensor(8), torch.tensor(7)],
    "bytes": np.array([7, 8, 7], np.uint8),
    "column": np.array([[7], [8], [7]]),
}
TRUTHS = [
    np.array([True, False, True]),
    pd.Series([True, False, True], dtype="boolean"),
    torch.tensor([1, 0, 1]).bool(),
]
FLOATS = {
    "pandas": pd.Series([1.5, 2.5, 3.5], dtype="Float64"),
    "tensor that needs gradients": torch.tensor([1.5, 2.5, 3.5], requires_grad=True),
    "bfloat16": torch.tensor([1.5, 2.5, 3.5], dtype=torch.bfloat16),
    "decimals": [decimal.Decimal("1.5"), decimal.Decimal("2.5"), decimal.Decimal("3.5")],
    "polars": pl.Series([1.5, 2.5, 3.5]),
}


@pytest.mark.parametrize("form", LABELS)
def test_labels_of_other_packages_are_read(form):
    assert s2o.SequenceDataset(ARRAYS, LABELS[form]).labels.tolist() == ["a", "b", "a"]


@pytest.mark.parametrize("form", WHOLE)
def test_integers_of_other_packages_are_labels(form):
    assert s2o.SequenceDataset(ARRAYS, WHOLE[form]).labels.tolist() == [7, 8, 7]


@pytest.mark.parametrize("truths", TRUTHS)
def test_truths_are_labels(truths):
    data = s2o.SequenceDataset(ARRAYS, truths)
    assert (data.classes, data.targets.tolist()) == ([False, True], [1, 0, 1])


@pytest.mark.parametrize("form", FLOATS)
def test_floats_of_other_packages_are_numbers(form):
    data = s2o.SequenceDataset(ARRAYS, FLOATS[form])
    assert (data.classes, data.targets.tolist()) == (None, [1.5, 2.5, 3.5])


def test_labels_of_hugging_face_are_the_numbers_of_its_classes():
    assert s2o.SequenceDataset(HUGGING_FACE["x"], HUGGING_FACE["label"]).classes == [0, 1]
    names = HUGGING_FACE.features["label"].int2str(HUGGING_FACE["label"][:])
    assert s2o.SequenceDataset(HUGGING_FACE["x"], names).labels.tolist() == ["no", "yes", "no"]
    pairs = s2o.SequenceDataset.from_items((row["x"], row["label"]) for row in HUGGING_FACE)
    assert pairs.labels.tolist() == [0, 1, 0]


def test_integers_with_a_gap_are_numbers_in_pandas_and_are_refused_where_the_type_is_kept():
    assert s2o.SequenceDataset(ARRAYS, pd.Series([1, None, 2])).classes is None  # pandas made floats of them
    for labels in (pd.Series([1, None, 2], dtype="Int64"), pl.Series([1, None, 2]), [1, None, 2]):
        with pytest.raises(s2o.DataError, match="targets: sequence 1 has no value; leave it out, or fill it"):
            s2o.SequenceDataset(ARRAYS, labels)


@pytest.mark.parametrize("kind", [list, pd.Series, pl.Series, torch.tensor, lambda row: pd.DataFrame({"y": row})])
def test_numbers_of_steps_of_other_packages_are_read(kind):
    rows = [np.arange(len(x), dtype=float) for x in ARRAYS]
    data = s2o.SequenceDataset(ARRAYS, [kind(row) for row in rows])
    assert data.per_step
    assert [np.ravel(row).tolist() for row in data.targets] == [row.tolist() for row in rows]


@pytest.mark.parametrize(
    "kind",
    [list, pd.Series, pl.Series, lambda row: pd.Series(row, dtype="category"), lambda row: np.array(row, object)],
)
def test_labels_of_steps_of_other_packages_are_read(kind):
    rows = [["a", "b", "a", "b", "a"][: len(x)] for x in ARRAYS]
    for given in ([kind(row) for row in rows], pd.Series([kind(row) for row in rows])):
        assert [row.tolist() for row in s2o.SequenceDataset(ARRAYS, given).labels] == rows
    rows[1][2] = None
    with pytest.raises(s2o.DataError, match="targets of sequence 1: step 2 has no value; leave it out, or fill it"):
        s2o.SequenceDataset(ARRAYS, [kind(row) for row in rows])


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (pd.DataFrame({"y": ["a", "b", "a"]}), r'got a data frame; give a column of labels: frame\["label"\]'),
        (pl.DataFrame({"y": ["a", "b", "a"]}), "got a data frame; give a column of labels"),
        ({0: "a", 1: "b", 2: "a"}, "expected a list with one for each sequence, got dict"),
        ({"a", "b", "c"}, "expected a list with one for each sequence, got set"),
        ("aba", "expected a list with one for each sequence, got str"),
        (3, "expected a list with one for each sequence, got int"),
        (pd.Series(["a", None, "b"]), "sequence 1 has no value"),
        (["a", float("nan"), "b"], "sequence 1 has no value"),
        (["a", 1, "b"], "expected values of one type, got int and str"),
        (pd.to_datetime(["2026", "2027", "2028"]), "holds timestamps"),
        (np.ma.masked_array([1, 2, 3], [True, False, False]), "some are masked; fill them"),
        ([b"a", b"b", b"c"], "expected labels"),
        ([1j, 2j, 3j], "expected labels"),
        ([Side.LEFT] * 3, "expected labels"),
        ([["a"] * 3, [1] * 4, ["b"] * 5], "expected strings, integers or floats, got several of these"),
    ],
)
def test_other_targets_are_refused(targets, message):
    with pytest.raises(s2o.DataError, match=f"targets.*{message}"):
        s2o.SequenceDataset(ARRAYS, targets)


def test_texts_in_a_column_make_a_vocabulary():
    for texts in (pd.Series(["a b", "b c"]), pl.Series(["a b", "b c"])):
        assert s2o.Vocabulary.from_texts(texts).words == ("b", "a", "c")
    with pytest.raises(s2o.DataError, match=r'got a data frame; give a column: frame\["text"\]'):
        s2o.Vocabulary.from_texts(pd.DataFrame({"text": ["a b", "b c"]}))


# Iterables


def test_torch_data_sets_without_targets_give_sequences():
    tensors = torch.utils.data.TensorDataset(torch.ones(2, 3, 4))
    assert s2o.SequenceDataset.from_items(tensors).shape() == (4,)


def test_items_that_are_frames_keep_the_names_of_their_columns(tmp_path):
    frames = [pd.DataFrame(x, columns=["ax", "ay"]) for x in ARRAYS]
    frames[1] = frames[1][["ay", "ax"]]
    for path in (None, tmp_path / "items.parquet"):
        data = s2o.SequenceDataset.from_items(zip(frames, "aba", strict=True), path)
        assert data.channels == ["ax", "ay"]
        np.testing.assert_array_equal(data[1][0], ARRAYS[1])
        with pytest.raises(s2o.DataError, match="sequence 1: has a column 'b', which sequence 0 lacks"):
            s2o.SequenceDataset.from_items([frames[0], frames[0].assign(b=1)], path)


@pytest.mark.parametrize("second", [float("nan"), 2, None])
def test_items_whose_targets_differ_in_type_are_refused(tmp_path, second):
    for path in (None, tmp_path / "items.parquet"):
        with pytest.raises(s2o.DataError, match="targets"):
            s2o.SequenceDataset.from_items([(ARRAYS[0], "a"), (ARRAYS[1], second)], path)


# .mat files


def test_what_scipy_reads_from_a_mat_file_is_read(tmp_path):
    path = tmp_path / "data.mat"
    cells = as_cells(ARRAYS)
    scipy.io.savemat(path, {"X": cells, "Y": np.array(["a", "b", "a"], object), "S": {"X": cells[:, 0]}})
    found = scipy.io.loadmat(path)
    data = s2o.SequenceDataset(found["X"], found["Y"])
    assert data.labels.tolist() == ["a", "b", "a"]
    np.testing.assert_array_equal(data.sequences[2], ARRAYS[2])
    equal = s2o.SequenceDataset(as_cells([np.ones((4, 2))] * 3))  # cells of one size are no images
    assert (len(equal), equal.shape()) == (3, (2,))
    with pytest.raises(s2o.DataError, match=r"give a field: x\['name'\].*simplify_cells=True"):
        s2o.SequenceDataset(found["S"])
    simple = scipy.io.loadmat(path, simplify_cells=True)["S"]["X"]
    np.testing.assert_array_equal(s2o.SequenceDataset(simple).sequences[1], ARRAYS[1])


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ({"X": np.zeros(2)}, r'save its fields as variables: save\("file.mat", "-struct", "S"\); of a struct array'),
        (np.ones((10, 2, 5)), r"whose third axis counts the sequences save X = squeeze\(num2cell\(A, \[1 2\]\)\)"),
    ],
)
def test_structs_and_arrays_of_three_axes_in_mat_files_are_refused_with_what_to_save(tmp_path, variable, message):
    scipy.io.savemat(tmp_path / "data.mat", {"A": variable})
    for sequences in (None, "A"):
        with pytest.raises(s2o.DataError, match=message):
            s2o.data.read(tmp_path / "data.mat", sequences=sequences)
