"""padding_report: count what padding and cutting cost before anything is trained."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.batches import Shuffle, batch_indices
from seq2onnx.data.columns import Indices
from seq2onnx.errors import DataError
from seq2onnx.sequences import PaddingPolicy, SequenceLength
from seq2onnx.tables import ShownAsText

if TYPE_CHECKING:
    from seq2onnx.data.dataset import SequenceDataset

Counts = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class PaddingReport(ShownAsText):
    """How many steps of each sequence are data, padding, and cut.

    Attributes:
        batches: the indices of the sequences in each batch.
        kept: the steps [sequences] that are kept of each sequence, in the order of the batches.
        padded: the steps [sequences] of padding after or before it.
        cut: the steps [sequences] that are cut off.
        policy: the policy that lays out the batches.
    """

    batches: list[Indices]
    kept: Counts
    padded: Counts
    cut: Counts
    policy: PaddingPolicy

    @property
    def wasted(self) -> float:
        """The share of padding in all steps that are computed."""
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
    """Count the steps that are added to make batches of sequences of different lengths, or are cut off.

    Args:
        data: a SequenceDataset, or lengths [sequences].
        batch_size: see TrainingOptions.
        shuffle: see TrainingOptions.
        sequence_length: see PaddingPolicy.
        padding_direction: see PaddingPolicy.
        mask_padding: see PaddingPolicy.
        seed: draws the order of the sequences.

    Raises:
        SpecError: an option has another value.
        DataError: `data` is neither.

    Example:
        >>> print(padding_report(data, 27, "sorted"))
    """
    policy = PaddingPolicy(sequence_length, padding_direction=padding_direction, mask_padding=mask_padding)
    lengths = np.asarray(getattr(data, "lengths", data))
    if lengths.ndim != 1 or not len(lengths) or lengths.dtype.kind not in "iu":
        raise DataError(f"lengths: expected a SequenceDataset, or integers [sequences], got {type(data).__name__}")
    lengths = lengths.astype(np.int64)
    batches = batch_indices(lengths, batch_size, shuffle, np.random.default_rng(seed), getattr(data, "shards", None))
    pads_to = policy.sequence_length if isinstance(policy.sequence_length, int) and not mask_padding else 0
    steps = [lengths[batch] for batch in batches]
    kept = [n if (limit := policy.limit(n)) is None else np.minimum(n, limit) for n in steps]
    padded = np.concatenate([max(pads_to, n.max()) - n for n in kept])
    cut = np.concatenate(steps) - np.concatenate(kept)
    return PaddingReport(batches, np.concatenate(kept), padded, cut, policy)
