"""Make pictures of docs/images: python tools/make_pictures.py. Runs the demo; needs seq2onnx[cpu,train]."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

import seq2onnx as s2o
from seq2onnx import plots
from seq2onnx.cli.demo import demo

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
POLICIES: dict[str, dict[str, Any]] = {
    "in the given order": {"shuffle": "none"},
    "sorted by length": {"shuffle": "sorted"},
    "cut to the shortest of the batch": {"shuffle": "none", "sequence_length": "shortest"},
    "15 steps, on the left": {
        "shuffle": "sorted",
        "sequence_length": 15,
        "padding_direction": "left",
        "mask_padding": False,
    },
}


def main() -> None:
    """Write padding.png, and the pictures of the demo and of a tutorial."""
    training, _ = s2o.datasets.japanese_vowels()
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    for ax, (name, policy) in zip(axes.flat, POLICIES.items(), strict=True):
        plots.padding_bars(s2o.padding_report(training, 27, **policy), ax)
        ax.set_title(f"{name}\n{ax.get_title()}", fontsize=10)
    figure.savefig(IMAGES / "padding.png", dpi=110)
    with tempfile.TemporaryDirectory() as folder:
        demo(out=Path(folder, "demo"), seed=0, quiet=False)
        for name in ("training_curve.png", "streamed_scores.png"):
            shutil.copy(Path(folder, "demo", name), IMAGES)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        text = (IMAGES.parent / "tutorials" / "vibration.md").read_text(encoding="utf-8")
        exec("\n".join(block.split("```")[0] for block in text.split("```python\n")[1:]), {})
        shutil.copy("vibration.png", IMAGES)


if __name__ == "__main__":
    main()
