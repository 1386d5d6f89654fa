"""The package as a whole: its public names, what it imports, and the documents that go with it."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
import types
import typing
import warnings
from pathlib import Path

import hypothesis
import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx import errors, layers
from tests.conftest import random_data
from tests.keras_files import archive

ROOT = Path(__file__).parent.parent


def python(code: str, *arguments: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_is_sorted_and_complete():
    assert s2o.__all__ == sorted(s2o.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    for name in dir(s2o):
        assert getattr(s2o, name) is not None
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.Seq2OnnxError):
            assert getattr(s2o, name) is value
            assert name in (errors.__doc__ or "")
    for cls in layers.KINDS.values():
        assert getattr(s2o, cls.__name__) is cls
        assert cls.__module__.startswith("tests") or cls.__name__ in layers.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        s2o.nothing  # noqa: B018


def test_functions_are_not_shadowed_by_modules():
    python(
        "import seq2onnx.exporting, seq2onnx.parity, seq2onnx.training, seq2onnx as s2o\n"
        "assert callable(s2o.export) and callable(s2o.verify) and callable(s2o.train)"
    )


def test_importing_the_package_imports_nothing_heavy():
    loaded = python("import seq2onnx, sys; print(*sys.modules)").split()
    assert not {"torch", "onnx", "onnxruntime", "pydantic", "numpy", "yaml", "typer"} & set(loaded)


BLOCKED = ("torch", "onnx", "pydantic", "yaml", "typer", "rich", "matplotlib", "pytorch_lightning", "safetensors")


def test_the_runtime_needs_numpy_and_onnxruntime_only(model_file, tmp_path):
    np.save(tmp_path / "x.npy", random_data(1).sequences[0])
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({BLOCKED}))\n"
        "import numpy as np, seq2onnx.runtime, seq2onnx as s2o\n"
        "model, x = seq2onnx.runtime.load(sys.argv[1]), np.load(sys.argv[2])\n"
        "y, stream = model.predict([x]), model.stream()\n"
        "for step in x: last = stream.step(step)\n"
        "assert np.abs(last - y[0]).max() < 1e-6 and model.classify([x])[0] in model.classes\n"
        "assert s2o.load is seq2onnx.runtime.load\n"
    )
    python(code, str(model_file), str(tmp_path / "x.npy"))


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [
        ("onnxruntime", "load", "cpu"),
        ("torch", "build", "train"),
        ("pytorch_lightning", "train", "train"),
        ("onnx", "export", "train"),
        ("torch", "from_torch", "train"),
        ("torch", "from_keras", "train"),
        ("onnx", "add_states", "train"),
        ("onnx", "from_onnx", "train"),
        ("onnxruntime", "verify", "cpu"),
        ("matplotlib", "plots", "train"),
    ],
)
@pytest.mark.parametrize("installed", [True, False], ids=["installed", "only a folder on the path"])
def test_a_missing_package_is_named_with_a_command_that_pip_can_run(module, name, extra, installed):
    """pip does not find seq2onnx itself by its name if it was installed from a clone."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    hidden = (
        "def requires(name): raise importlib.metadata.PackageNotFoundError\nimportlib.metadata.requires = requires\n"
    )
    python(
        f"import sys, importlib.metadata; sys.modules[{module!r}] = None\n"
        + ("" if installed else hidden)
        + "import seq2onnx as s2o\n"
        f"try: s2o.{name}\n"
        "except s2o.MissingExtra as error: text = str(error)\n"
        f"assert text.startswith('{module} is not installed. Run: pip install '), text\n"
        f"assert set(text.split('pip install ')[1].split()) == {{f'\"{{p}}\"' for p in {packages}}}, text\n"
    )


def test_without_metadata_and_pyproject_the_command_names_the_module(monkeypatch, tmp_path):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    monkeypatch.setattr(errors, "PROJECT", tmp_path / "pyproject.toml")
    with pytest.raises(s2o.MissingExtra, match="^nowhere is not installed. Run: pip install nowhere$"):
        errors.require("nowhere", extra="cpu")


def test_specs_work_without_torch_and_onnx():
    python(
        f"import sys; sys.modules.update(dict.fromkeys({BLOCKED[:2]}))\n"
        "import seq2onnx as s2o\n"
        "net = s2o.Network([s2o.SequenceInput(3), s2o.LSTM(4), s2o.Softmax()])\n"
        "assert '[batch, time, 4]' in net.summary() and s2o.Network.from_dict(net.to_dict()) == net\n"
    )


@pytest.mark.parametrize("signature", ["full", "stream"])
def test_the_plain_onnxruntime_script_reaches_the_same_scores(tmp_path, signature):
    """The script of the docs, on the demo's network; it knows the metadata and nothing of this package."""
    from seq2onnx.cli.demo import network

    training, test = s2o.datasets.japanese_vowels()
    module = s2o.build(network(), training)
    path = tmp_path / "vowels.onnx"
    s2o.export(module, path, signature=signature, classes=training.classes)
    np.save(tmp_path / "x.npy", test.sequences[0])
    script = ROOT / "docs" / "plain_onnxruntime.py"
    text = script.read_text()
    assert len(text.split('"""')[2].strip().splitlines()) <= 20
    assert "seq2onnx" not in text.split('"""')[2].replace('custom_metadata_map["seq2onnx"]', "")
    command = [sys.executable, str(script), str(path), str(tmp_path / "x.npy")]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == len(test.sequences[0])
    model = s2o.load(path)
    stream = model.stream()
    for line, step in zip(lines, test.sequences[0], strict=True):
        answer, expected = json.loads(line), stream.step(step)
        np.testing.assert_allclose(answer["scores"], expected, rtol=0, atol=1e-6)
        assert answer["label"] == model.classes[expected.argmax()]
    np.testing.assert_allclose(answer["scores"], model.predict(test.sequences[:1])[0], rtol=0, atol=1e-6)


TUTORIALS = sorted(f"docs/tutorials/{path.name}" for path in (ROOT / "docs" / "tutorials").glob("*.md"))


def save_as_matlab(folder):
    """The files that docs/coming-from-matlab.md reads; random weights, one number each."""
    import scipy.io

    from tests.mat_writer import cells

    x, rng = [np.ones((steps, 3)) for steps in (4, 6)], np.random.default_rng(0)
    scipy.io.savemat(folder / "data.mat", {"X": cells(x), "Y": np.array([1.0, 2])})
    more = {
        "XTrain": cells([one.T for one in x]),
        "TTrain": np.array([[1.0, 2]]),
        "XTest": cells(x),
        "TTest": [[1.0, 2]],
    }
    scipy.io.savemat(folder / "more.mat", more)
    weights = {"W": (400, 12), "R": (400, 100), "b": (400, 1)}
    scipy.io.savemat(folder / "weights.mat", {name: rng.normal(0, 0.1, shape) for name, shape in weights.items()})


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_weights_of_matlab_give_the_results_of_its_equations(tmp_path, monkeypatch):
    """As docs/coming-from-matlab.md sets them, in the order of MATLAB's rows, i f g o."""
    import scipy.io

    save_as_matlab(tmp_path)
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/coming-from-matlab.md").read_text()
    exec(text.split("## Weights")[1].split("```python\n")[1].split("```")[0], names := {})
    found = scipy.io.loadmat("weights.mat")
    W, R, b = found["W"], found["R"], found["b"][:, 0]
    np.testing.assert_array_equal(names["W_g"], W[200:300].astype(np.float32))
    x, h, c = np.random.default_rng(1).normal(size=(5, 12)), np.zeros(100), np.zeros(100)
    for step in x:
        i, f, g, o = np.split(W @ step + R @ h + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    np.testing.assert_allclose(s2o.load("lstm.onnx").predict([x])[0], h, rtol=0, atol=1e-5)


def test_the_matlab_page_names_what_a_user_of_trainnet_looks_for():
    text = (ROOT / "docs/coming-from-matlab.md").read_text()
    names = "ValidationData ValidationFrequency ValidationPatience OutputNetwork Metrics Verbose Outputs InputWeights"
    names += (
        " RecurrentWeights InputWeightsInitializer LearnRateFactor l2norm lstmProjectedLayer peephole convolution3d"
    )
    assert [name for name in names.split() if name not in text] == []


def test_the_page_of_the_layers_names_every_choice_of_every_field():
    text = (ROOT / "docs/layers.md").read_text()
    for cls in layers.KINDS.values():
        if cls.__module__.startswith("seq2onnx."):
            section = text.split(f"\n### {cls.__name__}\n")[1].split("\n##")[0]
            for field, hint in typing.get_type_hints(cls).items():
                for part in (hint, *typing.get_args(hint)):
                    if typing.get_origin(part) is typing.Literal:
                        (row,) = re.findall(rf"^\| `{field}` \|(.*?)\|", section, re.MULTILINE)
                        choices = [f'"{one}"' if isinstance(one, str) else str(one) for one in typing.get_args(part)]
                        assert all(f"`{choice}`" in row for choice in choices), (cls, field)
    assert "| `probability` | a number ≥ 0 and < 1 |" in text
    assert "| `hidden_size` | a whole number > 0 |" in text


PAGES_WITH_CODE = [
    "README.md",
    "docs/data.md",
    "docs/serving.md",
    "docs/smaller-files.md",
    "docs/coming-from-matlab.md",
    *TUTORIALS,
]


def shares_of_epochs():
    """Pages with a share of their epochs; all epochs are slow. One page counts alarms, which needs all epochs."""
    for page in PAGES_WITH_CODE:
        counts = page == "docs/tutorials/vibration.md"
        yield pytest.param(page, 1, marks=[] if counts else pytest.mark.slow)
        if not counts:
            yield page, 10


@pytest.mark.parametrize(("page", "share"), [*shares_of_epochs()])
def test_the_code_of_the_pages_runs(tmp_path, monkeypatch, capsys, page, share):
    """Every Python block, one after another, as a reader would type it.

    Or with a tenth of the epochs and one more: then bounds that the page asserts (< or >) are not yet reached.
    """
    monkeypatch.chdir(tmp_path)
    if page == "docs/coming-from-matlab.md":
        save_as_matlab(tmp_path)
    (tmp_path / "models").symlink_to(ROOT / "models")  # as in the root of a clone
    text = (ROOT / page).read_text()
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    assert blocks
    code = "\n".join(blocks)
    if share > 1:
        code = re.sub(r"\bepochs=(\d+)", lambda found: f"epochs={-(-int(found[1]) // share) + 1}", code)
        code = re.sub(r"^assert (?=.*[<>])", "lambda: ", code, flags=re.MULTILINE)
    with warnings.catch_warnings():
        warnings.simplefilter("error", s2o.Seq2OnnxWarning)
        # Deserved: on vibration, 12 epochs are enough for the alarm; a doorbell rings in 7 % of the frames.
        warnings.filterwarnings("ignore", "still-improving|best-was-earlier|rare-classes", s2o.Seq2OnnxWarning)
        exec(code, {})
    if page == "docs/data.md":  # what it prints is shown there
        assert capsys.readouterr().out in text


@pytest.mark.filterwarnings("ignore")  # those of torch.onnx.export
def test_networks_come_over_as_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/bring-your-network.md").read_text().split("## From MATLAB")[0]
    with archive("keras3") as file:
        for page, name in (("classifier", "lstm_stack"), ("masked", "masked")):
            Path(f"{page}.keras").write_bytes(file.read(f"{name}.keras"))
    names = {}
    exec("\n".join(block.split("```")[0] for block in text.split("```python\n")[1:]), names)
    assert names["report"].ok
    assert names["y"].shape == (5,)
    # The packed network has the same accuracy here, and more of it after more training here.
    import torch

    training, test = names["training"], names["test"]
    names["training"] = test  # for `batch`
    with torch.no_grad():
        source = torch.softmax(names["speaker"].eval()(*names["batch"](range(len(test)))), -1).numpy()
    same, more = (s2o.load(file).predict(test) for file in ("three_epochs.onnx", "more.onnx"))
    np.testing.assert_allclose(same, source, rtol=0, atol=1e-6)
    before, after = (np.mean(y.argmax(1) == np.asarray(test.targets)) for y in (same, more))
    assert before == np.mean(source.argmax(1) == np.asarray(test.targets))
    assert 0.85 < before < after - 0.01, (before, after)
    assert training.classes == s2o.load("more.onnx").classes


def test_the_first_pages_repeat_nothing_and_are_complete_as_files():
    """On a forge, docs/index.md is shown as it is: nothing is included from another file."""
    page, readme = ((ROOT / name).read_text() for name in ("docs/index.md", "README.md"))
    blocks, rows = re.findall(r"```.*?```", page, re.DOTALL), re.findall(r"^\|.*\|$", page, re.MULTILINE)
    assert len(blocks) == 2
    assert not [block for block in blocks if block in readme]
    assert not [row for row in rows if row in readme and row not in ("| to | read |", "|---|---|")]
    assert "--8<--" not in page


PAGES = [path.relative_to(ROOT) for part in (".", "docs/**", "models/**") for path in sorted(ROOT.glob(f"{part}/*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_of_pages_hold_as_files(page):
    """`mkdocs build --strict` checks them in the site."""
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith("http"):
            file, _, heading = link.partition("#")
            target = ROOT / page.parent / file if file else ROOT / page
            assert target.exists(), link
            if heading and not heading.startswith("seq2onnx."):  # an address in the API pages, which mkdocs makes
                titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
                assert heading in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, link


def test_every_public_name_has_its_place_in_the_pages():
    """mkdocs shows what stands at each address; here the addresses are what the package gives by name."""
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    shown = set()
    for address in re.findall(r"^::: (\S+)$", pages, re.MULTILINE):
        module, _, name = address.rpartition(".")
        value = getattr(importlib.import_module(module), name)
        shown.add(name)
        if name in s2o.__all__:
            assert value is getattr(s2o, name)
    if "errors" in shown:  # all of them
        shown |= set(vars(errors))
    modules = {name for name in s2o.__all__ if isinstance(getattr(s2o, name), types.ModuleType)}
    assert set(s2o.__all__) - modules <= shown
    assert set(s2o.plots.__all__) <= shown


def test_a_toy_layer_is_a_new_class_and_nothing_else(tmp_path):
    from tests import laws, reference
    from tests.toy import Leaky, leaky

    assert s2o.layers.KINDS["leaky"] is Leaky
    text = "layers:\n- sequence_input: {size: 3}\n- leaky: {keep: 0.9}\n- lstm: {hidden_size: 4}\n"
    (tmp_path / "net.yaml").write_text(text)
    reference.REFERENCES["leaky"] = leaky
    try:
        subject = laws.Subject(s2o.Network.load(tmp_path / "net.yaml"))
        laws.three_agree(subject)
        laws.rows_stand_alone(subject)
        laws.whole_equals_chunks(subject, [[1, 0, 3], [2, 2], [5]])
        laws.whole_equals_chunks(subject, [[2, 1, 3]])
        laws.survives(subject, tmp_path)
    finally:
        del reference.REFERENCES["leaky"], s2o.layers.KINDS["leaky"]
        sys.modules.pop("tests.toy")
    s2o.export(subject.module, tmp_path / "toy.onnx")
    stream = s2o.load(tmp_path / "toy.onnx").stream()
    assert list(stream.state) == ["state_00_leaky_1_h", "state_01_lstm_1_h", "state_02_lstm_1_c"]


LOCKS = ("dev.txt", "oldest.txt", "oldest_train.txt", "newest.txt")


@pytest.mark.parametrize("name", LOCKS)
def test_locked_versions_have_hashes_and_name_no_registry(name):
    text = (ROOT / "requirements" / name).read_text()
    assert not re.search(r"://|index|@|torch==|nvidia", text)
    for entry in text.replace("\\\n", " ").splitlines():
        assert entry.startswith("#") or re.fullmatch(
            r"[a-z0-9._-]+==[^ ]+( ;[^-]*)?( +--hash=sha256:[0-9a-f]{64})+", entry
        )


def test_locked_versions_are_those_that_the_package_allows():
    """tools/lock.py makes them; a bound that is raised needs new ones."""
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [
        *project["dependencies"],
        *(line for name in ("cpu", "train", "data", "docs", "dev") for line in extras[name]),
    ]
    locks = [(ROOT / "requirements" / name).read_text() for name in LOCKS]
    newest, oldest, oldest_train, running = (
        re.findall(r"^([a-z0-9._-]+)==([^ ;]+)", text, re.MULTILINE) for text in locks
    )
    assert {*running} <= {*newest}  # .venv-newest has of .venv what runs models
    for requirement in map(Requirement, needed):
        versions = [version for name, version in newest if name == requirement.name.lower()]
        assert requirement.name in ("torch", "seq2onnx") or versions, requirement
        assert all(requirement.specifier.contains(version) for version in versions), requirement
    runtime = (*project["dependencies"], *extras["cpu"], *extras["data"])
    for lock, lines in ((oldest, runtime), (oldest_train, (*runtime, *extras["train"]))):
        for requirement in (Requirement(line.replace(">=", "==")) for line in lines if not line.startswith("torch>=")):
            assert all(requirement.specifier.contains(version) for name, version in lock if name == requirement.name)
            assert requirement.name in dict(lock)


def test_no_test_has_a_limit_of_the_clock():
    """It would fail on a busy machine. tests/clock.py counts the time of the processor, and has HANG for all else."""
    limit = re.compile(r"(?:monotonic|perf_counter|time\.time)\(\) - \w+ <|timeout=\d|\.(?:wait|join)\(\d")
    for path in (ROOT / "tests").glob("*.py"):
        assert not limit.findall(path.read_text(encoding="utf-8")), path.name
    settings = hypothesis.settings()
    assert (settings.deadline, settings.derandomize) == (None, True)
    assert hypothesis.HealthCheck.too_slow in settings.suppress_health_check
