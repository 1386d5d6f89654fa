"""The contract of a file: what it writes, what it reads, and which files it refuses."""

from __future__ import annotations

import dataclasses
import json

import pytest

import seq2onnx as s2o
from seq2onnx.contract import Contract, ContractState, activation_name, input_names, lengths_name, output_names

NETWORK = {"layers": [{"sequence_input": {"name": "a"}}, {"feature_input": {"name": "b"}}, {"lstm": {"name": "c"}}]}


def state(number, kind, name, layer="c"):
    return ContractState(f"state_{number}", f"new_state_{number}", (3,), "float32", kind, layer, name)


def contract(**changes):
    return dataclasses.replace(Contract(network=NETWORK, classes=["x", "y"], signature="full"), **changes)


def test_a_contract_is_read_as_it_was_written(monkeypatch):
    monkeypatch.setattr("seq2onnx.contract.FORMS", ["dynamic", "portable"])
    states = (state(0, "h", "h"), state(1, "skip", "skip_0"), state(2, "skip", "skip_1"), state(3, "h", "h", "d"))
    for written in (
        contract(states=states, vocabulary={"a": ["good", "bad"]}, data_policy={"padding_value": 1.0}),
        contract(states=(state(0, "skip", "left"), state(1, "skip", "right"))),
        contract(closed_loop=5, weights="int8", options={"opset": 17}, emission=3, channels=["t"], sample_rate=16000),
        contract(form="portable", answer="quantiles", classes=None),
    ):
        assert Contract.from_json(written.to_json(), "file") == written


def test_optional_keys_are_written_only_if_they_differ_from_their_default():
    required = ["format_version", "network", "classes", "signature", "states", "time_stride", "min_length"]
    required += ["delay_steps", "data_policy", "vocabulary", "writer"]
    assert list(json.loads(contract().to_json())) == required
    assert list(json.loads(contract(closed_loop=5, emission=1).to_json())) == [*required, "closed_loop", "emission"]
    default, named = (json.loads(contract(states=(state(0, "h", name),)).to_json())["states"] for name in ("h", "old"))
    assert list(default[0]) == ["in", "out", "shape", "dtype", "kind", "layer"]
    assert named[0] == default[0] | {"name": "old"}


@pytest.mark.parametrize(
    ("changes", "version"),
    [
        ({}, 1),
        ({"closed_loop": 5, "form": "portable", "weights": "int8", "answer": "values"}, 1),
        ({"form": "step"}, 2),
        ({"missing": True}, 2),
        ({"answer": "events"}, 2),
        ({"network": None}, 2),
    ],
)
def test_the_format_version_is_the_lowest_that_covers_the_file(changes, version):
    assert json.loads(contract(**changes).to_json())["format_version"] == version


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 3}, "has format version 3, this seq2onnx reads up to 2: update seq2onnx"),
        ({"form": "exotic"}, "has the form 'exotic', which this seq2onnx cannot run: update seq2onnx"),
        ({"states": [{"in": "x"}]}, "metadata is damaged: KeyError"),
        ({"states": ["x"]}, "metadata is damaged"),
        ({"states": 3}, "metadata is damaged"),
        (
            {"states": [{"in": "a", "out": "b", "shape": [None, 1], "dtype": "int32", "name": "h"}] * 2},
            "two states of a layer have one name",
        ),
    ],
)
def test_other_files_are_refused(changes, message):
    with pytest.raises(s2o.ModelFileError, match=f"file.onnx: .*{message}"):
        Contract.from_json(json.dumps(json.loads(contract().to_json()) | changes), "file.onnx")


def test_unknown_keys_are_ignored():
    assert Contract.from_json(json.dumps(json.loads(contract().to_json()) | {"later": 1}), "file") == contract()


def test_tensors_are_named_by_their_layer_if_there_are_several():
    assert contract().input_layers == ["a", "b"]
    assert contract().output_layers == ["c"]
    assert contract(network=NETWORK | {"outputs": ["b", "c"]}).output_layers == ["b", "c"]
    assert input_names(["a"]) == {"a": "x"}
    assert input_names(["a", "b"]) == {"a": "x_a", "b": "x_b"}
    assert output_names(["c"]) == {"c": "y"}
    assert [lengths_name(name) for name in output_names(["c", "d"]).values()] == ["y_c_lengths", "y_d_lengths"]
    assert activation_name("c") == "act_c"
