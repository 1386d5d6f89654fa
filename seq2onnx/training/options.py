"""TrainingOptions: how a network is trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from seq2onnx.data import Shuffle
from seq2onnx.errors import SpecError
from seq2onnx.layers.base import PositiveInt, explain
from seq2onnx.sequences import PaddingPolicy

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class _Options:
    epochs: PositiveInt = 30
    batch_size: PositiveInt = 128
    learning_rate: Positive = 1e-3
    schedule: Literal["constant", "cosine", "piecewise", "plateau"] = "constant"
    drop_every: PositiveInt = 10
    drop_factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    warm_up: Annotated[int, Field(ge=0)] = 0
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    l2: NotNegative = 1e-4
    gradient_clip: Positive | None = None
    gradient_clip_method: Literal["global_norm", "norm", "value"] = "global_norm"
    learning_rate_factors: dict[str, NotNegative] = Field(default_factory=dict)
    class_weights: dict[str | int, NotNegative] | Literal["balanced"] | None = None
    shuffle: Shuffle = "bucket"
    sequence_length: PositiveInt | Literal["longest", "shortest"] | tuple[Literal["split"], PositiveInt] = "longest"
    padding_value: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    padding_direction: Literal["right", "left"] = "right"
    mask_padding: bool = True
    validation_every: PositiveInt = 1
    patience: PositiveInt | None = None
    keep: Literal["last", "best"] = "last"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    batch_norm_statistics: Literal["running", "exact"] = "running"
    precision: Annotated[Literal["32", "bf16-mixed", "16-mixed"], BeforeValidator(str)] = "32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: PositiveInt = 1
    nodes: PositiveInt = 1
    workers: Annotated[int, Field(ge=0)] = 0
    prefetch: PositiveInt = 2
    threads: PositiveInt | None = None
    progress: bool = True


class TrainingOptions(_Options):
    """How to train.

    Args:
        epochs: passes over the training data
        batch_size: sequences in a mini-batch
        learning_rate: of the optimizer, at the start
        schedule: "constant"; "cosine", down to 0 at the end; "piecewise" and "plateau", as the next two say
        drop_every, drop_factor: the rate is multiplied by the factor after so many epochs ("piecewise"), or after
            so many in which the loss did not fall ("plateau": of the validation data, or without them of training)
        warm_up: epochs in which the rate rises to what it would be
        optimizer: "adam", "adamw", "rmsprop", or "sgd" with momentum
        momentum: of sgd
        l2: factor of the L2 regularization, on weights and not on biases
        gradient_clip: the largest norm of all gradients together ("global_norm"), of each weight's gradient
            ("norm"), or the largest number in them ("value"), as gradient_clip_method says; None: no limit
        learning_rate_factors: for layers by name, the factor of their rate; 0 leaves them as they are
        class_weights: by label the weight of its losses; "balanced": the rarer, the more
        shuffle: "bucket" (random, but like lengths together), "random", "sorted" by length or "none"
        sequence_length, padding_value, padding_direction, mask_padding: how sequences of differing lengths become one
            batch, see PaddingPolicy; with ("split", n) weights are learned after each n steps, and the state goes on
            (truncated backpropagation through time). They go into the file, and prediction follows them
        validation_every: epochs from one look at the validation data to the next
        patience: stop after so many looks at which the validation loss did not fall; None: never
        keep: the weights of the "last" epoch, or of that with the "best" validation loss
        seed: of weights, order and dropout; a seeded run repeats exactly on one machine
        batch_norm_statistics: what BatchNorm layers end with: "running" means of the batches, or the "exact" mean
            and variance of the training data, from a last pass over it for each of them
        precision: "32"; or "bf16-mixed", "16-mixed" (CUDA alone): faster where the device has it. Weights, and what
            is exported, are float32 all the same
        device: "cpu", "cuda", or "auto": cuda where there is one
        devices, nodes: processes on each machine, one a device, and machines. They train on the same batches as one
            process would, each on its share of the rows. On one machine they are started by themselves, which runs
            the script again in each (keep what it does under `if __name__ == "__main__":`); torchrun and SLURM
            are recognized. Every process gets the result, the first writes and shows it
        workers: processes that load batches, each `prefetch` batches ahead; 0: loaded as they are needed. The result
            is the same for any number
        threads: of torch on the CPU; None: as it is set. Small networks are fastest with 1, and on a machine
            that is busy with other work more can be many times slower
        progress: a progress bar on a terminal, a line now and then elsewhere; False for silence
    Raises: SpecError naming the option
    Example: >>> TrainingOptions(epochs=60, batch_size=27, learning_rate=5e-3)
    """

    @property
    def padding(self) -> PaddingPolicy:
        """The four options of it together."""
        return PaddingPolicy(self.sequence_length, self.padding_value, self.padding_direction, self.mask_padding)

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise SpecError("\n".join(f"options.{line}" for line in explain(error, type(self)))) from None
