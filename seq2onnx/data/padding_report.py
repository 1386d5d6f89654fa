"""padding_report: what padding costs, before anything is trained."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.batches import Shuffle, batches
from seq2onnx.data.columns import Indices
from seq2onnx.data.dataset import SequenceDataset
from seq2onnx.errors import DataError
from seq2onnx.padding import PaddingPolicy, SequenceLength

Steps = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class PaddingReport:
    """The steps of each sequence that are kept, padded and cut [sequences], in the order of the batches.

    batches: the indices of the sequences in each; policy: by which they were laid out
    """

    batches: list[Indices]
    kept: Steps
    padded: Steps
    cut: Steps
    policy: PaddingPolicy

    @property
    def wasted(self) -> float:
        """The share of the steps that are run which is padding."""
        return float(self.padded.sum() / max((self.padded + self.kept).sum(), 1))

    def __str__(self) -> str:
        return (
            f"{len(self.kept):,} sequences in {len(self.batches):,} batches: {self.kept.sum():,} steps kept, "
            f"{self.padded.sum():,} padded ({self.wasted:.1%} of the work), {self.cut.sum():,} cut"
        )


def padding_report(
    data: SequenceDataset | Any,
    batch_size: int = 128,
    shuffle: Shuffle = "bucket",
    *,
    sequence_length: SequenceLength = "longest",
    padding_direction: str = "right",
    mask_padding: bool = True,
    seed: int = 0,
) -> PaddingReport:
    """What padding costs: how many steps are added to make batches of sequences of differing lengths, or are cut.

    Args:
        data: a SequenceDataset, or lengths [sequences]
        batch_size, shuffle: as of TrainingOptions
        sequence_length, padding_direction, mask_padding: see PaddingPolicy
        seed: of the order, where it is drawn
    Raises: SpecError, DataError
    Example: >>> print(padding_report(data, 27, "sorted"))
    """
    policy = PaddingPolicy(sequence_length, padding_direction=padding_direction, mask_padding=mask_padding)
    lengths = np.asarray(getattr(data, "lengths", data))
    if lengths.ndim != 1 or not len(lengths) or lengths.dtype.kind not in "iu":
        raise DataError(f"lengths: expected a SequenceDataset, or integers [sequences], got {type(data).__name__}")
    lengths = lengths.astype(np.int64)
    drawn = batches(lengths, batch_size, shuffle, np.random.default_rng(seed), getattr(data, "windows", None))
    kept: list[Steps] = []
    padded: list[Steps] = []
    for batch in drawn:
        limit = policy.limit(lengths[batch])
        here = lengths[batch] if limit is None else np.minimum(lengths[batch], limit)
        kept.append(here)
        pads_to = policy.sequence_length if isinstance(policy.sequence_length, int) and not mask_padding else 0
        steps = max(pads_to, here.max())
        padded.append(steps - here)
    order = np.concatenate(drawn)
    whole = np.concatenate(kept)
    return PaddingReport(drawn, whole, np.concatenate(padded), lengths[order] - whole, policy)
