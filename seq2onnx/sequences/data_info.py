"""DataInfo: what the numbers that a network takes and gives stand for."""

from __future__ import annotations

import dataclasses

from seq2onnx.sequences.channels import Names
from seq2onnx.sequences.padding import MASKED, PaddingPolicy
from seq2onnx.sequences.training_statistics import TrainingStatistics


@dataclasses.dataclass(frozen=True)
class DataInfo:
    """What the numbers that a network takes and gives stand for. Training finds it, and exported files keep it.

    What layers know, such as the vocabulary, is in the network instead.

    Attributes:
        classes: the labels of the scores, in order. None: the network does not give scores of labels.
        quantiles: which quantiles of the target the columns of the output are; if a target has several numbers, those
            of the first number, then those of the next. None: it does not give quantiles.
        channels: the names of the features: a list, or for several inputs a dict by layer. None: they have no names.
        policy: how sequences are padded.
        sample_rate: the steps per second of the training data, if they are known. That of a layer, such as
            MelSpectrogram, is in the network.
        training_statistics: what the training data was like. None: unknown.
    """

    classes: list[str | int] | None = None
    quantiles: tuple[float, ...] | None = None
    channels: Names | dict[str, Names | None] | None = None
    policy: PaddingPolicy = MASKED
    sample_rate: float | None = None
    training_statistics: TrainingStatistics | None = None
