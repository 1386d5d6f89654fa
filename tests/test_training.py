"""build, train and their options: what training learns, that runs repeat, and the errors for bad data."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.training import load_run
from tests.conftest import CLASSES, built, random_data, small_network


def options(**more) -> s2o.TrainingOptions:
    return s2o.TrainingOptions(**({"epochs": 3, "batch_size": 4, "progress": False, "device": "cpu"} | more))


def test_training_learns_labels_of_sequences():
    training, validation = random_data(200), random_data(60, seed=1)
    result = s2o.train(
        small_network(), training, validation, options=options(epochs=40, learning_rate=0.02, batch_size=20)
    )
    assert result.history[-1]["validation_accuracy"] > 0.85
    assert result.history[-1]["loss"] < 0.5 * result.history[0]["loss"]
    assert not result.module.training


def test_training_learns_labels_of_steps():
    training, validation = random_data(60, True), random_data(30, True, seed=1)
    result = s2o.train(small_network("sequence"), training, validation, options=options(epochs=30, learning_rate=0.02))
    assert result.history[-1]["validation_accuracy"] > 0.9


@pytest.mark.parametrize("mode", ["last", "sequence"])
@pytest.mark.parametrize("vector", [False, True])
def test_training_learns_numbers(mode, vector):
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(n, 2)) for n in rng.integers(3, 9, 100)]
    sums = [x.cumsum(0) if vector else x.sum(1).cumsum() for x in sequences]
    targets = sums if mode == "sequence" else np.array([t[-1] for t in sums])
    net = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(16, mode), s2o.FullyConnected(2 if vector else 1)])
    data = s2o.SequenceDataset(sequences, targets)
    result = s2o.train(net, data, loss="mse", options=options(epochs=40, learning_rate=0.02, batch_size=10))
    assert result.history[-1]["loss"] < 0.15 * np.var(np.concatenate(sums) if mode == "sequence" else targets)


def test_a_seeded_run_repeats_exactly_and_keeps_the_state_of_torch_generator():
    data = random_data(30)
    torch.manual_seed(123)
    first = s2o.train(small_network(), data, options=options(seed=5)).module.state_dict()
    after = torch.rand(3)
    torch.rand(1000)
    again = s2o.train(small_network(), data, options=options(seed=5)).module.state_dict()
    other = s2o.train(small_network(), data, options=options(seed=6)).module.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    torch.manual_seed(123)
    assert torch.equal(after, torch.rand(3))


def test_the_loss_is_the_mean_over_valid_steps():
    data = random_data(10, per_step=True)
    module = built(small_network("sequence"), data)
    history = s2o.train(module, data, options=options(epochs=1, batch_size=3, learning_rate=1e-30)).history
    losses = []
    module.eval()
    for sequence, target in (data[i] for i in range(len(data))):
        y = module(torch.from_numpy(sequence)[None])[0][0]
        losses.append(-torch.log(y[torch.arange(len(y)), torch.from_numpy(target)]))
    module_without_dropout = torch.cat(losses).mean().item()
    # Dropout is on while training: the two differ, but not by much.
    assert history[0]["loss"] == pytest.approx(module_without_dropout, rel=0.15)


@pytest.mark.parametrize("per_step", [False, True])
def test_a_padded_batch_has_the_gradients_of_its_sequences(per_step):
    """In float64; the padding is NaN."""
    data = random_data(6, per_step)
    module = built(small_network("sequence" if per_step else "last"), data).double()

    def gradients(loss):
        module.zero_grad()
        loss.backward()
        return [parameter.grad.clone() for parameter in module.parameters()]

    x = torch.full((6, 15, 4), torch.nan, dtype=torch.float64)
    for row, sequence in zip(x, data.sequences, strict=True):
        row[: len(sequence)] = torch.from_numpy(sequence)
    lengths = torch.from_numpy(data.lengths)
    y, y_lengths, _ = module(x, lengths, return_state=False)
    if per_step:
        y = y[torch.arange(15) < y_lengths[:, None]]
    batch = gradients(y.square().sum())
    alone = gradients(sum(module(torch.from_numpy(s)[None].double())[0].square().sum() for s in data.sequences))
    for a, b in zip(batch, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_a_plain_torch_loop_trains_a_built_module():
    data = random_data(40)
    torch.manual_seed(0)
    module = s2o.build(small_network(), data)
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    losses = []
    from seq2onnx.sequences import pad

    for _ in range(30):
        x, lengths = map(torch.from_numpy, pad(data.sequences))
        logits, _, _ = module(x, lengths, logits=True, return_state=False)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(data.targets))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_torch_seed_repeats_the_weights_and_initializers_are_the_documented_ones():
    net = s2o.Network([s2o.SequenceInput(3), s2o.LSTM(50), s2o.FullyConnected(7)])
    torch.manual_seed(1)
    first, second = s2o.build(net).state_dict(), s2o.build(net).state_dict()
    torch.manual_seed(1)
    assert all(torch.equal(first[name], value) for name, value in s2o.build(net).state_dict().items())
    assert not torch.equal(first["layers.lstm_1.input_weights"], second["layers.lstm_1.input_weights"])
    bias = first["layers.lstm_1.bias"].reshape(4, 50)
    assert (bias[1] == 1).all()
    assert (bias[[0, 2, 3]] == 0).all()
    recurrent = first["layers.lstm_1.recurrent_weights"]
    torch.testing.assert_close(recurrent.T @ recurrent, torch.eye(50), rtol=0, atol=1e-5)
    bound = (6 / (200 + 3)) ** 0.5
    assert 0.95 * bound < first["layers.lstm_1.input_weights"].abs().max() <= bound


def test_statistics_come_from_the_data_unless_given():
    data = random_data(20)
    module = s2o.build(small_network(), data)
    found = module.network.layers[0].statistics
    np.testing.assert_allclose(found["mean"], data.statistics()["mean"])
    x = torch.from_numpy(data.sequences[0])[None]
    z = s2o.build(s2o.Network([s2o.SequenceInput(4, "zscore")]), data)(x)[0]
    np.testing.assert_allclose(z[0], (data.sequences[0] - found["mean"]) / np.array(found["std"]), rtol=1e-4, atol=1e-5)
    unknown = s2o.build(s2o.Network([s2o.SequenceInput(4, "zscore")]))(x)[0]
    assert torch.equal(unknown, x)
    given = s2o.Network([s2o.SequenceInput(4, "zerocenter", statistics={"mean": [1, 2, 3, 4]})])
    assert s2o.build(given, data).network == given


def test_l2_acts_on_weights_and_not_on_biases():
    from seq2onnx.training.optimization import parameter_groups

    module = s2o.build(small_network())
    decayed, free = parameter_groups(module, options(l2=0.1))
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    names = {id(p): name for name, p in module.named_parameters()}
    assert sorted(names[id(p)] for p in free["params"]) == ["layers.fully_connected_1.bias", "layers.lstm_1.bias"]
    assert len(decayed["params"]) == 3


def test_schedules_change_the_learning_rate():
    def rates(**more):
        history = s2o.train(small_network(), random_data(8), options=options(epochs=5, **more)).history
        return [round(row["learning_rate"], 6) for row in history]

    assert rates(learning_rate=0.1) == [0.1] * 5
    assert rates(learning_rate=0.1, schedule="piecewise", drop_every=2) == [0.1, 0.1, 0.01, 0.01, 0.001]
    cosine = rates(learning_rate=0.1, schedule="cosine")
    assert cosine[0] == 0.1
    assert cosine[-1] < 0.011


def test_gradient_clip_limits_the_step():
    data = random_data(8)
    start = built(small_network(), data).state_dict()

    def moved(**more):
        module = built(small_network(), data)
        module.load_state_dict(start)
        trained = s2o.train(module, data, options=options(epochs=1, batch_size=8, optimizer="sgd", l2=0, **more))
        return sum((trained.module.state_dict()[n] - w).square().sum() for n, w in start.items()) ** 0.5

    assert moved(learning_rate=1.0, gradient_clip=0.01) == pytest.approx(0.01, rel=1e-3)
    assert moved(learning_rate=1.0) > 0.02


def test_a_function_can_be_the_loss():
    data = s2o.SequenceDataset(random_data(8).sequences, np.ones(8))
    net = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3, "last"), s2o.FullyConnected(1)])
    seen = []

    def loss(y, target):
        seen.append((tuple(y.shape), tuple(target.shape)))
        return (y[:, 0] - target).abs()

    s2o.train(net, data, loss=loss, options=options(epochs=1))
    assert seen == [((4, 1), (4,))] * 2


def test_the_run_folder_holds_the_run(tmp_path):
    data = random_data(12)
    result = s2o.train(small_network(), data, options=options(epochs=2), run_dir=tmp_path / "runs" / "one")
    folder = tmp_path / "runs" / "one"
    assert sorted(p.name for p in folder.iterdir() if p.name != "tensorboard") == [
        "advice.json",
        "checkpoint.safetensors",
        "curve.png",
        "history.csv",
        "metrics.json",
        "network.yaml",
        "options.yaml",
        "weights.safetensors",
    ]
    module = load_run(folder)
    assert module.classes == CLASSES
    assert module.network == result.module.network
    assert all(torch.equal(a, result.module.state_dict()[n]) for n, a in module.state_dict().items())
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == [row["loss"] for row in result.history]


def test_errors_name_broken_run_folders(tmp_path):
    with pytest.raises(s2o.ModelFileError, match=r"is no finished run, it has no network.yaml"):
        load_run(tmp_path)
    s2o.train(small_network(), random_data(), options=options(epochs=1), run_dir=tmp_path)
    whole = (tmp_path / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(whole[:100])
    with pytest.raises(s2o.ModelFileError, match=r"weights.safetensors: is not what a training run writes"):
        load_run(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(whole)
    small_network().replace({"lstm_1": s2o.LSTM(9, "last", name="lstm_1")}).save(tmp_path / "network.yaml")
    with pytest.raises(s2o.ModelFileError, match=r"weights.safetensors: does not fit network.yaml"):
        load_run(tmp_path)


def poisoned(value, index=3, step=2):
    sequences = [x.copy() for x in random_data().sequences]
    sequences[index][step, 1] = value
    return s2o.SequenceDataset(sequences, random_data().labels, CLASSES)


def fixed(targets, classes=None):
    return s2o.SequenceDataset(random_data().sequences, targets, classes)


@pytest.mark.parametrize(
    ("network", "data", "more", "error", "message"),
    [
        (small_network(), poisoned(np.nan), {}, s2o.DataError, "sequence 3, step 2: feature 1 is nan"),
        (small_network(), poisoned(np.inf), {}, s2o.DataError, "sequence 3, step 2: feature 1 is inf"),
        (
            s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3, "last"), s2o.FullyConnected(3)]),
            fixed([1.5] * 12),
            {"loss": "mse"},
            s2o.ShapeError,
            "fully_connected_1: expected an output of size 1, .* got 3.* floats are numbers",
        ),
        (
            s2o.Network([s2o.SequenceInput(4), s2o.LSTM(1, "last")]),
            fixed([0.5] * 7 + [np.nan] * 5),
            {"loss": "mse"},
            s2o.DataError,
            "targets of sequence 7: are not all finite",
        ),
        (small_network(), fixed(None), {}, s2o.DataError, "the data set has none"),
        (
            small_network(),
            fixed([0.5] * 12),
            {"loss": "crossentropy"},
            s2o.DataError,
            "needs labels as targets, got numbers",
        ),
        (small_network(), random_data(), {"loss": "mse"}, s2o.DataError, "needs numbers as targets, got labels"),
        (
            small_network(),
            random_data(),
            {"loss": "hinge"},
            s2o.SpecError,
            "loss: must be one of crossentropy, mse, mae, huber, bce",
        ),
        (
            small_network(),
            random_data(per_step=True),
            {},
            s2o.DataError,
            'expected one for each sequence, got one for each step, .* Set output_mode="sequence" in lstm_1',
        ),
        (
            small_network("sequence"),
            random_data(),
            {},
            s2o.DataError,
            "expected one for each step, as a list of .time. arrays, got one for each sequence. "
            'Set output_mode="last" in lstm_1',
        ),
        (
            small_network(),
            fixed(["a", "b"] * 6),
            {},
            s2o.ShapeError,
            r"softmax_1: expected an output of size 2, one for each of the classes .* got 3. Use FullyConnected\(2\)",
        ),
        (
            s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3, "last")]),
            random_data(),
            {},
            s2o.SpecError,
            r"must end with Softmax\(\), it ends with lstm_1",
        ),
        (
            s2o.Network([s2o.SequenceInput(5), s2o.LSTM(3, "last"), s2o.Softmax()]),
            random_data(),
            {},
            s2o.ShapeError,
            r"data: expected \[time, 5\], got \[time, 4\]; the input size of sequence_input_1 is 5",
        ),
        (
            s2o.Network([s2o.SequenceInput(4, min_length=5), s2o.LSTM(3, "last"), s2o.Softmax()]),
            random_data(),
            {},
            s2o.DataError,
            "sequence .*: has 3 steps, sequence_input_1 needs at least 5",
        ),
    ],
)
def test_errors_say_what_does_not_fit_together(network, data, more, error, message):
    with pytest.raises(error, match=message):
        s2o.train(network, data, options=options(epochs=1), **more)


def test_an_empty_sequence_raises():
    data = s2o.SequenceDataset([np.ones((3, 4)), np.ones((0, 4))], ["left", "up"], CLASSES)
    with pytest.raises(s2o.DataError, match="sequence 1: has 0 steps, sequence_input_1 needs at least 1"):
        s2o.train(small_network(), data, options=options())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epoch": 3}, "options.epoch: is not a field .* epochs, batch_size"),
        ({"epochs": 0}, "options.epochs: .*greater than 0; got 0"),
        ({"learning_rate": float("nan")}, "options.learning_rate: .*finite"),
        ({"optimizer": "adagrad"}, "options.optimizer: .*'adam', .* got 'adagrad'"),
    ],
)
def test_errors_name_wrong_options(given, message):
    with pytest.raises(s2o.SpecError, match=message):
        s2o.TrainingOptions(**given)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m(torch.ones(2, 7, 9)), s2o.ShapeError, r"sequence_input_1: expected x \[batch, time, 4\], got \[2"),
        (lambda m: m(torch.ones(7, 4)), s2o.ShapeError, "The network's input size is 4"),
        (lambda m: m(torch.ones(0, 7, 4)), s2o.ShapeError, "at least one sequence"),
        (lambda m: m(torch.ones(2, 7, 4), torch.tensor([7])), s2o.ShapeError, "lengths: expected 2 integers"),
        (lambda m: m(torch.ones(2, 7, 4), torch.tensor([8, 1])), s2o.ShapeError, "from 0 to the 7 steps of x"),
        (lambda m: m(torch.ones(2, 7, 4), None, (torch.ones(2, 8),)), s2o.StateError, "expected 2 tensors"),
    ],
)
def test_errors_name_wrong_inputs_of_a_module(data, call, error, message):
    with pytest.raises(error, match=message):
        call(built(small_network(), data))


def test_validation_does_not_change_training_and_uses_the_classes_of_the_training_data():
    """Dropout draws from torch's generator, so validation must not draw from it."""
    training = random_data(20)
    validation = random_data(10, seed=1)
    other = s2o.SequenceDataset(validation.sequences, validation.labels, CLASSES[::-1])
    without = s2o.train(small_network(), training, options=options()).module.state_dict()
    for data in (validation, other):
        result = s2o.train(small_network(), training, data, options=options())
        assert all(torch.equal(w, without[name]) for name, w in result.module.state_dict().items())
        module = result.module
        right = [
            module(torch.from_numpy(x)[None])[0].argmax().item() == t
            for x, t in zip(validation.sequences, validation.targets, strict=True)
        ]
        assert result.history[-1]["validation_accuracy"] == pytest.approx(np.mean(right))


def test_dropout_acts_only_in_training():
    module = s2o.build(s2o.Network([s2o.SequenceInput(1000), s2o.Dropout(0.25)]))
    x = torch.ones(1, 20, 1000)
    y = module.train()(x)[0]
    assert y.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert torch.equal(module.eval()(x)[0], x)


def test_the_seed_determines_the_order():
    def first_loss(seed):
        module = built(small_network(), random_data(20))
        history = s2o.train(module, random_data(20), options=options(seed=seed, epochs=1, l2=0)).module.state_dict()
        return history["layers.lstm_1.bias"]

    assert torch.equal(first_loss(1), first_loss(1))
    assert not torch.equal(first_loss(1), first_loss(2))


def test_training_a_built_module_computes_missing_statistics():
    data = random_data(20)
    trained = s2o.train(s2o.build(small_network()), data, options=options(epochs=1)).module
    np.testing.assert_allclose(trained.network.layers[0].statistics["mean"], data.statistics()["mean"])
    assert trained.layers["sequence_input_1"].layer == trained.network.layers[0]
    again = s2o.train(trained, random_data(20, seed=9), options=options(epochs=1)).module
    assert again.network == trained.network


def test_mse_is_the_default_loss_for_numbers():
    net = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3, "last"), s2o.FullyConnected(1)])
    assert "accuracy" not in s2o.train(net, fixed([0.5] * 12), options=options(epochs=1)).history[0]


@pytest.mark.parametrize(
    "loss", [lambda y, target: (y[:, 0] - target).abs().mean(), lambda y, target: (y - target).abs()]
)
def test_a_loss_must_return_one_number_for_each_row(loss):
    net = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3, "last"), s2o.FullyConnected(1)])
    with pytest.raises(s2o.ShapeError, match="loss: expected one number for each of 4 rows or steps"):
        s2o.train(net, fixed([0.5] * 12), loss=loss, options=options(epochs=1))


def test_several_inputs_are_trained_by_name():
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(n, 2)) for n in rng.integers(3, 9, 40)]
    features = [rng.normal(5, 3, 1) for _ in sequences]
    targets = np.array([v[0] for v in features])
    net = s2o.Network(
        [
            s2o.SequenceInput(2, "zscore", name="sensor"),
            s2o.LSTM(4, "last"),
            s2o.FeatureInput(1, "zscore", name="machine"),
            s2o.Concat(inputs=["lstm_1", "machine"]),
            s2o.FullyConnected(1),
        ]
    )
    data = s2o.SequenceDataset({"sensor": sequences, "machine": features}, targets)
    result = s2o.train(net, data, options=options(epochs=60, learning_rate=0.05, batch_size=20))
    assert result.history[-1]["loss"] < 0.2 * np.var(targets)
    assert result.module.network["machine"].statistics["mean"] == pytest.approx([np.mean(features)])
    with pytest.raises(s2o.DataError, match="expected a dict with sequences for each of sensor, machine"):
        s2o.train(net, s2o.SequenceDataset(sequences, targets), options=options())


def test_targets_for_each_step_follow_a_stride():
    net = s2o.Network([s2o.SequenceInput(4), s2o.Conv1d(3, 3, stride=2, padding="causal"), s2o.Softmax()])
    sequences = random_data().sequences
    labels = [np.array(CLASSES)[np.zeros(-(-len(x) // 2), int)] for x in sequences]
    data = s2o.SequenceDataset(sequences, labels, CLASSES)
    assert s2o.train(net, data, options=options(epochs=1)).history[0]["accuracy"] >= 0
    with pytest.raises(s2o.DataError, match=r"targets of sequence 0: expected one for each of the \d+ steps"):
        s2o.train(net, random_data(per_step=True), options=options())


def test_batch_norm_learns_only_from_valid_steps():
    data = random_data(30)
    net = s2o.Network([s2o.SequenceInput(4), s2o.BatchNorm(momentum=1.0), s2o.LSTM(3, "last"), s2o.Softmax()])
    module = s2o.build(net)
    x = torch.full((30, 20, 4), torch.nan)
    for row, sequence in zip(x, data.sequences, strict=True):
        row[: len(sequence)] = torch.from_numpy(sequence)
    module.train()(x, torch.from_numpy(data.lengths), return_state=False)
    found, expected = module.layers["batch_norm_1"], data.statistics()
    np.testing.assert_allclose(found["mean"].numpy(), expected["mean"], rtol=1e-5)
    np.testing.assert_allclose(found["variance"].sqrt().numpy(), expected["std"], rtol=1e-5)


def test_frozen_words_stay_and_others_learn():
    vectors = np.arange(8.0).reshape(4, 2)
    for frozen in (True, False):
        net = s2o.Network(
            [
                s2o.SequenceInput("tokens"),
                s2o.WordEmbedding(2, ["a", "b", "c", "d"], frozen, vectors),
                s2o.LSTM(3, "last"),
                s2o.Softmax(),
            ]
        )
        data = s2o.SequenceDataset([np.array([1, 2]), np.array([3, 9, 4])] * 3, ["x", "y"] * 3, ["x", "y", "z"])
        start = s2o.build(net).layers["word_embedding_1"]["vectors"].detach().clone()
        np.testing.assert_array_equal(start[1:5], vectors)
        assert (start[0] == 0).all()
        end = s2o.train(s2o.build(net), data, options=options(epochs=1)).module.layers["word_embedding_1"]["vectors"]
        assert torch.equal(end[1:5], start[1:5]) == frozen


def test_a_normalization_function_works_in_training_but_not_in_export(tmp_path):
    net = small_network(normalization=torch.log1p)
    data = s2o.SequenceDataset([np.abs(x) for x in random_data().sequences], random_data().labels, CLASSES)
    module = s2o.train(net, data, options=options(epochs=1)).module
    x = torch.from_numpy(data.sequences[0])[None]
    torch.testing.assert_close(module.layers["sequence_input_1"]((x,), None, None)[0], x.log1p())
    with pytest.raises(s2o.SpecError, match="sequence_input_1: its normalization is a function.* normalize the data"):
        s2o.export(module, tmp_path / "model.onnx")
    with pytest.raises(s2o.SpecError, match=r"sequence_input_1.normalization: is a function, which YAML, JSON and"):
        net.save(tmp_path / "net.yaml")
    with pytest.raises(s2o.ShapeError, match="its normalization must return"):
        s2o.build(small_network(normalization=lambda x: x[:, :1]))(torch.ones(1, 3, 4))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_training_equals_a_plain_loop(optimizer):
    """A loop by hand with the same batches, loss, optimizer, L2 and clipping."""
    data = random_data(12)
    net = s2o.Network([s2o.SequenceInput(4, "zscore"), s2o.LSTM(6, "last"), s2o.FullyConnected(3), s2o.Softmax()])
    settings = options(
        epochs=4, batch_size=5, shuffle="none", optimizer=optimizer, learning_rate=0.01, l2=0.1, gradient_clip=0.2
    )
    trained = s2o.train(built(net, data), data, options=settings).module.state_dict()
    module = built(net, data).train()
    named = dict(module.named_parameters())
    groups = [
        {"params": [p for n, p in named.items() if not n.endswith("bias")], "weight_decay": 0.1},
        {"params": [p for n, p in named.items() if n.endswith("bias")], "weight_decay": 0.0},
    ]
    if optimizer == "adam":
        by_hand = torch.optim.Adam(groups, 0.01)
    else:
        by_hand = torch.optim.SGD(groups, 0.01, momentum=0.9)
    from seq2onnx.sequences import pad

    for _ in range(4):
        for start in (0, 5, 10):
            x, lengths = map(torch.from_numpy, pad(data.sequences[start : start + 5]))
            y, _, _ = module(x, lengths, return_state=False)
            target = torch.from_numpy(data.targets[start : start + 5])
            loss = -torch.log(y[torch.arange(len(y)), target]).mean()
            by_hand.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 0.2)
            by_hand.step()
    for name, value in module.state_dict().items():
        torch.testing.assert_close(trained[name], value, rtol=1e-4, atol=1e-5)


def test_a_module_that_is_trained_further_keeps_the_order_of_its_classes():
    data = random_data(20)
    module = s2o.train(small_network(), data, options=options(epochs=1)).module
    other = s2o.SequenceDataset(data.sequences, data.labels, CLASSES[::-1])
    again = s2o.train(module, other, options=options(epochs=1)).module
    assert again is module
    assert again.classes == CLASSES
    with pytest.raises(s2o.DataError, match="label 'down' is not among the classes"):
        s2o.train(module, fixed(["down", "left"] * 6), options=options(epochs=1))


def test_several_labels_at_once_are_learned_with_bce():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (120, 3)).astype(float)
    sequences = [rng.normal(size=(n, 3)) + 3 * t for n, t in zip(rng.integers(3, 9, 120), targets, strict=True)]
    net = s2o.Network([s2o.SequenceInput(3, "zscore"), s2o.LSTM(12, "last"), s2o.FullyConnected(3), s2o.Sigmoid()])
    data = s2o.SequenceDataset(sequences, targets)
    settings = options(epochs=30, learning_rate=0.02, batch_size=20)
    result = s2o.train(net, data.subset(slice(80)), data.subset(slice(80, None)), "bce", options=settings)
    assert result.history[-1]["validation_accuracy"] > 0.9
    y = result.module(torch.from_numpy(data.sequences[0])[None])[0][0]
    assert (y >= 0).all()
    assert (y <= 1).all()
    with pytest.raises(
        s2o.SpecError, match=r"loss 'bce': the network must end with Sigmoid\(\), it ends with softmax_1"
    ):
        s2o.train(small_network(), fixed(np.zeros((12, 3))), loss="bce", options=settings)


@pytest.mark.parametrize("per_step", [False, True])
def test_normalized_targets_are_predicted_in_their_unit(tmp_path, per_step):
    """Numbers around 1,000 with a spread of 50 cannot be learned in 60 epochs without normalization."""
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(n, 2)) for n in rng.integers(4, 9, 120)]
    targets = [1000 + 50 * (x[:, 0] if per_step else x[-1, 0]) for x in sequences]
    data = s2o.SequenceDataset(sequences, targets if per_step else np.array(targets))
    mode = "sequence" if per_step else "last"
    net = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(8, mode), s2o.FullyConnected(1)])
    settings = options(epochs=60, learning_rate=0.02, batch_size=20)
    result = s2o.train(net, data.subset(slice(90)), data.subset(slice(90, None)), None, True, settings)
    assert result.module.network.outputs == ("rescale_1",)
    last = result.history[-1]
    assert last["validation_rmse"] < 15
    assert last["validation_r2"] > 0.9
    assert last["loss"] < 1  # of normalized numbers
    s2o.export(result.module, tmp_path / "m.onnx")
    y = np.concatenate(list(s2o.load(tmp_path / "m.onnx").predict(sequences))).ravel()
    truth = np.concatenate(targets) if per_step else np.array(targets)
    assert np.sqrt(np.mean((y - truth) ** 2)) < 15
    again = s2o.train(s2o.restore(tmp_path / "m.onnx"), data, normalize_targets=True, options=options(epochs=1))
    assert again.history[0]["loss"] < 1
    with pytest.raises(s2o.SpecError, match="must end with the Rescale layer of its first training"):
        s2o.train(s2o.build(net), data, normalize_targets=True, options=settings)
    with pytest.raises(s2o.DataError, match="normalize_targets: needs numbers"):
        s2o.train(small_network(), random_data(), normalize_targets=True, options=settings)


def test_ignored_targets_do_not_count(tmp_path):
    data = random_data(10, per_step=True)
    labels = [row.copy() for row in data.labels]
    for row in labels:
        row[0] = "?"
    partly = s2o.SequenceDataset(data.sequences, labels, CLASSES, ignore="?")
    assert partly.targets[0][0] == -1
    assert partly.labels[0].tolist() == labels[0].tolist()
    partly.save(tmp_path / "data.npz")
    assert s2o.SequenceDataset.load(tmp_path / "data.npz").targets[3][0] == -1
    module = built(small_network("sequence").replace({"dropout_1": s2o.Dropout(0, name="dropout_1")}), data)
    row = s2o.train(module, partly, options=options(epochs=1, batch_size=10, learning_rate=1e-30)).history[0]
    kept = [module(torch.from_numpy(x)[None])[0][0, 1:] for x in data.sequences]
    truth = [torch.from_numpy(t[1:]) for t in data.targets]
    loss = torch.nn.functional.nll_loss(torch.cat(kept).log(), torch.cat(truth)).item()
    assert row["loss"] == pytest.approx(loss, rel=1e-4)
    numbers = s2o.SequenceDataset(X_TWO, [1.0, np.nan], ignore=np.nan)
    numbers.check_finite()
    net = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3, "last"), s2o.FullyConnected(1)])
    assert np.isfinite(s2o.train(net, numbers, options=options(epochs=1)).history[0]["loss"])


X_TWO = [np.ones((3, 4)), np.ones((2, 4))]


def test_class_weights_scale_the_losses():
    data = s2o.SequenceDataset([np.ones((3, 4))] * 4, ["a", "a", "a", "b"])
    net = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3, "last"), s2o.FullyConnected(2), s2o.Softmax()])

    def loss(weights):
        module = built(net, data)
        settings = options(epochs=1, learning_rate=1e-30, class_weights=weights)
        return s2o.train(module, data, options=settings).history[0]["loss"]

    p = built(net, data)(torch.ones(1, 3, 4))[0][0].detach()
    assert loss(None) == pytest.approx(-(3 * p[0].log() + p[1].log()).item() / 4, rel=1e-5)
    assert loss({"b": 3}) == pytest.approx(-(3 * p[0].log() + 3 * p[1].log()).item() / 4, rel=1e-5)
    assert loss("balanced") == pytest.approx(-(2 * p[0].log() + 2 * p[1].log()).item() / 4, rel=1e-5)
    with pytest.raises(s2o.SpecError, match="class_weights: 'c' is not among the classes"):
        loss({"c": 1})


def test_learning_rates_follow_schedule_and_warm_up():
    from seq2onnx.training.history import Monitor
    from seq2onnx.training.optimization import plateaus, rate_at

    warm = options(learning_rate=1.0, warm_up=3)
    assert [rate_at(warm, epoch, [], Monitor()) for epoch in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    history = [{"loss": 9.0, "validation_loss": loss} for loss in (5, 4, 4, 4, 3, 3, 3, 3, 3)]
    assert [plateaus(history[:n], 2, Monitor()) for n in range(10)] == [0, 0, 0, 0, 1, 1, 1, 2, 2, 3]
    falling = options(learning_rate=1.0, schedule="plateau", drop_every=2, drop_factor=0.5)
    assert rate_at(falling, 9, history, Monitor()) == 0.125


def test_layers_can_be_frozen_or_slowed():
    data = random_data(8)

    def moved(factors):
        module = built(small_network(), data)
        start = {name: value.clone() for name, value in module.state_dict().items()}
        settings = options(epochs=1, batch_size=8, optimizer="sgd", l2=0, learning_rate_factors=factors)
        end = s2o.train(module, data, options=settings).module.state_dict()
        return {name: (end[name] - value).norm().item() for name, value in start.items()}

    plain, half = moved({}), moved({"lstm_1": 0.5})
    frozen = moved({"lstm_1": 0})
    assert frozen["layers.lstm_1.bias"] == 0 < frozen["layers.fully_connected_1.bias"]
    assert half["layers.lstm_1.bias"] == pytest.approx(plain["layers.lstm_1.bias"] / 2, rel=1e-3)
    with pytest.raises(s2o.SpecError, match="'lstm_9' is not a layer"):
        moved({"lstm_9": 1})
    with pytest.raises(s2o.SpecError, match="nothing is left to train"):
        moved({"lstm_1": 0, "fully_connected_1": 0})


@pytest.mark.parametrize("method", ["value", "norm"])
def test_gradients_are_limited_as_the_method_says(method):
    data = random_data(8)
    module = built(small_network(), data)
    start = {name: value.clone() for name, value in module.state_dict().items()}
    settings = options(
        epochs=1,
        batch_size=8,
        optimizer="sgd",
        l2=0,
        learning_rate=1.0,
        gradient_clip=1e-3,
        gradient_clip_method=method,
    )
    end = s2o.train(module, data, options=settings).module.state_dict()
    steps = [end[name] - value for name, value in start.items()]
    largest = [step.abs().max() if method == "value" else step.norm() for step in steps]
    assert max(largest) == pytest.approx(1e-3, rel=1e-2)
    assert min(largest) == pytest.approx(1e-3, rel=1e-2)


def test_patience_stops_and_the_best_is_kept():
    training, validation = random_data(20), random_data(20, seed=3)
    settings = {"epochs": 200, "learning_rate": 0.05, "patience": 3, "batch_size": 20}
    last = s2o.train(small_network(), training, validation, options=options(**settings))
    losses = [row["validation_loss"] for row in last.history]
    assert len(losses) < 200
    assert len(losses) - 1 - int(np.argmin(losses)) == 3
    best = s2o.train(small_network(), training, validation, options=options(**settings, keep="best"))

    def loss(module):
        y = [module(torch.from_numpy(x)[None])[0][0] for x in validation.sequences]
        return torch.nn.functional.nll_loss(torch.stack(y).log(), torch.from_numpy(validation.targets)).item()

    assert loss(last.module) == pytest.approx(losses[-1], rel=1e-4)
    assert loss(best.module) == pytest.approx(min(losses), rel=1e-4)


def test_a_share_of_the_data_can_be_the_validation_data():
    history = s2o.train(small_network(), random_data(20), 0.25, options=options(epochs=5, validation_every=2)).history
    assert ["validation_f1" in row for row in history] == [False, True, False, True, True]
    for share in (0.01, float("nan"), float("inf")):
        with pytest.raises(s2o.DataError, match=f"a share of {share} of 20 sequences leaves none"):
            s2o.train(small_network(), random_data(20), share, options=options())


def test_a_loss_that_is_not_finite_stops_training_with_the_last_finite_weights():
    data = s2o.SequenceDataset(random_data().sequences, np.full(12, 1e18))
    net = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3, "last"), s2o.FullyConnected(1)])
    with pytest.warns(
        RuntimeWarning,
        match=r"epoch \d+: the loss .* or the weights are not finite; training stopped.*lower learning_rate",
    ):
        result = s2o.train(net, data, options=options(epochs=9, optimizer="sgd", learning_rate=1e30))
    assert len(result.history) < 9
    assert result.diverged
    assert all(torch.isfinite(value).all() for value in result.module.state_dict().values())


def diverges_in(epoch):
    """A loss, and the arguments of `train`, of a run with a gradient that is infinite in an epoch, counted from 1."""
    calls = []

    def loss(y, target):
        calls.append(y)
        factor = math.inf if len(calls) > (epoch - 1) * 3 else 1.0
        return (y - target.reshape(y.shape)).square().sum(1) * factor

    settings = options(epochs=5)
    net = s2o.Network([s2o.SequenceInput(4, "zscore"), s2o.LSTM(3, "last"), s2o.FullyConnected(1)])
    return {"network": net, "data": fixed(np.ones(12)), "loss": loss, "options": settings}


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_diverged_run_has_the_weights_and_the_row_that_it_should(tmp_path, epoch):
    """In epoch 1 the weights are the initial ones, and the folder has none; later those of the epoch before."""
    with pytest.warns(RuntimeWarning, match=rf"epoch {epoch}: the loss .*Try a lower learning_rate, gradient_clip"):
        result = s2o.train(**diverges_in(epoch), run_dir=tmp_path)
    assert result.diverged
    assert "diverged" in repr(result)
    assert [row["epoch"] for row in result.history] == [*range(1, epoch + 1)]
    assert [math.isfinite(row["loss"]) for row in result.history] == [True] * (epoch - 1) + [False]
    given = diverges_in(9)
    if epoch > 1:
        given["options"] = dataclasses.replace(given["options"], epochs=epoch - 1)
        expected = s2o.train(**given).module
        assert json.loads((tmp_path / "metrics.json").read_text())["epoch"] == epoch - 1
        same_weights(load_run(tmp_path), expected)
    else:
        torch.manual_seed(0)
        expected = s2o.build(given["network"], given["data"])
        with pytest.raises(s2o.ModelFileError, match=r"is no finished run, it has no weights.safetensors"):
            load_run(tmp_path)
    same_weights(result.module, expected)
    with (tmp_path / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == epoch
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.warns(
        RuntimeWarning, match=rf"nothing is left to do.*the run has diverged in epoch {epoch}; Try a lower"
    ):
        again = s2o.train(**diverges_in(epoch), run_dir=tmp_path, resume=True)
    assert again.diverged
    assert len(again.history) == epoch
    same_weights(again.module, expected)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def same_weights(module, other):
    found = other.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in module.state_dict().items())


def test_the_command_exits_with_1_if_training_diverges(tmp_path):
    from typer.testing import CliRunner

    from seq2onnx.cli import app

    s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3, "last"), s2o.FullyConnected(1)]).save(tmp_path / "net.yaml")
    s2o.SequenceDataset(random_data().sequences, np.full(12, 1e18)).save(tmp_path / "data.npz")
    more = [
        "--set",
        "optimizer=sgd",
        "--set",
        "learning_rate=1e30",
        "--set",
        "device=cpu",
        "--out",
        str(tmp_path / "run"),
    ]
    command = ["train", str(tmp_path / "net.yaml"), str(tmp_path / "data.npz"), "--quiet", *more]
    for resume in ([], ["--resume"]):
        with pytest.warns(RuntimeWarning, match="Try a lower learning_rate"):
            result = CliRunner().invoke(app, command + resume)
        assert result.exit_code == 1
        assert re.search(
            r"run: training diverged in epoch \d+; (its weights are those|it has no weights)", result.output
        )


INTERRUPTED = """
import sys, pytorch_lightning as lightning, seq2onnx as s2o
from seq2onnx.training import run_folder
from tests.conftest import random_data, small_network

class Epochs(lightning.Callback):
    def on_train_epoch_end(self, trainer, learner):
        print("epoch", flush=True)

run_folder.SECONDS_BETWEEN_CHECKPOINTS = 0
options = s2o.TrainingOptions(
    epochs=40, batch_size=7, learning_rate=0.01, schedule="plateau", drop_every=2, keep="best",
    progress=False, device="cpu", threads=1
)
s2o.train(small_network(), random_data(200), random_data(30, seed=2), options=options, run_dir=sys.argv[1],
          resume=len(sys.argv) > 2, callbacks=[Epochs()])
"""


@pytest.mark.slow  # test_faults.py kills the command
def test_a_killed_run_resumes_to_the_same_weights(tmp_path):
    """Killed with SIGKILL twice, each time somewhere in the epoch after a random number of epochs."""
    import random
    import signal
    import subprocess
    import sys

    def run(folder, *more, epochs_before_kill=None):
        command = [sys.executable, "-c", INTERRUPTED, str(folder), *more]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            for _ in range(epochs_before_kill or 0):
                process.stdout.readline()
            if epochs_before_kill:
                process.send_signal(signal.SIGKILL)
            _, errors = process.communicate()
        assert process.returncode == (-signal.SIGKILL if epochs_before_kill else 0), errors

    run(tmp_path / "whole")
    rng = random.Random(0)
    run(tmp_path / "killed", epochs_before_kill=rng.randint(3, 15))
    run(tmp_path / "killed", "resume", epochs_before_kill=rng.randint(3, 15))
    run(tmp_path / "killed", "resume")
    for name in ("weights.safetensors", "network.yaml", "options.yaml"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name
    assert not [path for path in (tmp_path / "killed").iterdir() if path.name.startswith(".")]


def test_resuming_needs_the_same_run(tmp_path):
    data, settings = random_data(12), {"epochs": 2}
    whole = s2o.train(small_network(), data, options=options(epochs=4))
    first = s2o.train(small_network(), data, options=options(**settings), run_dir=tmp_path)
    further = s2o.train(small_network(), data, options=options(epochs=4), run_dir=tmp_path, resume=True)
    assert [row["loss"] for row in further.history] == [row["loss"] for row in whole.history]
    assert first.history[1]["loss"] == further.history[1]["loss"]
    with pytest.raises(s2o.SpecError, match="belongs to a run with batch_size=4, not 5"):
        s2o.train(small_network(), data, options=options(epochs=4, batch_size=5), run_dir=tmp_path, resume=True)
    with pytest.raises(s2o.SpecError, match="belongs to a run with another network"):
        s2o.train(
            small_network(normalization="zerocenter"), data, options=options(epochs=4), run_dir=tmp_path, resume=True
        )
    with pytest.raises(s2o.SpecError, match="normalization=zscore there, normalization=zerocenter here"):
        s2o.train(
            small_network(normalization="zerocenter"), data, options=options(epochs=4), run_dir=tmp_path, resume=True
        )
    for share in (0.25, data):
        with pytest.raises(s2o.SpecError, match="belongs to a run with another (data|validation): ") as error:
            s2o.train(small_network(), data, share, options=options(epochs=4), run_dir=tmp_path, resume=True)
        assert len(str(error.value)) < len(str(tmp_path)) + 200
    relabelled = s2o.SequenceDataset(data.sequences, data.labels[::-1], CLASSES)
    with pytest.raises(s2o.SpecError, match="belongs to a run with another data: 12 sequences, mark"):
        s2o.train(small_network(), relabelled, options=options(epochs=4), run_dir=tmp_path, resume=True)
    with pytest.raises(s2o.SpecError, match="belongs to a run with another"):
        s2o.train(small_network(), random_data(13), options=options(epochs=4), run_dir=tmp_path, resume=True)
    with pytest.raises(s2o.ModelFileError, match="has no checkpoint.safetensors to resume from"):
        s2o.train(small_network(), data, options=options(), run_dir=tmp_path / "new", resume=True)
    module = s2o.build(small_network())
    with pytest.raises(s2o.SpecError, match="resume: needs the run_dir"):
        s2o.train(module, data, options=options(), resume=True)
    assert module.network == small_network()  # it has taken no statistics from the data
    whole_file = (tmp_path / "checkpoint.safetensors").read_bytes()
    (tmp_path / "checkpoint.safetensors").write_bytes(whole_file[:200])
    with pytest.raises(s2o.ModelFileError, match="is not a checkpoint, or is incomplete"):
        s2o.train(small_network(), data, options=options(epochs=4), run_dir=tmp_path, resume=True)


def test_options_in_the_place_of_the_loss_are_named():
    with pytest.raises(s2o.SpecError, match="loss: must be .* got TrainingOptions; give .* by name: options=…"):
        s2o.train(small_network(), random_data(12), None, options(epochs=1))


def test_ctrl_c_keeps_what_was_learned(monkeypatch):
    import signal

    from seq2onnx.training.learner import Learner

    measure, handler = Learner.training_step, signal.getsignal(signal.SIGINT)

    def step(self, batch, index):
        if len(self.history) == 2:
            raise KeyboardInterrupt
        return measure(self, batch, index)

    monkeypatch.setattr(Learner, "training_step", step)
    with pytest.warns(UserWarning, match="training was stopped after 2 of . epochs, which are kept$"):
        result = s2o.train(small_network(), random_data(12), options=options(epochs=9))
    assert len(result.history) == 2
    assert signal.getsignal(signal.SIGINT) is handler
    monkeypatch.setattr(Learner, "training_step", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        s2o.train(small_network(), random_data(12), options=options())


def test_the_run_folder_has_the_metrics_of_the_kept_weights(tmp_path, monkeypatch):
    import json

    from seq2onnx.training.metrics import Metrics

    predict, seen = Metrics.predicted_classes, []
    monkeypatch.setattr(Metrics, "predicted_classes", lambda *a: seen.append(predict(*a)) or seen[0])
    training, validation = random_data(40), random_data(20, seed=3)
    settings = options(epochs=30, learning_rate=0.05, batch_size=20, keep="best", patience=3)
    result = s2o.train(small_network(), training, validation, options=settings, run_dir=tmp_path)
    kept = json.loads((tmp_path / "metrics.json").read_text())
    assert kept["validation_loss"] == min(row["validation_loss"] for row in result.history)
    ((truth, predicted),) = seen  # what the confusion chart shows
    assert sorted(truth) == sorted(validation.with_classes(CLASSES).targets.tolist())
    assert np.mean(np.equal(truth, predicted)) == pytest.approx(kept["validation_accuracy"])
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_frozen_layers_do_not_change_and_do_not_count_in_gradient_clipping():
    """Frozen gradients are not part of the norm that is clipped, and running means do not change."""
    data = s2o.SequenceDataset(random_data(8).sequences, np.arange(8.0) * 100)
    net = s2o.Network([s2o.SequenceInput(4), s2o.BatchNorm(), s2o.LSTM(3, "last"), s2o.FullyConnected(1)])
    module = built(net, data)
    start = {name: value.clone() for name, value in module.state_dict().items()}
    settings = options(
        epochs=1,
        batch_size=8,
        optimizer="sgd",
        momentum=0,
        l2=0,
        learning_rate=1.0,
        gradient_clip=1.0,
        learning_rate_factors={"lstm_1": 0, "batch_norm_1": 0},
    )
    end = s2o.train(module, data, options=settings).module.state_dict()
    moved = {name: (end[name] - value).norm().item() for name, value in start.items()}
    trained = [moved.pop(f"layers.fully_connected_1.{name}") for name in ("weights", "bias")]
    assert np.hypot(*trained) == pytest.approx(1, rel=1e-4)
    assert set(moved.values()) == {0}


def test_a_batch_without_valid_steps_does_not_change_batch_norm():
    net = s2o.Network([s2o.SequenceInput(2), s2o.Conv1d(2, 5), s2o.BatchNorm(), s2o.LSTM(2, "last")])
    module = s2o.build(net).train()
    y, _, _ = module(torch.ones(3, 2, 2), return_state=False)
    assert torch.isfinite(y).all()
    assert (module.layers["batch_norm_1"]["mean"] == 0).all()


def test_weights_that_are_not_finite_are_not_returned():
    net = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3, "last"), s2o.FullyConnected(1)])

    def root(y, target):  # 0, with a gradient of 0 / 0
        return (y[:, 0] - y[:, 0].detach()).abs().sqrt()

    with pytest.warns(RuntimeWarning, match="the weights are not finite"):
        result = s2o.train(net, fixed(np.ones(12)), loss=root, options=options(epochs=2))
    assert all(torch.isfinite(value).all() for value in result.module.state_dict().values())


def test_a_function_with_the_name_of_a_loss_does_not_select_that_loss():
    net = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3, "last"), s2o.Sigmoid()])
    seen = []

    def bce(y, target):
        seen.append(y.detach())
        return y.square().sum(1)

    s2o.train(net, fixed(np.full((12, 3), 7.0)), loss=bce, options=options(epochs=1))
    assert torch.cat(seen).min() >= 0
    with pytest.raises(s2o.DataError, match="loss 'bce': needs targets from 0 to 1, got 7 to 7"):
        s2o.train(net, fixed(np.full((12, 3), 7.0)), loss="bce", options=options(epochs=1))


def test_a_run_that_stopped_early_stays_stopped(tmp_path):
    training, validation = random_data(20), random_data(20, seed=3)
    settings = options(epochs=200, learning_rate=0.05, patience=2, batch_size=20)
    first = s2o.train(small_network(), training, validation, options=settings, run_dir=tmp_path)
    with pytest.warns(UserWarning, match="the run has stopped after .* epochs, as its patience says"):
        again = s2o.train(small_network(), training, validation, options=settings, run_dir=tmp_path, resume=True)
    assert again.history == first.history
    assert all(torch.equal(w, again.module.state_dict()[n]) for n, w in first.module.state_dict().items())


def test_only_validation_losses_count_and_nan_is_never_the_best():
    from seq2onnx.training.history import Monitor
    from seq2onnx.training.optimization import plateaus

    rows = [{"loss": 9.0 - n} | ({"validation_loss": 1.0 + n} if n % 2 else {}) for n in range(20)]
    assert plateaus(rows, 3, Monitor()) == 3
    losses = (float("nan"), 0.7, 0.6, 0.65)
    assert Monitor().since_best([{"validation_loss": loss} for loss in losses]) == 1


def test_per_step_marks_targets_of_equal_lengths_as_per_step():
    net = s2o.Network([s2o.SequenceInput(2), s2o.Conv1d(1, 3, stride=2, padding="causal")])
    data = s2o.SequenceDataset([np.ones((8, 2))] * 6, [np.zeros(4)] * 6, per_step=True)
    assert np.isfinite(s2o.train(net, data, options=options(epochs=1)).history[0]["loss"])


def test_a_toy_loss_is_one_row_in_the_table(tmp_path, monkeypatch):
    from seq2onnx.training.losses import LOSSES, METRICS, Loss, Metric

    def cubed(y, target):
        return (y - target.reshape(y.shape)).abs().pow(3).mean(-1)

    def close(y, target):
        return ((y - target.reshape(y.shape)).abs() < 0.5).all(-1).sum()

    toy = Loss("toy", cubed, "numbers", target_range=(0, 1), correct=close, metrics=("most",))
    monkeypatch.setitem(METRICS, "most", Metric(lambda y, target: y.max(), ("numbers",)))
    monkeypatch.setitem(LOSSES, "toy", toy)
    net = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3, "last"), s2o.FullyConnected(1)])
    data = fixed(np.linspace(0, 1, 12))
    settings = {"options": options(epochs=2), "run_dir": tmp_path}
    result = s2o.train(net, data, data, loss="toy", **settings)
    assert {"accuracy", "validation_accuracy", "validation_most"} < result.history[-1].keys()
    by_function = s2o.train(net, data, data, loss=cubed, options=options(epochs=2))
    assert [row["loss"] for row in result.history] == [row["loss"] for row in by_function.history]
    assert "loss: toy" in (tmp_path / "options.yaml").read_text()
    with pytest.warns(UserWarning, match="nothing is left to do"):
        again = s2o.train(net, data, data, loss="toy", **settings, resume=True)
    assert again.history == result.history
    with pytest.raises(s2o.DataError, match="loss 'toy': needs targets from 0 to 1, got 7 to 7"):
        s2o.train(net, fixed(np.full(12, 7.0)), loss="toy", options=options())
    with pytest.raises(s2o.DataError, match="loss 'toy': needs numbers as targets, got labels"):
        s2o.train(small_network(), random_data(), loss="toy", options=options())
    with pytest.raises(
        s2o.SpecError, match="loss: must be one of crossentropy, mse, mae, huber, bce, quantile, toy or a function"
    ):
        s2o.train(net, data, loss="other", options=options())


def test_build_export_and_restore_do_not_import_lightning(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys; sys.modules.update(dict.fromkeys(['pytorch_lightning', 'torchmetrics']))\n"
        "import seq2onnx as s2o\n"
        "from seq2onnx.training import SequenceModule, TrainingOptions, build, load_run\n"
        "net = s2o.Network([s2o.SequenceInput(3), s2o.LSTM(4, 'last'), s2o.Softmax()])\n"
        "module = s2o.build(net)\n"
        "s2o.export(module, sys.argv[1])\n"
        "assert isinstance(s2o.restore(sys.argv[1]), SequenceModule)\n"
        "for name in ('train', 'TrainingResult', 'SequenceClassifier', 'SequenceRegressor'):\n"
        "    try: getattr(s2o, name)\n"
        "    except s2o.MissingExtra as error: assert ' \"pytorch-lightning>=' in str(error), error\n"
        "    else: raise AssertionError(name)\n"
        "for name in ('pytorch_lightning', 'torchmetrics'): del sys.modules[name]\n"
        "assert callable(s2o.train) and 'pytorch_lightning' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "m.onnx")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
