"""The scikit-learn interface: fit, predict, score, parameters, export."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_html_repr, get_tags
from sklearn.utils.validation import check_is_fitted

import seq2onnx as s2o
from tests.conftest import random_data

OPTIONS = s2o.TrainingOptions(epochs=25, batch_size=20, learning_rate=0.02, progress=False, device="cpu")


def test_a_classifier_fits_predicts_scores_and_exports(tmp_path):
    data, test = random_data(150), random_data(50, seed=1)
    model = s2o.SequenceClassifier(hidden_size=16, options=OPTIONS).fit(data.sequences, data.labels)
    assert model.score(test.sequences, test.labels) > 0.85
    scores = model.predict_proba(test.sequences)
    assert scores.shape == (50, 3)
    assert model.predict(test.sequences).tolist() == model.classes_[scores.argmax(1)].tolist()
    model.export(tmp_path / "m.onnx")
    shipped = s2o.load(tmp_path / "m.onnx")
    np.testing.assert_allclose(shipped.predict(test.sequences), scores, rtol=0, atol=1e-5)
    assert shipped.classify(test.sequences).tolist() == model.predict(test.sequences).tolist()


@pytest.mark.parametrize("vector", [False, True])
def test_a_regressor_predicts_in_the_unit_of_its_targets(vector):
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(n, 2)) for n in rng.integers(4, 9, 150)]
    targets = np.array([500 + 20 * x[-1] for x in sequences])
    targets = targets if vector else targets[:, 0]
    model = s2o.SequenceRegressor(hidden_size=12, options=OPTIONS).fit(sequences[:100], targets[:100])
    assert model.predict(sequences[100:]).shape == targets[100:].shape
    assert model.score(sequences[100:], targets[100:]) > 0.8


def test_parameters_can_be_read_and_set():
    model = s2o.SequenceClassifier(hidden_size=16)
    assert model.get_params(deep=False) == dict.fromkeys(
        ["network", "hidden_size", "options", "validation", "loss"]
    ) | {"hidden_size": 16}
    assert type(model)(**model.set_params(hidden_size=8).get_params(deep=False)).hidden_size == 8
    assert repr(model) == "SequenceClassifier(hidden_size=8)"
    with pytest.raises(
        s2o.SpecError, match="units: is not a parameter of SequenceClassifier. The parameters are network"
    ):
        model.set_params(units=3)


def test_training_options_can_be_read_and_set_one_by_one():
    model = s2o.SequenceClassifier()
    assert model.get_params()["options__learning_rate"] == s2o.TrainingOptions().learning_rate
    model.set_params(options__epochs=3)  # the other options have their defaults
    assert model.options == s2o.TrainingOptions(epochs=3)
    given = s2o.TrainingOptions(epochs=5, l2=0.0)
    model.set_params(options=given, options__epochs=7)
    assert model.options == s2o.TrainingOptions(epochs=7, l2=0.0)
    assert given.epochs == 5
    with pytest.raises(s2o.SpecError, match="options.lr: is not a field of TrainingOptions; its fields are epochs"):
        model.set_params(options__lr=0.1)
    with pytest.raises(s2o.SpecError, match="options.epochs: "):
        model.set_params(hidden_size=1, options__epochs=0)
    assert (model.hidden_size, model.options.epochs) == (100, 7)  # an error changes nothing


QUICK = s2o.TrainingOptions(epochs=4, batch_size=16, learning_rate=0.05, progress=False, device="cpu", threads=1)


def rising(count=60):
    """Sequences of two features; the label and the number depend on the last step."""
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(length, 2)) for length in rng.integers(4, 9, count)]
    labels = ["up" if x[-1, 0] > 0 else "down" for x in sequences]
    return sequences, np.array(labels), np.array([500 + 10 * x[-1, 0] for x in sequences])


def classifier(**given):
    return s2o.SequenceClassifier(**{"hidden_size": 6, "options": QUICK, **given})


def padded(sequences):
    return np.stack([x[-4:] for x in sequences])


def frames(sequences):
    return [pd.DataFrame(x, columns=["height", "speed"]) for x in sequences]


def as_objects(sequences):
    found = np.empty(len(sequences), object)
    found[:] = sequences
    return found


@pytest.mark.parametrize("form", [list, as_objects, pd.Series, padded, frames, lambda s: [x.tolist() for x in s]])
def test_cross_validation_takes_sequences_in_every_form(form):
    sequences, labels, numbers = rising()
    scores = cross_val_score(classifier(), form(sequences), labels, cv=3, error_score="raise")
    assert scores.mean() > 0.7
    labels = pd.Series(labels, dtype="category")
    np.testing.assert_array_equal(cross_val_score(classifier(), form(sequences), labels, cv=3), scores)
    regressor = s2o.SequenceRegressor(hidden_size=6, options=QUICK)
    assert cross_val_score(regressor, form(sequences), numbers, cv=3, error_score="raise").mean() > 0.2
    proba = cross_val_predict(classifier(), form(sequences), labels, cv=3, method="predict_proba")
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-6)


def test_a_grid_search_tries_sizes_and_single_training_options():
    sequences, labels, _ = rising()
    grid = {"hidden_size": [2, 6], "options__learning_rate": [1e-6, 0.05]}
    search = GridSearchCV(classifier(), grid, cv=2, error_score="raise").fit(sequences, labels)
    assert search.best_params_["options__learning_rate"] == 0.05
    assert search.best_estimator_.options.epochs == QUICK.epochs
    assert search.predict(sequences).tolist() == search.best_estimator_.predict(sequences).tolist()
    with pytest.raises(s2o.SpecError, match="options.lr: is not a field of TrainingOptions"):
        GridSearchCV(classifier(), {"options__lr": [0.1]}, cv=2).fit(sequences, labels)
    body = [s2o.SequenceInput(2), s2o.GRU(3, "last"), s2o.FullyConnected(2), s2o.Softmax()]
    search = GridSearchCV(classifier(network=s2o.Network(body)), {"options__epochs": [1, 2]}, cv=2, error_score="raise")
    assert "gru" in str(search.fit(sequences, labels).best_estimator_.module_.network)


def test_a_pipeline_prepares_sequences_and_its_options_can_be_searched():
    sequences, labels, _ = rising()
    double = FunctionTransformer(lambda given: [2 * x for x in given])
    pipeline = Pipeline([("double", double), ("net", classifier())])
    assert pipeline.fit(sequences, labels).score(sequences, labels) > 0.8
    search = GridSearchCV(pipeline, {"net__options__epochs": [1, 4]}, cv=2, error_score="raise")
    assert search.fit(sequences, labels).best_estimator_["net"].classes_.tolist() == ["down", "up"]


@pytest.mark.parametrize(("method", "ensemble"), [("sigmoid", True), ("isotonic", False), ("temperature", True)])
def test_scores_can_be_calibrated(method, ensemble):
    sequences, labels, _ = rising()
    model = CalibratedClassifierCV(classifier(), cv=3, method=method, ensemble=ensemble).fit(sequences, labels)
    assert model.score(sequences, labels) > 0.7
    np.testing.assert_allclose(model.predict_proba(sequences).sum(1), 1, atol=1e-6)
    fitted = CalibratedClassifierCV(FrozenEstimator(classifier().fit(sequences, labels)), method=method)
    assert fitted.fit(sequences, labels).score(sequences, labels) > 0.7


def test_clones_and_pickles_are_equal():
    sequences, labels, numbers = rising()
    model = classifier()
    copy = clone(model.fit(sequences, labels))
    assert copy.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)
    check_is_fitted(model)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(sequences), model.predict_proba(sequences))
    np.testing.assert_array_equal(copy.fit(sequences, labels).predict_proba(sequences), model.predict_proba(sequences))
    regressor = s2o.SequenceRegressor(hidden_size=3, options=QUICK).fit(sequences, numbers)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(regressor)).predict(sequences), regressor.predict(sequences)
    )


def test_the_tags_say_what_the_estimators_are():
    assert is_classifier(classifier())
    assert is_regressor(s2o.SequenceRegressor())
    tags = get_tags(s2o.SequenceRegressor())
    assert tags.target_tags.multi_output
    assert tags.target_tags.required
    assert (tags.input_tags.two_d_array, tags.input_tags.three_d_array) == (False, True)
    assert "SequenceClassifier" in estimator_html_repr(classifier())


def test_without_scikit_learn_the_estimators_work():
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import numpy as np, seq2onnx as s2o\n"
        "options = s2o.TrainingOptions(epochs=1, progress=False)\n"
        "model = s2o.SequenceClassifier(hidden_size=2).set_params(options=options)\n"
        "model.fit([np.ones((3, 2)), np.zeros((4, 2))], ['a', 'b']).predict([np.ones((2, 2))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_data_frames_are_read_by_their_names():
    sequences, labels, _ = rising()
    given = frames(sequences)
    model = classifier().fit(given, labels)
    assert model.feature_names_in_.tolist() == ["height", "speed"]
    assert model.n_features_in_ == 2
    exchanged = [frame[["speed", "height"]] for frame in given]
    np.testing.assert_array_equal(model.predict_proba(exchanged), model.predict_proba(given))
    with pytest.raises(s2o.DataError, match="sequence 0: has no speed; its columns are height"):
        model.predict([frame[["height"]] for frame in given])
    assert not hasattr(model.fit(sequences, labels), "feature_names_in_")


def test_frames_may_have_other_columns_and_data_sets_are_predicted():
    data = random_data()
    frames = [pd.DataFrame(x, columns=["a", "b", "c", "d"]) for x in data.sequences]
    model = classifier().fit(frames, data.labels)
    scores = model.predict_proba(frames)
    wide = [frame[["d", "c", "b", "a"]].assign(machine="press 4", at=pd.Timestamp(0)) for frame in frames]
    np.testing.assert_array_equal(model.predict_proba(wide), scores)
    named = s2o.SequenceDataset(data.sequences, data.labels, channels=["a", "b", "c", "d"])
    np.testing.assert_array_equal(model.predict_proba(named), scores)
    np.testing.assert_array_equal(model.predict_proba(named.with_channels(["d", "c", "b", "a"])), scores)
    assert model.predict(named).tolist() == model.predict(wide).tolist()
    with pytest.raises(s2o.DataError, match="has no a"):
        model.predict([frames[0].drop(columns="a")])


def test_the_loss_is_a_parameter():
    data = random_data()
    numbers = [x.mean() for x in data.sequences]
    quick = s2o.TrainingOptions(epochs=1, progress=False, device="cpu", threads=1)
    losses = {}
    for loss in (None, "mse", "huber", lambda y, target: (y[:, 0] - target.flatten()).abs() * 1000):
        model = s2o.SequenceRegressor(hidden_size=3, options=quick, loss=loss)
        assert clone(model).get_params()["loss"] is loss
        losses[loss] = model.fit(data.sequences, numbers).history_[0]["loss"]
    first, same, huber, function = losses.values()
    assert first == same
    assert huber < first < function
    with pytest.raises(s2o.SpecError, match="loss: must be one of crossentropy, mse, mae, huber"):
        s2o.SequenceClassifier(options=quick).set_params(loss="l1").fit(data.sequences, data.labels)
    net = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3, "last"), s2o.FullyConnected(1), s2o.Sigmoid()])
    shares = s2o.SequenceRegressor(net, options=quick, loss="bce").fit(data.sequences, np.arange(12) % 2)
    assert shares.predict(data.sequences).min() > 0


def test_labels_and_numbers_may_be_columns_and_tensors():
    sequences, labels, numbers = rising()
    is_up = labels == "up"
    for given in (is_up, pd.Series(is_up, dtype="boolean"), pd.Series(is_up).astype("Int64"), torch.tensor(is_up)):
        model = classifier().fit(sequences, given)
        assert model.score(sequences, given) > 0.8
    regressor = s2o.SequenceRegressor(hidden_size=6, options=QUICK)
    scores = [
        regressor.fit(sequences, given).score(sequences, given)
        for given in (numbers, pd.Series(numbers).astype("Float64"), torch.tensor(numbers, requires_grad=True))
    ]
    assert scores[0] > 0.2
    assert scores == pytest.approx(scores[:1] * 3)


def test_a_network_may_read_texts_or_several_inputs():
    texts, labels = ["good film", "bad film", "very good", "quite bad"] * 8, ["+", "-", "+", "-"] * 8
    head = [s2o.LSTM(5, "last"), s2o.FullyConnected(2), s2o.Softmax()]
    network = s2o.Network([s2o.SequenceInput("tokens"), s2o.WordEmbedding(3, vocabulary=10), *head])
    options = dataclasses.replace(QUICK, epochs=15)
    model = s2o.SequenceClassifier(network, options=options).fit(texts, labels)
    assert model.predict(["a good one", "a bad one"]).tolist() == ["+", "-"]
    sequences, labels, _ = rising()
    parts = [s2o.SequenceInput(2, name="x"), s2o.LSTM(4, "last", name="h"), s2o.FeatureInput(1, name="age")]
    joined = [s2o.Concat(inputs=["h", "age"]), s2o.FullyConnected(2), s2o.Softmax()]
    data = {"x": sequences, "age": np.ones((len(labels), 1), np.float32)}
    model = s2o.SequenceClassifier(s2o.Network([*parts, *joined]), options=QUICK).fit(data, labels)
    assert model.score(data, labels) > 0.7


def test_padding_that_counts_as_data_gives_what_the_exported_file_gives(tmp_path):
    sequences, labels, _ = rising(30)
    options = dataclasses.replace(QUICK, mask_padding=False, sequence_length=10)
    model = classifier(options=options).fit(sequences, labels)
    model.export(tmp_path / "m.onnx")
    expected = s2o.load(tmp_path / "m.onnx").predict(sequences)
    np.testing.assert_allclose(model.predict_proba(sequences), expected, rtol=0, atol=1e-5)


def test_errors_say_what_cannot_be_fitted_or_predicted():
    data = random_data()
    with pytest.raises(s2o.DataError, match="SequenceClassifier: is not fitted. Call fit first"):
        s2o.SequenceClassifier().predict(data.sequences)
    with pytest.raises(s2o.DataError, match="expected strings or integers, one for each sequence, got numbers"):
        s2o.SequenceClassifier().fit(data.sequences, np.ones(12))
    with pytest.raises(s2o.DataError, match="one for each sequence, got labels for each step"):
        s2o.SequenceClassifier().fit(data.sequences, [["a"] * len(x) for x in data.sequences])
    with pytest.raises(s2o.DataError, match="numbers: expected a number, or k numbers, for each sequence"):
        s2o.SequenceRegressor().fit(data.sequences, data.labels)
    with pytest.raises(s2o.DataError, match=r"without a network, SequenceClassifier takes \[time, features\] arrays"):
        s2o.SequenceClassifier().fit([np.arange(3)] * 12, data.labels)
    steps = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3), s2o.FullyConnected(3), s2o.Softmax()])
    with pytest.raises(s2o.SpecError, match="needs a network with one output for each sequence, not each step"):
        s2o.SequenceClassifier(steps).fit(data.sequences, data.labels)
    quick = s2o.TrainingOptions(epochs=1, progress=False, device="cpu")
    model = s2o.SequenceClassifier(hidden_size=3, options=quick, validation=0.25).fit(data.sequences, data.labels)
    assert "validation_loss" in model.history_[0]
    with pytest.raises(s2o.ShapeError, match=r"data: expected \[time, 4\], got \[time, 5\]"):
        model.predict([np.ones((3, 5))])
    with pytest.raises(s2o.DataError, match="targets: expected 12, one for each sequence, got 3"):
        model.score(data.sequences, data.labels[:3])


def test_a_fit_that_diverges_is_an_error_and_leaves_the_fit_before():
    """GridSearchCV then counts it as failed. Labels and module stay together."""
    options = s2o.TrainingOptions(epochs=2, progress=False, device="cpu")
    data = random_data(12)
    model = s2o.SequenceClassifier(hidden_size=3, options=options).fit(data.sequences, data.labels)
    before, scores = model.classes_.tolist(), model.predict_proba(data.sequences)
    model.set_params(options__learning_rate=1e38, options__optimizer="sgd", loss=lambda y, target: y.sum(1) * np.inf)
    with (
        pytest.warns(RuntimeWarning, match="not finite; training stopped, and no epoch is kept"),
        pytest.raises(
            s2o.DataError, match=r"SequenceClassifier: .*nothing is learned. Try a lower options__learning_rate"
        ),
    ):
        model.fit(data.sequences, [f"other {label}" for label in data.labels])
    assert model.classes_.tolist() == before
    assert np.array_equal(model.predict_proba(data.sequences), scores)
