"""The predictions for a data set as a table: CSV, parquet or npz."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import warnings
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import require
from seq2onnx.evaluation.quantiles import quantile_names

if TYPE_CHECKING:
    from seq2onnx.runtime import Predictor


@dataclasses.dataclass(frozen=True)
class Predictions:
    """A table with one row for each sequence, or one for each step of each sequence.

    Attributes:
        first: the number of the first sequence.
        lengths: the rows of each sequence if there is one row per step, else None.
        labels: the label of each row, with None for an unknown one; None without classes.
        scores: the scores of all rows [rows, …].
        names: the names of the columns of scores.
        classes: all labels, or None.
        ids: the name of each sequence, or None.
        steps: the step of each row, in a table of events; None: each sequence has all steps.
        seconds: when each of these steps is known; None if the file has no sample rate.
    """

    first: int
    lengths: list[int] | None
    labels: NDArray[Any] | None
    scores: NDArray[Any]
    names: Sequence[str | int]
    classes: Sequence[str | int] | None
    ids: Sequence[str] | None = None
    steps: NDArray[Any] | None = None
    seconds: NDArray[np.float64] | None = None

    @property
    def sequences(self) -> int:
        """The number of sequences."""
        return len(self.scores if self.lengths is None else self.lengths)

    def csv(self) -> bytes:
        """A CSV file: index, id (with ids), step (with one row per step), label (with classes), and the scores."""
        columns = self._leading_columns()
        table = io.StringIO(newline="")
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow([*columns, *self._score_names(columns)])
        cells = [column.tolist() for column in columns.values()]
        for *leading, scores in zip(*cells, self._score_rows(), strict=True):
            writer.writerow([*leading, *(f"{score:.7g}" for score in scores)])
        return table.getvalue().encode(errors="surrogateescape")  # the ids may be names of files

    def parquet(self) -> bytes:
        """A parquet file with the columns of the CSV file; an unknown label is null."""
        require("pyarrow", extra="data")
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns: dict[str, Any] = dict(self._leading_columns())
        if "label" in columns:  # takes its type from the classes, even if no label is known
            columns["label"] = pa.array(columns["label"].tolist(), pa.array(self.classes).type)
        arrays = [*map(pa.array, columns.values()), *map(pa.array, self._score_rows().T)]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_arrays(arrays, [*columns, *self._score_names(columns)]), buffer)
        return buffer.getvalue()

    def npz(self) -> bytes:
        """An npz file: scores, labels ("" if unknown), ids; with one row per step also lengths, steps and seconds."""
        arrays: dict[str, NDArray[Any]] = {"scores": self.scores}
        if self.lengths is not None:
            arrays["lengths"] = np.array(self.lengths, np.int32)
        if self.steps is not None:
            arrays["steps"] = self.steps
        if self.seconds is not None:
            arrays["seconds"] = self.seconds
        if self.labels is not None:
            arrays["labels"] = np.array(["" if label is None else str(label) for label in self.labels])
        if self.ids is not None:
            arrays["ids"] = np.array(self.ids, np.str_)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    def _leading_columns(self) -> dict[str, NDArray[Any]]:
        index = np.arange(self.first, self.first + self.sequences)
        columns: dict[str, NDArray[Any]] = {"index": index}
        if self.ids is not None:
            columns["id"] = np.array(self.ids, np.str_)
        if self.lengths is not None:
            columns = {name: np.repeat(values, self.lengths) for name, values in columns.items()}
            every = np.concatenate([np.arange(length) for length in self.lengths]) if self.lengths else np.arange(0)
            columns["step"] = every if self.steps is None else self.steps
        if self.seconds is not None:
            columns["seconds"] = self.seconds.round(6)
        return columns if self.labels is None else columns | {"label": self.labels}

    def _score_names(self, columns: Collection[str]) -> list[str]:
        """The names of the scores; a class with the name of another column has "score" before it."""
        return [f"score {name}" if name in columns else str(name) for name in self.names]

    def _score_rows(self) -> NDArray[Any]:
        return self.scores.reshape(len(self.scores), len(self.names))


def predict_table(model: Predictor, sequences: Any, batch_size: int | None, first: int = 0) -> Predictions:
    """Run a network with one output; `first` is the number of the first sequence. A data set may have ids."""
    from seq2onnx.runtime import scores_to_labels

    if model.contract.answer == "events":
        return event_table(model, sequences, batch_size, first)
    scores, lengths = model.predict(sequences, batch_size=batch_size), None
    if model.closed_loop:
        scores = list(scores)  # from [sequences, steps, …]
    if isinstance(scores, list):
        lengths, scores = list(map(len, scores)), np.concatenate(scores)
    labels = scores_to_labels(scores, model.classes) if model.classes else None
    ids = getattr(sequences, "ids", None)
    return Predictions(first, lengths, labels, scores, column_names(model), model.classes, ids)


def column_names(model: Predictor) -> list[Any]:
    """Return the names of the columns of the first output: its classes or quantiles, or y0, y1, and so on."""
    shape = model.model.outputs[0].shape
    count = math.prod(shape[1:] if model.closed_loop else shape)  # of one step
    if names := quantile_names(model.quantiles or ()):
        return names if count == len(names) else [f"y{k}_{q}" for k in range(count // len(names)) for q in names]
    return model.classes or [f"y{k}" for k in range(count)]


def begins(y: NDArray[Any], before: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where alarms begin in `y` [time, classes], after the step `before` [classes]."""
    return (y > 0) & ~(np.concatenate([before[None], y])[:-1] > 0)


def event_table(model: Predictor, sequences: Any, batch_size: int | None = None, first: int = 0) -> Predictions:
    """Return a row for each alarm that begins: step, seconds, class, and the score if the file outputs what is read."""
    from seq2onnx.runtime.outputs import seconds_of_steps

    alarm = model.contract.output_layers[0]
    layers = list(model.contract.layers)
    source = (model.contract.layers[alarm][1].get("inputs") or [layers[layers.index(alarm) - 1]])[0]
    read = [source] if source in model.model.activations else []
    found = model.predict(sequences, outputs=[alarm, *read], batch_size=batch_size)
    for index, y in enumerate(found[alarm], first):
        if np.isnan(y).any():
            warnings.warn(f"sequence {index} contains NaN or infinity, so its alarms are not known", stacklevel=2)
    begun = [np.nonzero(begins(y, np.zeros(y.shape[1]))) for y in found[alarm]]  # steps and places
    steps, places = (np.concatenate(parts) for parts in zip(*begun, strict=True))
    scores = [np.concatenate([y[at] for y, at in zip(found[layer], begun, strict=True)]) for layer in read]
    names = np.array(column_names(model), object)
    return Predictions(
        first,
        [len(at) for at, _ in begun],
        names[places],
        np.array(scores, np.float32).reshape(len(read), len(steps)).T,
        ["score"] * len(read),
        names.tolist(),
        getattr(sequences, "ids", None),
        steps,
        seconds_of_steps(model.contract, model.model.outputs[0], steps),
    )
