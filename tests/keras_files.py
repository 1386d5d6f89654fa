"""Keras files for tests: those that Keras wrote (tests/files/keras), and small ones written here without Keras."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np

FOLDER = Path(__file__).parent / "files/keras"


def archive(generation: str) -> zipfile.ZipFile:
    """The files that a generation of Keras wrote: keras2 or keras3."""
    return zipfile.ZipFile(FOLDER / f"{generation}.zip")


def layer(kind, name=None, **config):
    """The configuration of a layer of a Sequential model."""
    return {"class_name": kind, "config": {"name": name or kind.lower(), "trainable": True, **config}}


def start(*shape):
    """An Input."""
    return layer("InputLayer", "x", batch_shape=[None, *shape])


def call(entry, *reads, times=1, **kwargs):
    """A layer of a Functional model, called with these: names of layers, or a name and the number of the output."""
    ends = [(read, 0) if isinstance(read, str) else read for read in reads]
    tensors = [{"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, i]}} for name, i in ends]
    args = tensors if len(tensors) == 1 else [tensors]
    return entry | {"inbound_nodes": [{"args": args, "kwargs": kwargs}] * times}


def functional(*entries, outputs, inputs=("x",)):
    """A Functional model."""
    entries = [entry if "inbound_nodes" in entry else entry | {"inbound_nodes": []} for entry in entries]
    ends = {"input_layers": [[name, 0, 0] for name in inputs], "output_layers": [[name, 0, 0] for name in outputs]}
    return {"class_name": "Functional", "config": {"name": "model", "layers": entries, **ends}}


def sequential(*entries):
    """A Sequential model."""
    return {"class_name": "Sequential", "config": {"name": "model", "layers": list(entries)}}


def weights(path="dense", *shapes, seed=0):
    """Random arrays of a layer, by their place in a .keras file."""
    rng = np.random.default_rng(seed)
    return {f"layers/{path}/vars/{i}": rng.normal(size=shape).astype("f") / 2 for i, shape in enumerate(shapes)}


def lstm(features, units, path="lstm"):
    """Random arrays of an LSTM."""
    return weights(f"{path}/cell", (features, 4 * units), (units, 4 * units), (4 * units,))


LSTM = {"units": 2, "use_bias": True, "activation": "tanh", "recurrent_activation": "sigmoid", "return_sequences": True}
DENSE = {"units": 2, "use_bias": True, "activation": "linear"}


def write(path, model, arrays=(), version="3.5.0", edit=None, members=()):
    """Write a .keras file; edit(file) may change the HDF5 file in it."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in dict(arrays).items():
            file[name] = array
        if edit:
            edit(file)
    texts = {"metadata.json": json.dumps({"keras_version": version}), "config.json": json.dumps(model)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in ({**texts, "model.weights.h5": buffer.getvalue()} | dict(members)).items():
            file.writestr(name, content)
    return path
