"""The package for C: compiled as its README says, with all warnings as errors, and with the sanitizers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import seq2onnx as s2o
from tests.conftest import CLASSES, built, random_data, small_network
from tests.small_networks import exported, gappy, strided
from tests.test_packages import rows_of, same

MODELS = Path(__file__).resolve().parents[1] / "models"
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror"]
SANITIZERS = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc; tools/ci_setup.sh installs it")


def packaged(file, folder):
    s2o.package(file, "c", folder)
    return folder


def compiled(folder, main, *flags):
    """Compile a main file with the code of a package."""
    code = sorted({path.name for path in folder.glob("*.c")} - {"main.c", main})
    subprocess.run(["gcc", *FLAGS, *flags, main, *code, "-o", "program", "-lm"], cwd=folder, check=True)
    return folder / "program"


def answers(program, text, code=0):
    result = subprocess.run([program], input=text, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (code, result.stderr if code else "")
    return rows_of(result.stdout), result.stderr


NETWORKS = {
    "GRU": lambda: s2o.Network([s2o.SequenceInput(3, "zscore"), s2o.GRU(5), s2o.FullyConnected(2)]),
    "convolution and mean": lambda: s2o.Network(
        [s2o.SequenceInput(3), s2o.Conv1d(4, 3, padding="causal"), s2o.GlobalAvgPool1d(), s2o.FullyConnected(2)]
    ),
    "attention": lambda: s2o.Network([s2o.SequenceInput(4), s2o.GRU(4), s2o.AttentionPool(2), s2o.FullyConnected(2)]),
    "statistics": lambda: s2o.Network(
        [
            s2o.SequenceInput(3, name="x"),
            s2o.GlobalSumPool1d(name="sum"),
            s2o.GlobalStdPool1d(1, 1e-5, name="std", inputs=["x"]),
            s2o.Concat(inputs=["sum", "std"]),
            s2o.FullyConnected(2),
        ]
    ),
    "strided": strided,
    "words": lambda: s2o.Network([s2o.SequenceInput("tokens"), s2o.WordEmbedding(3, 7), s2o.LSTM(4)]),
    "images": lambda: s2o.Network(
        [s2o.SequenceInput((1, 5, 4)), s2o.Conv2d(2, 3), s2o.BatchNorm(), s2o.ReLU(), s2o.LSTM(3, "last")]
    ),
    "no functions of libm": lambda: s2o.Network([s2o.SequenceInput(3), s2o.FullyConnected(2)]),
    "no states": lambda: s2o.Network([s2o.SequenceInput(3), s2o.LayerNorm(), s2o.GELU(), s2o.Softmax()]),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_example_prints_the_expected_output_and_the_sanitizers_find_nothing(kind, tmp_path):
    network = NETWORKS[kind]()
    exported(tmp_path, network)
    folder = packaged(tmp_path / "model.onnx", tmp_path / "package")
    program = compiled(folder, "main.c", "-O1", *SANITIZERS)
    found, _ = answers(program, (folder / "sample_input.csv").read_text())
    same(found, rows_of((folder / "expected_output.csv").read_text()))


def several():
    """Two sequences, one of them tokens, a vector, and two outputs."""
    layers = [
        s2o.SequenceInput(3, name="motor"),
        s2o.GRU(8, name="g"),
        s2o.FeatureInput(2, name="load"),
        s2o.SequenceInput("tokens", name="code"),
        s2o.WordEmbedding(4, 9, name="e", inputs=["code"]),
        s2o.Concat(name="c", inputs=["g", "e", "load"]),
        s2o.FullyConnected(2, name="speed"),
        s2o.FullyConnected(3, name="a", inputs=["c"]),
        s2o.Softmax(name="kind"),
    ]
    return s2o.Network(layers, outputs=["speed", "kind"], name="drive")


def test_several_inputs_and_outputs_are_arguments_and_the_example_runs_the_sample(tmp_path):
    exported(tmp_path, several(), channels={"motor": ["ω", "2 x", "2-x"], "load": ["a", "a b"]})
    folder = packaged(tmp_path / "model.onnx", tmp_path / "package")
    program = compiled(folder, "main.c", "-O1", *SANITIZERS)
    result = subprocess.run([program], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "the results of the sample are right\n")
    header = (folder / "drive.h").read_text()
    for name in ("MOTOR_IN__ = 0", "MOTOR_IN_C_2_x = 1", "MOTOR_IN_C_2_x_2 = 2", "LOAD_IN_a_b = 1"):
        assert f"DRIVE_{name}," in header
    assert "const int64_t *x_code" in header
    (folder / "tokens.c").write_text("""
#include <math.h>
#include "drive.h"
int main(void) {  /* the network takes unknown tokens as one of their own */
    static drive_stream stream;
    const float motor[3] = {1, 2, NAN}, fine[3] = {1, 2, 3}, load[2] = {0, 1};
    const int64_t code[1] = {4};
    float speed[2], kind[3];
    drive_reset(&stream);
    if (drive_step(&stream, motor, load, code, speed, kind) != 1 || !isnan(speed[1]) || !isnan(kind[2])) return 1;
    return drive_step(&stream, fine, load, code, speed, kind) != 0 || !(fabsf(kind[0] + kind[1] + kind[2] - 1) < 1e-5f);
}
""")
    assert subprocess.run([compiled(folder, "tokens.c", "-O1", *SANITIZERS)]).returncode == 0


def test_long_windows_turn_and_their_state_moves_to_another_stream(tmp_path):
    wide = [s2o.Conv1d(24, 3, dilation=24, padding="causal"), s2o.Conv1d(20, 3, dilation=24, padding="causal")]
    network = s2o.Network([s2o.SequenceInput(3), *wide, s2o.Conv1d(2, 60, padding="causal")])
    model, _ = exported(tmp_path, network)
    folder = packaged(tmp_path / "model.onnx", tmp_path / "package")
    header = (folder / "model.h").read_text()
    assert "a ring of 49 rows of 24 */" in header
    assert "a ring of 60 rows of 20, written twice */" in header
    (folder / "moves.c").write_text("""
#include <math.h>
#include <stdio.h>
#include "model.h"
int main(void) {
    static model_stream first, other;
    static float state[MODEL_STATE], x[3], y[2], z[2];
    const float bad[3] = {1, NAN, 1};
    model_reset(&first);
    for (int step = 0; scanf("%f,%f,%f", x, x + 1, x + 2) == 3; ++step) {
        if (step % 37 == 0) {
            model_get_state(&first, state);
            model_set_state(&other, state);
        }
        if (model_step(&first, bad, y) != 1 || model_step(&first, x, y) != 0 || model_step(&other, x, z) != 0) return 1;
        printf("%.7g,%.7g,%.7g,%.7g\\n", y[0], y[1], z[0], z[1]);
    }
    return 0;
}
""")
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    text = "".join(",".join(f"{value:.9g}" for value in row) + "\n" for row in x)
    found, _ = answers(compiled(folder, "moves.c", "-O1", *SANITIZERS), text)
    stream = model.stream()
    y = np.array([stream.step(row) for row in x])
    same(found, np.hstack([y, y]).tolist())


def test_the_example_takes_gaps(tmp_path):
    exported(tmp_path, gappy())
    folder = packaged(tmp_path / "model.onnx", tmp_path / "package")
    program = compiled(folder, "main.c", "-O1", *SANITIZERS)
    sample = (folder / "sample_input.csv").read_text()
    for text in (sample, sample.replace("nan", "")):
        found, _ = answers(program, text)
        same(found, rows_of((folder / "expected_output.csv").read_text()))
    found, _ = answers(program, ",,\n")  # is no header
    same(found, [s2o.load(tmp_path / "model.onnx").stream().step([np.nan] * 3).tolist()])
    assert "NaN is a missing value" in (folder / "model.h").read_text()


@pytest.fixture(scope="module")
def vowels(tmp_path_factory):
    return packaged(MODELS / "vowels_lstm" / "model.onnx", tmp_path_factory.mktemp("vowels") / "package")


def test_the_makefile_builds_the_example(vowels):
    command = (vowels / "README.md").read_text().split("```sh\n")[1].split("```")[0]
    result = subprocess.run(["bash", "-ec", command], cwd=vowels, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line for line in result.stdout.splitlines() if " -o " not in line]
    same(rows_of("\n".join(lines)), rows_of((vowels / "expected_output.csv").read_text()))


def test_every_label_of_the_test_data_of_japanese_vowels_is_the_same(vowels):
    data = s2o.datasets.japanese_vowels()[1]
    model = s2o.load(MODELS / "vowels_lstm" / "model.onnx")
    (vowels / "all.c").write_text("""
#include <stdio.h>
#include "vowels_lstm.h"
int main(void) {  /* sequences: the number of steps, then the steps */
    vowels_lstm_stream stream;
    float x[VOWELS_LSTM_FEATURES], y[VOWELS_LSTM_OUTPUTS];
    int steps;
    while (scanf("%d", &steps) == 1) {
        vowels_lstm_reset(&stream);
        while (steps--) {
            for (int i = 0; i < VOWELS_LSTM_FEATURES; ++i) if (scanf("%f", &x[i]) != 1) return 1;
            if (vowels_lstm_step(&stream, x, y)) return 2;
        }
        int best = 0;
        for (int i = 1; i < VOWELS_LSTM_OUTPUTS; ++i) best = y[i] > y[best] ? i : best;
        printf("%s", vowels_lstm_labels[best]);
        for (int i = 0; i < VOWELS_LSTM_OUTPUTS; ++i) printf(",%.9g", (double)y[i]);
        puts("");
    }
    return 0;
}
""")
    text = "\n".join(f"{len(x)}\n" + " ".join(f"{value:.9g}" for value in np.ravel(x)) for x in data.sequences)
    program = compiled(vowels, "all.c", "-O3")
    lines = subprocess.run([program], input=text, capture_output=True, text=True, check=True).stdout.splitlines()
    scores = model.predict(data)
    assert [line.split(",")[0] for line in lines] == [str(label) for label in model.classify(data)]
    assert np.abs(np.array([line.split(",")[1:] for line in lines], float) - scores).max() < 1e-5


def test_the_code_finds_the_same_key_words_in_samples(tmp_path):
    file, data = MODELS / "keyword" / "model.onnx", s2o.SequenceDataset.load(MODELS / "keyword" / "test_slice.npz")
    folder = packaged(file, tmp_path / "package")
    (folder / "events.c").write_text("""
#include <stdio.h>
#include "keyword.h"
int main(void) {  /* samples; prints the number of each step with an event, and its label */
    static keyword_stream stream;
    float x[KEYWORD_STEPS * KEYWORD_FEATURES], y[KEYWORD_OUTPUTS];
    keyword_reset(&stream);
    for (int step = 0; fread(x, sizeof x, 1, stdin) == 1; ++step) {
        if (keyword_step(&stream, x, y)) return 1;
        for (int i = 0; i < KEYWORD_OUTPUTS; ++i) if (y[i] != 0) printf("%d %s\\n", step, keyword_labels[i]);
    }
    return 0;
}
""")
    program = compiled(folder, "events.c", "-O2")
    expected = s2o.load(file).predict(data)
    assert sum(events[:, 1].sum() for events in expected) >= 2
    for x, events in zip(data.sequences, expected, strict=True):
        found = subprocess.run(
            [program], input=np.float32(x).tobytes(), capture_output=True, check=True
        ).stdout.decode()
        assert found.splitlines() == [f"{step} conference" for step in np.flatnonzero(events[:, 1])]


@pytest.mark.parametrize("form", ["dynamic", "step"])
def test_a_file_with_int8_weights_gives_code_that_has_them(form, tmp_path):
    network = s2o.Network([s2o.SequenceInput(12, name="x"), s2o.LSTM(60), s2o.FullyConnected(9)])
    s2o.export(s2o.build(network).eval(), tmp_path / "model.onnx", weights="int8", form=form)
    folder = packaged(tmp_path / "model.onnx", tmp_path / "package")
    code = (folder / "model.c").read_text()
    assert "static const int8_t lstm_1_R_int8[14400]" in code  # a row for each of 4 · 60 gates
    found, _ = answers(compiled(folder, "main.c", "-O1"), (folder / "sample_input.csv").read_text())
    for row, wanted in zip(found, rows_of((folder / "expected_output.csv").read_text()), strict=True):
        assert row == pytest.approx(wanted, abs=2e-3)
    expanded = tmp_path / "expanded"
    s2o.package(tmp_path / "model.onnx", "c", expanded, weights="float32")
    assert "int8" not in (expanded / "model.c").read_text()
    found, _ = answers(compiled(expanded, "main.c", "-O1"), (folder / "sample_input.csv").read_text())
    same(found, rows_of((folder / "expected_output.csv").read_text()))


def test_8_bits_are_said_with_their_error(tmp_path):
    file = MODELS / "vowels_lstm" / "model.onnx"
    s2o.package(file, "c", tmp_path / "package", weights="int8")
    readme = (tmp_path / "package" / "README.md").read_text()
    (error,) = map(float, re.findall(r"results change by at most (\S+),", readme))
    found, _ = answers(
        compiled(tmp_path / "package", "main.c", "-O1"), (tmp_path / "package" / "sample_input.csv").read_text()
    )
    wanted = rows_of((tmp_path / "package" / "expected_output.csv").read_text())
    largest = max(np.abs(np.subtract(a[1:], b[1:])).max() for a, b in zip(found, wanted, strict=True))
    assert 1e-5 < largest < 5 * error < 0.05
    for options, message in (({"weights": "int4"}, "must be float32 or int8"), ({"target": "web"}, "is for target")):
        with pytest.raises(s2o.SpecError, match=message):
            s2o.package(file, **{"target": "c", "folder": tmp_path / "x", "weights": "int8"} | options)


def test_two_streams_do_not_mix_and_a_refused_step_changes_nothing(tmp_path):
    s2o.export(built(small_network("sequence"), random_data(per_step=True)), tmp_path / "model.onnx")
    folder = packaged(tmp_path / "model.onnx", tmp_path / "package")
    (folder / "two.c").write_text("""
#include <math.h>
#include <stdio.h>
#include "small.h"
static void run(small_stream *stream, float a, float b) {
    float x[4] = {a, b, 1, 2}, y[SMALL_OUTPUTS];
    printf("%d", small_step(stream, x, y));
    for (int i = 0; i < SMALL_OUTPUTS; ++i) printf(",%.9g", (double)y[i]);
    puts("");
}
int main(void) {
    small_stream first, second;
    small_reset(&first);
    small_reset(&second);
    run(&first, 1, 2); run(&second, 5, 6); run(&first, 3, 4); run(&second, NAN, 1); run(&first, INFINITY, 1);
    run(&second, 7, 8); run(&first, 0, 1);
    small_reset(&first);
    run(&first, 1, 2);
    return 0;
}
""")
    program = compiled(folder, "two.c", "-O2", *SANITIZERS)
    rows, _ = answers(program, "")
    model = s2o.load(tmp_path / "model.onnx")
    first, second = model.stream(), model.stream()

    def step(stream, a, b):
        return stream.step(np.float32([a, b, 1, 2]))

    expected = [step(first, 1, 2), step(second, 5, 6), step(first, 3, 4), None, None]
    expected += [step(second, 7, 8), step(first, 0, 1), step(model.stream(), 1, 2)]
    for row, y in zip(rows, expected, strict=True):
        assert row[0] == (y is None)
        assert np.isnan(row[1:]).all() if y is None else row[1:] == pytest.approx(y, abs=1e-5)


def test_the_code_needs_nothing_but_libm_and_copies(vowels):
    subprocess.run(["gcc", *FLAGS, "-O2", "-c", "vowels_lstm.c", "-o", "code.o"], cwd=vowels, check=True)
    symbols = subprocess.run(["nm", "code.o"], cwd=vowels, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^ +U (\w+)$", symbols, re.M)) <= {"expf", "memcpy", "memset", "memmove"}
    # All other names are static, so several packages fit in one program.
    public = {f"vowels_lstm_{what}" for what in ("reset", "step", "block", "get_state", "set_state", "labels")}
    assert set(re.findall(r"^\w+ [A-Z] (\w+)$", symbols, re.M)) == public


def test_any_label_and_title_is_quoted(tmp_path):
    classes = ['*/ "no" ??/', "straße, links", "\U0001f600"]
    network = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(3), s2o.FullyConnected(3)], name="a */ b\n#error x")
    exported(tmp_path, network, classes=classes)
    folder = packaged(tmp_path / "model.onnx", tmp_path / "package")
    (folder / "labels.c").write_text(
        '#include <stdio.h>\n#include "a____b__error_x.h"\n'
        "int main(void) { for (int i = 0; i < 3; ++i) puts(a____b__error_x_labels[i]); return 0; }\n"
    )
    program = compiled(folder, "labels.c")
    assert subprocess.run([program], capture_output=True, text=True).stdout.splitlines() == classes


def test_the_example_answers_nan_to_a_line_that_is_no_step(tmp_path):
    module = built(small_network(), random_data())
    s2o.export(module, tmp_path / "model.onnx", classes=CLASSES, channels=["a", "b", "c", "d"])
    folder = packaged(tmp_path / "model.onnx", tmp_path / "package")
    program = compiled(folder, "main.c", "-O1", *SANITIZERS)
    named, errors = answers(program, "t,d,c,b,a\n0,4,3,2,1\n1,2\n\n0,x,3,2,1\n0,inf,3,2,1\n0,4,3,2,1\n", code=2)
    plain, _ = answers(program, "1,2,3,4\n1,2,3,4\n")
    same([named[0], named[4]], plain)
    assert np.isnan(named[1:4]).all()
    assert errors == "".join(
        f"line {line}\n"
        for line in ("3: expected 5 numbers, got 2", "5: expected a number, got x", "6: contains NaN or infinity")
    )
    _, errors = answers(program, "a,b,c\n1,2,3\n", code=2)
    assert errors == "line 1: has no column d\n"


@pytest.mark.parametrize(
    ("layers", "options", "error", "message"),
    [
        ([s2o.BiLSTM(3)], {}, s2o.NotStreamable, "keeps no states"),
        ([s2o.Conv1d(3, 3, padding="same")], {"lookahead": True}, s2o.SpecError, "exported with lookahead"),
        ([s2o.LSTM(2)], {"closed_loop": 3}, s2o.SpecError, "exported with closed_loop"),
    ],
)
def test_what_has_no_c_code_is_refused(layers, options, error, message, tmp_path):
    exported(tmp_path, s2o.Network([s2o.SequenceInput(2), *layers]), **options)
    with pytest.raises(error, match=message):
        s2o.package(tmp_path / "model.onnx", "c", tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_results_that_are_tokens_are_refused_for_cpp(tmp_path):
    exported(tmp_path, s2o.Network([s2o.SequenceInput("tokens")]))
    with pytest.raises(s2o.SpecError, match=r"its output sequence_input_1 has tokens, not numbers; add a layer"):
        s2o.package(tmp_path / "model.onnx", "cpp", tmp_path / "package")
