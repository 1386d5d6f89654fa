"""Contents: what data files hold, as the arguments of SequenceDataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from seq2onnx.data.stamps import Times
from seq2onnx.data.targets import Ignore, Label
from seq2onnx.sequences import Channels


@dataclasses.dataclass(frozen=True)
class Contents:
    """The arguments of SequenceDataset, and time stamps: what a file format reads and writes.

    Attributes:
        sequences: the sequences, as SequenceDataset takes them. When a file is written, always a dict with a Column for
            each input; the name of a single input is "".
        targets: labels or numbers: an array with a row for each sequence or, with `per_step`, an array for
            each sequence.
        classes: the labels, in the order of the scores.
        ignore: the target that training and metrics leave out.
        per_step: whether there is a target for each step; without targets, it does not count.
        channels: the names of the features, as SequenceDataset takes them.
        ids: the name of each sequence.
        sample_rate: steps per second.
        times: the time stamps of a column that was named; no argument of SequenceDataset.
    """

    sequences: Any
    targets: Any = None
    classes: Sequence[Label] | None = None
    ignore: Ignore = None
    per_step: bool | None = None
    channels: Channels = None
    ids: Sequence[str] | None = None
    sample_rate: float | None = None
    times: Times | None = None
