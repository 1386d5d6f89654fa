"""What a network answered, as a table: a row a sequence, or a row a step."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import require

if TYPE_CHECKING:
    from seq2onnx.runtime import Predictor


@dataclasses.dataclass(frozen=True)
class Answers:
    """The scores of some sequences that follow one another, and their labels.

    scores: [sequences, …], or where there is a row a step a list of [time, …]; labels: of each row, or None without
    classes; names: of the columns of scores; first: the number of the first sequence
    """

    scores: Any
    labels: Any
    names: Sequence[str | int]
    classes: Sequence[str | int] | None
    first: int = 0

    def csv(self) -> bytes:
        """index, step where there is one a row, label, scores."""
        table = io.StringIO(newline="")
        writer = csv.writer(table, lineterminator="\n")
        per_step = isinstance(self.scores, list)
        writer.writerow(["index", *["step"] * per_step, *["label"] * (self.labels is not None), *self.names])
        for index, answer in enumerate(self.scores):
            for step, row in enumerate(answer.reshape(len(answer) if per_step else 1, -1)):
                label = [] if self.labels is None else [np.atleast_1d(self.labels[index])[step]]
                scores = (f"{score:.7g}" for score in row)
                writer.writerow([self.first + index, *[step] * per_step, *label, *scores])
        return table.getvalue().encode()

    def parquet(self) -> bytes:
        """The columns of the CSV file; a label that is not known is null."""
        require("pyarrow", extra="data")
        import pyarrow as pa
        import pyarrow.parquet as pq

        scores, labels = self.scores, self.labels
        index = np.arange(self.first, self.first + len(scores))
        columns: dict[str, Any] = {}
        if isinstance(scores, list):
            columns["index"] = np.repeat(index, [len(rows) for rows in scores])
            columns["step"] = np.concatenate([np.arange(len(rows)) for rows in scores])
            scores = np.concatenate(scores)
            labels = None if labels is None else np.concatenate(labels)
        else:
            columns["index"] = index
        if labels is not None:
            # Of the type that the classes have, also where no label is known.
            columns["label"] = pa.array(labels.tolist(), pa.array(self.classes).type)
        scores = scores.reshape(len(scores), len(self.names))
        columns |= {str(name): column for name, column in zip(self.names, scores.T, strict=True)}
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns), buffer)
        return buffer.getvalue()

    def npz(self) -> bytes:
        """scores (a row a sequence, or a step), labels ("" where there is none), and per step lengths."""
        arrays: dict[str, NDArray[Any]] = {}
        labels = self.labels
        if isinstance(self.scores, list):
            arrays["lengths"] = np.array([len(rows) for rows in self.scores], np.int32)
            labels = None if labels is None else np.concatenate(labels)
        arrays["scores"] = np.concatenate(self.scores) if isinstance(self.scores, list) else self.scores
        if labels is not None:
            arrays["labels"] = np.array(["" if label is None else str(label) for label in labels])
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()


def answer(model: Predictor, sequences: Any, batch_size: int | None, first: int = 0) -> Answers:
    """The answers of a network with one output; first: the number of the first sequence."""
    from seq2onnx.runtime import scores_to_labels

    scores = model.predict(sequences, batch_size=batch_size)
    if model.closed_loop:  # [sequences, steps, …]
        scores = list(scores)
    labels = scores_to_labels(scores, model.classes) if model.classes else None
    names = model.classes or _columns(model.model.outputs[0].shape[bool(model.closed_loop) :])
    return Answers(scores, labels, names, model.classes, first)


def _columns(shape: tuple[int, ...]) -> list[str]:
    """Names for numbers that are no scores of classes."""
    return [f"y{k}" for k in range(math.prod(shape))]
