"""Source: the file that a package is made of, and its sample."""

from __future__ import annotations

import csv
import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import NotStreamable, SpecError
from seq2onnx.limits import STACK
from seq2onnx.runtime import Predictor, load, scores_to_labels
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.random_rows import random_sequences
from seq2onnx.sequences import Array
from seq2onnx.texts import identifier, markdown

SAMPLE_STEPS, SAMPLE_NUMBERS = 20, 2000  # at most, unless one stride or the least length needs more


@dataclasses.dataclass(frozen=True)
class Source:
    """The exported file that a package is made of.

    Attributes:
        path: the file.
        predictor: the file, open in onnxruntime.
        runtime_folder: where the runtime of the target is, for "web".
        stack: how many bytes of stack a step may take, for "c".
        weights: how the code of "c" has the weights; None: as the file stores them.
    """

    path: Path
    predictor: Predictor
    runtime_folder: Path | None = None
    stack: int = STACK
    weights: Literal["float32", "int8"] | None = None

    @classmethod
    def open(
        cls,
        path: str | Path,
        runtime_folder: str | Path | None = None,
        stack: int = STACK,
        weights: Literal["float32", "int8"] | None = None,
    ) -> Source:
        """Open a file that `export` or `add_states` wrote."""
        return cls(Path(path), load(path), None if runtime_folder is None else Path(runtime_folder), stack, weights)

    @property
    def model(self) -> Model:
        """The open file, which packages describe."""
        return self.predictor.model

    @property
    def title(self) -> str:
        """The name of the network; without one, of the file."""
        return str((self.model.contract.network or {}).get("name") or self.path.stem)

    @property
    def name(self) -> str:
        """The title as an identifier of C and the name of a file."""
        return identifier(self.title)

    @property
    def labels(self) -> list[str]:
        """The labels of the scores as text; empty if there are none."""
        return [str(label) for label in self.predictor.classes or ()]

    @property
    def features(self) -> int:
        """Numbers in a step of the only input."""
        return int(np.prod(self.model.inputs[0].shape, dtype=int))

    @property
    def outputs(self) -> int:
        """Numbers in a result of the only output."""
        return int(np.prod(self.model.outputs[0].shape, dtype=int))

    def check_runs_in(self, target: str) -> None:
        """Raise SpecError unless what `target` names can run it: one input of numbers, one output of vectors."""
        inputs, outputs = self.model.inputs, self.model.outputs
        names = [entry.layer for entry in inputs] + [output.layer for output in outputs]
        if len(names) > 2 or len(outputs[0].shape) > 1 or not inputs[0].has_time:
            raise SpecError(
                f"{self.path}: has the inputs and outputs {', '.join(names)}; {target} runs one input and one output, "
                "with vectors as results"
            )
        if outputs[0].dtype.kind != "f":
            raise SpecError(f"{self.path}: its output {names[-1]} has tokens, not numbers; add a layer that reads them")
        self.check_has_numbers(target)

    def check_has_numbers(self, target: str) -> None:
        """Raise SpecError if the file takes words, or gives results later than its steps."""
        if any(entry.takes_words for entry in self.model.inputs):
            raise SpecError(f"{self.path}: takes words; export it without words=True, so that it takes their numbers")
        if self.model.lookahead:
            raise SpecError(f"{self.path}: was exported with lookahead, which {target} does not run; export it without")

    def check_streams(self) -> None:
        """Raise NotStreamable unless the file streams."""
        if self.model.contract.signature == "sequence":
            raise NotStreamable(
                f"{self.path}: keeps no states; export it with signature full or stream, if the network can stream"
            )

    def write_sample(self, folder: Path) -> None:
        """Write sample_input.csv, a line for each step of the only input, and expected_output.csv.

        The answers are as `seq2onnx stream` prints them: the label, if any, and the scores.
        """
        ((entry, x),) = zip(self.model.inputs, self.sample.values(), strict=True)
        answers: list[list[Any]] = []
        for row in self.answers:
            labels = scores_to_labels(row[None], self.predictor.classes) if self.labels and row.size else ()
            answers.append([*labels, *(f"{score:.7g}" for score in row)])
        steps = [np.ravel(step).tolist() for step in (x if entry.has_time else [x])]
        for name, rows in (("sample_input", steps), ("expected_output", answers)):
            with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)

    def labels_text(self) -> str:
        """Return a paragraph with the labels; nothing if there are none."""
        return f"\nThe labels of the scores, in order: {self.listed_labels}.\n" if self.labels else ""

    @property
    def listed_labels(self) -> str:
        """The labels as Markdown."""
        return ", ".join(map(markdown, self.labels))

    @cached_property
    def sample(self) -> dict[str, Array]:
        """A short random sequence for each input layer, of whole strides; numbers have 4 decimals."""
        model = self.model
        stride, size = model.contract.time_stride, max(int(np.prod(entry.shape)) for entry in model.inputs)
        most = max(1, min(SAMPLE_STEPS, SAMPLE_NUMBERS // size))
        steps = -(-max(most, model.contract.min_length) // stride) * stride
        rows = random_sequences(model, np.random.default_rng(0), [steps])
        return {layer: x.round(4) if x.dtype == np.float32 else x for layer, (x,) in rows.items()}

    @cached_property
    def answers(self) -> list[NDArray[Any]]:
        """The answer of a stream to each step of the sample, [k], or [] where there is none; else to the sequence."""
        (x,) = self.sample.values()
        if self.model.contract.signature == "sequence":
            return list(np.atleast_2d(self.predictor.predict([x])[0]))
        stream, model = self.predictor.stream(), self.model
        if not model.inputs[0].has_time:
            return [np.ravel(stream.step(x))]
        together = model.contract.chunk_steps
        answers: list[NDArray[Any]] = []
        for first in range(0, len(x), together):
            rows = list(np.reshape(stream.step(x[first : first + together]), (-1, self.outputs)))
            answers += [np.empty(0)] * (together - bool(rows)) + rows
        return answers
