"""seq2onnx demo: the main job, end to end, on Japanese Vowels."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seq2onnx.cli.options import Quiet, say

if TYPE_CHECKING:
    from seq2onnx import Network

# Chosen, and the dropout, by cross-validation within the training set: tools/choose_demo_options.py
OPTIONS = {"epochs": 30, "batch_size": 27, "learning_rate": 5e-3, "threads": 1}


def network() -> Network:
    """12 features -> LSTM of 100 units -> 9 speakers."""
    import seq2onnx as s2o

    return s2o.Network(
        [
            s2o.SequenceInput(12, normalization="zscore"),
            s2o.LSTM(100, output_mode="last"),
            s2o.Dropout(0.5),
            s2o.FullyConnected(9),
            s2o.Softmax(),
        ],
        name="japanese_vowels",
    )


def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where files and pictures go.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of weights, order and dropout.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Train, export, verify, classify and stream: who of nine speakers said "ae"?"""
    import numpy as np

    import seq2onnx as s2o

    training, test = s2o.datasets.japanese_vowels()
    net = network()
    say(f"{net.summary()}\n", quiet)

    options = s2o.TrainingOptions(**OPTIONS, seed=seed, device="cpu", progress=not quiet)
    began = time.perf_counter()
    result = s2o.train(net, training, options=options, run_dir=out / "run")
    seconds = time.perf_counter() - began

    path = out / "vowels.onnx"
    began = time.perf_counter()
    s2o.export(result.module, path, classes=training.classes)
    export_seconds = time.perf_counter() - began
    report = s2o.verify(path, result.module, test)
    say(f"\n{report}\n", quiet)

    model = s2o.load(path)
    accuracy = float(np.mean(model.classify(test) == test.labels))
    index = longest_correct(model, test)
    stream = model.stream()
    scores = np.stack([stream.step(x) for x in test[index][0]])
    say(firming_up(scores, training.classes or [], index), quiet)
    _pictures(out, result.history, scores, training.classes, index, str(test.labels[index]))

    worst = max(row.max_abs for row in report.rows)
    rows = [
        ("trained", f"{len(training)} utterances, {len(result.history)} epochs, {seconds:.1f} s"),
        ("exported", f"{path}, {path.stat().st_size:,} bytes, {export_seconds:.3f} s"),
        ("verified", f"{len(report.rows)} comparisons, largest difference {worst:.1e}"),
        ("classified", f"{len(test)} test utterances with onnxruntime, accuracy {accuracy:.4f}"),
        ("pictures", f"{out / 'training_curve.png'}, {out / 'streamed_scores.png'}"),
    ]
    for label, text in rows:
        say(f"{label:<10}  {text}", quiet)
    if not report.ok:
        raise typer.Exit(1)


def longest_correct(model: Any, test: Any) -> int:
    """The longest test utterance that is classified right: the one to watch."""
    import numpy as np

    correct = model.classify(test) == test.labels
    return int(np.argmax(np.where(correct, test.lengths, 0)))


def firming_up(scores: Any, classes: list[Any], index: int) -> str:
    """The leading class and its score after a few steps of an utterance."""
    lines = [f"test utterance {index}, streamed step by step", "step  leads  score"]
    shown = [0, 1, 2, 4, 7, 11, 15, 19, 23, len(scores) - 1]
    for step in [step for step in shown if step < len(scores)]:
        leads = int(scores[step].argmax())
        lines.append(
            f"{step + 1:>4}  {classes[leads]:>5}  {scores[step, leads]:.2f}  {'#' * round(30 * scores[step, leads])}"
        )
    return "\n".join(lines) + "\n"


def _pictures(out: Path, history: Any, scores: Any, classes: Any, index: int, truth: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from seq2onnx import plots

    ax = plots.training_curve(history)
    ax.set_title("Japanese Vowels: training")
    plt.gcf().savefig(out / "training_curve.png", dpi=120)
    ax = plots.scores_over_time(scores, classes)
    ax.set_title(f"Test utterance {index} of speaker {truth}, a step at a time")
    plt.gcf().savefig(out / "streamed_scores.png", dpi=120)
    plt.close("all")
