"""The run folder: network.yaml, weights.safetensors, history.csv and options.yaml of a training run."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import safetensors.torch
import yaml

from seq2onnx.errors import ModelFileError
from seq2onnx.files import write_atomically
from seq2onnx.network import Network
from seq2onnx.training.module import SequenceModule, build
from seq2onnx.training.options import TrainingOptions


def save_run(
    folder: str | Path,
    module: SequenceModule,
    history: list[dict[str, float]],
    options: TrainingOptions,
    loss: str,
) -> None:
    """Write the folder; each file appears whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    module.network.save(folder / "network.yaml")
    write_atomically(folder / "weights.safetensors", safetensors.torch.save(module.state_dict()))
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomically(folder / "history.csv", table.getvalue().encode())
    settings = {
        "loss": loss,
        "classes": module.classes,
        "options": dataclasses.asdict(options),
    }
    write_atomically(folder / "options.yaml", yaml.safe_dump(settings, sort_keys=False).encode())


def load_run(folder: str | Path) -> SequenceModule:
    """The trained module in a run folder, with the classes of its scores.

    Raises: ModelFileError where a file is missing or does not belong to the others
    """
    folder = Path(folder)
    for name in ("network.yaml", "weights.safetensors", "options.yaml"):
        if not (folder / name).is_file():
            raise ModelFileError(f"{folder}: is no run folder, it has no {name}; `seq2onnx train` writes one")
    content = (folder / "weights.safetensors").read_bytes()
    try:
        weights = safetensors.torch.load(content)
        module = build(Network.load(folder / "network.yaml"))
        module.load_state_dict(weights)
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise ModelFileError(f"{folder}/weights.safetensors: does not fit network.yaml: {error}") from None
    try:
        settings: Any = yaml.safe_load((folder / "options.yaml").read_bytes())
        module.classes = settings["classes"]
    except (yaml.YAMLError, TypeError, KeyError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{folder}/options.yaml: is not what a training run writes: {error!r}") from None
    return module.eval()
