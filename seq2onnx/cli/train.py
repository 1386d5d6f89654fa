"""seq2onnx train: train a network and write a run folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from seq2onnx.cli.options import DataOptions, DataWithTargets, Quiet, say, show, with_data_options
from seq2onnx.data import SequenceDataset
from seq2onnx.errors import SpecError
from seq2onnx.specs import parse_spec


@with_data_options
def train(
    network: Annotated[Path, typer.Argument(metavar="NETWORK", help="The network, a .yaml or .json file.")],
    data: DataWithTargets,
    validation: Annotated[
        str | None, typer.Option(metavar="DATA", help="Validation data: a file, or a fraction of DATA such as 0.2.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run folder.")] = Path("run"),
    loss: Annotated[
        str | None,
        typer.Option(help="crossentropy, mse, mae, huber, bce, quantile. Default: crossentropy for labels, else mse."),
    ] = None,
    quantiles: Annotated[
        str | None, typer.Option(metavar="Q,Q,…", help="The quantiles of --loss quantile. Default: 0.05,0.5,0.95.")
    ] = None,
    normalize_targets: Annotated[
        bool, typer.Option("--normalize-targets", help="Train on targets scaled to mean 0 and standard deviation 1.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="OPTION=VALUE", help="A training option such as epochs=20. Can be repeated."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in RUN.")] = False,
    *,
    options: DataOptions,
    quiet: Quiet = False,
) -> None:
    """Train a network and write a run folder.

    The folder contains network.yaml, options.yaml, weights.safetensors, history.csv, metrics.json, advice.json,
    curve.png and a checkpoint. If TensorBoard is installed, it also contains a log for it.

    Options for --set, with their defaults:

    - epochs=30, batch_size=128, learning_rate=0.001, warm_up=0
    - schedule=constant (or cosine; or piecewise or plateau, with drop_every=10 and drop_factor=0.1)
    - optimizer=adam (or adamw, with betas=[0.9, 0.999]; or rmsprop; all three with epsilon=1e-8)
    - optimizer=sgd with momentum=0.9; l2=0.0001 for all
    - gradient_clip=null, gradient_clip_method=global_norm (or norm, value)
    - learning_rate_factors={} (such as {lstm_1: 0}), class_weights=null (or balanced, or {label: 2})
    - shuffle=bucket (or random, sorted, none)
    - sequence_length=longest (or shortest, 200, [split, 50]), padding_direction=right (or left)
    - mask_padding=true (false: padding is data), padding_value=0
    - validation_every=1, patience=null, keep=last (or best), monitor=loss (or accuracy, f1, rmse, mae, r2,
      training_loss), metrics=[] (such as [precision, recall]), seed=0
    - batch_norm_statistics=exact (or running), precision=32 (or bf16-mixed, 16-mixed),
      baseline=true (a linear model beside the network)
    - device=auto (or cpu, cuda), devices=1 (processes per machine), nodes=1 (machines)
    - workers=0 (processes that load data), prefetch=2 (batches loaded ahead by each), threads=null, progress=true
    """
    from seq2onnx import Network, TrainingOptions, train as run

    if (out / "network.yaml").exists() and not resume:
        raise SpecError(
            f"{out}: already contains a run; choose another --out, delete the run, or continue it with --resume"
        )
    training_options = parse_settings(settings or [])
    spec = Network.load(network, trusted=options.trusted)  # a mistake there shows at once, large data takes a while
    training = options.read(data)
    result = run(
        spec,
        training,
        None if validation is None else _validation(validation, training, options),
        loss,
        normalize_targets,
        quantiles=None if quantiles is None else _numbers(quantiles),
        options=TrainingOptions(**{"progress": not quiet, **training_options}),
        run_dir=out,
        resume=resume,
    )
    if result.diverged:
        epoch = int(result.history[-1]["epoch"])
        kept = f"its weights are those of epoch {epoch - 1}" if epoch > 1 else "it has no weights"
        show(f"seq2onnx: {out}: training diverged in epoch {epoch}; {kept}", err=True)
        raise typer.Exit(1)
    last = result.history[-1]
    shown = [name for name in last if name.endswith(("loss", "accuracy"))]
    figures = ", ".join(f"{name.replace('_', ' ')} {last[name]:.4g}" for name in shown)
    say(f"{out}: {len(result.history)} epochs, {figures}", quiet or result.rank > 0)
    if result.coverage is not None:
        say(result.coverage, quiet or result.rank > 0)


def _numbers(text: str) -> list[float]:
    try:
        return [float(cell) for cell in text.split(",")]
    except ValueError:
        raise SpecError(f"--quantiles: expected numbers such as 0.05,0.5,0.95, got {text!r}") from None


def _validation(text: str, training: SequenceDataset, options: DataOptions) -> SequenceDataset | float:
    """A data file, or a fraction of the training data."""
    try:
        return float(text)
    except ValueError:
        return options.read(Path(text), training.channels)


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """Parse OPTION=VALUE pairs."""
    options: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise SpecError(f"--set: expected OPTION=VALUE such as epochs=20, got {setting!r}")
        options[name] = _parse_value(value, f"--set {name}")
    return options


def _parse_value(text: str, where: str) -> Any:
    """Read an int, a float or YAML, in which 5e-3 would be text."""
    for number in (int, float):
        with suppress(ValueError):
            return number(text)
    return parse_spec(text.encode(errors="surrogateescape"), where)
