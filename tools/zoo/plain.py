"""The peers: the same networks in plain torch, with packed sequences or masks, and a plain loop to train them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import seq2onnx as s2o
from seq2onnx.sequences import pad


class Recurrent(nn.Module):
    """Layers of LSTM or GRU, dropout after each, and a linear layer on the last step, or on each."""

    def __init__(
        self,
        features: int,
        units: Sequence[int],
        classes: int,
        dropout: float,
        kind: Any = nn.LSTM,
        both_ways: bool = False,
        per_step: bool = False,
    ) -> None:
        super().__init__()
        ways = 2 if both_ways else 1
        sizes = [features, *(ways * size for size in units)]
        self.layers = nn.ModuleList(
            kind(size, count, batch_first=True, bidirectional=both_ways)
            for size, count in zip(sizes, units, strict=False)
        )
        self.dropout, self.linear, self.per_step = nn.Dropout(dropout), nn.Linear(sizes[-1], classes), per_step

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        for number, layer in enumerate(self.layers):
            packed, state = layer(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
            x = self.dropout(pad_packed_sequence(packed, batch_first=True)[0])
            if number == len(self.layers) - 1 and not self.per_step:
                h = state[0] if isinstance(state, tuple) else state
                return self.linear(self.dropout(torch.cat(list(h), 1)))
        return self.linear(x)


class Convolutional(nn.Module):
    """Convolution and max pooling twice, the mean over the steps that are there, dropout, linear."""

    def __init__(self, features: int, filters: Sequence[int], classes: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv1d(size, count, 5) for size, count in zip([features, *filters], filters, strict=False)
        )
        self.dropout, self.linear = nn.Dropout(dropout), nn.Linear(filters[-1], classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        x = x.transpose(1, 2)
        for layer in self.layers:
            x = layer(nn.functional.pad(x, (4, 0))).relu()
            x = nn.functional.max_pool1d(nn.functional.pad(x, (1, 0)), 2, 2)  # of ReLU's results 0 is the least
            lengths = (lengths + 1) // 2
        return self.linear(self.dropout(_masked(x, lengths).sum(2) / lengths[:, None]))


class Residual(nn.Module):
    """Blocks of two dilated causal convolutions around a skip connection, the mean over steps, dropout, linear."""

    def __init__(
        self, features: int, filters: int, dilations: Sequence[int], classes: int, inner: float, dropout: float
    ) -> None:
        super().__init__()
        self.first = nn.Conv1d(features, filters, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(nn.Conv1d(filters, filters, 3, dilation=d) for _ in range(2))) for d in dilations
        )
        self.inner, self.dropout, self.linear = nn.Dropout(inner), nn.Dropout(dropout), nn.Linear(filters, classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        x = self.first(x.transpose(1, 2))
        for block in self.blocks:
            y = x
            for layer in block.children():
                assert isinstance(layer, nn.Conv1d)
                y = self.inner(layer(nn.functional.pad(y, (2 * layer.dilation[0], 0))).relu())
            x = (x + y).relu()
        return self.linear(self.dropout(_masked(x, lengths).sum(2) / lengths[:, None]))


def _masked(x: Tensor, lengths: Tensor) -> Any:
    """[batch, channels, time] with zeros past each row's length."""
    return torch.where(torch.arange(x.shape[2]) < lengths[:, None, None], x, 0)


class Video(nn.Module):
    """Convolution, batch normalization and ReLU on each frame, an LSTM over them, linear on its last step."""

    def __init__(self, stride: int, units: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.convolution = nn.Sequential(nn.Conv2d(3, 20, 5, stride), nn.BatchNorm2d(20), nn.ReLU(), nn.Flatten())
        size = 20 * ((64 - 5) // stride + 1) ** 2
        self.lstm, self.dropout, self.linear = (
            nn.LSTM(size, units, batch_first=True),
            nn.Dropout(dropout),
            nn.Linear(units, classes),
        )

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        y = self.convolution(x.flatten(0, 1)).reshape(*x.shape[:2], -1)
        _, (h, _) = self.lstm(pack_padded_sequence(y, lengths, batch_first=True, enforce_sorted=False))
        return self.linear(self.dropout(h[0]))


def accuracy_of(
    make: Callable[[], nn.Module], options: dict[str, Any]
) -> Callable[[s2o.SequenceDataset, s2o.SequenceDataset, int], float]:
    """A peer: trains what `make` makes with options of a recipe, and gives its accuracy on the test data."""

    def peer(training: s2o.SequenceDataset, test: s2o.SequenceDataset, seed: int) -> float:
        given = s2o.TrainingOptions(**options)
        torch.manual_seed(seed)
        rng, module = np.random.default_rng(seed), make()
        known = training.statistics()
        channels = (-1,) if len(training.shape()) == 1 else (-1, 1, 1)
        mean, std = (torch.tensor(known[name], dtype=torch.float32).reshape(channels) for name in ("mean", "std"))
        optimizer = torch.optim.Adam(module.parameters(), lr=given.learning_rate, weight_decay=given.l2)
        batches = -(-len(training) // given.batch_size)
        schedule = None
        if given.schedule == "cosine":
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, batches * given.epochs)
        for _ in range(given.epochs):
            for batch in np.array_split(rng.permutation(len(training)), batches):
                parts, targets = training.take(batch, (seed, int(rng.integers(2**31))))
                x, lengths = map(torch.from_numpy, pad(parts[""]))
                scores = module((x - mean) / std, lengths)
                if training.per_step:
                    scores = torch.cat([row[:n] for row, n in zip(scores, lengths, strict=True)])
                    targets = np.concatenate(targets)
                loss = nn.functional.cross_entropy(scores, torch.from_numpy(np.asarray(targets)))
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                if given.gradient_clip:
                    nn.utils.clip_grad_norm_(module.parameters(), given.gradient_clip)
                optimizer.step()
                if schedule:
                    schedule.step()
        module.eval()
        right: list[np.ndarray] = []
        with torch.no_grad():
            for batch in np.array_split(np.arange(len(test)), -(-len(test) // 64)):
                parts, targets = test.take(batch)
                x, lengths = map(torch.from_numpy, pad(parts[""]))
                found = module((x - mean) / std, lengths).argmax(-1).numpy()
                if test.per_step:
                    found = np.concatenate([row[:n] for row, n in zip(found, lengths, strict=True)])
                    targets = np.concatenate(targets)
                right.append(found == targets)
        return float(np.concatenate(right).mean())

    return peer
