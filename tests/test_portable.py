"""form="portable": files for runtimes that ignore the lengths of recurrent operators, written, opened and refused."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import seq2onnx as s2o
from seq2onnx.contract import input_names
from seq2onnx.exporting import ExportOptions, build_model
from tests import laws
from tests.comparison import SAME, close
from tests.conftest import built, random_data, small_network
from tests.portable_laws import ignoring_lengths, portable_model
from tests.small_networks import WORDS, exported

OPENVINO_SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}


@pytest.fixture(scope="module")
def module():
    return built(small_network("sequence"), random_data(per_step=True))


@pytest.fixture(scope="module")
def files(module, tmp_path_factory):
    """The paths of a dynamic file and a portable file of one network."""
    folder = tmp_path_factory.mktemp("forms")
    for form in ("dynamic", "portable"):
        s2o.export(module, folder / f"{form}.onnx", form=form)
    return folder / "dynamic.onnx", folder / "portable.onnx"


def loop() -> laws.Subject:
    """A network that may run in a closed loop, with all kinds of state that a step of it reads."""
    layers = [s2o.LSTM(5, start="learned"), s2o.GRU(4), s2o.Conv1d(3, 2, padding="causal"), s2o.RNN(4)]
    return laws.Subject(s2o.Network([s2o.SequenceInput(3), *layers, s2o.FullyConnected(3)]), scale=0.3)


def feeds_of(subject: laws.Subject, lengths: list[int], time: int) -> dict[str, np.ndarray]:
    """Inputs of a file with signature "full", with NaN behind the rows, and states of the middle of sequences."""
    rows = np.array(lengths, "i4")
    x = laws.poisoned(subject.network, subject.x(len(rows), time), rows)
    inputs = input_names(layer.label for layer in subject.network.inputs)
    states = zip(subject.states or (), subject.state(len(rows)) or (), strict=True)
    feeds = {inputs[name]: array for name, array in x.items()} | {"lengths": rows}
    return feeds | {entry.input_name: array for entry, array in states}


def test_a_portable_file_has_the_inputs_and_outputs_of_full_and_says_its_form(files):
    dynamic, portable = (onnx.load(path) for path in files)
    for side in ("input", "output"):
        assert getattr(portable.graph, side) == getattr(dynamic.graph, side)
    metadata = json.loads({p.key: p.value for p in portable.metadata_props}["seq2onnx"])
    # Version 0.1.0 runs it, too.
    assert (metadata["form"], metadata["format_version"]) == ("portable", 1)


def test_predict_streams_and_pools_run_portable_files(files):
    dynamic, portable = (s2o.load(path) for path in files)
    sequences = random_data(9, seed=1).sequences
    for found, expected in zip(portable.predict(sequences), dynamic.predict(sequences), strict=True):
        assert np.array_equal(found, expected)
    one, other = portable.stream(), dynamic.stream()
    for chunk in (sequences[0][0], sequences[0][:0], sequences[0][1:]):
        assert np.array_equal(one.step(chunk), other.step(chunk))
    pool, alone = portable.pool(2), dynamic.pool(2)
    ids, others = [[p.open(), p.open()] for p in (pool, alone)]
    for chunks in ([sequences[0][:2], sequences[1][:5]], [sequences[2][:3], sequences[3][:0]]):
        for found, expected in zip(pool.step(ids, chunks), alone.step(others, chunks), strict=True):
            assert np.array_equal(found, expected)


def test_portable_files_are_verified_and_restored(module, files, tmp_path):
    path = files[1]
    assert s2o.verify(path, module).ok
    restored = s2o.restore(path)
    for name, tensor in module.state_dict().items():
        assert np.array_equal(restored.state_dict()[name], tensor)
    s2o.export(restored, tmp_path / "again.onnx", form="portable")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("steps", [1, 3])
def test_a_closed_loop_is_written_out_and_gives_the_same_forecast(steps, tmp_path):
    subject = loop()
    models = {
        form: build_model(subject.network, subject.weights, ExportOptions("full", closed_loop=steps, form=form))
        for form in ("dynamic", "portable")
    }
    assert not {"Scan", "Loop", "If"} & {node.op_type for node in models["portable"].graph.node}
    feeds = feeds_of(subject, [4, 0, 7], 9)
    sessions = [laws.open_session(model) for model in (*models.values(), ignoring_lengths(models["portable"]))]
    expected, found, ignoring = (session.run(None, feeds) for session in sessions)
    for output, a, b, c in zip(sessions[0].get_outputs(), expected, found, ignoring, strict=True):
        assert np.array_equal(a, b), output.name
        assert np.array_equal(a, c), output.name
    for form, model in models.items():
        (tmp_path / f"{form}.onnx").write_bytes(model.SerializeToString())
    history = feeds["x"][2, :7]
    forecasts = [s2o.load(tmp_path / f"{form}.onnx").forecast(history, 5) for form in models]
    assert np.array_equal(*forecasts)
    assert s2o.verify(tmp_path / "portable.onnx").ok


def test_a_long_closed_loop_is_one_file(tmp_path):
    network = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(2)])
    files = [exported(tmp_path, network, form=form, closed_loop=101)[0] for form in ("dynamic", "portable")]
    assert np.array_equal(*[file.forecast(np.ones((3, 2)), 101) for file in files])


def test_the_state_survives_thousands_of_steps_of_padding_where_lengths_are_ignored():
    layers = [s2o.LSTM(8), s2o.GRU(8), s2o.RNN(8)]
    subject = laws.Subject(s2o.Network([s2o.SequenceInput(3), *layers]))
    model = portable_model(subject, "full")
    feeds = feeds_of(subject, [6, 0, 1], 3000)
    short = feeds | {"x": feeds["x"][:, :6]}
    expected = laws.open_session(model).run(None, short)
    found = laws.open_session(ignoring_lengths(model)).run(None, feeds)
    close(found[1:], expected[1:], SAME, "states")


def test_an_rnn_that_grows_in_padding_stays_finite_where_lengths_are_ignored():
    network = s2o.Network([s2o.SequenceInput(1), s2o.RNN(1, activation="relu"), s2o.FullyConnected(1)])
    subject = laws.Subject(network)
    subject.weights["rnn_1"] |= {"recurrent_weights": np.full((1, 1), 4, "f"), "bias": np.ones(1, "f")}
    feeds = {"x": np.ones((1, 200, 1), "f"), "lengths": np.array([2], "i4")}
    (y,) = laws.open_session(ignoring_lengths(portable_model(subject, "sequence"))).run(None, feeds)
    assert np.isfinite(y).all()


@pytest.mark.parametrize("opset", [18, 22])
def test_later_opsets_give_the_same_numbers(opset):
    subject = loop()
    feeds = feeds_of(subject, [4, 0, 7], 9)
    runs = [
        laws.open_session(build_model(subject.network, subject.weights, ExportOptions("full", opset, form=form))).run(
            None, feeds
        )
        for form in ("dynamic", "portable")
    ]
    for a, b in zip(*runs, strict=True):
        assert np.array_equal(a, b)


def test_means_of_16384_steps_have_an_error_below_1e_5_of_the_largest_number():
    steps, rng = 16_384, np.random.default_rng(0)
    halves = np.repeat([0, 0.1], steps // 2)
    kinds = [np.full(steps, 0.1), halves, halves[::-1], rng.lognormal(0, 2, steps), rng.normal(size=steps) - 1]
    x = np.stack(kinds).astype("f")[:, :, None]
    subject = laws.Subject(s2o.Network([s2o.SequenceInput(1), s2o.GlobalAvgPool1d()]))
    lengths = np.full(len(x), steps, "i4")
    for name, before in (("sequence", 0), ("full", 0), ("full", 5000)):
        model = portable_model(subject, name)
        assert onnx.TensorProto.DOUBLE not in [a.i for node in model.graph.node for a in node.attribute]
        feeds = {"x": x, "lengths": lengths}
        if name == "full":
            count = np.full((len(x), 1), before, "i4")
            mean = np.where(count, -x.max(1), 0).astype("f")
            feeds |= dict(zip([s.input_name for s in subject.states], (mean, np.zeros_like(mean), count), strict=True))
        y = laws.open_session(model).run(["y"], feeds)[0]
        held = feeds["state_00_global_avg_pool1d_1_mean"].astype(float) * before if name == "full" else 0
        expected = (x.astype(float).sum(1) + held) / (steps + before)
        assert (np.abs(y - expected) <= 1e-5 * np.abs(x).max(1)).all(), name


NO_FORM = {
    "lstm": s2o.LSTM(3, gate_activation="hard_sigmoid"),
    "gru": s2o.GRU(3, state_activation="softsign"),
    "bilstm": s2o.BiLSTM(3, gate_activation="hard_sigmoid_6"),
    "bigru": s2o.BiGRU(3, state_activation="softsign"),
}


@pytest.mark.parametrize("kind", sorted(NO_FORM))
def test_activations_that_other_runtimes_lack_are_refused_with_the_remedy(kind, tmp_path):
    network = s2o.Network([s2o.SequenceInput(2), NO_FORM[kind]])
    with pytest.raises(s2o.SpecError, match=rf'{kind}_1: has no portable form, because OpenVINO .*use form="step"'):
        exported(tmp_path, network, form="portable")
    assert not (tmp_path / "model.onnx").exists()


def test_a_signature_without_lengths_and_words_are_refused_with_the_remedy(module, tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(s2o.SpecError, match='"portable" takes lengths; got signature="stream".*signature="full"'):
        s2o.export(module, path, "stream", form="portable")
    words = s2o.Network([s2o.SequenceInput("tokens"), s2o.WordEmbedding(2, WORDS), s2o.LSTM(3, "last")])
    with pytest.raises(s2o.SpecError, match="words: .*export without words"):
        exported(tmp_path, words, form="portable", words=True)
    assert not path.exists()
    model, _ = exported(tmp_path, words, form="portable")
    assert model.predict([["good", "film"], ["bad"]]).shape == (2, 3)


def test_openvino_gives_the_same_numbers():
    """Ragged batches with NaN as padding, rows and chunks without steps, and a closed loop."""
    openvino = pytest.importorskip("openvino", reason="needs OpenVINO: pip install openvino")
    core, seen = openvino.Core(), loop()
    image = s2o.Network([s2o.SequenceInput((1, 6, 5)), s2o.MaxPool2d(2), s2o.LSTM(4, "last", "relu")])
    average = s2o.Network([s2o.SequenceInput(3), s2o.BiGRU(4), s2o.GlobalAvgPool1d()])
    label = s2o.Network([s2o.SequenceInput(3), s2o.BiLSTM(4, "last"), s2o.Softmax()])
    cell = s2o.Network([s2o.SequenceInput(3), s2o.LSTM(4, "cell")])
    cells = s2o.Network([s2o.SequenceInput(3), s2o.BiLSTM(4, "cell", "relu")])
    networks = image, average, label, cell, cells
    cases = [(laws.Subject(network), ExportOptions(form="portable")) for network in networks]
    cases += [(laws.Subject(cell), ExportOptions("sequence", form="portable"))]
    cases += [(seen, ExportOptions(form="portable")), (seen, ExportOptions(form="portable", closed_loop=4))]
    for subject, options in cases:
        file = build_model(subject.network, subject.weights, options)
        ours, theirs = (
            laws.open_session(file),
            core.compile_model(core.read_model(file.SerializeToString()), "CPU", OPENVINO_SETTINGS),
        )
        for lengths, time in (([5, 0, 3, 1, 7], 9), ([2, 2], 2), ([0, 0], 0)):
            given = feeds_of(subject, lengths, time)
            feeds = {entry.name: given[entry.name] for entry in ours.get_inputs()}
            expected, answer = ours.run(None, feeds), theirs(feeds)
            for entry, output, values in zip(ours.get_outputs(), theirs.outputs, expected, strict=True):
                found = answer[output]
                if entry.name == "y" and values.ndim > 2 and options.closed_loop is None:
                    ends = [slice(0, count) for count in lengths]
                    values, found = (
                        np.concatenate([row[end] for row, end in zip(y, ends, strict=True)]) for y in (values, found)
                    )
                assert np.abs(found - values).max(initial=0) < 1e-5, (subject.network, lengths, entry.name)
