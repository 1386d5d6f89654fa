"""Norms of each step, as people write them, and norms over time, which no stream can calculate."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.torch_modules.cases import C, H, K, lifted, refused, x


class Normalized(nn.Module):
    """A norm between two layers; `norm` is [B, T, H] -> [B, T, H]."""

    def __init__(self):
        super().__init__()
        self.up, self.gru = nn.Linear(C, H), nn.GRU(H, K, batch_first=True)
        self.gain, self.shift = nn.Parameter(torch.rand(H) + 0.5), nn.Parameter(torch.randn(H))

    def forward(self, x):
        return self.gru(self.norm(self.up(x)))[0]


@lifted()
class LengthOne(Normalized):
    def norm(self, x):
        return F.normalize(x, dim=-1)


@lifted()
class LengthOneOfChannelsFirst(Normalized):
    def norm(self, x):
        return F.normalize(x.transpose(1, 2)).transpose(1, 2)


@lifted()
class DividedByItsNorm(Normalized):
    def norm(self, x):
        return 3 * (x / x.norm(dim=-1, keepdim=True)) * self.gain + self.shift


@lifted()
class DividedByItsNormOfFewerAxes(Normalized):
    def norm(self, x):
        return x / (torch.linalg.vector_norm(x, dim=-1) + 1e-8).unsqueeze(-1)


@lifted()
class ScaledLength(Normalized):
    """RMSNorm as the first papers wrote it."""

    def norm(self, x):
        return self.gain * (x / (x.norm(2, dim=-1, keepdim=True) * H**-0.5 + 1e-8))


@lifted()
class RmsNorms(Normalized):
    def __init__(self):
        super().__init__()
        self.rms, self.plain = nn.RMSNorm(H, eps=0.01), nn.RMSNorm(H, elementwise_affine=False)

    def norm(self, x):
        return self.plain(torch.tanh(self.rms(x)))


@lifted()
class WrittenRmsNorm(Normalized):
    def norm(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 0.01) * self.gain


@lifted()
class NormOfWeightedFeatures(Normalized):
    def norm(self, x):
        x = x / self.gain
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 0.01)


@lifted()
class RootOfALimitedSum(Normalized):
    """As TensorFlow writes l2_normalize."""

    def norm(self, x):
        return x * (x * x).sum(2, keepdim=True).clamp(min=1e-12) ** -0.5


@lifted()
class WrittenLayerNorm(Normalized):
    def norm(self, x):
        variance = x.var(-1, keepdim=True, unbiased=False)
        return self.gain * (x - x.mean(-1, keepdim=True)) / torch.sqrt(variance + 0.01) + self.shift


@lifted()
class StandardScores(Normalized):
    """Divided by the deviation of a sample."""

    def norm(self, x):
        return (x - x.mean(2, True)) / x.std(2, keepdim=True)


@lifted()
class NormOfHeads(Normalized):
    """Each head has a norm of its own; in the second case its features do not lie side by side."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.LayerNorm(H // 2), nn.LayerNorm(H // 2, 0.1)

    def norm(self, x):
        x = torch.tanh(self.first(x.view(*x.shape[:2], 2, H // 2)))
        return self.second(x.flatten(2).view(*x.shape[:2], H // 2, 2).transpose(2, 3)).flatten(2)


@lifted()
class GroupsOfEachStep(Normalized):
    def __init__(self):
        super().__init__()
        self.groups, self.all = nn.GroupNorm(5, H), nn.GroupNorm(1, H)

    def norm(self, x):
        return self.all(torch.tanh(self.groups(x.flatten(0, 1)))).view_as(x)


@lifted(torch.randn(2, 9, 2, 6, 5), axes="BTCHW")
class GroupsOfImages(nn.Module):
    """The norms of images, each of which is a step."""

    def __init__(self):
        super().__init__()
        norms = nn.GroupNorm(2, 4), nn.InstanceNorm2d(6, affine=True)
        self.net = nn.Sequential(nn.Conv2d(2, 4, 3), norms[0], nn.ReLU(), nn.Conv2d(4, 6, 2), norms[1], nn.ReLU())
        self.fc = nn.Linear(36, K)

    def forward(self, x):
        y = self.net(x.flatten(0, 1)).flatten(1)
        return self.fc(y).view(x.size(0), x.size(1), -1)


@lifted(torch.randn(2, 9, 3, 8), axes="BTCH")
class InstancesOfFrames(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv1d(3, 4, 3), nn.InstanceNorm1d(4), nn.Linear(24, K)

    def forward(self, x):
        y = torch.relu(self.norm(self.conv(x.flatten(0, 1))))
        return self.fc(y.flatten(1)).view(x.size(0), x.size(1), -1)


@lifted()
class TrackedInstanceNorm(nn.Module):
    """In eval mode it normalizes with stored statistics, as BatchNorm does."""

    def __init__(self):
        super().__init__()
        self.norm = nn.InstanceNorm1d(C, affine=True, track_running_stats=True)
        self.lstm = nn.LSTM(C, H, batch_first=True)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        return self.lstm(self.norm(x.transpose(1, 2)).transpose(1, 2))[0]


@refused("statistics over time, which are those of the whole sequence: .* Use BatchNorm, or a norm of each step")
class GroupNormOverTime(Normalized):
    def __init__(self):
        super().__init__()
        self.groups = nn.GroupNorm(2, H)

    def norm(self, x):
        return self.groups(x.transpose(1, 2)).transpose(1, 2)


@refused("has channels along time")
class GroupNormOfSteps(Normalized):
    """Made for 9 steps, which it takes for channels."""

    def __init__(self):
        super().__init__()
        self.groups = nn.GroupNorm(3, 9)

    def norm(self, x):
        return self.groups(x)


@refused("statistics over time")
class LengthOneOverTime(Normalized):
    def norm(self, x):
        return F.normalize(x, dim=1)


@refused("statistics over time")
class WrittenLayerNormOverTime(Normalized):
    def norm(self, x):
        return (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()


@refused(r"increased by 0\.1, for which there is no layer: .* at most 1e-07 .* with nn\.LayerNorm .*to add_states")
class LargeEpsilonAfterTheRoot(Normalized):
    def norm(self, x):
        return x / (x.norm(dim=-1, keepdim=True) + 0.1)


@refused(r"a deviation or length that is increased by 1e-06, .*to add_states, which keeps the operator")
class StandardScoresWithAnAddend(Normalized):
    """As the first transformers wrote LayerNorm."""

    def norm(self, x):
        return self.gain * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6) + self.shift


@refused("limited to at least 0.5")
class LeastLength(Normalized):
    def norm(self, x):
        return F.normalize(x, dim=-1, eps=0.5)


@refused("a norm of the order 1.0, for which there is no layer; 2 has one")
class SumsOfAbsoluteValues(Normalized):
    def norm(self, x):
        return F.normalize(x, p=1.0, dim=-1)


@refused("a norm, which only a division of what it is the norm of can make a layer")
class NormAsAFeature(Normalized):
    def norm(self, x):
        return torch.cat([x[..., 1:], x.norm(dim=-1, keepdim=True)], -1)


@refused("divides by a calculated tensor")
class NormOfAnother(Normalized):
    def norm(self, x):
        return x / torch.tanh(x).norm(dim=-1, keepdim=True)


@refused("divides by a calculated tensor", x(features=4))
class NormOfTheOtherHead(nn.Module):
    """Each head is divided by the norm of the other one."""

    def forward(self, x):
        heads = x.unflatten(-1, (2, 2))
        return (heads / heads.norm(dim=-1, keepdim=True).flip(2)).flatten(2)
