"""TrainingOptions: how a network is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from seq2onnx.data import Shuffle
from seq2onnx.errors import SpecError
from seq2onnx.layers.base import PositiveInt
from seq2onnx.mistakes import explain
from seq2onnx.sequences import PaddingPolicy

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
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
    momentum: Share = 0.9
    betas: tuple[Share, Share] = (0.9, 0.999)
    epsilon: Positive = 1e-8
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
    monitor: str = "loss"
    metrics: tuple[str, ...] = ()
    baseline: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    batch_norm_statistics: Literal["exact", "running"] = "exact"
    precision: Annotated[Literal["32", "bf16-mixed", "16-mixed"], BeforeValidator(str)] = "32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: PositiveInt = 1
    nodes: PositiveInt = 1
    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    prefetch: PositiveInt = 2
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    progress: bool = True


class TrainingOptions(_Options):
    """How to train.

    Args:
        epochs: the number of passes over the training data.
        batch_size: sequences in a mini-batch.
        learning_rate: of the optimizer, at the start.
        schedule: how the rate changes: "constant"; "cosine", down to 0 at the end; "piecewise", every `drop_every`
            epochs; "plateau", after `drop_every` epochs in which `monitor` was not better (without validation data,
            the training loss).
        drop_every: see `schedule`.
        drop_factor: "piecewise" and "plateau" multiply the rate by it.
        warm_up: the number of epochs at the start in which the rate rises to its value.
        optimizer: "adam", "adamw", "rmsprop", or "sgd" with momentum.
        momentum: of sgd.
        betas: of adam and adamw: the decay of the means of the gradients and of their squares.
        epsilon: of adam, adamw and rmsprop: is added to the divisor.
        l2: factor of the L2 regularization, which acts on weights but not on biases.
        gradient_clip: the upper limit of the gradients. None: no limit.
        gradient_clip_method: what is limited: the norm of all gradients together ("global_norm"), the norm of each
            weight's gradient ("norm"), or each number in them ("value").
        learning_rate_factors: factors of the learning rate for layers by name. 0 freezes a layer.
        class_weights: factors of the loss for labels. "balanced": the rarer a label, the larger its factor.
        shuffle: "bucket" (random, but sequences of similar lengths together), "random", "sorted" by length, or "none".
        sequence_length: how sequences of different lengths become one batch, see PaddingPolicy. ("split", n) updates
            the weights after each n steps and carries the state on: truncated backpropagation through time. The file
            keeps this option and the next three, and prediction follows them.
        padding_value: see PaddingPolicy.
        padding_direction: see PaddingPolicy.
        mask_padding: see PaddingPolicy.
        validation_every: the number of epochs from one measurement of the validation data to the next.
        patience: stop after this number of validations in which `monitor` was not better than before. None: never.
        keep: the weights to keep: of the "last" epoch, or of the "best" one by `monitor`.
        monitor: what `patience`, `keep` and the schedule "plateau" watch: "loss" is the validation loss. Or "accuracy",
            "f1", "rmse", "mae", "r2" or another of the `metrics` of the validation data; or "training_loss" or
            "training_accuracy", which need no validation data. The largest accuracy, f1, precision, recall and r2 are
            the best, and the smallest of the others.
        metrics: more metrics of the validation data, besides those that belong to the loss: "accuracy", "f1",
            "precision" and "recall" (macro) for labels; "rmse", "mae" and "r2" for numbers.
        baseline: measure a linear model of the same data beside the network, see TrainingResult. It needs validation
            data, one input of vectors, and one process.
        seed: of weights, order and dropout. A seeded run repeats exactly on the same machine.
        batch_norm_statistics: the statistics of BatchNorm layers. "exact": at the end the mean and variance of the
            training data, which cost one pass over it for each such layer; before each validation nearly these, which
            cost one pass for all layers together. "running": the running means of the batches, which cost nothing.
            With few batches, or a high learning rate, they lag far behind the weights.
        precision: "32"; or "bf16-mixed" or "16-mixed" (CUDA only), which are faster on devices that support them.
            Weights and exported files are always float32.
        device: "cpu", "cuda", or "auto": cuda if there is one.
        devices: processes on each machine, one for each device. They train on the same batches as one process would,
            each on its share of the rows. On one machine they start by themselves: each runs the script again, so put
            its code under `if __name__ == "__main__":`. torchrun and SLURM are recognized. Every process gets the
            result; the first one writes files and shows progress.
        nodes: the number of machines.
        workers: processes that load batches. 0: load each batch when it is needed. The result does not depend on it.
        prefetch: batches that each worker loads ahead.
        threads: the number of torch's threads on the CPU. None: leave it unchanged. Small networks are fastest with 1;
            on a machine that is busy with other work, more threads can be many times slower.
        progress: show a progress bar on a terminal, and ten lines elsewhere. False: show nothing.

    Raises:
        SpecError: an option is unknown or has a wrong value.

    Example:
        >>> TrainingOptions(epochs=60, batch_size=27, learning_rate=5e-3)
    """

    @property
    def padding(self) -> PaddingPolicy:
        """The four padding options together."""
        return PaddingPolicy(self.sequence_length, self.padding_value, self.padding_direction, self.mask_padding)

    if not TYPE_CHECKING:  # a type checker sees the fields as arguments

        def __init__(self, **options: Any) -> None:
            try:
                super().__init__(**options)
            except ValidationError as error:
                raise SpecError("\n".join(f"options{line}" for line in explain(error, type(self)))) from None
