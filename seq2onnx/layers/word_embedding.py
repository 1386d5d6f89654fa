"""WordEmbedding: a learned vector for each word."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Example, Layer, PositiveInt, layer, single_input
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.signal import Signal, Weight
from seq2onnx.texts import is_unicode


def _array(value: Any) -> Any:
    return None if value is None else np.asarray(value, np.float32)


Vectors = Annotated[Any, BeforeValidator(_array)]


@final
@layer
class WordEmbedding(Layer):
    """A learned vector for each word.

        y = E_i     i: number of the word, 1 … V as in the vocabulary, V + 1 for unknown words, 0 for padding ""

    Shapes (B batch, T time, D dimension):
        x [B, T] int64 -> y [B, T, D] float32

    Args:
        dimension: D, > 0.
        vocabulary: a list of words, or its size V. The exported file stores a list, so `predict` takes words. With
            `export(words=True)` the file takes words in any program.
        frozen: do not train the vectors.
        vectors: pretrained vectors, [V, D] in the order of the vocabulary, or [V + 2, D] with the first and last rows.
            Training starts there. They are not part of the specification.

    Raises:
        ShapeError: the input is not SequenceInput("tokens").

    Weights:
        vectors [V + 2, D]; row 0 is padding, the last row is for unknown words

    ONNX:
        Clip, Equal, Where, Gather; numbers outside 0 … V + 1 are unknown words

    Example:
        >>> WordEmbedding(50, ["good", "bad"])

    Source:
        ONNX operator Gather-13
    """

    dimension: PositiveInt
    vocabulary: PositiveInt | Annotated[Sequence[str], AfterValidator(tuple)]
    frozen: bool = False
    vectors: Vectors = Field(default=None, repr=False)

    kind: ClassVar[str] = "word_embedding"
    unsaved_fields: ClassVar[tuple[str, ...]] = ("vectors",)

    @model_validator(mode="after")
    def _check(self) -> WordEmbedding:
        if not isinstance(self.vocabulary, int) and len(set(self.vocabulary)) != len(self.vocabulary):
            raise ValueError("the vocabulary contains a word more than once")
        if (words := self.word_list) is not None and not is_unicode("".join(words)):
            word = next(word for word in words if not is_unicode(word))
            raise ValueError(f"the word {word!r:.100} contains a lone surrogate, which UTF-8 cannot hold")
        shapes = [(words, self.dimension) for words in (self.words, self.words + 2)]
        if self.vectors is not None and self.vectors.shape not in shapes:
            raise ValueError(f"vectors must be {shapes[0]} or {shapes[1]}, not {self.vectors.shape}")
        return self

    @property
    def words(self) -> int:
        """Size V of the vocabulary."""
        return self.vocabulary if isinstance(self.vocabulary, int) else len(self.vocabulary)

    @property
    def word_list(self) -> tuple[str, ...] | None:
        """The vocabulary, if it is a list."""
        return None if isinstance(self.vocabulary, int) else tuple(self.vocabulary)

    def infer(self, *signals: Signal) -> Signal:
        x = single_input(self, signals)
        if x.dtype != "int64":
            raise ShapeError(f'{self.label}: expected tokens, got numbers {x}; let it read SequenceInput("tokens")')
        return dataclasses.replace(x, shape=(self.dimension,), dtype="float32")

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        def start(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
            rows = (rng.normal(size=shape) * 0.1).astype(np.float32)
            rows[0] = 0
            if self.vectors is not None:
                known = slice(1, -1) if len(self.vectors) == self.words else slice(None)
                rows[known] = self.vectors
            return rows

        return {"vectors": Weight((self.words + 2, self.dimension), start, trainable=not self.frozen)}

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        x = call.x
        known = (x >= 0) & (x <= self.words)
        return call.weights["vectors"][torch.where(known, x, self.words + 1)], call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        number, last = call.x.name, graph.constant(np.array(self.words + 1))
        clipped = graph.op("Clip", number, graph.constant(np.array(0)), last)
        number = graph.op("Where", graph.op("Equal", clipped, number), number, last)
        return graph.op("Gather", graph.weight("vectors", call.weights["vectors"]), number, axis=0), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        tokens = Signal((), dtype="int64")
        return [
            Example(cls(3, ["good", "bad", "so-so"]), (tokens,)),
            Example(cls(2, 4, frozen=True, vectors=np.arange(8).reshape(4, 2)), (tokens,)),
        ]
