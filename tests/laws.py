"""The laws that every network obeys; test_layers.py holds every layer to them, test_random.py random networks.

A law takes a Subject and raises AssertionError, naming the tensor. Tolerances are relative to
max(1, largest number of the reference).
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

import seq2onnx as s2o
from seq2onnx.contract import input_names, output_names
from seq2onnx.errors import NotStreamable
from seq2onnx.exporting import ExportOptions, build_model
from seq2onnx.exporting.restorer import read_model
from tests import reference
from tests.comparison import FLOAT32, KINDS_HERE, SAME, close

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass
class Answer:
    """What a run gave: by output the valid steps of each row, or its vector; raw, all that came; new states."""

    y: dict[str, list[np.ndarray]]
    raw: Arrays
    states: list[np.ndarray]


class Subject:
    """A network with random distinct weights, in torch and exported with each signature it can have."""

    def __init__(self, network: s2o.Network, seed: int = 0, scale: float = 0.5) -> None:
        self.network, self.rng = network, np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.module = s2o.build(network).eval()
        with torch.no_grad():
            for name, tensor in self.module.state_dict().items():
                values = self.rng.normal(0, scale, tensor.shape).astype("f")
                # A variance is positive, and so far from zero that rounding is not what is divided by.
                tensor.copy_(torch.from_numpy(abs(values) + 0.5 if name.endswith("variance") else values))
        self.weights = {
            name: {key: value.numpy() for key, value in layer.state_dict().items()}
            for name, layer in self.module.layers.items()
        }
        self.states = self._states(False)
        self.lookahead_states = self._states(True)

    @cached_property
    def models(self) -> dict[str, onnx.ModelProto]:
        """The network, exported with each signature that it can have."""
        signatures = ["full", "sequence", "stream"] if self.states is not None else ["sequence"]
        models = {name: build_model(self.network, self.weights, ExportOptions(name)) for name in signatures}
        if self.lookahead_states is not None:
            for name in ("full", "stream"):
                model = build_model(self.network, self.weights, ExportOptions(name, lookahead=True))
                models[f"lookahead {name}"] = model
        return models

    @cached_property
    def sessions(self) -> dict[str, onnxruntime.InferenceSession]:
        """An open session for each model."""
        return {name: open_session(model) for name, model in self.models.items()}

    def _states(self, lookahead):
        try:
            return self.network.states(lookahead)
        except NotStreamable:
            return None

    def x(self, batch: int, time: int) -> Arrays:
        """Random data for every input, with gaps where values may be missing."""
        entering = {}
        for layer in self.network.inputs:
            signal = self.network.signals[layer.name]
            shape = (batch, time, *signal.shape) if signal.has_time else (batch, *signal.shape)
            tokens = signal.dtype == "int64"
            entering[layer.name] = (
                self.rng.integers(-1, 8, shape) if tokens else self.rng.normal(size=shape).clip(-2, 2).astype("f")
            )
            if signal.missing:
                for value in (np.nan, np.inf, -np.inf):
                    entering[layer.name][self.rng.random(shape) < 0.2] = value
        return entering

    def state(self, batch: int) -> list[np.ndarray] | None:
        """States that the network can really be in: those that some random steps leave."""
        if self.states is None:
            return None
        lengths = self.rng.integers(0, 9, batch).astype("i4")
        return self.torch(self.x(batch, 8), lengths, self.zeros(batch)).states

    def zeros(self, batch: int, lookahead: bool = False) -> list[np.ndarray]:
        states = self.lookahead_states if lookahead else self.states
        return [np.zeros((batch, *s.state.shape), s.state.dtype) for s in states or ()]

    def numbers(self, states: list[np.ndarray]) -> list[np.ndarray]:
        """States, where the carry of a sum is added to it: how a sum is split may be rounded anew."""
        joined: list[np.ndarray] = []
        for entry, array in zip(self.states, states, strict=True):
            if entry.state.name.endswith("carry"):  # it follows its sum
                joined[-1] = joined[-1].astype(float) + array
            else:
                joined.append(array)
        return joined

    def torch(self, x: Arrays, lengths: np.ndarray, states=None) -> Answer:
        tensors = {name: torch.from_numpy(array) for name, array in x.items()}
        with torch.no_grad():
            y, y_lengths, new = self.module(
                tensors if len(tensors) > 1 else next(iter(tensors.values())),
                torch.from_numpy(lengths),
                None if states is None else tuple(torch.from_numpy(s) for s in states),
                return_state=states is not None,
            )
        outputs = self.network.outputs
        ys, counts = (y, y_lengths) if len(outputs) > 1 else ({outputs[0]: y}, {outputs[0]: y_lengths})
        raw = {name: array.numpy() for name, array in ys.items()}
        return self._answer(raw, {name: counts[name] for name in outputs}, [s.numpy() for s in new])

    def onnxruntime(self, signature: str, x: Arrays, lengths: np.ndarray, states=None, end=None) -> Answer:
        inputs, session = input_names(layer.label for layer in self.network.inputs), self.sessions[signature]
        feeds: dict[str, Any] = {inputs[name]: array for name, array in x.items()}
        if "stream" not in signature:
            feeds["lengths"] = lengths
        infos = self.lookahead_states if "lookahead" in signature else self.states
        if signature != "sequence":
            feeds |= {s.input_name: array for s, array in zip(infos, states, strict=True)}
        if end is not None:
            feeds["end"] = end
        found = dict(zip((o.name for o in session.get_outputs()), session.run(None, feeds), strict=True))
        names = output_names(self.network.outputs)
        raw = {name: found[output] for name, output in names.items()}
        counts = {name: found.get(f"{output}_lengths", lengths) for name, output in names.items()}
        new = [] if signature == "sequence" else [found[s.output_name] for s in infos]
        return self._answer(raw, counts, new)

    def reference(self, x: Arrays, lengths: np.ndarray, states=None) -> Answer:
        """Row by row, of which each has its own steps alone."""
        ys: dict[str, list[np.ndarray]] = {name: [] for name in self.network.outputs}
        ends = []
        for i, n in enumerate(lengths):
            row = {k: a[i, :n] if self.network.signals[k].has_time else a[i] for k, a in x.items()}
            own = None if states is None else [s[i] for s in states]
            y, new = reference.run(self.network, self.weights, row, own)
            ends.append(new)
            for name in ys:
                ys[name].append(y[name])
        return Answer(ys, {}, [np.stack(parts) for parts in zip(*ends, strict=True)])

    def _answer(self, raw, counts, states) -> Answer:
        timed = {name: self.network.signals[name].has_time for name in raw}
        y = {
            name: [row[: int(n)] for row, n in zip(array, counts[name], strict=True)] if timed[name] else list(array)
            for name, array in raw.items()
        }
        return Answer(y, raw, states)


def open_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def all_of_them(subject: Subject, splits: list[list[int]], folder) -> None:
    """Every law."""
    KINDS_HERE.clear()
    KINDS_HERE.update(layer.kind for layer in subject.network.layers)
    three_agree(subject)
    rows_stand_alone(subject)
    whole_equals_chunks(subject, splits)
    whole_equals_chunks(subject, splits[:1])
    survives(subject, folder)


def agree(found: Answer, expected: Answer, tolerance: float, what: str, kind: str = "") -> None:
    close(found.y, expected.y, tolerance, f"{what} y", kind)
    if expected.states:
        close(found.states, expected.states, tolerance, f"{what} new states", kind)


def three_agree(subject: Subject) -> None:
    """torch = onnxruntime = reference, whole and from random states, rows and chunks of no steps too."""
    for lengths in ([5, 0, 3, 1, 7], [0, 0], [6, 6]):
        count = np.array(lengths, "i4")
        for time in {max(lengths), max(lengths) + 2}:
            x = subject.x(len(count), time)
            expected = subject.reference(x, count)
            expected.states = []
            agree(subject.torch(x, count), expected, FLOAT32, f"torch whole {lengths}", "reference")
            found = subject.onnxruntime("sequence", x, count)
            agree(found, expected, FLOAT32, f"sequence {lengths}", "reference")
            if subject.states is None:
                continue
            for states in (subject.zeros(len(count)), subject.state(len(count))):
                expected = subject.reference(x, count, states)
                agree(subject.torch(x, count, states), expected, FLOAT32, f"torch chunk {lengths}", "reference")
                found = subject.onnxruntime("full", x, count, states)
                agree(found, expected, FLOAT32, f"full {lengths}", "reference")
                if set(lengths) == {time}:
                    found = subject.onnxruntime("stream", x, count, states)
                    agree(found, expected, FLOAT32, f"stream {lengths}", "reference")


def poisoned(network: s2o.Network, x: Arrays, lengths: np.ndarray) -> Arrays:
    """Return x with NaN, or with an unknown token, in its padding."""
    found = {name: array.copy() for name, array in x.items()}
    for name, array in found.items():
        if network.signals[name].has_time:
            for row, count in zip(array, lengths, strict=True):
                row[count:] = np.nan if array.dtype == np.float32 else 99
    return found


def rows_stand_alone(subject: Subject) -> None:
    """A row's result does not change with its batch mates, nor with what stands in the padding."""
    lengths = np.array([7, 2, 0, 4, 9], "i4")
    x = subject.x(5, 11)
    bad = poisoned(subject.network, x, lengths)

    def check(run, states, name):
        clean, spoiled = run(x, lengths, states), run(bad, lengths, states)
        for output, array in spoiled.raw.items():
            assert np.isfinite(array).all(), f"{name} y of {output}: not finite where the padding is NaN"
        agree(spoiled, clean, 0, f"{name} with NaN as padding")
        for i, count in enumerate(lengths):
            own = None if states is None else [s[i : i + 1] for s in states]
            row = {
                k: a[i : i + 1, :count] if subject.network.signals[k].has_time else a[i : i + 1] for k, a in x.items()
            }
            alone = run(row, lengths[i : i + 1], own)
            for output, rows in clean.y.items():
                close(alone.y[output][0], rows[i], SAME, f"{name} y of row {i} alone", "batch mates")
            close([s[0] for s in alone.states], [s[i] for s in clean.states], SAME, f"{name} states of row {i} alone")

    check(subject.torch, None, "torch")
    check(lambda x, lengths, states: subject.onnxruntime("sequence", x, lengths), None, "sequence")
    if subject.states is not None:
        states = subject.state(5)
        check(subject.torch, states, "torch")
        check(lambda *a: subject.onnxruntime("full", *a), states, "full")
    if subject.lookahead_states is not None:
        states, end = subject.zeros(5, True), np.array([1, 0, 1, 0, 1], "i4")
        ends = {5: lambda i: end, 1: lambda i: end[i : i + 1]}
        row_numbers = iter([None, None, *range(5)])

        def run(x, lengths, states):
            i = next(row_numbers)
            return subject.onnxruntime("lookahead full", x, lengths, states, ends[len(lengths)](i))

        check(run, states, "lookahead full")


def whole_equals_chunks(subject: Subject, splits: list[list[int]]) -> None:
    """A run over whole rows = runs over any chunks of them; `splits` has for each row its chunks' lengths."""
    totals = np.array([sum(row) for row in splits], "i4")
    x = subject.x(len(splits), int(totals.max()))
    whole = subject.onnxruntime("sequence", x, totals)
    longest = max(len(row) for row in splits)
    parts = [list(part) for part in zip(*(row + [0] * (longest - len(row)) for row in splits), strict=True)]

    def chunked(run, states, name):
        found = {output: [[] for _ in splits] for output in whole.y}
        at = np.zeros(len(splits), int)
        for number, counts in enumerate(parts):
            piece = {
                key: np.zeros((len(splits), max(counts), *array.shape[2:]), array.dtype)
                if subject.network.signals[key].has_time
                else array
                for key, array in x.items()
            }
            for key, array in piece.items():
                if subject.network.signals[key].has_time:
                    for row, count in enumerate(counts):
                        array[row, :count] = x[key][row, at[row] : at[row] + count]
            at += counts
            # Rows whose last chunk this is; a row's end is not said twice.
            end = np.array([number == len(parts) - 1] * len(splits), "i4")
            answer = run(piece, np.array(counts, "i4"), states, end)
            states = answer.states
            for output, rows in answer.y.items():
                for row, y in enumerate(rows):
                    found[output][row].append(y)
        for output, rows in found.items():
            timed = subject.network.signals[output].has_time
            joined = [np.concatenate(r) if timed else r[-1] for r in rows]
            close(joined, whole.y[output], FLOAT32, f"{name} y of {output} in chunks", "whole = chunks")
        return states

    alone = len(splits) == 1
    if subject.states is not None:
        zeros = subject.zeros(len(splits))
        ends = subject.onnxruntime("full", x, totals, zeros).states
        runs = {
            "torch": lambda x, n, s, e: subject.torch(x, n, s),
            "full": lambda x, n, s, e: subject.onnxruntime("full", x, n, s),
        }
        if alone:
            runs["stream"] = lambda x, n, s, e: subject.onnxruntime("stream", x, n, s)
        for name, run in runs.items():
            found, expected = (subject.numbers(states) for states in (chunked(run, zeros, name), ends))
            close(found, expected, FLOAT32, f"{name} new states in chunks")
    if subject.lookahead_states is not None:
        for name in ("lookahead full", "lookahead stream")[: 1 + alone]:
            chunked(
                lambda x, n, s, e, name=name: subject.onnxruntime(name, x, n, s, e),
                subject.zeros(len(splits), True),
                name,
            )


def survives(subject: Subject, folder) -> None:
    """spec -> YAML, JSON -> spec; spec -> ONNX -> restore -> the same weights; the file passes the full check."""
    for suffix in ("yaml", "json"):
        subject.network.save(folder / f"net.{suffix}")
        assert s2o.Network.load(folder / f"net.{suffix}") == subject.network
    for signature, model in subject.models.items():
        onnx.checker.check_model(model, full_check=True)
        path = folder / f"{signature}.onnx"
        path.write_bytes(model.SerializeToString())
        network, weights, _ = read_model(path)
        assert network == subject.network
        for layer, arrays in subject.weights.items():
            assert sorted(weights[layer]) == sorted(arrays)
            for name, array in arrays.items():
                assert np.array_equal(weights[layer][name], array), f"{layer}.{name}: restored otherwise"
    module, subject.module = subject.module, s2o.restore(path)
    x, lengths = subject.x(2, 6), np.array([6, 4], "i4")
    restored = subject.torch(x, lengths)
    subject.module = module
    agree(subject.torch(x, lengths), restored, 0, "restored module")
