"""Layers of each step, several answers, joins and other layouts, as people write them."""

from __future__ import annotations

import collections
import warnings

import torch
import torch.nn.functional as F
from torch import nn

from tests.torch_modules.cases import C, H, K, lifted
from tests.torch_modules.convolutional import TemporalBlock


@lifted()
class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(C, 8), nn.PReLU(8), nn.Linear(8, 8), nn.Hardtanh(), nn.Linear(8, K))

    def forward(self, x):
        b, t, c = x.shape
        return self.net(x.reshape(b * t, c)).reshape(b, t, -1)


@lifted()
class SeveralHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(C, H, batch_first=True)
        self.kind, self.level = nn.Linear(H, K), nn.Linear(H, 1)

    def forward(self, x):
        y, h = self.gru(x)
        return {"kind": self.kind(y[:, -1]), "level": self.level(y), "hidden": h}


Heads = collections.namedtuple("Heads", ["mean", "scale"])


@lifted()
class NamedTupleOfHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, batch_first=True)
        self.head = nn.Linear(H, 2)

    def forward(self, x):
        mean, scale = self.head(self.lstm(x)[0]).unbind(-1)
        return Heads(mean, F.hardsigmoid(scale))


@lifted()
class NormalizedInside(nn.Module):
    """Statistics as buffers, and an answer in the unit of the target."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.randn(C))
        self.register_buffer("std", torch.rand(C) + 0.5)
        self.gru = nn.GRU(C, H, batch_first=True)
        self.fc = nn.Linear(H, 1)

    def forward(self, x):
        y, _ = self.gru((x - self.mean) / self.std)
        return 12.5 * self.fc(y) + 180


@lifted()
class BatchNormOverTransposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm1d(C)
        self.lstm = nn.LSTM(C, H, batch_first=True)
        self.ln = nn.LayerNorm(H)

    def forward(self, x):
        x = self.bn(x.transpose(1, 2)).transpose(1, 2)
        return self.ln(self.lstm(x)[0])


@lifted()
class MaxAndMeanOverTime(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, batch_first=True)
        self.fc = nn.Linear(3 * H, K)

    def forward(self, x):
        y, (h, _) = self.lstm(x)
        pooled, _ = torch.max(y, 1)
        return self.fc(torch.cat([torch.mean(y, 1), pooled, h.squeeze(0)], 1))


@lifted(streams=False)
class CentredOverTime(nn.Module):
    """The mean of the whole sequence is taken off each step: right, but no stream knows it."""

    def __init__(self):
        super().__init__()
        self.gru, self.fc = nn.GRU(C, H, batch_first=True), nn.Linear(C + H, K)

    def forward(self, x):
        x = x - x.mean(1, keepdim=True)
        _, h = self.gru(x)
        return self.fc(torch.cat([x, h[-1].unsqueeze(1).expand(-1, x.size(1), -1)], -1))


@lifted()
class TwoSensors(nn.Module):
    """Channels are split, each part has a network of its own."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.GRU(2, 5, batch_first=True), nn.GRU(4, 5, batch_first=True)
        self.fc = nn.Linear(10, K)

    def forward(self, x):
        a, b = torch.split(x, [2, 4], dim=-1)
        return self.fc(torch.cat([self.a(a)[0], self.b(b.flip(-1))[0]], -1))


@lifted()
class SqueezeExcite(nn.Module):
    """Each step gates its own channels."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Linear(C, 3), nn.Linear(3, C)
        self.gru = nn.GRU(C, H, batch_first=True)

    def forward(self, x):
        x = x * torch.sigmoid(self.up(F.relu6(self.down(x))))
        return self.gru(x)[0]


@lifted()
class Differences(nn.Module):
    """Each step minus the one before, which is a convolution."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(C, H, batch_first=True)

    def forward(self, x):
        before = torch.cat([torch.zeros(x.shape[0], 1, x.shape[2]), x[:, :-1]], 1)
        return self.gru(x - before)[0]


@lifted(torch.randint(0, 30, (2, 9)))
class CharRnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Embedding(30, 12)
        self.rnn = nn.GRU(12, H, 2, batch_first=True)
        self.decoder = nn.Linear(H, 30)

    def forward(self, text, hidden=None):
        out, hidden = self.rnn(self.encoder(text), hidden)
        return self.decoder(out), hidden


@lifted(torch.randint(0, 30, (9, 2)), axes="TB")
class OneHotTimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(30, H)

    def forward(self, text):
        return self.rnn(F.one_hot(text, 30).float())[0][-1]


@lifted()
class InPlace(nn.Module):
    """Functions in place change the tensor that is added afterwards."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(C, H), nn.Linear(H, H)

    def forward(self, x):
        y = self.a(x)
        z = self.b(F.relu(y, inplace=True))
        z += y
        return z.mul_(0.5)


@lifted()
class LegacyWeightNorm(nn.Module):
    def __init__(self):
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.block = TemporalBlock(C, 8, 3, 2, nn.utils.weight_norm)

    def forward(self, x):
        return self.block(x.transpose(1, 2)).transpose(1, 2)


@lifted()
class FrozenEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.GRU(C, H, batch_first=True), nn.Linear(H, K)

    def forward(self, x):
        with torch.no_grad():
            y, _ = self.encoder(x)
        return self.head(y)


@lifted()
class LearnedStartOfProjection(nn.Module):
    def __init__(self):
        super().__init__()
        self.h0, self.c0 = nn.Parameter(torch.randn(2, 1, 4)), nn.Parameter(torch.randn(2, 1, H))
        self.lstm = nn.LSTM(C, H, 2, batch_first=True, proj_size=4)

    def forward(self, x):
        rows = x.size(0)
        return self.lstm(x, (self.h0.repeat(1, rows, 1), self.c0.repeat(1, rows, 1)))[0]


@lifted()
class LearnedStart(nn.Module):
    """Start states that were trained."""

    def __init__(self):
        super().__init__()
        self.h0, self.c0 = nn.Parameter(torch.randn(1, 1, H)), nn.Parameter(torch.randn(1, 1, H))
        self.lstm, self.gru = nn.LSTM(C, H, batch_first=True), nn.GRU(H, H, batch_first=True)

    def forward(self, x):
        start = self.h0.expand(-1, x.size(0), -1).contiguous(), self.c0.expand(-1, x.size(0), -1).contiguous()
        y, _ = self.lstm(x, start)
        return self.gru(y, start[0])[0]
