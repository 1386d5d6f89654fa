"""The laws that every network obeys; test_layers.py holds every layer to them, through a small network.

A law takes a Subject and raises AssertionError, naming the tensor. Tolerances are relative to
max(1, largest number of the reference).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import onnxruntime
import torch

import seq2onnx as s2o
from seq2onnx.errors import NotStreamable
from seq2onnx.exporting import build_model
from seq2onnx.exporting.restorer import read_model
from tests import reference

FLOAT32 = 1e-5  # three implementations that round at other places: a few hundred roundings of 6e-8
SAME = 1e-6  # one implementation on other batches: its matrix products may sum in another order


@dataclasses.dataclass
class Subject:
    """A network with random distinct weights, in torch and exported with each signature it can have."""

    network: s2o.Network
    seed: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        torch.manual_seed(self.seed)
        self.module = s2o.build(self.network).eval()
        with torch.no_grad():
            for parameter in self.module.parameters():
                parameter.copy_(torch.from_numpy(self.rng.normal(0, 0.5, parameter.shape).astype("f")))
        self.weights = {
            name: {key: value.numpy() for key, value in layer.state_dict().items()}
            for name, layer in self.module.layers.items()
        }
        self.output = self.network.signals[self.network.outputs[0]]
        try:
            self.states = self.network.states()
            self.signatures = ["full", "sequence", "stream"]
        except NotStreamable:
            self.states = ()
            self.signatures = ["sequence"]
        self.models = {name: build_model(self.network, self.weights, name) for name in self.signatures}
        self.sessions = {name: open_session(model) for name, model in self.models.items()}

    def x(self, batch: int, time: int) -> np.ndarray:
        (entry,) = self.network.inputs
        return self.rng.normal(size=(batch, time, *self.network.signals[entry.name].shape)).astype("f")

    def state(self, batch: int) -> list[np.ndarray]:
        """States that the network can really be in: those that some random steps leave."""
        with torch.no_grad():
            return [s.numpy() for s in self.module(torch.from_numpy(self.x(batch, 6)))[2]]

    def zeros(self, batch: int) -> list[np.ndarray]:
        return [s.numpy() for s in self.module.initial_state(batch)]

    def torch(self, x, lengths=None, states=None):
        """(y, new states) in numpy."""
        with torch.no_grad():
            y, _, new = self.module(
                torch.from_numpy(x),
                None if lengths is None else torch.from_numpy(lengths),
                None if states is None else tuple(torch.from_numpy(s) for s in states),
            )
        return y.numpy(), [s.numpy() for s in new]

    def onnxruntime(self, signature, x, lengths=None, states=None):
        """(y, new states)."""
        feeds = {"x": x}
        if signature != "stream":
            feeds["lengths"] = np.full(len(x), x.shape[1], "i4") if lengths is None else lengths
        if signature != "sequence":
            states = self.zeros(len(x)) if states is None else states
            feeds |= {s.input_name: array for s, array in zip(self.states, states, strict=True)}
        y, *new = self.sessions[signature].run(None, feeds)
        return y, new

    def valid(self, y, lengths):
        """y without what stands past the ends: rows, or the valid steps of all rows."""
        return [row[:count] for row, count in zip(y, lengths, strict=True)] if self.output.has_time else list(y)


def open_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def close(found, expected, tolerance, what) -> None:
    """Raise unless the arrays, or lists of arrays, agree."""
    if isinstance(expected, list):
        assert len(found) == len(expected), f"{what}: {len(found)} arrays, expected {len(expected)}"
        for index, (a, b) in enumerate(zip(found, expected, strict=True)):
            close(a, b, tolerance, f"{what}[{index}]")
        return
    assert np.shape(found) == np.shape(expected), f"{what}: {np.shape(found)}, expected {np.shape(expected)}"
    error = np.max(np.abs(np.asarray(found, float) - expected), initial=0.0)
    limit = tolerance * np.max(np.abs(expected), initial=1.0)
    assert error <= limit, f"{what}: differs by {error:.2e}, allowed {limit:.2e}"


def three_agree(subject: Subject) -> None:
    """torch = onnxruntime = reference on y and new states, from random states, rows and chunks of none too."""
    for lengths in ([5, 0, 3, 1], [0, 0], [4]):
        count = np.array(lengths, "i4")
        for time in {max(lengths), max(lengths) + 2}:
            x = subject.x(len(count), time)
            for states in [subject.state(len(count)), None] if subject.states else [None]:
                start = states or subject.zeros(len(count))
                rows = [
                    reference.run(subject.network, subject.weights, x[i, :n], [s[i] for s in start])
                    for i, n in enumerate(count)
                ]
                expected = [row[0] for row in rows]
                new = [np.stack(parts) for parts in zip(*(row[1] for row in rows), strict=True)]
                y, found = subject.torch(x, count, states)
                close(subject.valid(y, count), expected, FLOAT32, f"torch y, {lengths}")
                close(found, new, FLOAT32, f"torch new states, {lengths}")
                for signature in subject.signatures:
                    if (signature == "sequence" and states) or (signature == "stream" and set(lengths) != {time}):
                        continue
                    y, found = subject.onnxruntime(signature, x, count, states)
                    close(subject.valid(y, count), expected, FLOAT32, f"{signature} y, {lengths}")
                    if signature != "sequence":
                        close(found, new, FLOAT32, f"{signature} new states, {lengths}")


def rows_stand_alone(subject: Subject) -> None:
    """A row's result does not change with its batch mates, nor with what stands in the padding."""
    lengths = np.array([7, 2, 0, 4], "i4")
    x = subject.x(4, 9)
    states = subject.state(4) if subject.states else None
    poisoned = x.copy()
    for row, count in zip(poisoned, lengths, strict=True):
        row[count:] = np.nan

    def check(run, name):
        y, new = run(x, lengths, states)
        z, spoiled = run(poisoned, lengths, states)
        assert np.isfinite(z).all(), f"{name} y: not finite past the end of a row whose padding is NaN"
        close(subject.valid(z, lengths), subject.valid(y, lengths), 0, f"{name} y with NaN as padding")
        close(spoiled, new, 0, f"{name} new states with NaN as padding")
        for i, count in enumerate(lengths):
            own = None if states is None else [s[i : i + 1] for s in states]
            alone, alone_new = run(x[i : i + 1, :count], lengths[i : i + 1], own)
            close(
                subject.valid(alone, [count])[0],
                subject.valid(y, lengths)[i],
                SAME,
                f"{name} y of row {i} alone",
            )
            close([s[0] for s in alone_new], [s[i] for s in new], SAME, f"{name} new states of row {i} alone")

    check(subject.torch, "torch")
    if subject.states or "full" in subject.signatures:
        check(lambda *a: subject.onnxruntime("full", *a), "full")
    else:
        check(lambda *a: subject.onnxruntime("sequence", *a), "sequence")


def whole_equals_chunks(subject: Subject, splits: list[list[int]]) -> None:
    """A run over whole rows = runs over any chunks of them; `splits` has for each row its chunks' lengths."""
    totals = np.array([sum(row) for row in splits], "i4")
    x = subject.x(len(splits), int(totals.max()))
    y, end = subject.onnxruntime("full", x, totals)
    whole = subject.valid(y, totals)

    def chunked(run, parts, name):
        states, found, at = subject.zeros(len(splits)), [[] for _ in splits], np.zeros(len(splits), int)
        last = None
        for counts in parts:
            piece = np.zeros((len(splits), int(max(counts)), *x.shape[2:]), "f")
            for row, count in enumerate(counts):
                piece[row, :count] = x[row, at[row] : at[row] + count]
            last, states = run(piece, np.array(counts, "i4"), states)
            at += counts
            for row, answer in enumerate(subject.valid(last, counts)):
                found[row].append(answer)
        joined = [np.concatenate(rows) for rows in found] if subject.output.has_time else list(last)
        close(joined, whole, FLOAT32, f"{name} y in chunks")
        close(states, end, FLOAT32, f"{name} new states in chunks")

    longest = max(len(row) for row in splits)
    parts = list(zip(*(row + [0] * (longest - len(row)) for row in splits), strict=True))
    chunked(lambda *a: subject.onnxruntime("full", *a), parts, "full")
    chunked(subject.torch, parts, "torch")
    if len(splits) == 1:
        chunked(lambda piece, counts, states: subject.onnxruntime("stream", piece, None, states), parts, "stream")


def survives(subject: Subject, folder) -> None:
    """spec -> YAML, JSON -> spec; spec -> ONNX -> restore -> the same weights; the file passes the full check."""
    for suffix in ("yaml", "json"):
        subject.network.save(folder / f"net.{suffix}")
        assert s2o.Network.load(folder / f"net.{suffix}") == subject.network
    for signature, model in subject.models.items():
        onnx.checker.check_model(model, full_check=True)
        path = folder / f"{signature}.onnx"
        path.write_bytes(model.SerializeToString())
        network, weights = read_model(path)
        assert network == subject.network
        for layer, arrays in subject.weights.items():
            assert sorted(weights[layer]) == sorted(arrays)
            for name, array in arrays.items():
                assert np.array_equal(weights[layer][name], array), f"{layer}.{name}: restored otherwise"
    restored = s2o.restore(path)
    x = subject.x(2, 3)
    y = restored(torch.from_numpy(x))[0].detach().numpy()
    close(y, subject.torch(x)[0], 0, "y of the restored module")
