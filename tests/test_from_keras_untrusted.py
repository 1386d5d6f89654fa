"""from_keras on files of strangers: whatever they contain, the answer is an error of this package."""

from __future__ import annotations

import json
import os
import random

import h5py
import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx.importing import equivalence as proof
from seq2onnx.importing.keras import file as keras_file
from tests.keras_files import DENSE, LSTM, archive, functional, layer, lstm, sequential, start, weights, write

KERNEL = weights("dense", (3, 2), (2,))
MODEL = sequential(start(None, 3), layer("Dense", **DENSE))


@pytest.fixture
def at_hand(monkeypatch):
    """Read files in this process: starting another one takes most of the time."""
    monkeypatch.setattr(keras_file, "read_apart", lambda reader, path, kind: keras_file.contents(path))


def refuses(path, says, error=s2o.ModelFileError):
    with pytest.raises(error, match=says):
        s2o.from_keras(path)


def test_what_is_no_model_file_says_what_to_save(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(b"neither zip nor HDF5")
    refuses(path, r"model\.keras: is not a model saved by Keras as \.keras or \.h5")
    refuses(tmp_path, r"is a folder, such as a SavedModel.*model\.save")
    refuses(tmp_path / "missing.keras", "missing.keras", FileNotFoundError)
    os.mkfifo(tmp_path / "pipe.keras")
    refuses(tmp_path / "pipe.keras", "Is a pipe", OSError)
    with h5py.File(tmp_path / "some.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros((3, 2))
    refuses(tmp_path / "some.weights.h5", r"has weights, or other data, but no configuration of a model")


@pytest.mark.parametrize("name", ["masked.keras", "masked.h5"])
def test_damaged_files_give_our_errors(name, tmp_path, at_hand):
    with archive("keras2") as file:
        content = file.read(name)
    rng, refused = np.random.default_rng(0), 0
    for number in range(40):
        damaged = bytearray(content)
        if number % 4:
            for place in rng.integers(0, len(content), 1 + number):
                damaged[place] = rng.integers(0, 256)
        else:
            damaged = damaged[: rng.integers(0, len(content))]
        (tmp_path / name).write_bytes(damaged)
        try:
            s2o.from_keras(tmp_path / name, masks="lengths")
        except (s2o.ModelFileError, s2o.ImportRefused):
            refused += 1
    assert refused > 30


def test_a_file_whose_reader_crashes_or_fills_the_memory_is_an_error(tmp_path, monkeypatch):
    path = write(tmp_path / "model.keras", MODEL, KERNEL)
    found = keras_file.read_apart
    monkeypatch.setattr(keras_file, "read_apart", lambda _, path, kind: found("os:abort", path, kind=kind))
    refuses(path, "the library that reads it crashed")
    monkeypatch.setattr(keras_file, "read_apart", lambda _, path, kind: found("tests.readers:fill", path, kind=kind))
    refuses(path, "reading needs more than 1024 MB of memory$")  # without a word of trusted=, which is for data files


def self_containing(file):
    file["layers/dense/again"] = file["layers"]


def linked(file):
    file["layers/dense/vars/2"] = h5py.ExternalLink("/etc/other.h5", "x")


def soft(file):
    file["layers/dense/vars/2"] = h5py.SoftLink("/layers/dense/vars/0")


def outside(file):
    file.create_dataset("layers/dense/vars/2", (2,), "f4", external=[("other.bin", 0, 8)])


def huge(file):
    file.create_dataset("layers/dense/vars/2", (2**20, 2**20), "f4", chunks=(1024, 1024))


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (self_containing, "groups within themselves"),
        (linked, "'layers/dense/vars/2' is a link; the weights must be in the file itself"),
        (soft, "is a link"),
        (outside, "is stored in other files"),
        (huge, "its arrays would take 4,398,046,511,136 bytes, more than the limit"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_weights_must_be_in_the_file_itself(edit, says, tmp_path, at_hand):
    refuses(write(tmp_path / "model.keras", MODEL, KERNEL, edit=edit), says)


# Each edit would have another file read, and would wait for a pipe without end. The .h5 files are read apart, so that a
# test of code that waits ends.


def root_outside(file, folder):
    file.move("model_weights", "moved")
    file["model_weights"] = h5py.ExternalLink(str(folder / "other.h5"), "model_weights")


def root_by_a_soft_link(file, folder):
    file.move("model_weights", "moved")
    file["out"] = h5py.ExternalLink(str(folder / "other.h5"), "model_weights")
    file["model_weights"] = h5py.SoftLink("/out")


def root_by_a_soft_link_within(file, folder):
    file.move("model_weights", "moved")
    file["model_weights"] = h5py.SoftLink("/moved")


def root_that_is_an_array(file, folder):
    del file["model_weights"]
    file.create_dataset("model_weights", (2,), "f4", external=[(str(folder / "pipe"), 0, 8)])


def group_outside(file, folder):
    del file["model_weights/dense/dense"]
    file["model_weights/dense/dense"] = h5py.ExternalLink(str(folder / "other.h5"), "model_weights/dense/dense")


def array_outside(file, folder):
    del file["model_weights/dense/dense/bias:0"]
    file["model_weights/dense/dense/bias:0"] = h5py.ExternalLink(str(folder / "pipe"), "x")


def array_by_a_soft_link(file, folder):
    del file["model_weights/dense/dense/bias:0"]
    file["model_weights/dense/dense/bias:0"] = h5py.SoftLink("/model_weights/dense/dense/kernel:0")


def array_in_external_storage(file, folder):
    del file["model_weights/dense/dense/bias:0"]
    file.create_dataset("model_weights/dense/dense/bias:0", (2,), "f4", external=[(str(folder / "pipe"), 0, 8)])


def array_of_other_files(file, folder):
    del file["model_weights/dense/dense/bias:0"]
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "bias", (2,))
    file.create_virtual_dataset("model_weights/dense/dense/bias:0", layout)


def array_of_any_number_of_other_files(file, folder):
    del file["model_weights/dense/dense/bias:0"]
    layout = h5py.VirtualLayout((1,), "f4", maxshape=(None,))
    source = h5py.VirtualSource(str(folder / "pipe"), "bias", (1,), maxshape=(None,))
    layout[0 : h5py.h5s.UNLIMITED] = source[0 : h5py.h5s.UNLIMITED]
    file.create_virtual_dataset("model_weights/dense/dense/bias:0", layout)


def layer_named_after_a_path(file, folder):
    file["out"] = h5py.ExternalLink(str(folder / "pipe"), "x")
    file["model_weights"].attrs["layer_names"] = [b"dense", b"/out"]


def layer_named_after_a_path_upward(file, folder):
    file["out"] = h5py.ExternalLink(str(folder / "pipe"), "x")
    file["model_weights"].attrs["layer_names"] = [b"dense", b"../out", b"./../out", b"."]


def link_named_after_a_path(file, folder):
    """HDF5 itself writes no such name: change it in the file."""
    file["out"] = h5py.ExternalLink(str(folder / "pipe"), "x")
    file["model_weights"].create_group("QoutQx")


REFUSED = "is a link; the weights must be in the file itself|stored in other files"


def legacy(folder, edit):
    """Write an .h5 file of an Input and a Dense, and change it."""
    rng = np.random.default_rng(0)
    (folder / "other.h5").write_bytes(b"")
    os.mkfifo(folder / "pipe")
    for path in (folder / "other.h5", folder / "model.h5"):
        with h5py.File(path, "w") as file:
            file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(MODEL), "2.15.0"
            root = file.create_group("model_weights")
            root.attrs["layer_names"] = [b"dense"]
            root.create_group("dense").attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
            root["dense/dense/kernel:0"] = rng.normal(size=(3, 2)).astype("f")
            root["dense/dense/bias:0"] = rng.normal(size=2).astype("f")
            if path.name == "model.h5":
                edit(file, folder)
    if edit is link_named_after_a_path:
        path.write_bytes(path.read_bytes().replace(b"QoutQx", b"/out/x"))
    return path


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (root_outside, REFUSED),
        (root_by_a_soft_link, REFUSED),
        (root_by_a_soft_link_within, REFUSED),
        (root_that_is_an_array, REFUSED),
        (group_outside, REFUSED),
        (array_outside, REFUSED),
        (array_by_a_soft_link, REFUSED),
        (array_in_external_storage, REFUSED),
        (array_of_other_files, REFUSED),
        (array_of_any_number_of_other_files, REFUSED),
        (link_named_after_a_path, REFUSED),
    ],
)
def test_an_h5_file_has_its_weights_read_of_no_other_file(edit, says, tmp_path):
    refuses(legacy(tmp_path, edit), says)


@pytest.mark.parametrize("edit", [layer_named_after_a_path, layer_named_after_a_path_upward, lambda *_: None])
def test_names_of_layers_are_no_paths(edit, tmp_path):
    module = s2o.from_keras(legacy(tmp_path, edit))
    assert [layer.kind for layer in module.network.layers] == ["sequence_input", "fully_connected"]


def test_archives_that_unpack_to_much_more_are_refused(tmp_path, at_hand):
    path = write(tmp_path / "a.keras", MODEL, members={"model.weights.h5": bytes(2**28 + 2**26)})
    refuses(path, "model.weights.h5 would take 335,544,320 bytes")
    path = write(tmp_path / "b.keras", MODEL, members={"config.json": b" " * (2**24 + 1)})
    refuses(path, "config.json would take 16,777,217 bytes")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("[" * 100_000, "nested too deep"),
        ("{", "is not JSON"),
        ("[1]", "the configuration of the model is not as Keras writes it"),
        (json.dumps({"class_name": "Sequential", "config": {"layers": 3}}), "is not as Keras writes it"),
        (
            json.dumps(
                sequential(start(None, 3), {"class_name": "Dense", "config": {"name": "a", "dtype": "float32"}})
            ),
            "KeyError",
        ),
    ],
)
def test_configurations_that_keras_does_not_write(config, says, tmp_path, at_hand):
    refuses(write(tmp_path / "model.keras", MODEL, members={"config.json": config}), says)


@pytest.mark.parametrize("version", ["9" * 10_000, "1.2", "", "21.0", "\ud800"])
def test_versions_that_keras_does_not_have(version, tmp_path, at_hand):
    refuses(write(tmp_path / "model.keras", MODEL, KERNEL, version), "was written by Keras", s2o.ImportRefused)


def test_a_configuration_that_is_not_utf_8(tmp_path, at_hand):
    path = legacy(tmp_path, lambda file, _: file.attrs.__setitem__("model_config", b'{"class_name": "\xff"}'))
    refuses(path, "the configuration: is not JSON")


def test_a_model_of_any_name_is_exported(tmp_path, at_hand):
    model = sequential(start(None, 3), layer("Dense", "\ud800*/", **DENSE))
    model["config"]["name"] = "\ud800\n" * 1000
    s2o.export(s2o.from_keras(write(tmp_path / "model.keras", model, KERNEL)), tmp_path / "out.onnx")
    assert s2o.load(tmp_path / "out.onnx").predict([np.zeros((4, 3), "f")])[0].shape == (4, 2)


def test_layers_that_read_each_other_are_an_error(tmp_path, at_hand):
    def reading(name, other):
        tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": [other, 0, 0]}}
        return layer("ReLU", name) | {"inbound_nodes": [{"args": [tensor], "kwargs": {}}]}

    circle = functional(start(None, 3), reading("a", "b"), reading("b", "a"), outputs=["b"])
    refuses(write(tmp_path / "a.keras", circle), "read each other in a circle")
    gap = functional(start(None, 3), reading("a", "nowhere"), outputs=["a"])
    refuses(write(tmp_path / "b.keras", gap), "reads 'nowhere', which the model does not have")
    end = functional(start(None, 3), reading("a", "x"), outputs=["b"])
    refuses(write(tmp_path / "c.keras", end), "the outputs of the model are not among its layers")


@pytest.mark.parametrize(
    ("entry", "arrays", "says"),
    [
        (layer("Dense", **DENSE), {}, r"dense .Dense.: expected the weights kernel, bias in the file, got \[\]"),
        (layer("Dense", **DENSE), weights("dense", (3, 2)), r"expected the weights kernel, bias"),
        (layer("Dense", **DENSE), weights("dense", (4, 2), (2,)), r"kernel has the shape \[4, 2\], expected \[3, 2\]"),
        (layer("Dense", **DENSE), weights("dense", (3, 2), (1,)), r"bias has the shape \[1\], expected \[2\]"),
        (layer("LSTM", **LSTM), lstm(5, 2), r"kernel has the shape \[5, 8\], expected \[3, 8\]"),
        (layer("LSTM", **LSTM), lstm(3, 4), r"kernel has the shape \[3, 16\], expected \[3, 8\]"),
    ],
)
def test_weights_that_do_not_fit_are_named(entry, arrays, says, tmp_path, at_hand):
    refuses(write(tmp_path / "model.keras", sequential(start(None, 3), entry), arrays), says)


def test_weights_that_are_not_finite_are_never_proven(tmp_path, at_hand):
    arrays = {name: np.full_like(array, np.nan) for name, array in KERNEL.items()}
    refuses(write(tmp_path / "model.keras", MODEL, arrays), "source itself answers NaN or infinity", s2o.ImportRefused)


ODD = (None, -1, 0, 3, 10**12, 1e300, 0.5, "x", "relu", True, [], {}, [1], [[0]], [None, None, 3], {"class_name": "f"})


def places(value, path=()):
    """The path of each value in a configuration."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from places(inner, (*path, key))


@pytest.mark.parametrize("name", ["heads.keras", "nested.h5", "masked.keras", "conv_strided.h5"])
def test_configurations_with_any_value_anywhere_give_our_errors(name, tmp_path, at_hand, monkeypatch):
    with archive("keras3") as file:
        (tmp_path / name).write_bytes(file.read(name))
    found = keras_file.contents(str(tmp_path / name))
    monkeypatch.setattr(proof, "prove", lambda *_, **__: 0.0)
    rng, refused = random.Random(0), 0
    for _ in range(60):
        config = json.loads(found["config"])
        path = rng.choice([path for path in places(config) if "initializer" not in str(path)])
        inner = config
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = rng.choice(ODD)
        changed = found | {"config": json.dumps(config)}
        monkeypatch.setattr(keras_file, "read_apart", lambda *_, changed=changed, **__: dict(changed))
        try:
            s2o.from_keras(tmp_path / name, masks="lengths")
        except (s2o.ModelFileError, s2o.ImportRefused):
            refused += 1
    assert 15 < refused < 60
