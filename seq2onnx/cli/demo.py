"""seq2onnx demo: from training to streaming, on the Japanese Vowels data set."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seq2onnx.cli.options import Quiet, say, show
from seq2onnx.files import write_atomically

if TYPE_CHECKING:
    from seq2onnx import Network

# These and the dropout were chosen by cross-validation within the training set: tools/choose_demo_options.py
OPTIONS: dict[str, Any] = {"epochs": 30, "batch_size": 27, "learning_rate": 5e-3, "threads": 1}


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
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder for files and pictures.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="The seed of weights, batches and dropout.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Run every step once on the Japanese Vowels data: train, export, verify, classify and stream."""
    import numpy as np

    import seq2onnx as s2o
    from seq2onnx import plots

    training, test = s2o.datasets.japanese_vowels()
    net = network()
    say(f"{net.summary()}\n", quiet)

    options = s2o.TrainingOptions(**OPTIONS, seed=seed, device="cpu", progress=not quiet)
    began = time.perf_counter()
    # The test data are validation data for the curve only: nothing is chosen by them.
    result = s2o.train(net, training, test, options=options, run_dir=out / "run")
    training_seconds = time.perf_counter() - began

    path = out / "vowels.onnx"
    began = time.perf_counter()
    s2o.export(result.module, path, classes=training.classes)
    export_seconds = time.perf_counter() - began
    report = s2o.verify(path, result.module, test)
    say(f"\n{report}\n", quiet)

    model = s2o.load(path)
    correct = model.classify(test) == test.labels
    index = int(np.argmax(np.where(correct, test.lengths, 0)))  # the longest that is classified correctly
    stream = model.stream()
    scores = np.stack([stream.step(x) for x in test[index][0]])
    say(_describe_stream(scores, training.classes or [], index), quiet)

    curve, streamed = out / "training_curve.png", out / "streamed_scores.png"
    title = "Japanese Vowels: training"
    write_atomically(curve, plots.as_png(lambda ax: plots.training_curve(result.history, ax).set_title(title)))
    about = f"Test utterance {index} of speaker {test.labels[index]}, step by step"
    picture = plots.as_png(lambda ax: plots.scores_over_time(scores, training.classes, ax).set_title(about))
    write_atomically(streamed, picture)

    worst = max(row.max_abs for row in report.rows)
    for label, text in (
        ("trained", f"{len(training)} utterances, {len(result.history)} epochs, {training_seconds:.1f} s"),
        ("exported", f"{path}, {path.stat().st_size:,} bytes, {export_seconds:.3f} s"),
        ("verified", f"{len(report.rows)} comparisons, largest difference {worst:.1e}"),
        ("classified", f"{len(test)} test utterances with onnxruntime, accuracy {correct.mean():.4f}"),
        ("pictures", f"{curve}, {streamed}"),
    ):
        show(f"{label:<10}  {text}")
    if not report.ok:
        raise typer.Exit(1)


def _describe_stream(scores: Any, classes: list[Any], index: int) -> str:
    """The leading class and its score after some of the steps of an utterance."""
    lines = [f"test utterance {index}, streamed step by step", "step  label  score"]
    shown = [0, 1, 2, 4, 7, 11, 15, 19, 23, len(scores) - 1]
    for step in [step for step in shown if step < len(scores)]:
        leads = int(scores[step].argmax())
        score = scores[step, leads]
        lines.append(f"{step + 1:>4}  {classes[leads]:>5}  {score:.2f}  {'#' * round(30 * score)}")
    return "\n".join(lines) + "\n"
