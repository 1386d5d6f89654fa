"""Attention pooling over an LSTM, a GRU or convolutions, as people write it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.torch_modules.cases import C, H, K, lifted, refused, x


class Additive(nn.Module):
    """An LSTM whose steps are scored by a small network."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, batch_first=True)
        self.attention = nn.Sequential(nn.Linear(H, 5), nn.Tanh(), nn.Linear(5, 1, bias=False))
        self.fc = nn.Linear(H, K)


@lifted()
class AttentionOfASum(Additive):
    def forward(self, x):
        out, _ = self.lstm(x)
        weights = torch.softmax(self.attention(out), dim=1)
        return self.fc(torch.sum(weights * out, dim=1))


@lifted()
class AttentionOfAProduct(Additive):
    def forward(self, x):
        out, _ = self.lstm(x)
        scores = self.attention(out).squeeze(-1)
        weights = F.softmax(scores, dim=1).unsqueeze(1)
        return self.fc(torch.bmm(weights, out).squeeze(1))


@lifted()
class AttentionTransposed(Additive):
    def forward(self, x):
        out, _ = self.lstm(x)
        weights = self.attention(out).transpose(1, 2).softmax(-1)
        return self.fc((out.permute(0, 2, 1) @ weights.transpose(1, 2))[:, :, 0])


@lifted()
class AttentionOfEinsum(Additive):
    def forward(self, x):
        out, _ = self.lstm(x)
        weights = F.softmax(self.attention(out).squeeze(2), 1)
        return self.fc(torch.einsum("bth,bt->bh", out, weights))


@lifted((x(3, 9), torch.tensor([9, 4, 2])))
class AttentionOfValidSteps(Additive):
    def forward(self, x, lengths):
        out, _ = self.lstm(x)
        mask = torch.arange(x.shape[1])[None, :] < lengths[:, None]
        scores = self.attention(out).squeeze(-1).masked_fill(~mask, float("-inf"))
        return self.fc((scores.softmax(1).unsqueeze(-1) * out).sum(1))


@lifted()
class StructuredSelfAttention(nn.Module):
    """Three heads, each of which weighs all units."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(C, H, batch_first=True)
        self.first, self.second = nn.Linear(H, 5, bias=False), nn.Linear(5, 3, bias=False)
        self.fc = nn.Linear(3 * H, K)

    def forward(self, x):
        out, _ = self.gru(x)
        weights = F.softmax(self.second(torch.tanh(self.first(out))), dim=1)
        return self.fc((weights.transpose(1, 2) @ out).flatten(1))


@lifted(streams=False)
class AttentiveMeanOfChannels(nn.Module):
    """A score for each channel, as networks for speakers have it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(C, H, 3, padding=1)
        self.score = nn.Sequential(nn.Conv1d(H, 5, 1), nn.Tanh(), nn.Conv1d(5, H, 1), nn.Softmax(dim=2))
        self.fc = nn.Linear(H, K)

    def forward(self, x):
        y = F.relu(self.conv(x.transpose(1, 2)))
        return self.fc((self.score(y) * y).sum(2))


@lifted()
class AttentionByAQuery(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, batch_first=True)
        self.query = nn.Parameter(torch.randn(H) / 3)
        self.fc = nn.Linear(H, K)

    def forward(self, x):
        out, _ = self.lstm(x)
        weights = torch.softmax(torch.matmul(out, self.query) / H**0.5, dim=-1)
        return self.fc(torch.matmul(weights[:, None], out)[:, 0])


@lifted(streams=False)
class AttentionByTheLastStep(Additive):
    """The query is known only at the end."""

    def forward(self, x):
        out, (h, _) = self.lstm(x)
        scores = torch.bmm(out, h[-1].unsqueeze(2)).squeeze(2)
        context = torch.bmm(out.transpose(1, 2), F.softmax(scores, 1).unsqueeze(2)).squeeze(2)
        return self.fc(context)


@refused("only the sum over time")
class AttentionWithAMean(Additive):
    def forward(self, x):
        out, _ = self.lstm(x)
        return self.fc((torch.softmax(self.attention(out), dim=1) * out).mean(1))


@refused("softmax over time")
class WeightsOfAttention(Additive):
    def forward(self, x):
        out, _ = self.lstm(x)
        return torch.softmax(self.attention(out), dim=1)


@refused("cuts off or pads the weights of a softmax over time")
class AttentionOfTheStepBefore(Additive):
    def forward(self, x):
        out, _ = self.lstm(x)
        weights = torch.softmax(self.attention(out), dim=1)
        return self.fc((weights[:, :-1] * out[:, 1:]).sum(1))
