"""What the file of a stranger is, and by which door it comes in: each door is tried, and no file is written."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnx import ModelProto, ValueInfoProto

from seq2onnx.errors import NotStreamable
from seq2onnx.importing.onnx import carried_states, description
from seq2onnx.importing.onnx.graph import check_foreign, parse
from seq2onnx.importing.onnx.graph_parts import data_inputs
from seq2onnx.importing.onnx.inputs import check_axes
from seq2onnx.importing.onnx.joining import join_inputs
from seq2onnx.importing.trying import Door, Options, Way
from seq2onnx.tables import WIDTH, about, text_table

Table = Sequence[Sequence[object]]
LAYERS, STATES, KERAS = "As layers (from_onnx)", "With states (add_states)", "As layers (from_keras)"
MOST_ROWS = 30
"""The most rows of a table: the file decides how many there are."""
NOT_COMPARED = ("fixed", "states", "masks")
"""Options that no comparison confirms: the source runs with them, too."""
NO_WAY = (
    "each way needs the whole file, and each stops at the node that it names. Do what these nodes do before or after "
    "the network, or write it in another way, and export the network again."
)


@dataclasses.dataclass(frozen=True)
class Explanation:
    """A file, tables of what it contains, and the doors that were tried. As a text it has 80 columns.

    `given` are the options of the user, and `out` is the file that the commands write.
    """

    path: str
    about: str
    tables: Sequence[Table]
    doors: Sequence[Door]
    given: Options
    out: str

    @property
    def works(self) -> bool:
        """Whether the file can come in."""
        return any(door.works for door in self.doors)

    def command(self, door: Door) -> str:
        """Return the command that brings the file in by a door."""
        lines = ["seq2onnx import"]
        for text in map(shlex.join, [[self.path], *_flags(door.options), ["--out", self.out]]):
            if len(lines[-1]) + len(text) > WIDTH - 11:  # the indentation, a space, and " \"
                lines.append(text)
            else:
                lines[-1] += f" {text}"
        return " \\\n        ".join(lines)

    def __str__(self) -> str:
        """Return the tables, and for each door what came of it."""
        parts = [about(self.path, self.about), *(_shown(table) for table in self.tables if len(table) > 1)]
        parts += map(self._outcome, self.doors)
        if len(self.doors) > 1 and not self.works and all(door.behind for door in self.doors):
            parts.append(about("No way takes the file", NO_WAY))
        return "\n\n".join(parts)

    def _outcome(self, door: Door) -> str:
        if door.works:
            text = " ".join([f"works. {door.text.rstrip('.')}.", *self._doubts(door)])
            return f"{about(door.name, text)}\n    {self.command(door)}"
        text, unit = f"refused. {door.text.rstrip('.')}", "layers" if door.name == KERAS else "nodes"
        if door.behind:
            text += f". Behind it are {door.behind[0]:,} of {door.behind[1]:,} {unit}"
        flags = shlex.join(flag for group in _flags(door.options) for flag in group)
        return about(door.name, f"{text}. Tried with {flags}" if flags else text)

    def _doubts(self, door: Door) -> list[str]:
        """Return what no comparison can show, so that the user has to know it."""
        names = {*NOT_COMPARED, *door.proposed} - {"window"}  # the size of a window is in the weights
        found = {name: value for name, value in door.options.items() if name in names and value != self.given.get(name)}
        flags = shlex.join(flag for group in _flags(found) for flag in group)
        doubts = [f"Check {flags}: the comparison cannot show that this is right."] if found else []
        others = [axes for axes in door.proposed.get("axes", ()) if axes != door.options["axes"]]
        return [*doubts, f"The axes may also be {' or '.join(others)}."] if others else doubts


def explain_onnx(path: str | Path, out: str | Path, given: Options, keep_graph: bool = False) -> Explanation:
    """Describe an ONNX file, and try to bring it in as layers and with states.

    Args:
        path: the file.
        out: the file that the commands write.
        given: options of from_onnx and add_states. Others are taken from the file.
        keep_graph: try add_states alone.

    Raises:
        ImportRefused: seq2onnx has written the file.
        ModelFileError: the file is damaged, or has its weights in others.
    """
    check_axes(given.get("axes"))
    model = parse(path)
    check_foreign(model, path)
    given = {name: value for name, value in given.items() if value}
    entries = data_inputs(model)
    pairs = given.get("states") or carried_states.state_pairs(model)
    known = {**pairs, **given.get("fixed", {})}
    data = next((each for each in entries if each.name not in known), ValueInfoProto())
    compared = carried_states.compared_with(model, data.name)
    fixed = {name: values[0] for name, values in compared.items()} | given.get("fixed", {})
    options = given | ({"fixed": fixed} if fixed else {})
    outputs = [each.name for each in model.graph.output if "outputs" not in given and each.name not in pairs.values()]
    letters = description.axis_letters(data)
    doors = []
    if not keep_graph:
        layers = Way(LAYERS, str(path), lambda chosen: _as_layers(path, chosen), letters)
        doors.append(layers.all_or_some_outputs([_without(options, "states")], outputs))
    tries = [options] if "states" in given or not pairs else [options, _without(options, "window") | {"states": pairs}]
    states = Way(STATES, str(path), lambda chosen: _with_states(path, chosen), letters)
    doors.append(states.all_or_some_outputs(tries, outputs))

    axes = next((door.options["axes"] for door in doors if door.works), given.get("axes", ""))
    roles = {each.name: "one number" for each in entries if not each.type.tensor_type.shape.dim}
    roles |= {name: f"one number, compared with {', '.join(map(str, values))}" for name, values in compared.items()}
    roles |= {name: f"a state that {output} continues" for name, output in pairs.items()}
    if doors[0].name == LAYERS and doors[0].works:
        _, parts = join_inputs(model, data.name, axes)
        roles |= {part.name: "a sequence" if part.has_time else "a vector of the sequence" for part in parts}
    roles[data.name] = " ".join(axes or letters) if {*(axes or letters)} - {"?"} else "not known"
    return Explanation(
        str(path), _about(path, description.writer(model)), _tables(model, roles), doors, given, str(out)
    )


def _without(options: Options, name: str) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != name}


def _about(path: str | Path, text: str) -> str:
    return f"{Path(path).stat().st_size:,} bytes, {text}"


def _tables(model: ModelProto, roles: Mapping[str, str]) -> list[Table]:
    inputs = data_inputs(model)
    return [
        [
            ("input", "type", "shape", "axes"),
            *((each.name, *description.type_and_shape(each), roles.get(each.name, "not known")) for each in inputs),
        ],
        [("output", "type", "shape"), *((each.name, *description.type_and_shape(each)) for each in model.graph.output)],
        [("operators", "nodes"), *description.operators(model)],
        [("weights", "tensors", "numbers", "bytes"), *description.weights(model)],
    ]


def _shown(table: Table) -> str:
    if len(table[0]) == 2 and all(isinstance(count, int) for _, count in table[1:]):
        counts = ", ".join(f"{name:.100} {count:,}" for name, count in table[1 : MOST_ROWS + 1])
        return about(table[0][0], f"{counts}{', …' if len(table) > MOST_ROWS + 1 else ''}")
    rows = [
        [f"{cell:,}" if isinstance(cell, int) else f"{cell:.100}" for cell in row] for row in table[: MOST_ROWS + 1]
    ]
    numbers = {i for row in table[1:] for i, cell in enumerate(row) if isinstance(cell, int)}
    left_out = len(table) - len(rows)
    return text_table(rows, numbers, rule=True) + (f"\nand {left_out:,} more" if left_out else "")


def _as_layers(path: str | Path, options: Options) -> tuple[Options, str]:
    from seq2onnx import export
    from seq2onnx.importing.onnx.networks import import_layers

    axes, module = import_layers(path, **options)
    with tempfile.TemporaryDirectory() as folder:
        export(module, Path(folder) / "out.onnx", lookahead="window" in options)
    return {"axes": axes}, _described(module.network, "window" in options)


def _described(network: Any, lookahead: bool = False) -> str:
    """Return how many layers a network has, and whether it runs step by step."""
    text = f"{len(network.layers) - len(network.inputs):,} layers, which give the same results"
    try:
        return f"{text}, also step by step (states: {len(network.states(lookahead)):,})"
    except NotStreamable as error:
        return f"{text}, for whole sequences alone: {error}"


def _with_states(path: str | Path, options: Options) -> tuple[Options, str]:
    from seq2onnx import load
    from seq2onnx.importing.states.adding_states import write_states

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.onnx"
        axes, _ = write_states(path, out, **options)
        count = len(load(out).states)
    text = f"The same graph, which gives the same results, also step by step (states: {count:,})"
    return {"axes": axes} if "states" in options else {"axes": axes, "keep_graph": True}, text


def explain_keras(path: str | Path, out: str | Path, masks: str | None = None) -> Explanation:
    """Describe a Keras file, and try to bring it in.

    Raises:
        ModelFileError: the file is damaged, or is no model of Keras.
    """
    from seq2onnx import export
    from seq2onnx.importing.keras import description as keras_description
    from seq2onnx.importing.keras.file import read_file
    from seq2onnx.importing.keras.models import from_keras

    def enter(options: Options) -> tuple[Options, str]:
        module = from_keras(path, **options)
        with tempfile.TemporaryDirectory() as folder:
            export(module, Path(folder) / "out.onnx")
        return {}, _described(module.network)

    file = read_file(path)
    given = {"masks": masks} if masks else {}
    door = Way(KERAS, str(path), enter).first_that_works([given])
    text, *tables = keras_description.described(file, path)
    return Explanation(str(path), _about(path, text), tables, [door], given, str(out))


def _flags(options: Options) -> list[list[str]]:
    """Return options as the command line takes them."""
    found: list[list[str]] = []
    for name, value in options.items():
        if name == "keep_graph":
            found.append(["--keep-graph"])
        elif name == "outputs":
            text = io.StringIO()
            csv.writer(text, lineterminator="").writerow(value)
            found.append(["--outputs", text.getvalue()])
        elif name in ("fixed", "states"):
            texts = {key: json.dumps(part) if name == "fixed" else part for key, part in value.items()}
            found += [[f"--{name}", f"{key}={part}"] for key, part in texts.items()]
        else:
            found.append([f"--{name}", str(value)])
    return found
