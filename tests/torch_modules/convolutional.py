"""Networks with convolutions, as people write them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.torch_modules.cases import C, H, K, lifted


class Chomp1d(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, x):
        return x[:, :, : -self.size].contiguous()


class TemporalBlock(nn.Module):
    def __init__(self, n_in, n_out, k, dilation, norm=nn.utils.parametrizations.weight_norm):
        super().__init__()
        pad = (k - 1) * dilation
        self.conv1 = norm(nn.Conv1d(n_in, n_out, k, padding=pad, dilation=dilation))
        self.chomp1, self.relu1, self.drop1 = Chomp1d(pad), nn.ReLU(), nn.Dropout(0.2)
        self.conv2 = norm(nn.Conv1d(n_out, n_out, k, padding=pad, dilation=dilation))
        self.chomp2, self.relu2, self.drop2 = Chomp1d(pad), nn.ReLU(), nn.Dropout(0.2)
        self.net = nn.Sequential(
            self.conv1, self.chomp1, self.relu1, self.drop1, self.conv2, self.chomp2, self.relu2, self.drop2
        )
        self.downsample = nn.Conv1d(n_in, n_out, 1) if n_in != n_out else None
        self.relu = nn.ReLU()

    def forward(self, x):
        out = self.net(x)
        res = x if self.downsample is None else self.downsample(x)
        return self.relu(out + res)


@lifted()
class Tcn(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(TemporalBlock(C, 8, 3, 1), TemporalBlock(8, 8, 3, 2), TemporalBlock(8, 8, 2, 4))
        self.linear = nn.Linear(8, K)

    def forward(self, x):
        y = self.blocks(x.transpose(1, 2))
        return self.linear(y[:, :, -1])


@lifted(torch.randn(2, C, 15), axes="BCT")
class CausalByPadding(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(C, 8, 3, dilation=2), nn.Conv1d(8, 8, 3, dilation=4, groups=2)
        self.bn = nn.BatchNorm1d(8)

    def forward(self, x):
        x = F.relu(self.bn(self.conv1(F.pad(x, (4, 0)))), inplace=True)
        return self.conv2(F.pad(x, (8, 0)))


class CausalConv1d(nn.Conv1d):
    def __init__(self, n_in, n_out, k, **more):
        super().__init__(n_in, n_out, k, **more)
        self.left = (k - 1) * self.dilation[0]

    def forward(self, x):
        return super().forward(F.pad(x, (self.left, 0)))


@lifted()
class WaveNet(nn.Module):
    """Gated units with residual and skip connections."""

    def __init__(self):
        super().__init__()
        self.start = nn.Conv1d(C, 8, 1)
        self.gates = nn.ModuleList([CausalConv1d(8, 16, 2, dilation=2**i) for i in range(3)])
        self.residuals = nn.ModuleList([nn.Conv1d(8, 8, 1) for _ in range(3)])
        self.skips = nn.ModuleList([nn.Conv1d(8, 6, 1) for _ in range(3)])
        self.end = nn.Sequential(nn.ReLU(), nn.Conv1d(6, K, 1))

    def forward(self, x):
        x, total = self.start(x.permute(0, 2, 1)), 0
        for gate, residual, skip in zip(self.gates, self.residuals, self.skips, strict=True):
            a, b = gate(x).chunk(2, dim=1)
            z = torch.tanh(a) * torch.sigmoid(b)
            total = total + skip(z)
            x = x + residual(z)
        return self.end(total).permute(0, 2, 1)


@lifted()
class GluConvolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(C, 16, 3, padding=2)
        self.fc = nn.Linear(8, K)

    def forward(self, x):
        y = self.conv(x.transpose(1, 2))[..., : x.shape[1]]
        return self.fc(F.glu(y, dim=1).transpose(1, 2))


@lifted(streams=False)
class ConvPoolClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(C, 8, 3, padding="same"), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.MaxPool1d(2),
            nn.Conv1d(8, 12, 3, padding=1), nn.LeakyReLU(0.1), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
        )  # fmt: skip
        self.classifier = nn.Linear(12, K)

    def forward(self, x):
        return self.classifier(self.features(x.permute(0, 2, 1)))


@lifted(streams=False)
class InceptionTime(nn.Module):
    def __init__(self):
        super().__init__()
        self.bottleneck = nn.Conv1d(C, 4, 1, bias=False)
        self.convs = nn.ModuleList([nn.Conv1d(4, 3, k, padding=k // 2, bias=False) for k in (9, 5, 3)])
        self.pool = nn.Sequential(nn.MaxPool1d(3, stride=1, padding=1), nn.Conv1d(C, 3, 1, bias=False))
        self.bn = nn.BatchNorm1d(12)
        self.fc = nn.Linear(12, K)

    def forward(self, x):
        x = x.transpose(1, 2)
        z = self.bottleneck(x)
        z = torch.cat([conv(z) for conv in self.convs] + [self.pool(x)], dim=1)
        return self.fc(F.relu(self.bn(z)).mean(-1))


@lifted(streams=False)
class ResNet1d(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(C, 8, 7, padding=3), nn.BatchNorm1d(8)
        self.conv2, self.bn2 = nn.Conv1d(8, 8, 3, padding=1), nn.BatchNorm1d(8)
        self.shortcut = nn.Sequential(nn.Conv1d(C, 8, 1), nn.BatchNorm1d(8))
        self.head = nn.Linear(16, K)

    def forward(self, x):
        x = x.mT
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.elu(self.bn2(self.conv2(y)) + self.shortcut(x))
        return self.head(torch.cat([y.mean(dim=2), y.amax(dim=2)], dim=1))


@lifted()
class KernelOfOneAfterLstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.conv = nn.LSTM(C, H, batch_first=True), nn.Conv1d(H, K, 1)

    def forward(self, x):
        return torch.relu(self.conv(self.lstm(x)[0].transpose(1, 2)))[:, :, -1]


@lifted(softmax=True)
class CnnLstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(C, 8, 3)
        self.lstm = nn.LSTM(8, H, batch_first=True)
        self.fc = nn.Linear(H, K)

    def forward(self, x):
        y = F.pad(x.permute(0, 2, 1), (2, 0))
        y = torch.relu(self.conv(y)).permute(0, 2, 1)
        out, _ = self.lstm(y)
        return F.log_softmax(self.fc(out[:, -1, :]), dim=1)


@lifted()
class StridedConvolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(C, 8, 4, stride=2)
        self.gru = nn.GRU(8, H, batch_first=True)

    def forward(self, x):
        y = F.gelu(self.conv(F.pad(x.transpose(1, 2), (3, 0)))).transpose(1, 2)
        return self.gru(y)[0]


@lifted(torch.randn(2, 7, 1, 8, 8), axes="BTCHW")
class ImagesThenLstm(nn.Module):
    """A convolution network for the image of each step, then an LSTM."""

    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(1),
        )  # fmt: skip
        self.lstm = nn.LSTM(6, H, batch_first=True)
        self.fc = nn.Linear(H, K)

    def forward(self, x):
        b, t, c, h, w = x.shape
        y = self.cnn(x.view(b * t, c, h, w)).view(b, t, -1)
        y, _ = self.lstm(y)
        return self.fc(y[:, -1])


@lifted(torch.randn(2, 2, 7, 9), axes="BCTW")
class WidthOfEachStep(nn.Module):
    """A convolution over the width of each step, then an LSTM."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv1d(2, 4, 3), nn.AvgPool1d(2)
        self.lstm = nn.LSTM(12, H, batch_first=True)

    def forward(self, x):
        b, c, t, w = x.shape
        y = self.pool(torch.tanh(self.conv(x.transpose(1, 2).reshape(b * t, c, w))))
        return self.lstm(y.view(b, t, -1))[0]


@lifted(torch.randn(2, 1, 7, 8), axes="BCTW")
class FramesOfASpectrogram(nn.Module):
    """A convolution over time and frequency that looks back only, of [batch, 1, time, frequency]."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.gru = nn.GRU(18, H, batch_first=True)

    def forward(self, x):
        y = F.relu(self.conv(F.pad(x, (0, 0, 2, 0))))
        return self.gru(y.permute(0, 2, 1, 3).flatten(2))[0]


@lifted(torch.randn(2, 7, 8, 1), axes="BTWC")
class LastAxisOfOne(nn.Module):
    """Frames as TensorFlow has them, [batch, time, frequency, 1]."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, H, batch_first=True)

    def forward(self, x):
        return self.lstm(x.squeeze(-1))[0]


@lifted(torch.randn(2, 7, 8), streams=False)
class SpectrogramConvolution(nn.Module):
    """A convolution over time and frequency at once."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, (3, 5), padding=(1, 2), stride=(1, 2))
        self.bn = nn.BatchNorm2d(3)
        self.gru = nn.GRU(12, H, batch_first=True)

    def forward(self, x):
        y = torch.relu(self.bn(self.conv(x.unsqueeze(1))))
        y = y.permute(0, 2, 1, 3).flatten(2)
        return self.gru(y)[0]


@lifted(torch.randn(2, 9, 8))
class Crnn(nn.Module):
    """Convolutions over time and frequency with pooling of the frequencies, then a GRU."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3, padding=(0, 1)), nn.Conv2d(4, 4, (2, 3), padding=(0, 1))
        self.pool = nn.MaxPool2d((1, 2))
        self.gru = nn.GRU(8, H, batch_first=True)

    def forward(self, x):
        y = self.pool(F.relu(self.conv1(F.pad(x.unsqueeze(1), (0, 0, 2, 0)))))
        y = self.pool(F.relu(self.conv2(F.pad(y, (0, 0, 1, 0)))))
        y = y.transpose(1, 2)
        return self.gru(y.reshape(*y.shape[:2], -1))[0]


@lifted()
class Maxout(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(C, 8), nn.Linear(C, 8)

    def forward(self, x):
        y = torch.maximum(self.a(x), self.b(x))
        return y.view(*x.shape[:2], 4, 2).amax(-1)


class WakeWord(nn.Sequential):
    """A classifier of the last 16 steps, as wake words have it."""

    def __init__(self):
        super().__init__(
            *(nn.Flatten(), nn.Linear(16 * C, H), nn.LayerNorm(H), nn.ReLU(), nn.Linear(H, 1), nn.Sigmoid())
        )


class StridedThenFlattened(nn.Module):
    """Seven steps of a convolution with a stride are flattened."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv1d(C, 4, 3, stride=2), nn.Linear(4 * 7, K)

    def forward(self, x):
        return self.out(torch.relu(self.conv(x.transpose(1, 2))).flatten(1))


class DownToOneStep(nn.Module):
    """Windows over time and features leave one step of ten, as networks for embeddings of sounds do."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 4, 3, padding=(0, 1)), nn.Conv2d(4, K, (4, C // 2))

    def forward(self, x):
        return self.out(torch.max_pool2d(torch.relu(self.conv(x.unsqueeze(1))), 2)).flatten(1)


class LstmThenFlattened(nn.Module):
    """An LSTM that starts anew in each window."""

    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(C, H, batch_first=True), nn.Linear(8 * H, K)

    def forward(self, x):
        return self.out(self.lstm(x)[0].reshape(x.shape[0], -1))
