"""TrainingOptions: how a network is trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from seq2onnx.data import Shuffle
from seq2onnx.errors import SpecError
from seq2onnx.layers.base import PositiveInt, explain

Schedule = Literal["constant", "cosine", "piecewise"]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class _Options:
    epochs: PositiveInt = 30
    batch_size: PositiveInt = 128
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    schedule: Schedule = "constant"
    drop_every: PositiveInt = 10
    drop_factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    optimizer: Literal["adam", "sgd"] = "adam"
    l2: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-4
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    shuffle: Shuffle = "bucket"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: PositiveInt | None = None
    progress: bool = True


class TrainingOptions(_Options):
    """How to train.

    Args:
        epochs: passes over the training data
        batch_size: sequences in a mini-batch
        learning_rate: of the optimizer, at the start
        schedule: "constant"; "cosine", down to 0 at the end; "piecewise", as the next two say
        drop_every, drop_factor: with "piecewise", the rate is multiplied by the factor after so many epochs
        optimizer: "adam", or "sgd" with momentum 0.9
        l2: factor of the L2 regularization, on weights and not on biases
        gradient_clip: the largest norm of all gradients together; None: no limit
        shuffle: "bucket" (random, but like lengths together), "random", "sorted" by length or "none"
        seed: of weights, order and dropout; a seeded run repeats exactly on one machine
        device: "cpu", "cuda", or "auto": cuda where there is one
        threads: of torch on the CPU; None: as it is set. Small networks are fastest with 1, and on a machine
            that is busy with other work more can be many times slower
        progress: a progress bar on a terminal, a line now and then elsewhere; False for silence
    Raises: SpecError naming the option
    Example: >>> TrainingOptions(epochs=60, batch_size=27, learning_rate=5e-3)
    """

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise SpecError("\n".join(f"options.{line}" for line in explain(error, type(self)))) from None
