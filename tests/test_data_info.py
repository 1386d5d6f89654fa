"""What the inputs and outputs of a network stand for is kept by all that makes a module or a file of another."""

from __future__ import annotations

import dataclasses

import pytest

import seq2onnx as s2o
from seq2onnx.packaging.c import step_source
from seq2onnx.packaging.source import Source
from seq2onnx.sequences import DataInfo, InputStatistics, TrainingStatistics
from tests.conftest import built, random_data, small_network

SOME = InputStatistics(*([(0.5, 1.0, -2.0, 0.0)] * 9))
INFO = DataInfo(
    classes=["x", "y", "z"],
    quantiles=(0.1, 0.5, 0.9),
    channels=["a", "b", "c", "d"],
    policy=s2o.PaddingPolicy(("split", 5), 0.5, "left"),
    sample_rate=10.0,
    training_statistics=TrainingStatistics(
        3, 30, 10.0, {"sequence_input_1": InputStatistics(*([(0.5, 1.0, -2.0, 0.0)] * 9))}
    ),
)


@pytest.fixture
def module():
    module = built(small_network(), random_data())
    module.data_info = INFO
    return module


@pytest.fixture
def path(module, tmp_path):
    s2o.export(module, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_every_field_is_tried():
    for field in dataclasses.fields(DataInfo):
        assert getattr(INFO, field.name) != field.default


def test_files_and_modules_keep_it(module, path, tmp_path):
    assert s2o.load(path).contract.data_info == INFO
    assert s2o.restore(path).data_info == INFO
    more = s2o.append(module, s2o.Rescale(2.0, 0.0))
    assert more.data_info == INFO
    assert s2o.without(more, "rescale_1").data_info == INFO
    for options in ({"form": "step"}, {"weights": "float16"}, {"signature": "sequence"}):
        s2o.export(module, tmp_path / "other.onnx", **options)
        assert s2o.load(tmp_path / "other.onnx").contract.data_info == INFO


def test_the_step_file_of_a_package_keeps_it(path):
    with step_source(Source.open(path)) as step:
        assert step.model.contract.form == "step"
        assert step.model.contract.data_info == INFO


def test_its_fields_are_attributes_of_the_module(module):
    for field in dataclasses.fields(DataInfo):
        value = getattr(INFO, field.name)
        assert getattr(module, field.name) == value
        setattr(module, field.name, field.default)
        assert module.data_info == dataclasses.replace(INFO, **{field.name: field.default})
        setattr(module, field.name, value)
    assert module.data_info == INFO


def test_a_module_does_not_share_its_lists(module):
    more = s2o.append(module, s2o.Rescale(2.0, 0.0))
    assert more.classes is not module.classes
    assert more.channels is not module.channels
