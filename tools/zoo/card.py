"""The cards of models/, and the table of all models, from the measured figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seq2onnx import plots
from seq2onnx.files import write_atomically
from seq2onnx.texts import markdown
from zoo.guests import SPEECH, Guest
from zoo.making import read_figures
from zoo.nights import RECORDING, SAME, Night
from zoo.pictures import save
from zoo.recipe import Recipe

COMPARED = ("digits_lstm", "digits_gru", "digits_conv", "digits_tcn")
VERSION_0_1 = {  # mean and standard deviation of the first figure, trained with version 0.1.0 on an AMD EPYC
    "co2": (0.6356, 0.0057),
    "covid": (0.1139, 0.0019),
    "digits_conv": (0.9917, 0.0017),
    "digits_gru": (0.9867, 0.0033),
    "digits_lstm": (0.9900, 0.0044),
    "digits_tcn": (0.9900, 0.0000),
    "films": (0.4553, 0.0054),
    "speaker_now": (0.9400, 0.0025),
    "spotting": (0.9223, 0.0013),
    "sunspots": (0.1302, 0.0168),
    "turbofan": (0.8238, 0.0023),
    "video": (0.9162, 0.0119),
    "vowels_bilstm": (0.9816, 0.0012),
    "vowels_lstm": (0.9768, 0.0031),
}


def write_card(recipe: Recipe, folder: Path) -> None:
    """Write card.md into a folder that `make` created and whose latency was measured."""
    found = read_figures(folder)
    made, latency, shipped = found["made_with"], found["latency"], found["slice"]
    figure, (low, high) = found["figure"], found["range"]
    name = markdown(figure)
    streams = latency["of"] != "a sequence"
    facts = {
        "data": recipe.source,
        "split": recipe.split,
        "network": f"[network.yaml](network.yaml), {found['parameters']:,} weights; "
        f"[model.onnx](model.onnx), {found['bytes'] / 1e6:.2f} MB",
        "training": f"[options.yaml](options.yaml), {found['training_seconds']:.0f} s on one core of an "
        f"{made['processor']} with {made['cores']} cores; torch {made['torch']}, Python {made['python']}",
        "latency": f"median {latency['us']:.0f} µs for {latency['of']}"
        + ("" if streams else f" of {latency['steps']} steps")
        + (f", {latency['chunk_us']:.0f} µs for a chunk of {latency['chunk']} steps" if "chunk" in latency else "")
        + f"; one thread on the same machine, onnxruntime {made['onnxruntime']}",
        **_edge(found),
        "limits": recipe.limits,
    }
    if recipe.name in VERSION_0_1 and made["seq2onnx"] != "0.1.0":
        mean, deviation = VERSION_0_1[recipe.name]
        facts["since 0.1"] = (
            f"{recipe.changes} The figure of version 0.1.0: {mean:.4f} ± {deviation:.4f}, on an AMD EPYC."
        )
    lines = [f"# {recipe.title}", "", recipe.task, "", "| | |", "|---|---|"]
    lines += [f"| {key} | {text} |" for key, text in facts.items()]
    lines += ["", "## Figures", "", "Measured with the exported file on the test data.", ""]
    columns = list(found["seeds"]["0"])
    lines += [f"| seed | {' | '.join(map(markdown, columns))} |", f"|---|{'---|' * len(columns)}"]
    for seed, row in found["seeds"].items():
        shown = " (shipped)" * (seed == "0")
        lines.append(f"| {seed}{shown} | {' | '.join(_number(row[column]) for column in columns)} |")
    lines += [
        "",
        f"{name[0].upper()}{name[1:]}, mean and standard deviation: {found['mean']:.4f} ± {found['deviation']:.4f}. "
        f"A new training with any seed should give a value from {low:.4f} to {high:.4f} (three standard deviations, at "
        f"least 0.01). To check this: `python tools/train_models.py {recipe.name} --seed 0`.",
        "",
        f"| model, on the same split | {name} |",
        "|---|---|",
        f"| this network, mean of the seeds | {found['mean']:.4f} |",
    ]
    if peers := found["peer"]:
        each = ", ".join(f"{value:.4f}" for value in peers)
        mean = sum(peers) / len(peers)
        lines.append(f"| the same network in plain torch, mean of the same seeds ({each}) | {mean:.4f} |")
    lines += [f"| {markdown(baseline)} | {value:.4f} |" for baseline, value in found["baselines"].items()]
    lines += ["", "## Pictures", ""]
    for file, caption in (found["pictures"] | {"curve.png": "Loss by epoch."}).items():
        lines += [f"![{markdown(caption)}]({file})", "", markdown(caption), ""]
    lines += ["## Parity", "", "Each difference must be at most 1e-5 × max(1, largest value).", ""]
    lines += ["| check | tensor | largest difference |", "|---|---|---|"]
    lines += _parity(found["parity"])
    lines += [
        "",
        "## Run it",
        "",
        f"[{shipped['file']}]({shipped['file']}) contains {shipped['sequences']} of the {found['sequences'][1]} test "
        f"sequences ({name} {_number(shipped['figures'][figure])}). Run "
        f'`pip install ".[{"cpu,data" if shipped["file"].endswith(".parquet") else "cpu"}]"` and this in the root of '
        "a clone:",
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


def _edge(found: dict[str, Any]) -> dict[str, str]:
    """The rows about the smaller file and the C code."""
    edge, shipped, figure = found["edge"], found["slice"], found["figure"]
    small, code = edge["int8"], edge["c"]
    rows = {
        "int8": f"{small['bytes'] / 1e6:.2f} MB ({small['bytes'] / found['bytes']:.2f} of the file) with int8 weights; "
        f"{markdown(figure)} {_number(small['figure'])} on {shipped['file']}, {_number(shipped['figures'][figure])} "
        "with float32"
    }
    if code:
        latency = found["latency"]
        time = code["us"] * latency["steps"]
        us = f"{time:.3g}" if time < 1000 else f"{time:,.0f}"
        rows["C"] = (
            f"a program of {code['bytes'] / 1e3:,.0f} kB, median {us} µs for {latency['of']}; one thread of an "
            f"{edge['processor']}, gcc {edge['gcc']} -O3"
        )
    return rows


def write_guest_card(guest: Guest, folder: Path) -> None:
    """Write card.md into a folder that `make` of guests.py created."""
    found = read_figures(folder)
    us, own = found["latency"]["us"], found["latency"]["own_us"]
    facts = {
        "recording": SPEECH,
        "network": _file(found),
        "latency": f"median {us:.0f} µs for a step with `Stream.step`, and {own:.0f} µs in its own file with "
        f"`session.run`, states carried by hand ({us / own:.2f}); {_machine(found)}",
    }
    first, *_ = found["figures"]
    lines = _guest_facts(guest, "add_states", facts)
    lines += ["", "## Figures", "", "Measured with a stream of the file on the noisy recording.", ""]
    lines += ["| | |", "|---|---|"]
    lines += [f"| {markdown(name)} | {_number(value)} |" for name, value in found["figures"].items()]
    lines += ["", f"| instead of this network | {markdown(first)} |", "|---|---|"]
    lines += [f"| {markdown(baseline)} | {_number(value)} |" for baseline, value in found["baselines"].items()]
    lines += _guest_parity(
        found,
        f"The largest difference between the stream and its own file in onnxruntime, over the {found['steps']:,} steps "
        f"of the recording, is {found['difference']:.1e}, of values up to {found['largest']:.2g}.",
        "add_states has compared both with random data:",
    )
    lines += _run_it(
        guest,
        "the sentences and answers of the own file",
        f'stream = s2o.load("models/{guest.name}/model.onnx").stream()',
        f"print(stream.step(np.zeros({guest.width}, np.float32))[:5])",
    )
    write_atomically(folder / "card.md", ("\n".join(lines) + "\n").encode())


def write_night_card(night: Night, folder: Path) -> None:
    """Write card.md into a folder that `make` of nights.py created."""
    found = read_figures(folder)
    facts = {
        "recording": RECORDING,
        "network": _file(found),
        "latency": f"median {found['latency']['us'] / 1000:.1f} ms for {found['latency']['of']} with `predict`; "
        + _machine(found),
    }
    lines = _guest_facts(night, "from_keras", facts)
    lines += _guest_parity(
        found,
        f"The largest difference between the scores of this file and those of `stage` of the package, over the "
        f"{sum(found['steps']):,} steps of both nights, is {found['difference']:.1e}, of values up to "
        f"{found['largest']:.2g}. {found['figures'][SAME]:.0%} of the steps have the stage that the package gives.",
        "verify has compared the file with its layers in torch:",
    )
    lines += _run_it(
        night,
        "the features of both nights and the scores of the package",
        f'kept, model = np.load("models/{night.name}/test_slice.npz"), s2o.load("models/{night.name}/model.onnx")',
        'print(model.classify([kept["features"][: kept["lengths"][0]]]))',
    )
    write_atomically(folder / "card.md", ("\n".join(lines) + "\n").encode())


def _guest_facts(guest: Guest | Night, way: str, facts: dict[str, str]) -> list[str]:
    facts = {"from": guest.source, "licence": guest.licence} | facts | {"limits": guest.limits}
    return [
        f"# {guest.title}",
        "",
        guest.task,
        "",
        f"Others have trained this network. `{way}` brought it over.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {key} | {text} |" for key, text in facts.items()),
    ]


def _guest_parity(found: dict[str, Any], own: str, random: str) -> list[str]:
    head = ["| check | tensor | largest difference |", "|---|---|---|"]
    return ["", "## Parity", "", own, "", random, "", *head, *_parity(found["parity"])]


def _run_it(guest: Guest | Night, kept: str, *code: str) -> list[str]:
    return [
        "",
        "## Run it",
        "",
        f"[test_slice.npz](test_slice.npz) has {kept}, and "
        f"`python tools/train_models.py {guest.name}` makes this folder again. Run "
        '`pip install ".[cpu]"` and this in the root of a clone:',
        "",
        "```python",
        "import numpy as np",
        "",
        "import seq2onnx as s2o",
        "",
        *code,
        "```",
    ]


def _file(found: dict[str, Any]) -> str:
    return f"[model.onnx](model.onnx), {_size(found):.2f} MB"


def _machine(found: dict[str, Any]) -> str:
    made = found["made_with"]
    return f"one thread of an {made['processor']} with {made['cores']} cores, onnxruntime {made['onnxruntime']}"


def write_index(recipes: list[Recipe], guests: list[Guest | Night], out: Path) -> None:
    """Write README.md with one row for each model, and the picture that compares the networks of one task."""
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
        "At least one network for each kind of task, and [guests](#guests). `python tools/train_models.py` trains them",
        "with all seeds. It downloads the data with pip or simulates it; each card says which. Each folder has the",
        "network, the training options, the exported file, a part of the test data, and a card with figures,",
        "baselines, parity and limits.",
        "To train one network again and compare it with its card:",
        "`python tools/train_models.py vowels_lstm --seed 0`.",
        "",
        "| model | task | result on the test data | latency | file |",
        "|---|---|---|---|---|",
    ]
    for recipe in recipes:
        one = found[recipe.name]
        latency = f"{one['latency']['us']:.0f} µs for {one['latency']['of']}"
        figure = f"{one['figure']} {one['mean']:.4f} ± {one['deviation']:.4f}"
        lines.append(
            f"| [{recipe.name}]({recipe.name}/card.md) | {recipe.title} | {figure} | {latency} | {_size(one):.2f} MB |"
        )
    total = sum(one["training_seconds"] for one in found.values())
    made = found[recipes[0].name]["made_with"]
    spread = max(found[name]["deviation"] for name in COMPARED)
    lines += [
        "",
        "Results are mean and standard deviation over seeds, latencies are medians. Training each network once (seed "
        f"0) took {total / 60:.0f} minutes of one core in total ({made['processor']}, {made['cores']} cores, two "
        "trainings at a time).",
        "",
        "![Accuracy against latency of four networks for spoken digits](accuracy_against_latency.png)",
        "",
        "Four networks for spoken digits: mean accuracy on 600 recordings against the time for a step. The standard "
        f"deviation over seeds is up to {spread:.4f}, as much as the difference between most of the networks.",
    ]
    lines += [
        "",
        "## Guests",
        "",
        "Others have trained these networks. `add_states` and `from_keras` brought them over from packages on PyPI, "
        "with the same results as there. Their licences apply.",
        "",
        "| model | task | result on a recording | latency | file |",
        "|---|---|---|---|---|",
    ]
    for guest in guests:
        one = read_figures(out / guest.name)
        figure, value = next(iter(one["figures"].items()))
        lines.append(
            f"| [{guest.name}]({guest.name}/card.md) | {guest.title} | {figure} {_number(value)} "
            f"| {one['latency']['us']:.0f} µs for {one['latency'].get('of', 'a step')} | {_size(one):.2f} MB |"
        )
    write_atomically(out / "README.md", ("\n".join(lines) + "\n").encode())


def _parity(rows: list[dict[str, Any]]) -> list[str]:
    return [f"| {markdown(row['check'])} | {markdown(row['tensor'])} | {row['max_abs']:.1e} |" for row in rows]


def _size(found: dict[str, Any]) -> float:
    return float(found["bytes"] / 1e6)


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
