"""from_torch: torch modules as people write them are lifted exactly, or refused with reason and remedy."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import seq2onnx as s2o
from seq2onnx.importing import equivalence as proof
from tests.torch_modules import LIFTED, REFUSED, Case, x
from tests.torch_modules.cases import C
from tests.torch_modules.convolutional import CnnLstm
from tests.torch_modules.harmful import CellStateOfEachStep, DividedByTime, Harmful
from tests.torch_modules.mixed import LegacyWeightNorm
from tests.torch_modules.recurrent import LstmLastHidden, LstmPerStep, TwoLstmsResidual
from tests.torch_parity import can_stream, differences

# torch's kernels and onnxruntime's sum in another order.
CLOSE = 1e-6


def weights(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random and distinct weights and statistics: with those of a new module some mistakes do not show."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point() and not isinstance(tensor, nn.UninitializedParameter):
            numbers = torch.rand(tensor.shape, generator=generator)
            scale = 1 / max(1, tensor[0].numel()) ** 0.5 if tensor.ndim > 1 else 1
            tensor.data.copy_(numbers + 0.5 if name.endswith(("var", "std")) else (2 * numbers - 1) * scale)
    return module


def imported(case: Case, seed: int = 0):
    """The torch module of a case, and what it was lifted to."""
    torch.manual_seed(seed)
    module = case.make() if case.make is LegacyWeightNorm else weights(case.make(), seed)
    return module.eval(), s2o.from_torch(module, case.example, **case.options)


@pytest.mark.parametrize("name", LIFTED)
def test_modules_as_people_write_them_are_lifted_exactly(name, tmp_path):
    case = LIFTED[name]
    module, made = imported(case)
    options = {key: value for key, value in case.options.items() if key in ("axes", "softmax")}
    found = differences(module, case.example, made, tmp_path / "network.onnx", **options)
    assert max(found.values()) <= CLOSE, found
    assert can_stream(made) == case.streams


@pytest.mark.parametrize("name", REFUSED)
def test_harmful_modules_are_refused_with_the_reason(name):
    case = REFUSED[name]
    torch.manual_seed(0)
    with pytest.raises(s2o.ImportRefused, match=case.says):
        s2o.from_torch(case.make(), case.example, **case.options)


def test_a_refusal_names_the_module_the_code_and_what_to_do():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = CellStateOfEachStep()

        def forward(self, x):
            return self.encoder(x) * 2

    with pytest.raises(s2o.ImportRefused) as caught:
        s2o.from_torch(Outer(), x())
    assert "encoder.fc (Linear): reads the cell state of an LSTM at a step that is not the last" in str(caught.value)
    assert "Read the output h, or the cell state after the loop" in str(caught.value)
    assert "[code: found.append(self.fc(state[1]))]" in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, s2o.errors.Seq2OnnxError)


class TwoSequencesAndAVector(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.fc = nn.LSTM(5, 4, batch_first=True), nn.Linear(6, 3)

    def forward(self, fast, slow, machine):
        h = self.lstm(torch.cat((fast, slow), -1))[0][:, -1]
        return self.fc(torch.cat((h, machine), -1))


class TwoBranches(nn.Module):
    """Each input has a layer of its own, and the vector goes to each step; time comes first."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = nn.GRU(3, 4), nn.Conv1d(2, 5, 1), nn.Linear(11, 2)

    def forward(self, fast, machine, slow):
        wide = machine.expand(fast.shape[0], -1, -1)
        return self.fc(torch.cat((self.a(fast)[0], self.b(slow.permute(1, 2, 0)).permute(2, 0, 1), wide), 2))


@pytest.mark.parametrize("make", [TwoSequencesAndAVector, TwoBranches])
def test_several_inputs_are_inputs_of_the_network_with_their_names(make, tmp_path):
    module, rng = weights(make()).eval(), torch.Generator().manual_seed(0)
    fast, slow, machine = (torch.randn(shape, generator=rng) for shape in ((2, 9, 3), (2, 9, 2), (2, 2)))
    is_time_first = make is TwoBranches
    arguments = (fast.transpose(0, 1), machine, slow.transpose(0, 1)) if is_time_first else (fast, slow, machine)
    made = s2o.from_torch(module, arguments, axes="TBC" if is_time_first else "BTC")
    assert {layer.label: layer.kind for layer in made.network.inputs} == {
        "fast": "sequence_input",
        "slow": "sequence_input",
        "machine": "feature_input",
    }
    s2o.export(made, tmp_path / "network.onnx")
    model = s2o.load(tmp_path / "network.onnx")
    with torch.no_grad():
        expected = module(*arguments).numpy()
    expected = expected.swapaxes(0, 1) if is_time_first else expected
    data = {"fast": list(fast.numpy()), "slow": list(slow.numpy()), "machine": list(machine.numpy())}
    assert np.abs(np.stack(model.predict(data)) - expected).max() <= CLOSE
    stream, found = model.stream(), []
    for a, b in zip(fast[0].numpy(), slow[0].numpy(), strict=True):
        found.append(stream.step({"fast": a, "slow": b, "machine": machine[0].numpy()}))
    assert np.abs((np.stack(found) if is_time_first else found[-1]) - expected[0]).max() <= CLOSE


class StridedAndAVector(nn.Module):
    """The second sequence has as many features as the batch has rows; the vector comes after a stride."""

    inputs: ClassVar = {"fast": True, "slow": True, "machine": False}

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv1d(5, 4, 3, stride=2), nn.Linear(6, 3)

    def forward(self, fast, slow, machine):
        y = self.conv(nn.functional.pad(torch.cat((fast, slow), 1), (2, 0)))
        return self.fc(torch.cat((y.mean(2), machine), 1))


def test_a_vector_is_joined_after_a_stride(tmp_path):
    module, arguments = weights(StridedAndAVector()), (torch.randn(2, 3, 9), torch.randn(2, 2, 9), torch.randn(2, 2))
    made = s2o.from_torch(module, arguments, axes="BCT")
    assert max(differences(module, arguments, made, tmp_path / "network.onnx", "BCT").values()) <= CLOSE


def test_several_inputs_beside_lengths_and_start_states():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.fc = nn.GRU(5, 4, batch_first=True), nn.Linear(6, 3)

        def forward(self, fast, lengths, slow, machine, start):
            packed = nn.utils.rnn.pack_padded_sequence(torch.cat((fast, slow), 2), lengths, True, False)
            return self.fc(torch.cat((self.gru(packed, start)[1][-1], machine), 1))

    arguments = torch.randn(3, 9, 3), torch.tensor([9, 4, 2]), torch.randn(3, 9, 2), torch.randn(3, 2)
    arguments = *arguments, torch.randn(1, 3, 4)
    made = s2o.from_torch(weights(Both()), arguments)
    assert {layer.label for layer in made.network.inputs} == {"fast", "slow", "machine"}
    with pytest.raises(s2o.SpecError, match="normalization: the module has 2 inputs"):
        s2o.from_torch(Both(), arguments, normalization="zscore", statistics={"mean": [0.0], "std": [1.0]})


def test_a_number_that_is_the_length_is_named_with_its_code():
    with pytest.raises(s2o.ImportRefused, match=r"13 where there are 13 steps.*x\.size\(1\)"):
        s2o.from_torch(DividedByTime(), x())


def test_layers_are_named_as_in_the_module_and_nothing_is_lifted_that_no_answer_reads():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
            self.lstm = nn.LSTM(8, 5, 2, batch_first=True)
            self.unused = nn.Linear(8, 3)
            self.head = nn.Linear(5, 2)

        def forward(self, x):
            x = self.encoder(x)
            self.unused(x).cumsum(1)
            return self.head(self.lstm(x)[0][:, -1])

    made = s2o.from_torch(Network(), x())
    assert [layer.name for layer in made.network.layers] == [
        "input", "encoder_0", "encoder_1", "lstm_l0", "lstm_l1", "head",
    ]  # fmt: skip
    assert made.network["lstm_l1"].output_mode == "last"
    assert made.network.name == "network"


NORMS = {
    "LengthOne": ("rms_norm", 1e-24 / 10, 1, ["fully_connected", "rms_norm", "gru"]),
    "ScaledLength": ("rms_norm", 1e-16, 1, ["fully_connected", "rms_norm", "gru"]),
    "RootOfALimitedSum": ("rms_norm", 1e-12 / 10, 1, ["fully_connected", "rms_norm", "gru"]),
    "WrittenLayerNorm": ("layer_norm", 0.01, 1, ["fully_connected", "layer_norm", "gru"]),
    "NormOfHeads": ("layer_norm", 1e-5, 2, ["fully_connected", "layer_norm", "fully_connected", "tanh", "layer_norm"]),
    "GroupsOfImages": ("layer_norm", 1e-5, 2, ["conv2d", "layer_norm", "relu", "conv2d", "layer_norm", "relu"]),
    "InstancesOfFrames": ("layer_norm", 1e-5, 4, ["conv1d", "layer_norm", "relu"]),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_is_one_layer_however_it_is_written(name, monkeypatch):
    monkeypatch.setattr(proof, "prove", lambda *_, **__: 0.0)  # other tests compare the numbers
    case = LIFTED[name]
    network = s2o.from_torch(case.make(), case.example, **case.options).network
    kind, epsilon, groups, kinds = NORMS[name]
    assert [layer.kind for layer in network.layers][1 : len(kinds) + 1] == kinds
    norm = next(layer for layer in network.layers if layer.kind == kind)
    assert norm.epsilon == pytest.approx(epsilon, rel=1e-6, abs=0)
    assert norm.groups == groups


def test_vectors_of_every_length_become_one_long(tmp_path):
    """Squares of 1e19 overflow float32, those of 1e-9 are still far from its end, and zeros stay zeros."""

    class Lengths(nn.Module):
        def forward(self, x):
            return nn.functional.normalize(x, dim=-1)

    made = s2o.from_torch(Lengths(), x())
    scales = np.concatenate([[0], 10.0 ** np.arange(-9, 19)])[:, None]
    steps = (scales * np.random.default_rng(0).normal(size=(len(scales), 6))).astype("f")
    exact = steps.astype(float)
    exact /= np.maximum(np.linalg.norm(exact, axis=-1, keepdims=True), 1e-12)
    s2o.export(made, tmp_path / "model.onnx")
    s2o.export(made, tmp_path / "step.onnx", form="step")
    found = {"whole": s2o.load(tmp_path / "model.onnx").predict([steps])[0]}
    for form in ("model", "step"):
        stream = s2o.load(tmp_path / f"{form}.onnx").stream()
        found[form] = np.stack([np.ravel(stream.step(step)) for step in steps])
    with torch.no_grad():
        found["torch"] = made(torch.from_numpy(steps)[None], torch.tensor([len(steps)]))[0][0].numpy()
    for form, y in found.items():
        assert np.abs(y - exact).max() <= CLOSE, form


def test_hundreds_of_modules_in_a_row_become_layers(monkeypatch):
    monkeypatch.setattr(proof, "prove", lambda *_, **__: 0.0)
    module = nn.Sequential(nn.Linear(6, 2), *(nn.Tanh() for _ in range(600)))
    assert len(s2o.from_torch(module, x()).network.layers) == 602


def test_the_module_stays_as_it_was():
    module = LstmPerStep().train()
    module.lstm.eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    keys = set(vars(module.lstm))
    s2o.from_torch(module, x())
    assert module.training
    assert not module.lstm.training
    assert set(vars(module.lstm)) == keys
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    out, _ = module(x())
    out.sum().backward()
    assert module.lstm.weight_ih_l0.grad is not None


def test_the_result_does_not_depend_on_training_mode_and_draws_no_random_numbers():
    case = LIFTED["LstmLastStep"]
    module = weights(case.make())
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    made = s2o.from_torch(module.train(), case.example)
    assert torch.equal(torch.rand(3), expected)
    some = x(3, 5)
    np.testing.assert_allclose(made(some)[0].detach(), module.eval()(some).detach(), atol=CLOSE)


def test_several_answers_come_in_order_with_the_names_of_the_module():
    heads = LIFTED["SeveralHeads"]
    _, made = imported(heads)
    assert made.network.outputs == ("kind", "level")
    _, made = imported(LIFTED["NamedTupleOfHeads"])
    assert made.network.outputs == ("mean", "scale")
    one = s2o.from_torch(weights(heads.make()), heads.example, output="level")
    assert one.network.outputs == ("level",)
    first = LIFTED["MaskedMean"]
    assert len(s2o.from_torch(weights(first.make()), first.example, output=1).network.outputs) == 1
    with pytest.raises(s2o.SpecError, match="nothing under 'other'"):
        s2o.from_torch(weights(heads.make()), heads.example, output="other")


def test_softmax_and_classes_make_a_classifier(tmp_path):
    module = weights(LstmLastHidden())
    labels = ["a", "b", "c", "d"]
    made = s2o.from_torch(module, x(), softmax=True, classes=labels)
    assert made.classes == labels
    s2o.export(made, tmp_path / "file.onnx")
    model = s2o.load(tmp_path / "file.onnx")
    some = x(4, 11)
    expected = module(some).softmax(-1).detach().numpy()
    np.testing.assert_allclose(model.predict(list(some.numpy())), expected, atol=CLOSE)
    assert list(model.classify(list(some.numpy()))) == [labels[i] for i in expected.argmax(1)]
    with pytest.raises(s2o.SpecError, match="4 scores, got 2 classes"):
        s2o.from_torch(module, x(), classes=["a", "b"])
    with pytest.raises(s2o.SpecError, match="ends in a softmax already"):
        s2o.from_torch(TwoLstmsResidual(), x(), softmax=True)
    with pytest.raises(s2o.ImportRefused, match="softmax=True"):
        s2o.from_torch(CnnLstm(), x())


@pytest.mark.parametrize("normalization", ["zscore", "zerocenter", "rescale_symmetric"])
def test_the_file_takes_raw_numbers_and_equals_the_module_on_normalized_ones(tmp_path, normalization):
    module, rng = weights(LstmLastHidden()), np.random.default_rng(0)
    mean, std = rng.normal(size=6) * 50, rng.uniform(0.5, 20, 6)
    known = {
        "zscore": {"mean": mean, "std": std},
        "zerocenter": {"mean": mean},
        "rescale_symmetric": {"min": mean - std, "max": mean + std},
    }[normalization]
    made = s2o.from_torch(module, x(), normalization=normalization, statistics=known)
    s2o.export(made, tmp_path / "file.onnx")
    raw = (mean + std * rng.uniform(-1, 1, (12, 6))).astype(np.float32)
    normal = (raw - mean) / (1 if normalization == "zerocenter" else std)
    expected = module(torch.from_numpy(normal.astype(np.float32))[None]).detach().numpy()
    np.testing.assert_allclose(s2o.load(tmp_path / "file.onnx").predict([raw]), expected, atol=1e-5)


def test_what_was_lifted_can_be_trained_further():
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(n, 6)) for n in rng.integers(4, 9, 40)]
    labels = [str(int(x[-1, 0] > 0)) for x in sequences]
    data = s2o.SequenceDataset(sequences, labels)
    torch.manual_seed(0)
    module = nn.ModuleDict({"lstm": nn.LSTM(6, 8, batch_first=True), "head": nn.Linear(8, 2)})
    module.forward = lambda x: module["head"](module["lstm"](x)[1][0][-1])
    made = s2o.from_torch(module, x(), softmax=True, classes=data.classes)
    options = s2o.TrainingOptions(epochs=25, learning_rate=0.02, progress=False)
    result = s2o.train(made, data, options=options)
    assert result.history[-1]["loss"] < 0.5 * result.history[0]["loss"]


def test_a_wrong_axis_order_is_named():
    with pytest.raises(s2o.ShapeError, match="names 3 axes, but the example has 2"):
        s2o.from_torch(LstmLastHidden(), torch.randn(9, 6))
    with pytest.raises(s2o.SpecError, match="letters B"):
        s2o.from_torch(LstmLastHidden(), x(), axes="NTC")
    with pytest.raises(s2o.ImportRefused, match="batch_first"):
        s2o.from_torch(LstmLastHidden(), x(), axes="TBC")
    with pytest.raises(s2o.SpecError, match="expected a tensor"):
        s2o.from_torch(LstmLastHidden(), None)
    with pytest.raises(s2o.SpecError, match=r"expected a torch\.nn\.Module"):
        s2o.from_torch({"lstm": 1}, x())


def test_what_is_no_trained_network_is_refused(capfd):
    with pytest.raises(s2o.ImportRefused, match=r"16 bits.*float\(\)"):
        s2o.from_torch(LstmLastHidden().bfloat16(), x().bfloat16())
    with pytest.raises(s2o.ImportRefused, match="parameters without numbers"):
        s2o.from_torch(nn.Sequential(nn.LazyLinear(3)), x())

    class DependsOnNumbers(Harmful):
        def forward(self, x):
            return self.run(x) if x.sum() > 0 else x

    with pytest.raises(s2o.ImportRefused, match="DependsOnNumbers: does not run, or cannot be traced") as caught:
        s2o.from_torch(DependsOnNumbers(), x())
    assert "a branch depends on the numbers of a tensor" in str(caught.value)
    assert str(caught.value).endswith("[code: return self.run(x) if x.sum() > 0 else x]")
    assert capfd.readouterr() == ("", "")


STEPS_OF_LENGTHS = {
    "the shortest": lambda n: n.min(),
    "the second": lambda n: n[1],
    "a sum": lambda n: torch.arange(n.min()).sum(),  # in most batches more than the longest
}


@pytest.mark.parametrize("name", STEPS_OF_LENGTHS)
def test_a_cut_to_another_length_than_the_longest_is_refused(name):
    class Network(Harmful):
        def forward(self, x, lengths):
            return self.run(x)[:, : STEPS_OF_LENGTHS[name](lengths)]

    with pytest.raises(s2o.ImportRefused, match=r"makes a size.*of the lengths.*lengths\.max\(\).*\[code: return self"):
        s2o.from_torch(Network(), (x(), torch.tensor([9, 4])))


def test_a_cut_by_a_list_of_lengths_is_compared_with_all_steps_of_the_source():
    class Network(Harmful):
        def __init__(self, steps):
            super().__init__()
            self.steps = steps

        def forward(self, x, lengths):
            return self.run(x)[:, : self.steps(lengths)]

    s2o.from_torch(Network(max), (x(), [9, 4]))
    with pytest.raises(s2o.ImportRefused, match="has the shape .* the source gives"):
        s2o.from_torch(Network(lambda lengths: sum(range(min(lengths)))), (x(), [9, 4]))


def test_bidirectional_layers_with_start_states_are_refused():
    class Network(Harmful):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(6, 5, batch_first=True, bidirectional=True)

        def forward(self, x):
            h = torch.ones(2, x.size(0), 5)
            return self.lstm(x, (h, h))[0]

    with pytest.raises(s2o.ImportRefused, match="bidirectional and starts from states that are not zero"):
        s2o.from_torch(Network(), x())


@pytest.mark.parametrize(
    ("weight", "change"),
    [
        ("lstm.weight_ih_l0", lambda w: w.reshape(4, -1, w.shape[1])[[0, 2, 1, 3]].reshape(w.shape)),
        ("lstm.bias_hh_l0", torch.zeros_like),
        ("gru.weight_hh_l0", lambda w: w.reshape(3, -1, w.shape[1])[[1, 0, 2]].reshape(w.shape)),
        ("gru.bias_hh_l0", lambda w: torch.cat([w[:-10], 0 * w[-10:]])),
        ("norm.weight", lambda w: w + 1e-4),
    ],
)
def test_the_proof_sees_a_wrong_weight(monkeypatch, weight, change):
    """Each trap as a mutation: the module that is compared is not the one that was traced."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.gru = nn.LSTM(6, 10, batch_first=True), nn.GRU(10, 10, batch_first=True)
            self.norm = nn.LayerNorm(10)

        def forward(self, x):
            return self.norm(self.gru(self.lstm(x)[0])[0])

    from seq2onnx.importing.torch import modules as importer

    module = weights(Network())
    lift = importer.assemble

    def mutate(answers, name):
        found = lift(answers, name)
        tensor = module.get_parameter(weight)
        tensor.data.copy_(change(tensor.data.clone()))
        return found

    monkeypatch.setattr(importer, "assemble", mutate)
    with pytest.raises(s2o.ImportRefused, match="First difference"):
        s2o.from_torch(module, x())


def test_random_networks(tmp_path):
    """tools/fuzz_import.py imports many more."""
    from tests.random_torch import RandomNetwork, RandomTwoInputs

    for number in range(14):
        network = (RandomNetwork if number < 12 else RandomTwoInputs)(f"test {number}").eval()
        axes = "BT" if network.axes == "tokens" else network.axes
        made = s2o.from_torch(network, network.example(), axes=axes)
        found = differences(network, network.example(), made, tmp_path / "network.onnx", axes, double=True)
        assert max(found.values()) <= CLOSE, (number, found)


def test_the_source_in_float64_is_the_module_in_float64(monkeypatch):
    """Also where the module makes its own start state, in torch's default type."""
    from seq2onnx.importing.torch import modules

    class OwnStart(LstmPerStep):
        def forward(self, x):
            start = torch.zeros(1, len(x), self.lstm.hidden_size)
            return torch.sigmoid(self.linear(self.lstm(x, (start, start))[0]))

    asked = []
    monkeypatch.setattr(modules.equivalence, "prove", lambda made, source, samples, wide, *_: asked.append(wide))
    module, sequences = weights(OwnStart()).eval(), x(3, 11)
    s2o.from_torch(module, x())
    (found,) = asked[0](sequences.numpy(), None)
    with torch.no_grad():
        expected = weights(LstmPerStep()).eval().double()(sequences.double())[0].numpy()
    assert np.abs(found - expected).max() < 1e-14
    assert torch.get_default_dtype() == torch.float32


class OneStep(nn.Module):
    """One step of two cells, as people write it for a stream: x [B, C] and states in, the answer and states out."""

    def __init__(self):
        super().__init__()
        self.up, self.lstm, self.gru = nn.Linear(C, 5), nn.LSTMCell(5, 4), nn.GRUCell(4, 3)
        self.fc = nn.Linear(3, 2)

    def forward(self, x, h, state):
        hx, cx = self.lstm(nn.functional.dropout(torch.relu(self.up(x)), 0.5, self.training), state)
        h = self.gru(hx, h)
        return self.fc(h), h, (hx, cx)


ONE_STEP = (torch.randn(2, C), torch.randn(2, 3), (torch.randn(2, 4), torch.randn(2, 4)))


def test_a_module_of_one_step_becomes_a_network_of_sequences(tmp_path):
    module = weights(OneStep())
    made = s2o.from_torch(module, ONE_STEP, axes="BC")
    assert module.training
    assert made.network.name == "one_step"
    assert [layer.label for layer in made.network.layers][1:] == ["up", "relu_1", "dropout_1", "lstm", "gru", "fc"]
    s2o.export(made, tmp_path / "network.onnx")
    stream, steps = s2o.load(tmp_path / "network.onnx").stream(), x(1, 40)[0]
    h, state = torch.zeros(1, 3), (torch.zeros(1, 4), torch.zeros(1, 4))
    module.eval()
    for step in steps:
        with torch.no_grad():
            y, h, state = module(step[None], h, state)
        assert np.abs(stream.step(step.numpy()) - y[0].numpy()).max() <= CLOSE


def test_a_module_that_calls_layers_for_one_step_becomes_a_network_of_sequences(tmp_path):
    class StepOfLayers(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.fc = nn.LSTM(C, 4, 2, batch_first=True), nn.Linear(4, 2)

        def forward(self, x, h, c):
            out, (h, c) = self.lstm(x.unsqueeze(1), (h, c))
            return self.fc(out[:, -1]), h, c

    module = weights(StepOfLayers()).eval()
    made = s2o.from_torch(module, (torch.randn(1, C), torch.zeros(2, 1, 4), torch.zeros(2, 1, 4)), axes="BC")
    assert [layer.label for layer in made.network.layers][1:] == ["lstm_l0", "lstm_l1", "fc"]
    sequence = x(1, 20)
    with torch.no_grad():
        expected = module.fc(module.lstm(sequence)[0])
        assert torch.allclose(made(sequence)[0], expected, rtol=0, atol=CLOSE)


def test_a_cell_and_a_module_without_states_are_modules_of_one_step():
    made = s2o.from_torch(nn.GRUCell(C, 4), (torch.randn(2, C), torch.randn(2, 4)), axes="BC")
    assert [layer.kind for layer in made.network.layers] == ["sequence_input", "gru"]
    made = s2o.from_torch(nn.Sequential(nn.Linear(C, 4), nn.Tanh()), torch.randn(2, C), axes="BC")
    assert [layer.kind for layer in made.network.layers] == ["sequence_input", "fully_connected", "tanh"]


def test_a_module_of_one_step_that_does_not_return_its_states_is_refused():
    class Swapped(OneStep):
        def forward(self, x, h, state):
            y, h, state = super().forward(x, h, state)
            return h, state, y

    class Forgotten(OneStep):
        def forward(self, x, h, state):
            return super().forward(x, h, state)[0]

    for kind in (Swapped, Forgotten):
        with pytest.raises(s2o.ImportRefused, match="must return its answer and then its new states, in the order"):
            s2o.from_torch(kind(), ONE_STEP, axes="BC")
    with pytest.raises(s2o.SpecError, match="'CB' has no T, so the module takes one step; .*the batch first"):
        s2o.from_torch(OneStep(), ONE_STEP, axes="CB")
