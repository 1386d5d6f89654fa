"""From a recipe to a folder of models/: trained, exported, verified, measured; and its figure once more."""

from __future__ import annotations

import dataclasses
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

import seq2onnx as s2o
from seq2onnx.files import write_atomically
from seq2onnx.reporting.benchmark import environment, measure
from seq2onnx.runtime import Predictor
from zoo.recipe import Data, Figures, Recipe

LEAST_SPREAD = 0.01  # of the range in which the first figure should be found again
SECONDS = 0.75  # that a latency is measured for


def train_once(recipe: Recipe, data: Data, seed: int, folder: Path) -> tuple[Any, Figures, float]:
    """Train with a seed on one thread, and export into a folder: (module, figures of the test, seconds of training)."""
    training, test = data
    options = s2o.TrainingOptions(**recipe.options, seed=seed, threads=1, device="cpu", progress=False)
    began = time.process_time()  # of the one thread; the clock would also count what else runs
    result = s2o.train(
        recipe.network,
        training,
        test if test.targets is not None else None,  # for the curve only: nothing is chosen by it
        normalize_targets=training.classes is None,
        options=options,
        run_dir=folder,
        **recipe.train,
    )
    seconds = time.process_time() - began
    module = result.module
    if recipe.finish:
        module = recipe.finish(module)
        module.network.save(folder / "network.yaml")
    s2o.export(module, folder / "model.onnx", **recipe.export)
    return module, recipe.figures(s2o.load(folder / "model.onnx"), test), seconds


def figure_of(network: s2o.Network, recipe: Recipe, data: Data) -> float:
    """The first figure of another network that learns the same, with the options of a recipe."""
    with tempfile.TemporaryDirectory() as folder:
        _, found, _ = train_once(dataclasses.replace(recipe, network=network), data, 0, Path(folder))
    return next(iter(found.values()))


def again(recipe: Recipe, seed: int, folder: Path) -> bool:
    """Train with a seed and say whether the first figure lies within the range that the card states."""
    known = read_figures(folder)
    with tempfile.TemporaryDirectory() as made:
        _, found, seconds = train_once(recipe, recipe.data(), seed, Path(made))
    name, value = next(iter(found.items()))
    low, high = known["range"]
    verdict = "within" if low <= value <= high else "NOT within"
    print(
        f"{recipe.name}, seed {seed}: {name} {value:.4f}, {verdict} the card's {low:.4f} to {high:.4f}; "
        f"trained in {seconds:.0f} s",
        flush=True,
    )
    return bool(low <= value <= high)


def make(recipe: Recipe, out: Path, peers: bool) -> None:
    """Train with all seeds, and write out/NAME, but for its card; a folder that is there is replaced at the end.

    Without `peers`, the figures of plain torch are those of the folder that is there, since they take most of the time.
    """
    began = time.monotonic()
    known = {} if peers or not (out / recipe.name).exists() else read_figures(out / recipe.name)
    data = recipe.data()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{recipe.name}.") as name:
        run, folder = Path(name, "run"), Path(name, "made")
        folder.mkdir()
        baselines = recipe.baselines(*data)
        module, first, seconds = train_once(recipe, data, 0, run)
        for file in ("network.yaml", "options.yaml", "model.onnx", "curve.png"):
            shutil.copy(run / file, folder)
        seeds = {0: first}
        for seed in range(1, recipe.seeds):
            seeds[seed] = train_once(recipe, data, seed, run)[1]
        model, shipped = s2o.load(folder / "model.onnx"), recipe.slice_of(data[1])
        file = "test_slice.parquet" if shipped.parts[""].is_words else "test_slice.npz"
        shipped.save(folder / file)
        trained = [recipe.peer(*data, seed) for seed in range(recipe.seeds)] if recipe.peer and not known else []
        values = [next(iter(found.values())) for found in seeds.values()]
        mean, deviation = statistics.mean(values), statistics.stdev(values)
        spread = max(3 * deviation, LEAST_SPREAD)
        report = s2o.verify(folder / "model.onnx", module, shipped)
        figures = {
            "figure": next(iter(first)),
            "seeds": seeds,
            "mean": mean,
            "deviation": deviation,
            "range": [mean - spread, min(1.0, mean + spread)],  # no first figure can be above 1
            "peer": known.get("peer", trained),
            "baselines": baselines,
            "slice": {"file": file, "sequences": len(shipped), "figures": recipe.figures(model, shipped)},
            "sequences": [len(part) for part in data],
            "training_seconds": seconds,
            "parity": [{"check": r.check, "tensor": r.tensor, "max_abs": r.max_abs, "ok": r.ok} for r in report.rows],
            "parameters": sum(p.numel() for p in module.parameters()),
            "bytes": (folder / "model.onnx").stat().st_size,
            "pictures": recipe.pictures(model, data[1], folder),
            "made_with": environment() | {"torch": torch.__version__, "onnx": onnx.__version__},
        }
        write_figures(folder, figures)
        shutil.rmtree(out / recipe.name, ignore_errors=True)
        folder.rename(out / recipe.name)
    print(
        f"{recipe.name}: {figures['figure']} {mean:.4f} ± {deviation:.4f} of {len(seeds)} seeds, "
        f"trained in {seconds:.0f} s, all in {time.monotonic() - began:.0f} s",
        flush=True,
    )


def draw_again(recipe: Recipe, folder: Path) -> None:
    """Draw the pictures of an exported file again, without training: all but curve.png."""
    pictures = recipe.pictures(s2o.load(folder / "model.onnx"), recipe.data()[1], folder)
    write_figures(folder, read_figures(folder) | {"pictures": pictures})


def read_figures(folder: Path) -> dict[str, Any]:
    """What `make` has measured."""
    found: dict[str, Any] = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    return found


def write_figures(folder: Path, figures: dict[str, Any]) -> None:
    """Write figures.json."""
    content = json.dumps(figures, indent=2, ensure_ascii=False, default=float)
    write_atomically(folder / "figures.json", f"{content}\n".encode())


def latency(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Median microseconds on one thread, of a step of a stream, and of a chunk if the recipe has one.

    Of a network that reads a raw signal, they are of the samples that give one step of the output; of a network that
    cannot stream, of a sequence.
    """
    model = s2o.load(folder / "model.onnx")
    data = s2o.SequenceDataset.load(folder / read_figures(folder)["slice"]["file"])
    if rate := model.contract.sample_rate:
        steps = model.contract.time_stride
        of = f"{steps} samples ({1000 * steps / rate:g} ms)"
        return {"of": of, "steps": steps, "us": _chunk_us(model, data, steps)}
    steps = int(np.median(data.lengths))
    (first, *_), _ = measure(model, (steps, steps), SECONDS)
    streams = first.of == "Stream.step"
    return {"of": "a step" if streams else "a sequence", "steps": 1 if streams else steps, "us": 1e6 * first.p50} | (
        {"chunk": recipe.chunk, "chunk_us": _chunk_us(model, data, recipe.chunk)} if recipe.chunk > 1 else {}
    )


def _chunk_us(model: Predictor, data: s2o.SequenceDataset, size: int) -> float:
    """Median microseconds of a chunk of a stream."""
    x, stream, times = data.sequences[0], model.stream(), list[float]()
    chunks = [x[start : start + size] for start in range(0, len(x) - size + 1, size)]
    while sum(times) < SECONDS:
        for chunk in chunks:
            began = time.perf_counter()
            stream.step(chunk)
            times.append(time.perf_counter() - began)
    return 1e6 * statistics.median(times)
