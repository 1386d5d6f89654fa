"""WordEmbedding: from the number of a word to a learned vector."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Example, Layer, PositiveInt, Signal, Weight, layer, one

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule


def _array(value: Any) -> Any:
    return None if value is None else np.asarray(value, np.float32)


Vectors = Annotated[Any, BeforeValidator(_array)]


@final
@layer
class WordEmbedding(Layer):
    """A learned vector for each word; row 0 is padding, the last row is for words that are not known.

        y = E_i     i the number of the word: 1 … V as in the vocabulary, V + 1 for any other, 0 for ""

    Shapes (B batch, T time, D dimension): x [B, T] int64 -> y [B, T, D]
    State:   none
    Weights: vectors [V + 2, D]
    Args:    dimension: D, > 0
             vocabulary: a list of words, which the exported file holds, so that `predict` takes words, and with
             `export(words=True)` any host; or how many there are, V
             frozen: vectors are not trained
             vectors: pretrained, [V, D] in the order of the vocabulary, or [V + 2, D] with the first and
             last rows; where training starts, and no part of the specification
    ONNX:    Clip, Equal, Where, Gather; numbers outside 0 … V + 1 are unknown words
    Raises:  ShapeError unless it reads SequenceInput("tokens")
    Example: >>> WordEmbedding(50, ["good", "bad"])
    Source:  ONNX operator Gather-13
    """

    dimension: PositiveInt
    vocabulary: PositiveInt | Annotated[Sequence[str], AfterValidator(tuple)]
    frozen: bool = False
    vectors: Vectors = Field(default=None, repr=False)

    kind: ClassVar[str] = "word_embedding"

    @model_validator(mode="after")
    def _check(self) -> WordEmbedding:
        if not isinstance(self.vocabulary, int) and len(set(self.vocabulary)) != len(self.vocabulary):
            raise ValueError("the words of a vocabulary must differ")
        shapes = [(words, self.dimension) for words in (self.words, self.words + 2)]
        if self.vectors is not None and self.vectors.shape not in shapes:
            raise ValueError(f"vectors must be {shapes[0]} or {shapes[1]}, not {self.vectors.shape}")
        return self

    @property
    def words(self) -> int:
        """V, how many words are known."""
        return self.vocabulary if isinstance(self.vocabulary, int) else len(self.vocabulary)

    def infer(self, *signals: Signal) -> Signal:
        x = one(self, signals)
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

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        import torch

        (x,) = xs
        known = (x >= 0) & (x <= self.words)
        return module["vectors"][torch.where(known, x, self.words + 1)], lengths, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        number, last = xs[0].name, graph.constant(np.array(self.words + 1))
        clipped = graph.op("Clip", number, graph.constant(np.array(0)), last)
        number = graph.op("Where", graph.op("Equal", clipped, number), number, last)
        return graph.op("Gather", graph.weight("vectors", weights["vectors"]), number, axis=0), lengths, ()

    @classmethod
    def examples(cls) -> Sequence[Example]:
        tokens = Signal((), dtype="int64")
        return [
            Example(cls(3, ["good", "bad", "so-so"]), (tokens,)),
            Example(cls(2, 4, frozen=True, vectors=np.arange(8).reshape(4, 2)), (tokens,)),
        ]
