"""Load the module of a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from seq2onnx.building import SequenceModule, build
from seq2onnx.errors import ModelFileError
from seq2onnx.evaluation.quantiles import check_quantiles
from seq2onnx.file_kinds import instead
from seq2onnx.files import check_regular_file, read_own
from seq2onnx.network import Network, input_channels
from seq2onnx.sequences import TrainingStatistics
from seq2onnx.sequences.rates import check_number
from seq2onnx.specs import parse_spec
from seq2onnx.training.options import TrainingOptions

BYTES_BESIDE_WEIGHTS, BYTES_PER_WEIGHT = 2**26, 16  # a file of weights is not larger
RESULTS = ("network.yaml", "options.yaml", "weights.safetensors")


def load_run(folder: str | Path) -> SequenceModule:
    """Return the trained module of a run folder, with its classes and its padding policy.

    Args:
        folder: a run folder that `train` wrote.

    Raises:
        ModelFileError: a file is missing or does not belong to the others.
        OSError: a file is a link or no file.
    """
    folder = Path(folder)
    missing = [name for name in RESULTS if not (folder / name).is_file()]
    if missing:
        if folder.is_file() and (other := instead(folder, "a run folder")):
            raise ModelFileError(other)
        reason = f"has no {missing[0]}" if folder.is_dir() else "is a file" if folder.is_file() else "does not exist"
        raise ModelFileError(f"{folder}: is no finished run, it {reason}. `seq2onnx train` writes a run folder")
    for name in RESULTS:
        check_regular_file(folder / name, links=False)
    network = Network.load(folder / "network.yaml")
    place = folder / "weights.safetensors"
    declared = sum(row[2] for row in network.table())
    weights = read_weights(place, declared)
    if declared > (stored := sum(tensor.numel() for tensor in weights.values())):
        raise ModelFileError(f"{place}: does not fit network.yaml: it has {stored:,} numbers, the network {declared:,}")
    module = build(network)
    load_weights(module, weights, place)
    place = folder / "options.yaml"
    settings: Any = parse_spec(read_own(place), str(place))
    try:
        module.classes, module.policy = settings["classes"], TrainingOptions(**settings["options"]).padding
        module.channels = input_channels(module.network, settings.get("channels"))
        check_number(settings.get("sample_rate"), "sample_rate")
        module.sample_rate = settings.get("sample_rate")
        if (found := settings.get("training_statistics")) is not None:
            module.training_statistics = TrainingStatistics.from_dict(found)
        if (quantiles := settings.get("quantiles")) is not None:
            module.quantiles = check_quantiles(quantiles)
            if not (size := module.network.signals[module.network.outputs[0]].size) or size % len(quantiles):
                raise ValueError(f"it has {len(quantiles)} quantiles, the network an output of size {size}")
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{place}: is not what a training run writes: {error!r}") from None
    if module.classes is not None and not _are_labels(module.classes):
        raise ModelFileError(f"{place}: classes: expected different names or whole numbers, got {module.classes!r}")
    return module.eval()


def read_weights(place: Path, count: int) -> dict[str, Tensor]:
    """Read the file of weights of a network that has `count` of them."""
    content = read_own(place, most=BYTES_BESIDE_WEIGHTS + BYTES_PER_WEIGHT * count)
    try:
        return safetensors.torch.load(content)
    except (RuntimeError, ValueError, safetensors.SafetensorError) as error:
        raise ModelFileError(f"{place}: is not what a training run writes: {error}") from None


def load_weights(module: SequenceModule, weights: dict[str, Tensor], place: Path) -> None:
    """Load the weights of a module from a file, `place`; raise ModelFileError if they do not fit, or are not finite."""
    for name, tensor in module.state_dict().items():
        found = weights.get(name)
        if found is not None and found.dtype != tensor.dtype:
            raise ModelFileError(f"{place}: {name}: expected {tensor.dtype}, got {found.dtype}")
        if found is not None and not found.isfinite().all():
            raise ModelFileError(f"{place}: {name} has NaN or infinity; train again, or restore the file from a copy")
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelFileError(f"{place}: does not fit network.yaml: {error}") from None


def _are_labels(classes: Any) -> bool:
    is_list = isinstance(classes, list) and all(type(label) in (int, str) for label in classes)
    return is_list and 0 < len(set(classes)) == len(classes)
