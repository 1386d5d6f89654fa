"""Torch modules as people write them: what from_torch lifts, and what it must refuse."""

# They register their cases.
from tests.torch_modules import attention, convolutional, harmful, mixed, normalization, recurrent, statistics  # noqa: F401
from tests.torch_modules.cases import LIFTED, REFUSED, Case, x

__all__ = ["LIFTED", "REFUSED", "Case", "x"]
