"""from_torch says what an argument that it cannot take seems to be, and what to do with it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import seq2onnx as s2o

C, H = 3, 4
X = torch.zeros(2, 6, C)


class Network(nn.Module):
    """An LSTM that combines each step with another argument."""

    def __init__(self, combine):
        super().__init__()
        self.rnn, self.table, self.wide = nn.LSTM(C, H, batch_first=True), nn.Embedding(5, H), nn.Linear(5, H)
        self.combine = combine

    def forward(self, x, other):
        return self.combine(self, self.rnn(x)[0], other)


ARGUMENTS = {
    "a mask of booleans": (
        lambda self, y, mask: y.masked_fill(~mask[..., None], 0),
        torch.ones(2, 6, dtype=torch.bool),
        r"other \[2, 6\] seems to be a mask; leave it out, since layers take lengths",
    ),
    "a mask of numbers": (
        lambda self, y, mask: y * mask[..., None],
        torch.tensor([[1.0] * 6, [1.0] * 4 + [0.0] * 2]),
        r"other \[2, 6\] seems to be a mask",
    ),
    "a speaker of each sequence": (
        lambda self, y, speaker: y + self.table(speaker)[:, None],
        torch.tensor([4, 1]),
        r"other \[2\] is taken for lengths; if they are not",
    ),
    "a matrix": (
        lambda self, y, weights: y @ weights,
        torch.zeros(H, H),
        rf"other \[{H}, {H}\] seems to be numbers that no sequence has; make them an attribute",
    ),
    "a speaker of all sequences": (
        lambda self, y, speaker: y + self.table(speaker),
        torch.tensor(4),
        r"other \[\] seems to be one number; give a number of Python",
    ),
    "booleans of features": (
        lambda self, y, is_used: y * is_used,
        torch.tensor([True, False, True, True]),
        rf"other \[{H}\] seems to be numbers that no sequence has; make them an attribute",
    ),
    "tokens of each step": (
        lambda self, y, tokens: y + self.table(tokens),
        torch.tensor([[4, 1, 3, 2, 2, 1]] * 2),
        r"other \[2, 6\] seems to be another sequence of whole numbers; give it as floats",
    ),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_argument_is_named_with_what_it_seems_to_be(name):
    combine, other, says = ARGUMENTS[name]
    with pytest.raises(s2o.ImportRefused, match=f"start states that go into a recurrent layer unchanged.*{says}"):
        s2o.from_torch(Network(combine), (X, other))


@pytest.mark.parametrize("other", [torch.tensor([6, 4]), True, None])
def test_lengths_and_options_are_not_blamed_for_another_refusal(other):
    with pytest.raises(s2o.ImportRefused) as refusal:
        s2o.from_torch(Network(lambda self, y, _: y.cumsum(1)), (X, other))
    assert "seems to be" not in str(refusal.value)
    assert "taken for lengths" not in str(refusal.value)


def test_whole_numbers_beside_the_sequences_become_no_constants():
    """With one sequence in the example, and with lengths, too, they fit every batch."""

    class Speaker(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.table = nn.LSTM(C, H, batch_first=True), nn.Embedding(5, H)

        def forward(self, x, lengths, speaker):
            return self.rnn(x)[0] + self.table(speaker)[:, None]

    reason = r"^table \(Embedding\): reads an argument of whole numbers or booleans that are not the lengths .*\[code:"
    about = r"speaker \[1\] seems to be numbers for each sequence; give them as a tensor of floats \[batch, features\]"
    with pytest.raises(s2o.ImportRefused, match=f"{reason}.*{about}"):
        s2o.from_torch(Speaker(), (X[:1], torch.tensor([6]), torch.tensor([4])))


@pytest.mark.parametrize("other", [torch.tensor(4), torch.tensor([True, False])])
def test_whole_numbers_that_no_answer_reads_may_be_passed_on(other):
    made = s2o.from_torch(Network(lambda self, y, other: (y, other)), (X, other))
    assert [layer.kind for layer in made.network.layers] == ["sequence_input", "lstm"]


def test_a_start_state_is_not_blamed_for_another_refusal():
    class Started(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(C, H, batch_first=True)

        def forward(self, x, start):
            return self.rnn(x, start)[0].cumsum(1)

    with pytest.raises(s2o.ImportRefused) as refusal:
        s2o.from_torch(Started(), (X, torch.zeros(1, 2, H)))
    assert "seems to be" not in str(refusal.value)


def test_another_sequence_without_an_axis_of_features_is_named():
    class Numbers(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(2, H, batch_first=True)

        def forward(self, x, other):
            return self.rnn(torch.stack((x, other), 2))[0]

    with pytest.raises(s2o.ImportRefused, match=r"other \[2, 6\] seems to be another sequence; give both their axes"):
        s2o.from_torch(Numbers(), (torch.randn(2, 6), torch.randn(2, 6)), axes="BT")
