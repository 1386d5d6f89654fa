"""Sums, deviations and variances over time, as people write them: x-vectors and their relatives."""

from __future__ import annotations

import torch
from torch import nn

from tests.torch_modules.cases import C, H, K, lifted, x


class Pooled(nn.Module):
    """Statistics of convolutions; `pool` is [B, T, H] -> [B, 2 H]."""

    def __init__(self):
        super().__init__()
        self.frames = nn.Sequential(nn.ConstantPad1d((2, 0), 0), nn.Conv1d(C, H, 3), nn.ReLU())
        self.fc = nn.Linear(2 * H, K)

    def forward(self, x):
        return self.fc(self.pool(self.frames(x.transpose(1, 2)).transpose(1, 2)))


@lifted()
class XVector(Pooled):
    def pool(self, x):
        return torch.cat([x.mean(1), x.std(1)], dim=1)


@lifted()
class StatisticsOfChannelsFirst(Pooled):
    def pool(self, x):
        x = x.transpose(1, 2)
        return torch.cat((torch.mean(x, dim=2), torch.sqrt(torch.var(x, dim=2, unbiased=False) + 1e-2)), 1)


@lifted()
class StatisticsByHand(Pooled):
    def pool(self, x):
        mean = x.mean(1, keepdim=True)
        deviation = ((x - mean).pow(2).mean(dim=1) + 1e-5).sqrt()
        return torch.cat([mean.squeeze(1), deviation], -1)


@lifted()
class StatisticsOfSums(Pooled):
    """The sums of squares, divided by the number of steps or by one less."""

    def pool(self, x):
        mean = x.sum(1) / x.shape[1]
        squares = ((x - mean.unsqueeze(1)) * (x - mean.unsqueeze(1))).sum(1)
        return torch.cat([(squares / x.shape[1]).sqrt(), torch.sqrt(squares / (x.shape[1] - 1))], 1)


@lifted()
class LimitedVariance(Pooled):
    """A variance that is held off 0, for its gradient."""

    def pool(self, x):
        variance = x.var(1, unbiased=False)
        return torch.cat([variance.clamp(min=0.1).sqrt(), variance.clamp(min=1e-12).sqrt()], 1)


@lifted()
class Variances(Pooled):
    def pool(self, x):
        return torch.cat([x.var(1), 2 * x.var(1, correction=0)], 1)


@lifted()
class MeanAndDeviation(Pooled):
    def pool(self, x):
        deviation, mean = torch.std_mean(x, 1)
        return torch.cat([mean, deviation], 1)


@lifted((x(3, 12), torch.tensor([12, 7, 4])))
class StatisticsOfValidSteps(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.fc = nn.GRU(C, H, batch_first=True), nn.Linear(2 * H, K)

    def forward(self, x, lengths):
        y = self.gru(x)[0]
        mask = (torch.arange(y.size(1))[None] < lengths[:, None]).unsqueeze(2)
        count = lengths[:, None]
        mean = (y * mask).sum(1) / count
        variance = (((y - mean[:, None]) ** 2) * mask).sum(1) / count
        return self.fc(torch.cat([mean, (variance + 1e-4).sqrt()], 1))


@lifted(streams=False)
class TimesTheDeviation(Pooled):
    """Each step is multiplied with the deviation of all, which a stream knows at its end."""

    def forward(self, x):
        y = self.frames(x.transpose(1, 2))
        return (y * y.std(2, keepdim=True)).transpose(1, 2)


@lifted()
class SumOfEvidence(nn.Module):
    """The scores of all steps are summed."""

    def __init__(self):
        super().__init__()
        self.lstm, self.fc = nn.LSTM(C, H, batch_first=True), nn.Linear(H, K)

    def forward(self, x):
        return self.fc(self.lstm(x)[0]).sum(dim=1)


@lifted((x(3, 9), torch.tensor([9, 4, 2])))
class SumOfValidSteps(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.fc = nn.LSTM(C, H, batch_first=True), nn.Linear(H, K)

    def forward(self, x, lengths):
        y = self.lstm(x)[0]
        mask = torch.arange(y.size(1))[None] < lengths[:, None]
        return self.fc(y.masked_fill(~mask[..., None], 0.0).sum(1) * 0.1)
