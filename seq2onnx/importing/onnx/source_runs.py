"""Runs of a foreign ONNX file in onnxruntime, whatever sizes it takes: the source of the comparison."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, helper

from seq2onnx.importing.axes import Axes, batch_first, step_letters
from seq2onnx.importing.onnx.graph import RunFailed, run
from seq2onnx.importing.onnx.graph_parts import Array, replace
from seq2onnx.importing.onnx.size_limits import check_sizes
from seq2onnx.importing.onnx.tracing import declared, other_inputs

CHECKED = 100
"""Longer runs than this may need much more memory than the traced ones, so their sizes are checked, too."""


SUMS = ("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2")


def with_wide_sums(model: ModelProto, values: Mapping[str, Array]) -> ModelProto:
    """Return the graph with its float32 sums over axes calculated in float64; `values` has its tensors in some run."""
    wide = ModelProto()
    wide.CopyFrom(model)
    nodes = []
    for node in wide.graph.node:
        nodes.append(node)
        if node.op_type in SUMS and getattr(values.get(node.input[0]), "dtype", "") == np.float32:
            x, (y,) = f"{node.output[0]}_wide_x", node.output
            nodes.insert(-1, helper.make_node("Cast", [node.input[0]], [x], to=TensorProto.DOUBLE))
            node.input[0], node.output[0] = x, f"{y}_wide"
            nodes.append(helper.make_node("Cast", [node.output[0]], [y], to=TensorProto.FLOAT))
    replace(wide.graph.node, nodes)
    return wide


@dataclasses.dataclass(frozen=True)
class FileOutput:
    """An output of a foreign file that the import keeps.

    Attributes:
        name: the output of the foreign file.
        layer: the name of its layer.
        shape: the shape of one step, or of one row if it has no time.
        has_time: whether it has a row for each step.
        dtype: its type, float32 or int64.
    """

    name: str
    layer: str
    shape: tuple[int, ...]
    has_time: bool
    dtype: str


@dataclasses.dataclass(frozen=True)
class OnnxSource:
    """A foreign file, plain and open, that can be asked for its answers.

    `axes` are the letters of the input `data`, `signals` the axes of the answers by output. For each state that is an
    input, `states` has the output that continues it. With `by_step`, the file takes one step at a time.
    """

    model: ModelProto
    session: onnxruntime.InferenceSession
    data: str
    axes: str
    answers: Sequence[FileOutput]
    signals: Mapping[str, Axes]
    states: Mapping[str, str] = dataclasses.field(default_factory=dict)
    by_step: bool = False

    def _declared(self, letter: str) -> int | None:
        entry = next(entry for entry in self.model.graph.input if entry.name == self.data)
        sizes = declared(entry) or [None] * len(self.axes)
        return dict(zip(self.axes, sizes, strict=True)).get(letter, 1 if letter == "B" else None)

    @property
    def steps(self) -> int | None:
        """The only number of steps that it takes, or None."""
        return None if self.by_step else self._declared("T")

    def __call__(self, x: Array, lengths: Array | None = None) -> dict[str, Array]:
        """Return each answer by its layer, [batch, time, K] or [batch, K], for x [batch, time, …] of the contract.

        `lengths` [batch] go to the inputs that take them; None: all rows are whole. Answers for the whole sequence are
        left out where the file takes only longer ones.
        """
        rows = self._declared("B")
        if rows is None:
            try:
                return self._run(x, lengths)
            except RunFailed:  # the batch is fixed inside: one row at a time
                rows = 1
        own = [None] * len(x) if lengths is None else [np.repeat(n, rows) for n in lengths]
        parts = [self._run(np.repeat(row[None], rows, 0), n) for row, n in zip(x, own, strict=True)]
        return {name: np.concatenate([part[name][:1] for part in parts]) for name in parts[0]}

    def _run(self, x: Array, lengths: Array | None) -> dict[str, Array]:
        if self.by_step:
            return self._run_steps(x)
        count, fixed = x.shape[1], self.steps
        if fixed is not None:
            x = np.concatenate([x, np.zeros((len(x), fixed - count, *x.shape[2:]), x.dtype)], 1)
        feeds = other_inputs(self.model.graph, self.data, len(x), x.shape[1], self.states)
        if lengths is not None:
            takes = {name for name, value in feeds.items() if value.dtype.kind in "iu" and name not in self.states}
            feeds |= {name: lengths.astype(feeds[name].dtype) for name in takes}
        feeds[self.data] = self._arrange(x)
        if x.shape[1] > CHECKED:
            check_sizes(self.model, feeds)
        found = run(self.session, feeds)
        answers = {}
        for answer in self.answers:
            y = self._read(answer, found[answer.name], len(x))
            if answer.has_time or fixed in (None, count):
                answers[answer.layer] = y[:, :count] if answer.has_time else y
        return answers

    def _run_steps(self, x: Array) -> dict[str, Array]:
        start = other_inputs(self.model.graph, self.data, len(x), 1, self.states)
        state = {name: start[name] for name in self.states}
        steps = []
        for t in range(x.shape[1]):
            found = run(self.session, state | {self.data: self._arrange(x[:, t : t + 1])})
            state = {name: found[new] for name, new in self.states.items()}
            steps.append({answer.layer: found[answer.name].reshape(len(x), -1) for answer in self.answers})
        return {name: np.stack([step[name] for step in steps], 1) for name in steps[0]}

    def _arrange(self, x: Array) -> Array:
        """Bring x of the contract to the layout of the file."""
        letters = f"BT{step_letters(self.axes) or 'C'[: x.ndim - 2]}"
        for letter in letters:
            if letter not in self.axes:
                x, letters = np.squeeze(x, letters.index(letter)), letters.replace(letter, "")
        entry = next(entry for entry in self.session.get_inputs() if entry.name == self.data)
        dtype = np.int32 if entry.type == "tensor(int32)" else x.dtype
        return np.ascontiguousarray(x.transpose([letters.index(letter) for letter in self.axes]), dtype)

    def _read(self, answer: FileOutput, y: Array, rows: int) -> Array:
        """Bring an answer of the file to the layout [B, T, K] or [B, K]."""
        signal = self.signals[answer.name]
        sizes = {"": 1, "B": rows, "T": y.size // (rows * math.prod(answer.shape))}
        shape = [
            math.prod(sizes[each] for each in letters) if letters else size
            for letters, size in zip(signal.axes, signal.shape, strict=True)
        ]
        if math.prod(shape) != y.size:  # axes of size 1 may be missing, where a Squeeze has removed them
            raise RunFailed(f"{answer.name} has the shape {list(y.shape)}, expected {shape}")
        return batch_first(y, signal.axes, shape, rows)
