"""add_states on files as torch's own exporter writes them: what people export and want to run step by step."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import seq2onnx as s2o
from tests.test_add_states import check_the_runtime

C, H, K = 5, 6, 3
TOLERANCE = 1e-6  # the same operators of onnxruntime on both sides


class Recurrent(nn.Module):
    """A recurrent layer and a linear one; `read` says what of the first the second reads."""

    def __init__(self, kind=nn.LSTM, read="all", layers=1, **options):
        super().__init__()
        self.rnn = kind(C, H, layers, **{"batch_first": True} | options)
        self.head, self.read = nn.Linear(H, K), read
        self.start = nn.Parameter(torch.randn(layers, 1, H)) if read == "start" else None

    def forward(self, x, *states):
        if self.start is not None:
            start = self.start.expand(-1, x.shape[0], -1).contiguous()
            states = ((start, start * 2),)
        elif len(states) == 2:
            states = (states,)
        y, final = self.rnn(x, *states)
        last = final[0] if isinstance(final, tuple) else final
        if self.read == "flat":
            batch, time, size = y.shape
            return torch.log_softmax(self.head(y.reshape(-1, size)), 1).view(batch, time, -1)
        if self.read == "carried":
            return self.head(y), *final
        return self.head({"last": y[:, -1], "final": last[-1]}.get(self.read, y))


class Chomp(nn.Module):
    def __init__(self, count):
        super().__init__()
        self.count = count

    def forward(self, x):
        return x[:, :, : -self.count].contiguous()


def temporal(padded: bool, channels_first: bool) -> nn.Module:
    """A temporal convolutional network, with padding cut off after each convolution, or put before it."""
    layers, width = [], C
    for dilation in (1, 2, 4):
        reach = 2 * dilation
        before = [nn.ConstantPad1d((reach, 0), 0.0)] if padded else []
        conv = nn.Conv1d(width, H, 3, dilation=dilation, padding=0 if padded else reach)
        layers += [*before, conv, *([] if padded else [Chomp(reach)]), nn.BatchNorm1d(H), nn.ReLU()]
        width = H
    return nn.Sequential(*layers) if channels_first else Transposed(nn.Sequential(*layers))


class Transposed(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.transpose(1, 2)).transpose(1, 2)


class Residual(nn.Module):
    """A residual block with gates, layer normalization, a GRU and two heads, one of them without features."""

    def __init__(self):
        super().__init__()
        self.conv, self.gate = nn.Conv1d(C, C, 3, padding=2), nn.Conv1d(C, 2 * C, 1)
        self.norm, self.rnn = nn.LayerNorm(C), nn.GRU(C, H, batch_first=True)
        self.heads = nn.ModuleList([nn.Linear(H, K), nn.Linear(H, 1)])

    def forward(self, x):
        z = x.transpose(1, 2)
        z = nn.functional.glu(self.gate(torch.relu(self.conv(z)[..., :-2]) + z), 1)
        y, _ = self.rnn(self.norm(z.transpose(1, 2)) * nn.functional.silu(x))
        return self.heads[0](y), torch.sigmoid(self.heads[1](y)).squeeze(-1)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.rest = nn.Embedding(9, C), Recurrent(nn.GRU, "last")

    def forward(self, x):
        return self.rest(self.table(x))


class Pooled(nn.Module):
    def forward(self, x):
        z = nn.functional.pad(x.transpose(1, 2), (3, 0), value=float("-inf"))
        return nn.functional.max_pool1d(z, 4, 1).transpose(1, 2)


class Between(nn.Module):
    """An LSTM, something that acts on each step, and a linear layer."""

    def __init__(self, between):
        super().__init__()
        self.rnn, self.head = nn.LSTM(C, H, batch_first=True), nn.Linear(H, K)
        self.between = between

    def forward(self, x):
        return self.head(self.between(self.rnn(x)[0]))


ON_EACH_STEP = {
    "a logarithm": lambda y: torch.log(y.abs() + 1),
    "an exponential": torch.exp,
    "a sine": torch.sin,
    "a floor": lambda y: torch.floor(4 * y),
    "a quotient": lambda y: y / (1 + y.abs()),
    "softplus": nn.functional.softplus,
    "a power": lambda y: y.abs() ** 1.7,
    "a comparison": lambda y: torch.where(y > 0, y, 0.2 * y.flip(-1)),
    "bounds of each feature": lambda y: torch.maximum(y, torch.linspace(-0.3, 0.1, H)),
    "the largest feature": lambda y: y + y.argmax(-1, keepdim=True),
    "the two largest features": lambda y: torch.cat([y.topk(2, -1).values, y[..., 2:]], -1),
    "a sum of the features so far": lambda y: y.cumsum(-1),
}


@pytest.mark.parametrize("name", ON_EACH_STEP)
def test_a_module_without_layers_is_sent_to_add_states_which_keeps_it(tmp_path, name):
    torch.manual_seed(0)
    module = Between(ON_EACH_STEP[name]).eval()
    with pytest.raises(s2o.ImportRefused, match=r"torch\.onnx\.export and give the file to add_states"):
        s2o.from_torch(module, torch.randn(2, 9, C))
    export(module, tmp_path / "foreign.onnx", EXAMPLE, BATCH_TIME)
    s2o.add_states(tmp_path / "foreign.onnx", tmp_path / "stream.onnx")


OVER_STEPS = {
    "a sum of all steps so far": lambda y: y.cumsum(1),
    "the step with the largest number": lambda y: y + y.argmax(1, keepdim=True),
    "a quotient by the mean of all steps": lambda y: y / y.mean(1, keepdim=True),
    "a comparison with the last step": lambda y: torch.where(y > y[:, -1:], y, -y),
    "a sort": lambda y: y.sort(1).values,
}


@pytest.mark.parametrize("name", OVER_STEPS)
def test_a_module_that_joins_steps_is_not_sent_to_add_states(tmp_path, name):
    torch.manual_seed(0)
    module = Between(OVER_STEPS[name]).eval()
    with pytest.raises(s2o.ImportRefused) as refusal:
        s2o.from_torch(module, torch.randn(2, 9, C))
    assert "add_states" not in str(refusal.value)
    export(module, tmp_path / "foreign.onnx", EXAMPLE, BATCH_TIME)
    with pytest.raises(s2o.ImportRefused):
        s2o.add_states(tmp_path / "foreign.onnx", tmp_path / "stream.onnx")
    with pytest.raises(s2o.ImportRefused) as refusal:
        s2o.from_onnx(tmp_path / "foreign.onnx")
    assert "add_states" not in str(refusal.value)


class Bidirectional(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(C, H, bidirectional=True, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]


def export(module, path, x, axes, names=("x",)):
    """Export with torch's older exporter, which needs no other package; `axes`: the dynamic axes of each input."""
    module.eval()
    dynamic = {name: dict(of) for name, of in zip(names, axes, strict=True)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, x, path, input_names=list(names), dynamic_axes=dynamic, dynamo=False)


BATCH_TIME = [{0: "batch", 1: "time"}]
EXAMPLE = torch.zeros(2, 9, C)
MODULES = {
    "lstm": (Recurrent(), EXAMPLE, BATCH_TIME),
    "two layers, last step": (Recurrent(read="last", layers=2), EXAMPLE, BATCH_TIME),
    "final state": (Recurrent(read="final"), EXAMPLE, BATCH_TIME),
    "gru, final state of the last of two layers": (Recurrent(nn.GRU, "final", 2), EXAMPLE, BATCH_TIME),
    "rnn": (Recurrent(nn.RNN, nonlinearity="relu"), EXAMPLE, BATCH_TIME),
    "time first": (Recurrent(nn.GRU, batch_first=False), EXAMPLE, [{0: "time", 1: "batch"}]),
    "learned start": (Recurrent(read="start"), EXAMPLE, BATCH_TIME),
    "flattened rows": (Recurrent(read="flat"), EXAMPLE, BATCH_TIME),
    "without a batch": (Recurrent(), EXAMPLE[0], [{0: "time"}]),
    "fixed sizes": (Recurrent(), EXAMPLE, [{}]),
    "fixed batch of one, flattened": (Recurrent(read="flat"), EXAMPLE[:1], [{}]),
    "fixed sizes, last step": (Recurrent(read="last"), EXAMPLE[:1], [{}]),
    "tcn with chomps": (temporal(False, False), EXAMPLE, BATCH_TIME),
    "tcn with pads": (temporal(True, False), EXAMPLE, BATCH_TIME),
    "tcn, channels first": (temporal(False, True), EXAMPLE.mT, [{0: "batch", 2: "time"}]),
    "residual with gates": (Residual(), EXAMPLE, BATCH_TIME),
    "words": (Words(), torch.zeros(2, 9, dtype=torch.long), BATCH_TIME),
    "maximum of four steps": (Pooled(), EXAMPLE, BATCH_TIME),
}


@pytest.mark.parametrize("name", MODULES)
def test_networks_of_torch_run_step_by_step(tmp_path, name):
    module, x, axes = MODULES[name]
    export(module, tmp_path / "foreign.onnx", x, axes)
    report = s2o.add_states(tmp_path / "foreign.onnx", tmp_path / "stream.onnx")
    assert max(row.max_rel for row in report.rows) < TOLERANCE
    assert s2o.verify(tmp_path / "stream.onnx").ok
    check_the_runtime(s2o.load(tmp_path / "stream.onnx"))


def test_the_stream_equals_the_module(tmp_path):
    module = Residual()
    export(module, tmp_path / "foreign.onnx", EXAMPLE, BATCH_TIME)
    s2o.add_states(tmp_path / "foreign.onnx", tmp_path / "stream.onnx")
    x = torch.randn(1, 40, C)
    with torch.no_grad():
        scores, gate = module(x)
    stream = s2o.load(tmp_path / "stream.onnx").stream()
    found = [list(stream.step(step).values()) for step in x[0].numpy()]
    np.testing.assert_allclose([a for a, _ in found], scores[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose([b for _, b in found], gate[0, :, None], rtol=0, atol=1e-5)


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("one_step", [True, False])
def test_states_that_the_module_takes_and_gives(tmp_path, given, one_step):
    module, states = Recurrent(read="carried", layers=2), [torch.zeros(2, 1, H)] * 2
    x = torch.zeros(1, 1 if one_step else 9, C)
    time = {0: "batch"} if one_step else {0: "batch", 1: "time"}
    export(module, tmp_path / "foreign.onnx", (x, *states), [time, {1: "batch"}, {1: "batch"}], ("x", "h", "c"))
    inputs = [entry.name for entry in outputs_of(tmp_path / "foreign.onnx")]
    options = {"states": {"h": inputs[1], "c": inputs[2]}} if given else {}
    s2o.add_states(tmp_path / "foreign.onnx", tmp_path / "stream.onnx", **options)
    model = s2o.load(tmp_path / "stream.onnx")
    check_the_runtime(model)
    assert model.outputs == ["y"]
    kinds = [state.kind for state in model.contract.states]
    assert kinds == (["own", "own"] if given else ["h", "c", "h", "c"])
    x = torch.randn(1, 12, C)
    with torch.no_grad():
        want = module(x)[0][0]
    np.testing.assert_allclose(model.predict([x[0].numpy()])[0], want, rtol=0, atol=1e-5)


def outputs_of(path):
    import onnx

    return onnx.load(path).graph.output


def test_a_bidirectional_network_is_refused(tmp_path):
    export(Bidirectional(), tmp_path / "foreign.onnx", EXAMPLE, BATCH_TIME)
    with pytest.raises(s2o.ImportRefused, match=r"rnn.*LSTM.*both directions"):
        s2o.add_states(tmp_path / "foreign.onnx", tmp_path / "stream.onnx")
