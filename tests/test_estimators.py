"""The scikit-learn interface: fit, predict, score, parameters, export."""

from __future__ import annotations

import numpy as np
import pytest

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
    assert model.get_params() == {"network": None, "hidden_size": 16, "options": None, "validation": None}
    assert type(model)(**model.set_params(hidden_size=8).get_params()).hidden_size == 8
    assert repr(model) == "SequenceClassifier(hidden_size=8)"
    with pytest.raises(
        s2o.SpecError, match="units: is not a parameter of SequenceClassifier. The parameters are network"
    ):
        model.set_params(units=3)


def test_errors_say_what_cannot_be_fitted_or_predicted():
    data = random_data()
    with pytest.raises(s2o.DataError, match="SequenceClassifier: is not fitted. Call fit first"):
        s2o.SequenceClassifier().predict(data.sequences)
    with pytest.raises(s2o.DataError, match="expected strings or integers, got numbers"):
        s2o.SequenceClassifier().fit(data.sequences, np.ones(12))
    quick = s2o.TrainingOptions(epochs=1, progress=False, device="cpu")
    model = s2o.SequenceClassifier(hidden_size=3, options=quick, validation=0.25).fit(data.sequences, data.labels)
    assert "validation_loss" in model.history_[0]
    with pytest.raises(s2o.ShapeError, match=r"data: expected \[time, 4\], got \[time, 5\]"):
        model.predict([np.ones((3, 5))])
