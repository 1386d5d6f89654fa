"""No text of a file becomes code: hostile texts in every place, through every package, report and card."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import ClassVar, final

import numpy as np
import onnx
import pytest
from markdown_it import MarkdownIt

import seq2onnx as s2o
from seq2onnx import texts
from seq2onnx.layers import KINDS, Example, Layer, Signal, State, layer
from tests.command import run
from tests.conftest import CLASSES, built, random_data, small_network
from tests.model_changes import graphs
from tests.small_networks import exported
from tests.test_packages import rows_of, same, serve

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "models"
EVIL = (
    '*/ int evil(void); #error x /* @CHANNELS@ @NAME@ @MARK@ @LABELS@ " \\ \\" ${x} `code` ``` </script>'
    "<script>alert(1)</script> =HYPERLINK(1) ??/ %s %d | # [a](javascript:b) ![i](j) <!-- & &lt; $x$ *b* _c_ "
    "http://x.y www.x.y a@b.c 'é 漢 \U0001f600"
)
LINES = f"{EVIL}\n#error x\n```\n<script>\n    indented\n\x1b[31m\\\n//"
"""EVIL is what labels and channels may hold, LINES what titles and the writer may hold besides."""
BENIGN = "plain"


def written(path, text, lines, form="dynamic"):
    """Write a file with a text in its labels and channels, in the names of its nodes and tensors and in its notes."""
    network = s2o.Network(small_network().layers, name=lines)
    channels = [text, *"bcd"]
    module = built(network, random_data())
    s2o.export(module, path, classes=[text, *CLASSES[:2]], channels=channels, form=form)
    model = onnx.load(path)
    kept = {"", *(entry.name for entry in [*model.graph.input, *model.graph.output])}

    def new(name):
        # A dynamic file is restored for C, and its layers are read by the names of tensors.
        return name if name in kept or form == "dynamic" else f"{text} {name}"

    for graph in graphs(model.graph) if form == "step" else [model.graph]:
        graph.name, graph.doc_string = text, lines
        for entry in [*graph.initializer, *graph.input, *graph.output, *graph.value_info]:
            entry.name, entry.doc_string = new(entry.name), lines
        for node in graph.node:
            node.name, node.doc_string = f"{text} {node.name}", lines
            node.input[:], node.output[:] = map(new, node.input), map(new, node.output)
            for attribute in node.attribute if form == "step" else ():
                attribute.doc_string = lines
    model.producer_name = model.producer_version = model.domain = model.doc_string = lines
    for entry in model.metadata_props:
        if entry.key == "seq2onnx":
            entry.value = json.dumps(json.loads(entry.value) | {"writer": lines, "answer": lines})
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module", params=["dynamic", "step"])
def files(request, tmp_path_factory):
    """A hostile file and one of the same network with plain texts."""
    folder = tmp_path_factory.mktemp("texts")
    return (
        written(folder / "hostile.onnx", EVIL, LINES, request.param),
        written(folder / "benign.onnx", BENIGN, BENIGN, request.param),
    )


def tokens(path):
    """The structure of a page of Markdown, without its texts, and all texts."""
    found, shown = [], []
    for token in MarkdownIt("commonmark").enable("table").parse(path.read_text()):
        for one in (token, *(token.children or ())):
            if one.type not in ("text", "inline", "softbreak"):
                found.append((one.type, one.info))
            if one.type in ("text", "code_inline", "fence"):
                shown.append(one.content)
    return found, "".join(shown)


def check_readme(hostile, benign):
    """The README has the same structure with hostile texts, and shows the label as it is."""
    (structure, shown), (expected, _) = tokens(hostile / "README.md"), tokens(benign / "README.md")
    assert structure == expected
    assert " ".join(EVIL.split()) in shown
    assert hostile.joinpath("README.md").read_text().replace("\n", "").isprintable()


def packaged(files, target, tmp_path, **options):
    folders = [tmp_path / path.stem for path in files]
    for file, folder in zip(files, folders, strict=True):
        s2o.package(file, target, folder, **options)
    check_readme(*folders)
    return folders[0]


def identifier_of(folder):
    (header,) = folder.glob("*.h")
    return header.stem


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc; tools/ci_setup.sh installs it")
def test_texts_are_inert_in_c(files, tmp_path):
    folder = packaged(files, "c", tmp_path)
    name = identifier_of(folder)
    code = "".join(path.read_text() for path in [*folder.glob("*.c"), *folder.glob("*.h")])
    without = re.sub(r'"(?:[^"\\\n]|\\[0-7]{3}|\\[nr0"])*"|/\*.*?\*/', "", code, flags=re.DOTALL)
    assert "evil(" not in without
    assert "#error" not in without
    (folder / "labels.c").write_text(
        f'#include <stdio.h>\n#include "{name}.h"\nint main(void) {{ puts({name}_labels[0]); return 0; }}\n'
    )
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O0"]
    for main in ("main.c", "labels.c"):
        subprocess.run(["gcc", *flags, main, f"{name}.c", "-o", main[:-2], "-lm"], cwd=folder, check=True)
    assert subprocess.run([folder / "labels"], capture_output=True, check=True).stdout.decode() == f"{EVIL}\n"
    sample = (folder / "sample_input.csv").read_text()
    found = subprocess.run([folder / "main"], input=sample, capture_output=True, text=True, check=True).stdout
    same(rows_of(found), rows_of((folder / "expected_output.csv").read_text()))


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs gcc; tools/ci_setup.sh installs it")
def test_verify_compiles_no_text_of_a_hostile_file(files):
    from seq2onnx.hosts import check_host

    report = check_host(files[0], "c")
    assert report.ok, str(report)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++; tools/ci_setup.sh installs it")
def test_texts_are_inert_in_cpp(files, tmp_path):
    folder = packaged(files, "cpp", tmp_path)
    (line,) = [line for line in (folder / "main.cpp").read_text().splitlines() if " channels = " in line]
    text = "#include <cstdio>\n#include <string>\n#include <vector>\n"
    (folder / "channels.cpp").write_text(f"{text}{line}\nint main() {{ std::puts(channels[0].c_str()); }}\n")
    subprocess.run(["g++", "-std=c++17", "-Wall", "-Werror", "channels.cpp", "-o", "channels"], cwd=folder, check=True)
    assert subprocess.run([folder / "channels"], capture_output=True, check=True).stdout.decode() == f"{EVIL}\n"


class Tags(html.parser.HTMLParser):
    """The tags and attributes of a page, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.shown = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data):
        self.shown += data


def test_texts_are_inert_in_a_page(files, tmp_path):
    runtime = tmp_path / "runtime"
    (runtime / "dist").mkdir(parents=True)
    for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"):
        (runtime / "dist" / name).write_text("")
    (runtime / "package.json").write_text('{"version": "1.0.0"}')
    folder = packaged(files, "web", tmp_path, runtime_folder=runtime)
    pages = [Tags((tmp_path / path.stem / "index.html").read_text()) for path in files]
    assert pages[0].tags == pages[1].tags
    about = (folder / "model.json").read_text()
    assert json.loads(about)["labels"][0] == json.loads(about)["channels"][0] == EVIL
    assert json.loads(about)["title"] == LINES
    assert not re.search("[<>&]", about)
    own = Path(texts.__file__).parent / "packaging" / "web_files"
    for script in folder.glob("*.js"):
        assert script.name == "ort.js" or script.read_bytes() == (own / script.name).read_bytes()


STRING = r'"(?:[^"\\\n]|\\[0-7]{3})*"'


def test_texts_are_inert_in_the_configuration_of_triton(tmp_path):
    files = (written(tmp_path / "hostile.onnx", EVIL, LINES), written(tmp_path / "benign.onnx", BENIGN, BENIGN))
    folder = packaged(files, "triton", tmp_path)
    (config,) = folder.glob("*/config.pbtxt")
    rest = re.sub(STRING, "", config.read_text())
    assert re.fullmatch(r"[\w\s:{}\[\],-]*", rest)
    (expected,) = (tmp_path / "benign").glob("*/config.pbtxt")
    assert rest == re.sub(STRING, "", expected.read_text())
    assert (config.parent / "labels.txt").read_text().splitlines() == [EVIL, *CLASSES[:2]]
    for name in ("request.json", "response.json"):
        json.loads((folder / name).read_text())


@pytest.mark.filterwarnings("ignore:Glyph", "ignore:constrained_layout")  # matplotlib: odd letters, a long label
def test_texts_are_inert_in_a_report(tmp_path):
    pages = []
    for name, text, lines in (("hostile", EVIL, LINES), ("benign", BENIGN, BENIGN)):
        file = written(tmp_path / f"{name}.onnx", text, lines)
        data = random_data()
        named = [[text, *CLASSES[:2]][CLASSES.index(label)] for label in data.labels]
        s2o.SequenceDataset(list(data.sequences), named, channels=[text, *"bcd"]).save(tmp_path / f"{name}.npz")
        run("report", file, tmp_path / f"{name}.npz", "--out", tmp_path / f"{name}.html")
        pages.append(Tags((tmp_path / f"{name}.html").read_text()))
    assert pages[0].tags == pages[1].tags
    assert EVIL in pages[0].shown


def test_texts_are_inert_in_the_card_of_a_model(tmp_path):
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from zoo import card
    finally:
        sys.path.pop(0)
    folder = MODELS / "vowels_lstm"
    found = json.loads((folder / "figures.json").read_text())

    def structure(text, place):
        place.mkdir()
        figures = found | {
            "seeds": {seed: {text: 1.0, **row} for seed, row in found["seeds"].items()},
            "baselines": {text: 1.0},
            "parity": [{**row, "check": text, "tensor": text} for row in found["parity"]],
            "figure": text,
            "slice": found["slice"] | {"figures": {text: 1.0}},
            "pictures": {"x.png": text},
        }
        (place / "figures.json").write_text(json.dumps(figures))
        recipe = types.SimpleNamespace(
            **dict.fromkeys(("source", "split", "limits", "title", "task", "changes"), "t"), name="x", call="predict()"
        )
        card.write_card(recipe, place)
        return tokens(place / "card.md")

    hostile, shown = structure(EVIL, tmp_path / "hostile")
    expected, _ = structure(BENIGN, tmp_path / "benign")
    assert hostile == expected
    assert " ".join(EVIL.split()) in shown


# What load and the writers refuse ------------------------------------------------------------------------------------


def changed(path, **changes):
    """Write a small file after changes of its metadata."""
    s2o.export(built(small_network(), random_data()), path, classes=CLASSES, channels=list("abcd"))
    model = onnx.load(path)
    for entry in model.metadata_props:
        if entry.key == "seq2onnx":
            entry.value = json.dumps(json.loads(entry.value) | changes)
        elif entry.key in changes:
            entry.value = json.dumps(changes[entry.key])
    path.write_bytes(model.SerializeToString())
    return path


UNFIT = ["a\nb", "a\u2028b", "a\x1b[31m", "a\x00b", "\x7f", "a\x9f", "\ud800", "a\udfffb"]


@pytest.mark.parametrize("text", UNFIT)
@pytest.mark.parametrize("allow_changed", [False, True])
def test_labels_and_channels_that_no_list_can_hold_are_refused(text, allow_changed, tmp_path):
    for changes in ({"classes": ["a", text, "c"]}, {"channels": ["a", text, "c", "d"]}):
        with pytest.raises(s2o.ModelFileError, match="control character|lone surrogate"):
            s2o.load(changed(tmp_path / "m.onnx", **changes), allow_changed=allow_changed)


@pytest.mark.parametrize("text", UNFIT)
def test_writers_refuse_them_too(text, tmp_path):
    x, module = [np.zeros((3, 4))] * 2, built(small_network(), random_data())
    writers = [
        lambda: s2o.SequenceDataset(x, ["a", text]),
        lambda: s2o.SequenceDataset(x, ["a", "a"], classes=["a", text]),
        lambda: s2o.SequenceDataset(x, channels=["a", "b", "c", text]),
        lambda: s2o.export(module, tmp_path / "m.onnx", classes=["a", "b", text]),
        lambda: s2o.export(module, tmp_path / "m.onnx", channels=["a", "b", "c", text]),
    ]
    for write in writers:
        with pytest.raises((s2o.DataError, s2o.SpecError), match="contains a (control character|lone surrogate)"):
            write()
    assert not list(tmp_path.iterdir())


def test_lone_surrogates_in_names_and_words_are_refused_and_other_texts_are_not(tmp_path):
    for make in (
        lambda text: s2o.WordEmbedding(3, ["a", text]),
        lambda text: s2o.Network([s2o.SequenceInput(2)], name=text),
    ):
        make("\x1b \n\x00\x85 \U0001f600")
        with pytest.raises(s2o.SpecError, match="lone surrogate"):
            make("a\ud83d")
    with pytest.raises(s2o.ModelFileError, match="lone surrogate"):
        s2o.load(changed(tmp_path / "m.onnx", writer="\udc00"))
    assert s2o.load(changed(tmp_path / "m.onnx", writer="\U0001f600")).contract.writer == "\U0001f600"


NAMES = ["a b", 'a"', "a/b", "*/", "é", "a\n", "@NAME@", ""]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("allow_changed", [False, True])
def test_names_of_layers_states_inputs_and_outputs_are_plain(name, allow_changed, tmp_path):
    """They stand in the names of tensors, which generated code has."""

    def renamed(old, new, path):
        """Rename a layer, or a kind of state, everywhere."""
        s2o.export(built(small_network(), random_data()), path, activations=["dropout_1"])
        model = onnx.load(path)
        for entry in [*model.graph.input, *model.graph.output]:
            entry.name = entry.name.replace(old, new)
        for node in model.graph.node:
            for places in (node.input, node.output):
                places[:] = [one.replace(old, new) if "state" in one or "act_" in one else one for one in places]
        (entry,) = [entry for entry in model.metadata_props if entry.key == "seq2onnx"]
        data = json.loads(entry.value)
        for state in data["states"]:
            state |= {"in": state["in"].replace(old, new), "out": state["out"].replace(old, new)}
            state["layer"] = state["layer"].replace(old, new)
            state["kind"] = new if state["kind"] == old[1:] else state["kind"]
        for one in data["network"]["layers"]:
            for fields in one.values():
                fields["name"] = fields["name"].replace(old, new)
        entry.value = json.dumps(data)
        path.write_bytes(model.SerializeToString())
        return path

    for old in ("lstm_1", "dropout_1"):
        with pytest.raises(s2o.ModelFileError, match="name|metadata"):
            s2o.load(renamed(old, name, tmp_path / "m.onnx"), allow_changed=allow_changed)
    assert s2o.load(renamed("lstm_1", "good_1", tmp_path / "m.onnx")).contract.states[0].layer == "good_1"
    states = json.loads(s2o.load(tmp_path / "m.onnx").contract.to_json())["states"]
    states = [state | {"kind": name, "name": f"n{i}"} for i, state in enumerate(states)]
    with pytest.raises(s2o.ModelFileError, match="the name of a layer or state|state 0 reads"):
        s2o.load(changed(tmp_path / "n.onnx", states=states), allow_changed=allow_changed)


@pytest.mark.parametrize("value", ['["left", "up", "right"]', "[]", "null", "{", '["left", "right", "up", "x"]'])
def test_other_classes_for_other_programs_are_refused(value, tmp_path):
    path = changed(tmp_path / "m.onnx")
    model = onnx.load(path)
    (entry,) = [entry for entry in model.metadata_props if entry.key == "classes"]
    entry.value = value
    path.write_bytes(model.SerializeToString())
    with pytest.raises(s2o.ModelFileError, match="under the key 'classes', and others in the contract"):
        s2o.load(path)
    entry.value = json.dumps(CLASSES, indent=1)
    path.write_bytes(model.SerializeToString())
    assert s2o.load(path).classes == CLASSES


# Names of networks ----------------------------------------------------------------------------------------------------

NETWORKS = [
    "host",
    "main",
    "double",
    "",
    "7",
    "é漢",
    *(pytest.param(n, marks=pytest.mark.slow) for n in ("math", "stdio", "String", "Aux", "MACRO", "NAME", "_x")),
    pytest.param("n" * 300, marks=pytest.mark.slow),
]


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs gcc; tools/ci_setup.sh installs it")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_any_name_builds(name, tmp_path):
    from seq2onnx.hosts import check_host

    exported(tmp_path, s2o.Network([s2o.SequenceInput(2), s2o.FullyConnected(2)], name=name))
    report = check_host(tmp_path / "model.onnx", "c")
    assert report.ok, str(report)
    s2o.package(tmp_path / "model.onnx", "c", tmp_path / "package")
    command = ["cc", "-std=c99", "-Wall", "-Werror", "-fsyntax-only", "-I.", "main.c"]
    subprocess.run(command, cwd=tmp_path / "package", check=True)


# Stack ---------------------------------------------------------------------------------------------------------------

STACKS = {
    "lstm": lambda: [s2o.SequenceInput(12), s2o.LSTM(100), s2o.FullyConnected(9), s2o.Softmax()],
    "images": lambda: [s2o.SequenceInput((1, 20, 20)), s2o.Conv2d(8, 3), s2o.ReLU(), s2o.LSTM(4, "last")],
    "bands": lambda: [s2o.SequenceInput(1), s2o.MelSpectrogram(100, 8, 4, 3, padding="causal"), s2o.GRU(4)],
    "words": lambda: [s2o.SequenceInput("tokens"), s2o.WordEmbedding(3, 7), s2o.GRU(4)],
}


def used(folder, name, *flags):
    """The bytes of stack of a step as gcc counts them: those of the function, of `run` and of the largest in it."""
    subprocess.run(["gcc", "-std=c99", *flags, "-fstack-usage", "-c", f"{name}.c", "-o", "x.o"], cwd=folder, check=True)
    (report,) = folder.glob("*.su")
    lines = [line.split("\t") for line in report.read_text().splitlines()]
    sizes = {place.rsplit(":", 1)[1]: int(size) for place, size, _ in lines}
    report.unlink()
    own = sizes.pop(f"{name}_step") + sizes.pop(f"{name}_run", 0)
    return own + max(sizes.values())


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc; tools/ci_setup.sh installs it")
@pytest.mark.parametrize("kind", STACKS)
def test_the_header_says_how_much_stack_a_step_takes(kind, tmp_path):
    exported(tmp_path, s2o.Network(STACKS[kind](), name="net"))
    s2o.package(tmp_path / "model.onnx", "c", tmp_path / "package")
    (found,) = re.findall(r"^#define NET_STACK (\d+) ", (tmp_path / "package" / "net.h").read_text(), re.M)
    assert f"| {int(found):,} |" in (tmp_path / "package" / "README.md").read_text()
    plain = used(tmp_path / "package", "net", "-O0")
    assert plain <= int(found) <= plain + 1600  # alignment, and 1,024 bytes for what other compilers add
    assert used(tmp_path / "package", "net", "-O3") <= int(found)


def test_more_stack_than_allowed_is_refused_before_anything_is_written(tmp_path):
    layers = [s2o.SequenceInput((1, 64, 64)), s2o.Conv2d(16, 3), s2o.ReLU(), s2o.GlobalAvgPool2d()]
    exported(tmp_path, s2o.Network(layers))
    with pytest.raises(s2o.SpecError, match=r"takes [\d,]+ bytes of stack, and stack=65536 allows fewer; .*stack="):
        s2o.package(tmp_path / "model.onnx", "c", tmp_path / "package")
    assert not (tmp_path / "package").exists()
    _, errors = run("package", tmp_path / "model.onnx", "--for", "c", "--out", tmp_path / "package", code=2)
    assert "--stack" in errors
    run("package", tmp_path / "model.onnx", "--for", "c", "--out", tmp_path / "package", "--stack", 2 * 10**6)
    (found,) = re.findall(r"_STACK (\d+) ", (tmp_path / "package" / "model.h").read_text())
    s2o.package(tmp_path / "model.onnx", "c", tmp_path / "exact", stack=int(found))
    with pytest.raises(s2o.SpecError, match="stack="):
        s2o.package(tmp_path / "model.onnx", "c", tmp_path / "less", stack=int(found) - 1)
    with pytest.raises(s2o.SpecError, match='stack: is for target "c" only'):
        s2o.package(tmp_path / "model.onnx", "cpp", tmp_path / "cpp", stack=1)


# States of whole numbers ---------------------------------------------------------------------------------------------


@pytest.fixture
def counting():
    """A layer that adds the number of the step, which it counts as int64."""

    @final
    @layer
    class Counting(Layer):
        kind: ClassVar[str] = "counting"

        def infer(self, *signals):
            return signals[0]

        def weights(self, *signals):
            return {}

        def states(self, *signals):
            return (State("n", (1,), "int64"),)

        def forward(self, call):
            import torch

            n = call.states["n"] if call.states else torch.zeros(len(call.x), 1, dtype=torch.int64)
            y = call.x + (n + torch.arange(call.x.shape[1]))[:, :, None]
            return y, call.lengths, {"n": n + call.lengths[:, None]} if call.states else {}

        def emit(self, graph, call):
            n, x = call.states["n"], call.x.name
            steps = graph.ints(1) if graph.is_fixed else graph.steps(x)
            numbers = n if graph.is_fixed else graph.op("Add", n, graph.cast(graph.range(steps), "int64"))
            y = graph.op("Add", x, graph.cast(graph.op("Unsqueeze", numbers, graph.ints(2)), "float32"))
            return y, call.lengths, {"n": graph.op("Add", n, steps)}

        @classmethod
        def examples(cls):
            return [Example(cls(), (Signal((3,)),))]

    yield Counting
    del KINDS["counting"]


def test_states_of_int64_stream_in_triton_and_c(counting, tmp_path):
    from seq2onnx.hosts import check_host

    network = s2o.Network([s2o.SequenceInput(3), counting()], name="counter")
    model, _ = exported(tmp_path, network, signature="stream")
    assert [state.dtype for state in model.contract.states] == ["int64"]
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    expected = x + np.arange(6, dtype=np.float32)[:, None]
    s2o.package(tmp_path / "model.onnx", "triton", tmp_path / "repository")
    answers = serve(tmp_path / "repository", [x[:3], x[3:4], x[4:]])
    np.testing.assert_allclose(np.concatenate(answers), expected, rtol=0, atol=1e-6)
    if shutil.which("gcc"):
        report = check_host(tmp_path / "model.onnx", "c")
        assert report.ok, str(report)
