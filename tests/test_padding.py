"""Padding policies: what is cut and padded, where, and whether it counts; in prediction and in training."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx.sequences import PaddingPolicy
from tests.conftest import random_data

pytestmark = pytest.mark.usefixtures("in_this_process")

NETWORKS = {
    "a step": [s2o.SequenceInput(4, "zscore", statistics={"mean": [1] * 4, "std": [2] * 4}), s2o.LSTM(5)],
    "a sequence": [s2o.SequenceInput(4), s2o.GRU(5, "last"), s2o.FullyConnected(3), s2o.Softmax()],
    "strided": [s2o.SequenceInput(4), s2o.Conv1d(3, 3, stride=2, padding="causal"), s2o.LSTM(4)],
    "strided, pooled": [s2o.SequenceInput(4), s2o.MaxPool1d(2, 2, padding="causal"), s2o.GlobalAvgPool1d()],
}
POLICIES = [
    {"sequence_length": length, "padding_direction": direction, "mask_padding": mask, "padding_value": value}
    for length, direction, mask, value in itertools.product(
        ["longest", "shortest", 9, ("split", 4)], ["right", "left"], [True, False], [0.0, 2.5]
    )
    if not (mask and value)
]


def by_hand(model, sequences, sequence_length, padding_value, padding_direction, mask_padding):
    """The answers of a single batch by the words of the policy: each sequence laid out and run on its own."""
    lengths = [len(x) for x in sequences]
    limit = {"longest": 99, "shortest": min(lengths)}.get(sequence_length, sequence_length)
    limit = 99 if isinstance(limit, tuple) else limit
    right = padding_direction == "right"
    cut = [x[:limit] if right else x[max(len(x) - limit, 0) :] for x in sequences]
    if mask_padding:
        return [model.predict([x])[0] for x in cut]
    steps = sequence_length if isinstance(sequence_length, int) else max(len(x) for x in cut)
    answers = []
    for x in cut:
        padding = np.full((steps - len(x), x.shape[1]), padding_value, np.float32)
        answer = model.predict([np.concatenate([x, padding] if right else [padding, x])])[0]
        if answer.ndim == 2:
            real = len(model.predict([x])[0])
            answer = answer[:real] if right else answer[len(answer) - real :]
        answers.append(answer)
    return answers


@pytest.fixture(scope="module", params=NETWORKS)
def model(request, tmp_path_factory):
    import torch

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("padding") / "model.onnx"
    s2o.export(s2o.build(s2o.Network(NETWORKS[request.param])), path)
    return s2o.load(path)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: "-".join(map(str, p.values())))
def test_prediction_follows_the_policy(model, policy):
    sequences = random_data(7).sequences
    found = model.predict(sequences, batch_size=7, **policy)
    for a, b in zip(found, by_hand(model, sequences, **policy), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_a_row_with_nan_gives_nan_under_every_policy(model):
    sequences = [x.copy() for x in random_data(5).sequences]
    sequences[2][:, 1] = np.nan  # whatever is cut
    for policy in POLICIES:
        found = model.predict(sequences, batch_size=5, **policy)
        assert [bool(np.isnan(y).any()) for y in found] == [False, False, True, False, False]


def test_splitting_needs_states(tmp_path):
    path = tmp_path / "model.onnx"
    s2o.export(s2o.build(s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3)])), path, signature="sequence")
    with pytest.raises(s2o.NotStreamable, match="has no states to carry from chunk to chunk"):
        s2o.load(path).predict(random_data(2).sequences, sequence_length=("split", 3))


def test_lookahead_ends_each_row_in_its_own_chunk(tmp_path):
    path = tmp_path / "model.onnx"
    net = s2o.Network([s2o.SequenceInput(4), s2o.Conv1d(3, 3, padding="same"), s2o.LSTM(3)])
    s2o.export(s2o.build(net), path, lookahead=True)
    model, sequences = s2o.load(path), random_data(7).sequences
    for a, b in zip(model.predict(sequences), model.predict(sequences, sequence_length=("split", 3)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequence_length": "long"}, "sequence_length: must be 'longest', 'shortest', a number .* got 'long'"),
        ({"sequence_length": 0}, "sequence_length: .* got 0"),
        ({"sequence_length": True}, "sequence_length: .* got True"),
        ({"sequence_length": ("split", 0)}, "sequence_length: the steps of 'split': .* from 1 .* got 0"),
        ({"sequence_length": ("split",)}, r"sequence_length: must be 'longest', .* got \('split',\)"),
        ({"padding_direction": "up"}, "padding_direction: must be 'right' or 'left', got 'up'"),
        ({"padding_value": np.nan}, "padding_value: must be a finite number, got nan"),
        ({"mask_padding": 1}, "mask_padding: must be True or False, got 1"),
    ],
)
def test_wrong_policies_are_refused(arguments, message):
    with pytest.raises(s2o.SpecError, match=message):
        PaddingPolicy(**arguments)


def test_results_of_generators_keep_the_order(model, monkeypatch):
    from seq2onnx.runtime import scoring

    monkeypatch.setattr(scoring, "SEQUENCES_IN_A_PART", 3)
    sequences = random_data(10).sequences
    for a, b in zip(model.predict(iter(sequences)), model.predict(sequences), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    sequences[7] = np.ones((3, 5))
    with pytest.raises(s2o.ShapeError, match="sequence 7: expected"):
        model.predict(iter(sequences))
    with pytest.raises(s2o.DataError, match="at least one sequence"):
        model.predict(iter([]))


@pytest.mark.parametrize("shuffle", ["none", "sorted", "bucket", "random"])
@pytest.mark.parametrize("sequence_length", ["longest", "shortest", 12, ("split", 5)])
def test_the_report_counts_what_is_padded_and_cut(shuffle, sequence_length):
    data = random_data(23)
    report = s2o.padding_report(data, 5, shuffle, sequence_length=sequence_length, mask_padding=False)
    assert sorted(np.concatenate(report.batches)) == list(range(23))
    place = 0
    for batch in report.batches:
        lengths = data.lengths[batch]
        steps = {"shortest": lengths.min(), 12: 12}.get(sequence_length, lengths.max())
        for length in lengths:
            kept = min(length, steps)
            assert (report.kept[place], report.padded[place], report.cut[place]) == (kept, steps - kept, length - kept)
            place += 1
    assert place == 23
    assert report.wasted == report.padded.sum() / (report.padded + report.kept).sum()
    assert f"{report.cut.sum():,} cut" in str(report)


def test_padding_bars_draw_the_report():
    from seq2onnx.plots import padding_bars

    data = random_data(30)
    for length, direction, parts in (
        ("longest", "right", ["data", "padding"]),
        (6, "left", ["data", "padding", "cut"]),
        ("shortest", "right", ["data", "cut"]),
    ):
        report = s2o.padding_report(
            data, 6, "sorted", sequence_length=length, padding_direction=direction, mask_padding=False
        )
        ax = padding_bars(report)
        assert [text.get_text() for text in ax.get_legend().get_texts()] == parts
        assert "in 5 batches" in ax.get_xlabel()
        assert ax.get_ylabel() == ("step" if direction == "right" else "step, counted back from the last")
        assert ax.yaxis_inverted() == (direction == "left")
        assert ax.dataLim.y1 >= report.kept.max()


# Training ------------------------------------------------------------------------------------------------------------

HEADS = {"a step": [s2o.FullyConnected(3), s2o.Softmax()], "a sequence": [s2o.FullyConnected(3), s2o.Softmax()]}


def classifier(per_step, *middle):
    return s2o.Network(
        [s2o.SequenceInput(4), *middle, s2o.LSTM(5, "sequence" if per_step else "last"), *HEADS["a step"]]
    )


def trained(net, data, **options):
    """The weights after some steps of plain gradient descent on all sequences at once."""
    given = {"epochs": 3, "batch_size": 99, "optimizer": "sgd", "momentum": 0, "learning_rate": 0.1, "l2": 0}
    given |= {"shuffle": "none", "progress": False, "threads": 1} | options
    return s2o.train(net, data, options=s2o.TrainingOptions(**given)).module


def assert_same_weights(a, b, tolerance=1e-6):
    import torch

    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")


def some_data(per_step, count=6):
    data = random_data(count, per_step=per_step)
    return s2o.SequenceDataset(data.sequences, data.labels, data.classes, ignore="?", per_step=per_step)


@pytest.mark.parametrize("per_step", [True, False])
@pytest.mark.parametrize("direction", ["right", "left"])
@pytest.mark.parametrize("length", ["shortest", 6, 20])
def test_training_on_cut_sequences_equals_training_on_sequences_cut_by_hand(per_step, direction, length):
    data = some_data(per_step)
    n = int(data.lengths.min()) if length == "shortest" else length
    cut = (lambda x: x[:n]) if direction == "right" else (lambda x: x[-n:])
    labels = [cut(row) for row in data.labels] if per_step else data.labels
    by_hand = s2o.SequenceDataset([cut(x) for x in data.sequences], labels, data.classes, ignore="?", per_step=per_step)
    net = classifier(per_step)
    found = trained(net, data, sequence_length=length, padding_direction=direction)
    assert_same_weights(found, trained(net, by_hand))


@pytest.mark.parametrize("per_step", [True, False])
@pytest.mark.parametrize("direction", ["right", "left"])
@pytest.mark.parametrize("length", ["longest", 14, 6])
def test_training_with_padding_as_data_equals_training_on_sequences_padded_by_hand(per_step, direction, length):
    """Targets of padding are left out, whatever stands there."""
    data = some_data(per_step)
    right = direction == "right"
    n = length if isinstance(length, int) else int(data.lengths.max())
    sequences, labels = [], []
    for x, label in zip(data.sequences, data.labels, strict=True):
        x, label = (x[:n], label[:n]) if right else (x[-n:], label[-n:]) if per_step else (x[-n:], label)
        padding, none = np.full((n - len(x), 4), 1.5, np.float32), ["?"] * (n - len(x))
        sequences.append(np.concatenate([x, padding] if right else [padding, x]))
        labels.append(([*label, *none] if right else [*none, *label]) if per_step else label)
    by_hand = s2o.SequenceDataset(sequences, labels, data.classes, ignore="?", per_step=per_step)
    net = classifier(per_step)
    policy = {"sequence_length": length, "padding_direction": direction, "padding_value": 1.5, "mask_padding": False}
    assert_same_weights(trained(net, data, **policy), trained(net, by_hand))


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("per_step", [True, False])
def test_split_training_is_truncated_backpropagation_through_time(per_step, strided):
    """Against a loop that goes through each sequence by itself, chunk after chunk, with its own state."""
    import torch

    middle = [s2o.Conv1d(4, 2, stride=2, padding="causal")] if strided else []
    data, net = some_data(per_step), classifier(per_step, *middle)
    if per_step and strided:
        data = s2o.SequenceDataset(data.sequences, [row[::2] for row in data.labels], data.classes, per_step=True)
    found = trained(net, data, sequence_length=("split", 4))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = s2o.build(net)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    for _ in range(3):
        states, came = [module.initial_state(1) for _ in data.sequences], [0] * len(data)
        for start in range(0, int(data.lengths.max()), 4):
            losses = []
            for row, x in enumerate(data.sequences):
                chunk = torch.from_numpy(x[start : start + 4])[None]
                if not chunk.shape[1]:
                    continue
                y, lengths, states[row] = module(chunk, None, states[row], logits=True)
                states[row] = tuple(tensor.detach() for tensor in states[row])
                target = torch.from_numpy(np.atleast_1d(data.targets[row]))
                if per_step:
                    n = int(lengths[0])
                    target, y = target[came[row] : came[row] + n], y[0, :n]
                    came[row] += n
                elif start + 4 < len(x):
                    continue
                losses.append(torch.nn.functional.cross_entropy(y, target, reduction="none"))
            if losses:
                optimizer.zero_grad()
                torch.cat(losses).mean().backward()
                optimizer.step()
    assert_same_weights(found, module, 2e-6)


def test_a_split_into_one_chunk_changes_nothing():
    data = some_data(True)
    assert_same_weights(trained(classifier(True), data, sequence_length=("split", 50)), trained(classifier(True), data))
    with pytest.raises(s2o.NotStreamable, match="bilstm_1"):
        trained(
            s2o.Network([s2o.SequenceInput(4), s2o.BiLSTM(3), *HEADS["a step"]]), data, sequence_length=("split", 4)
        )


def test_several_inputs_are_padded_together():
    data = some_data(True)
    two = {"a": [x[:, :1] for x in data.sequences], "b": [x[:, 1:] for x in data.sequences]}
    both = s2o.SequenceDataset(two, data.labels, data.classes, ignore="?", per_step=True)
    net = s2o.Network(
        [
            s2o.SequenceInput(1, name="a"),
            s2o.SequenceInput(3, name="b"),
            s2o.Concat(inputs=["a", "b"]),
            s2o.LSTM(5),
            *HEADS["a step"],
        ]
    )
    for policy in ({"sequence_length": ("split", 4)}, {"mask_padding": False, "padding_direction": "left"}):
        one, two = s2o.build(classifier(True)), s2o.build(net)
        two.load_state_dict(one.state_dict())
        assert_same_weights(trained(two, both, **policy), trained(one, data, **policy))


def test_the_policy_of_training_goes_into_the_file_and_prediction_follows_it(tmp_path):
    data = some_data(False)
    policy = {"sequence_length": 9, "padding_direction": "left", "padding_value": 0.5, "mask_padding": False}
    options = s2o.TrainingOptions(epochs=1, progress=False, **policy)
    module = s2o.train(classifier(False), data, data, options=options, run_dir=tmp_path / "run").module
    from seq2onnx.training import load_run

    for number, source in enumerate((module, load_run(tmp_path / "run"))):
        path = tmp_path / f"{number}.onnx"
        s2o.export(source, path)
        model = s2o.load(path)
        np.testing.assert_array_equal(model.predict(data.sequences), model.predict(data.sequences, **policy))
        plain = model.predict(data.sequences, sequence_length="longest", mask_padding=True)
        assert np.abs(plain - model.predict(data.sequences)).max() > 1e-4
        assert s2o.restore(path).policy == module.policy == model.policy
        assert s2o.verify(path, module, data).ok
    # Validation was by the same policy.
    import json

    scores = model.predict(data.sequences)
    expected = -np.log(scores[np.arange(len(data)), data.targets]).mean()
    np.testing.assert_allclose(
        json.loads((tmp_path / "run/metrics.json").read_text())["validation_loss"], expected, rtol=1e-4
    )


# Batches in the given order ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def last(tmp_path_factory):
    """The output for a sequence depends on the padding behind it."""
    import torch

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("order") / "model.onnx"
    s2o.export(s2o.build(s2o.Network(NETWORKS["a sequence"])), path)
    return s2o.load(path)


AS_DATA = [
    {"mask_padding": False},
    {"mask_padding": False, "padding_direction": "left"},
    {"sequence_length": "shortest"},
]


@pytest.mark.parametrize("policy", AS_DATA, ids=str)
@pytest.mark.parametrize("batch_size", [27, None, 1])
def test_where_padding_is_data_the_batches_are_those_of_the_given_order(last, policy, batch_size):
    """Predictions of 370 sequences in batches of 27, as minibatchpredict makes them."""
    sequences, size = random_data(370).sequences, batch_size or 32
    given = [sequences[start : start + size] for start in range(0, 370, size)]
    expected = np.concatenate([last.predict(batch, batch_size=len(batch), **policy) for batch in given])
    np.testing.assert_allclose(last.predict(sequences, batch_size=batch_size, **policy), expected, rtol=0, atol=1e-6)
    threads = s2o.load(last.path, threads=2).predict(sequences, batch_size=batch_size, **policy)
    np.testing.assert_allclose(threads, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("policy", AS_DATA, ids=str)
@pytest.mark.parametrize("batch_size", [7, None])
@pytest.mark.parametrize("part", ["SEQUENCES_IN_A_PART", "BYTES_IN_A_PART"])
def test_a_list_a_generator_and_a_file_give_the_same_batches(tmp_path, last, monkeypatch, policy, batch_size, part):
    from seq2onnx.runtime import scoring

    data = random_data(100)
    expected = last.predict(data.sequences, batch_size=batch_size, **policy)
    monkeypatch.setattr(scoring, part, {"SEQUENCES_IN_A_PART": 10, "BYTES_IN_A_PART": 700}[part])
    data.save(tmp_path / "data.parquet")
    read = s2o.SequenceDataset.load(tmp_path / "data.parquet")
    assert not read.in_memory
    for source in (iter(data.sequences), read):
        np.testing.assert_allclose(last.predict(source, batch_size=batch_size, **policy), expected, rtol=0, atol=1e-6)
    order = np.random.default_rng(0).permutation(100)[:60]
    some = last.predict([data.sequences[i] for i in order], batch_size=batch_size, **policy)
    found = last.predict(read.subset(order), batch_size=batch_size, **policy)
    np.testing.assert_allclose(found, some, rtol=0, atol=1e-6)


@pytest.mark.parametrize("policy", AS_DATA, ids=str)
def test_validation_has_the_batches_of_predict(tmp_path, policy):
    data = some_data(False, 40)
    options = s2o.TrainingOptions(epochs=1, batch_size=9, progress=False, **policy)
    result = s2o.train(classifier(False), data, data, options=options)
    s2o.export(result.module, tmp_path / "model.onnx")
    scores = s2o.load(tmp_path / "model.onnx").predict(data.sequences, batch_size=9)
    expected = -np.log(scores[np.arange(len(data)), data.targets]).mean()
    assert result.history[0]["validation_loss"] == pytest.approx(expected, rel=1e-5)


def test_the_rows_of_a_ray_task_are_the_only_ones_it_predicts(tmp_path, last):
    """Where padding is data, a task once predicted all rows of the file."""
    from seq2onnx.cluster.worker import RowRange

    data = random_data(40)
    data.save(tmp_path / "data.parquet")
    rows = RowRange(s2o.SequenceDataset.load(tmp_path / "data.parquet"), 10, 7)
    found = last.predict(rows, mask_padding=False, batch_size=3)
    np.testing.assert_array_equal(found, last.predict(data.sequences[10:17], mask_padding=False, batch_size=3))
