"""What is printed fits a terminal of 80 columns, and nothing is lost."""

from __future__ import annotations

import re
import typing

import pytest
import typer

import seq2onnx as s2o
from seq2onnx.cli import COMMANDS
from seq2onnx.tables import text_table
from tests.command import run
from tests.conftest import built, random_data

LONG = "a_layer_with_a_name_that_tells_everything_about_it_and_more_than_fits"


def test_long_cells_continue_on_the_next_line():
    rows = [("name", "value", "remark"), ("x" * 30, "12,345", "words " * 20), ("y", "6", "")]
    text = text_table(rows, (1,), rule=True)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("x") == 30
    assert text.count("words") == 20
    lines = text.splitlines()
    assert lines[0].startswith("name ")
    assert set(lines[1]) == {"-", " "}
    assert lines[-1].split() == ["y", "6"]
    assert lines[-1].index("6") == lines[2].index("12,345") + 5  # aligned on the right
    assert text_table([("a", "b"), ("c", "d")]) == "a  b\nc  d"


@pytest.fixture(scope="module")
def long_file(tmp_path_factory):
    """A file with long names of layers, states, channels, classes, and of itself."""
    network = s2o.Network(
        [
            s2o.SequenceInput(4, "zscore"),
            s2o.LSTM(8, "last", name=LONG),
            s2o.FullyConnected(3),
            s2o.Softmax(name=f"{LONG}_too"),
        ],
        name="long",
    )
    path = tmp_path_factory.mktemp("a folder with a name of many words") / f"{LONG}.onnx"
    channels = [f"channel number {k} of the left front wheel" for k in range(4)]
    s2o.export(
        built(network, random_data()), path, classes=["left", "r" * 90, "up"], channels=channels, activations=True
    )
    return path


def without_breaks(text):
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("command", ["inspect", "verify", "bench"])
def test_tables_of_long_names_fit_80_columns_and_keep_them(long_file, command):
    out, _ = run(command, long_file, *(["--seconds", "0.001"] if command == "bench" else []))
    assert max(map(len, out.splitlines())) <= 80
    assert without_breaks(str(long_file)) in without_breaks(out)
    if command == "inspect":
        for name in ("r" * 90, *(f"channel number {k} of the left front wheel" for k in range(4))):
            assert without_breaks(name) in without_breaks(out)


def test_the_table_of_verify_names_every_tensor(long_file):
    tensors = {row.tensor for row in s2o.verify(long_file).rows}
    assert any(LONG in tensor for tensor in tensors)
    lines = run("verify", long_file)[0].splitlines()
    start = lines[0].index("tensor")
    stop = lines[0].index("max abs")
    found = "".join(line[start:stop].strip() for line in lines)
    assert all(tensor in found for tensor in tensors)


def test_the_data_table_fits_with_long_names(tmp_path):
    data = random_data()
    names = [f"channel number {k} of the left front wheel of the second car" for k in range(4)]
    s2o.SequenceDataset(data.sequences, [f"{'long ' * 20}{n % 2}" for n in range(12)], channels=names).save(
        tmp_path / "d.npz"
    )
    out, _ = run("data", "inspect", tmp_path / "d.npz")
    assert max(map(len, out.splitlines())) <= 80
    assert out.count("second car") + out.count("car\n") >= 4


@pytest.mark.parametrize(
    "command", ["", *(command.__name__.rstrip("_") for command in COMMANDS), "data", "data inspect", "data convert"]
)
def test_help_fits_80_columns_and_shows_no_types(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out, _ = run(*command.split(), "--help")
    assert max(map(len, out.splitlines())) <= 80
    assert not re.search(r"<(bool|path|str|int|float|int range)>|PATH|INTEGER|FLOAT|list\[|\[[a-z0-9]+\|", out)
    arguments = re.search(r"─ Arguments .*?╰", out, re.DOTALL)
    names = re.findall(r"^│[ *]{2,6}(\S+)", arguments[0], re.MULTILINE) if arguments else []
    assert bool(names) == ("{" in out.splitlines()[1] or "TEMPLATE" in out)
    assert all(name.isupper() for name in names)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_options_whose_value_has_their_name_are_written_out(command):
    """typer 0.27 would name them in capitals: --DATA DATA."""
    for name, hint in typing.get_type_hints(command, include_extras=True).items():
        for given in getattr(hint, "__metadata__", ()):
            if isinstance(given, typer.models.OptionInfo) and given.metavar == name.upper():
                assert given.default == f"--{name}"  # where typer keeps the first name
