"""from_torch names the attribute and the line of a module that keeps its state from call to call."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import seq2onnx as s2o
from seq2onnx.importing.torch.trace import as_in_use

C, H = 3, 4


class Keeps(nn.Module):
    """An LSTM; the classes below keep its state in the ways of tutorials."""

    def __init__(self, rows=2):
        super().__init__()
        self.rnn, self.out = nn.LSTM(C, H, batch_first=True), nn.Linear(H, 2)
        self.hidden = self.zeros(rows)

    def zeros(self, rows):
        return torch.zeros(1, rows, H), torch.zeros(1, rows, H)


class FromInit(Keeps):
    def forward(self, x):
        y, self.hidden = self.rnn(x, self.hidden)
        return self.out(y)


class FromNone(Keeps):
    def __init__(self):
        super().__init__()
        self.hidden = None

    def forward(self, x):
        if self.hidden is None:
            self.hidden = self.zeros(len(x))
        y, self.hidden = self.rnn(x, self.hidden)
        return self.out(y)


class Detached(FromNone):
    def forward(self, x):
        if self.hidden is not None:
            self.hidden = tuple(h.detach() for h in self.hidden)
        y, self.hidden = self.rnn(x, self.hidden)
        self.last_answer = self.out(y)
        return self.last_answer


class InPlace(Keeps):
    def forward(self, x):
        y, new = self.rnn(x, self.hidden)
        for old, value in zip(self.hidden, new, strict=True):
            old.copy_(value)
        return self.out(y)


class Buffer(nn.Module):
    """A causal convolution that keeps the last steps."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(C, H, 3)
        self.register_buffer("cache", torch.zeros(2, C, 2))

    def forward(self, x):
        x = torch.cat([self.cache, x.transpose(1, 2)], 2)
        self.cache = x[:, :, -2:]
        return self.conv(x).transpose(1, 2)


class Inside(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = FromInit(), nn.Linear(2, 2)

    def forward(self, x):
        return self.second(self.first(x))


KEPT = {
    FromInit: ("self.hidden", "y, self.hidden = self.rnn(x, self.hidden)"),
    FromNone: ("self.hidden", "self.hidden = self.zeros(len(x))"),
    Detached: ("self.hidden", "self.hidden = tuple(h.detach() for h in self.hidden)"),
    InPlace: ("self.hidden", "y, new = self.rnn(x, self.hidden)"),
    Buffer: ("self.cache", "self.cache = x[:, :, -2:]"),
    Inside: ("self.hidden of first", "y, self.hidden = self.rnn(x, self.hidden)"),
}


@pytest.mark.parametrize("has_run", [False, True])
@pytest.mark.parametrize("kind", KEPT, ids=lambda kind: kind.__name__)
def test_a_state_that_a_module_keeps_is_named(kind, has_run):
    torch.manual_seed(0)
    module, x = kind(), torch.randn(2, 6, C)
    if has_run:
        module(x)
    name, line = KEPT[kind]
    with pytest.raises(s2o.ImportRefused) as refusal:
        s2o.from_torch(module, x)
    assert str(refusal.value).startswith(f"{kind.__name__}: keeps {name} from call to call, ")
    assert str(refusal.value).endswith(f"[code: {line}]")


def test_a_state_of_another_batch_is_named():
    with pytest.raises(s2o.ImportRefused, match=r"FromInit: keeps self\.hidden from call to call"):
        s2o.from_torch(FromInit(rows=7), torch.randn(2, 6, C))


class StartsAnew(Keeps):
    def forward(self, x):
        self.hidden = self.zeros(len(x))
        y, self.hidden = self.rnn(x, self.hidden)
        self.heard = y
        return self.out(y)


class TakesAndReturns(Keeps):
    def forward(self, x, hidden):
        y, hidden = self.rnn(x, hidden)
        return self.out(y), hidden


class Sorts(Keeps):
    """Refused for another reason."""

    def forward(self, x):
        self.heard = x
        return self.out(self.rnn(self.heard)[0]).sort(1)[0]


def test_a_state_that_is_no_memory_does_no_harm():
    """The remedies of the refusal work."""
    x = torch.randn(2, 6, C)
    module = StartsAnew()
    module(x)
    assert [layer.kind for layer in s2o.from_torch(module, x).network.layers][1:] == ["lstm", "fully_connected"]
    module = TakesAndReturns()
    made = s2o.from_torch(module, (x, module.zeros(2)))
    assert [layer.kind for layer in made.network.layers][1:] == ["lstm", "fully_connected"]


class Weighs(Keeps):
    """It reads a tensor that it never assigns, and takes no batch of 2."""

    def forward(self, x):
        return (self.rnn(x)[0] + self.hidden[0]).reshape(1, -1, 1) @ torch.zeros(3, 1)


@pytest.mark.parametrize("kind", [Sorts, Weighs])
def test_other_refusals_stay(kind):
    with pytest.raises(s2o.ImportRefused) as refusal:
        s2o.from_torch(kind(), torch.randn(2, 6, C))
    assert "from call to call" not in str(refusal.value)


def test_an_import_leaves_the_tensors_of_a_module_as_they_are():
    module = InPlace()
    with as_in_use(module):
        module(torch.randn(2, 6, C))
        assert any(state.any() for state in module.hidden)
    assert all(isinstance(state, Tensor) and not state.any() for state in module.hidden)
