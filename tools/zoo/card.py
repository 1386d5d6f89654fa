"""The cards, and the table of all of them, written from what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seq2onnx import plots
from seq2onnx.files import write_atomically
from zoo.making import read_figures
from zoo.pictures import save
from zoo.recipe import Recipe

COMPARED = ("digits_lstm", "digits_gru", "digits_conv", "digits_tcn")


def write_card(recipe: Recipe, folder: Path) -> None:
    """Write card.md into a folder that `make` has made, and that has its latency."""
    found = read_figures(folder)
    made, latency, shipped = found["made_with"], found["latency"], found["slice"]
    name, (low, high) = found["figure"], found["range"]
    streams = latency["of"] == "a step"
    facts = {
        "data": recipe.source,
        "split": recipe.split,
        "network": f"[network.yaml](network.yaml), {found['parameters']:,} weights; "
        f"[model.onnx](model.onnx), {found['bytes'] / 1e6:.2f} MB",
        "training": f"[options.yaml](options.yaml), {found['training_seconds']:.0f} s on one core of two of an "
        f"{made['processor']}; torch {made['torch']}, Python {made['python']}",
        "latency": f"{latency['us']:.0f} µs {latency['of']}"
        + ("" if streams else f" of {latency['steps']} steps")
        + f", the median; one thread of the same machine, onnxruntime {made['onnxruntime']}",
        "limits": recipe.limits,
    }
    lines = [f"# {recipe.title}", "", recipe.task, "", "| | |", "|---|---|"]
    lines += [f"| {key} | {text} |" for key, text in facts.items()]
    lines += ["", "## Figures", "", "Of the exported file, on the test data.", ""]
    columns = list(found["seeds"]["0"])
    lines += [f"| seed | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for seed, row in found["seeds"].items():
        shown = " (shipped)" * (seed == "0")
        lines.append(f"| {seed}{shown} | {' | '.join(_number(row[column]) for column in columns)} |")
    lines += [
        "",
        f"{name[0].upper()}{name[1:]}: {found['mean']:.4f} ± {found['deviation']:.4f}, mean and standard deviation. "
        f"Trained again with any seed it should lie from {low:.4f} to {high:.4f} (three deviations, at least 0.01): "
        f"`python tools/train_models.py {recipe.name} --seed 0`.",
        "",
        f"| compared on the same split | {name} |",
        "|---|---|",
        f"| this network, mean of the seeds | {found['mean']:.4f} |",
    ]
    if peers := found["peer"]:
        each = ", ".join(f"{value:.4f}" for value in peers)
        lines.append(f"| the same network in plain torch, the same seeds: {each} | {sum(peers) / len(peers):.4f} |")
    lines += [f"| {baseline} | {value:.4f} |" for baseline, value in found["baselines"].items()]
    lines += ["", "## Pictures", ""]
    for file, caption in (found["pictures"] | {"curve.png": "The loss of the training data, epoch by epoch."}).items():
        lines += [f"![{caption}]({file})", "", caption, ""]
    lines += ["## Parity", "", "A row holds where the difference is at most 1e-5 of max(1, largest number).", ""]
    lines += ["| check | tensor | largest difference |", "|---|---|---|"]
    lines += [f"| {row['check']} | {row['tensor']} | {row['max_abs']:.1e} |" for row in found["parity"]]
    lines += [
        "",
        "## Run it",
        "",
        f"[{shipped['file']}]({shipped['file']}) has {shipped['sequences']} of the {found['sequences'][1]} test "
        f"sequences ({name} {_number(shipped['figures'][name])}). In the root of a clone, with "
        f"`seq2onnx[{'cpu,data' if shipped['file'].endswith('.parquet') else 'cpu'}]` installed:",
        "",
        "```python",
        "import seq2onnx as s2o",
        "",
        f'model = s2o.load("models/{recipe.name}/model.onnx")',
        f'data = s2o.SequenceDataset.load("models/{recipe.name}/{shipped["file"]}")',
        f"print(model.{recipe.call}[0])",
        "```",
    ]
    write_atomically(folder / "card.md", ("\n".join(lines) + "\n").encode())


def write_index(recipes: list[Recipe], out: Path) -> None:
    """Write README.md, a row a model, and the picture that compares the networks of one task."""
    found = {recipe.name: read_figures(out / recipe.name) for recipe in recipes}
    rows = [
        {
            "name": name,
            "accuracy": found[name]["mean"],
            "latency": found[name]["latency"]["us"],
            "size": _size(found[name]),
        }
        for name in COMPARED
    ]
    save(plots.accuracy_against_latency(rows), out / "accuracy_against_latency.png")
    lines = [
        "# Trained networks",
        "",
        "One for each kind of network, trained by `python tools/train_models.py` on data that it fetches by pip or",
        "simulates, and says so. Each folder has the network, the options, the exported file, a part of the test data,",
        "and a card with figures, baselines, parity and limits. To train one again and compare it with its card:",
        "`python tools/train_models.py vowels_lstm --seed 0`.",
        "",
        "| model | what it does | figure of the test data | latency | file |",
        "|---|---|---|---|---|",
    ]
    for recipe in recipes:
        one = found[recipe.name]
        latency = f"{one['latency']['us']:.0f} µs {one['latency']['of']}"
        figure = f"{one['figure']} {one['mean']:.4f} ± {one['deviation']:.4f}"
        lines.append(
            f"| [{recipe.name}]({recipe.name}/card.md) | {recipe.title} | {figure} | {latency} | {_size(one):.2f} MB |"
        )
    total = sum(one["training_seconds"] for one in found.values())
    made = found[recipes[0].name]["made_with"]
    spread = max(found[name]["deviation"] for name in COMPARED)
    lines += [
        "",
        f"Figures are mean and standard deviation over seeds. One training of each, seed 0, took {total / 60:.0f} "
        f"minutes of one core in all ({made['processor']}, {made['cores']} cores, two trainings at a time).",
        "",
        "![Accuracy against latency of four networks for spoken digits](accuracy_against_latency.png)",
        "",
        "Spoken digits by four networks: mean accuracy on 600 recordings against the time of a step. From seed to seed "
        f"the accuracy of one of them deviates by up to {spread:.4f}, as much as most of them differ.",
    ]
    write_atomically(out / "README.md", ("\n".join(lines) + "\n").encode())


def _size(found: dict[str, Any]) -> float:
    return float(found["bytes"] / 1e6)


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
