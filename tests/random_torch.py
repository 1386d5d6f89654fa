"""Random torch modules, written in the ways that people write them."""

from __future__ import annotations

import functools
import random

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

FUNCTIONS = [
    F.relu, torch.tanh, torch.sigmoid, F.silu, F.gelu, F.elu, F.leaky_relu, F.hardsigmoid, F.relu6, F.hardtanh, F.selu,
    F.hardswish, torch.abs, torch.square, lambda x: F.relu(x, inplace=True), lambda x: x.clamp(min=-0.5),
    lambda x: F.gelu(x, approximate="tanh"), lambda x: F.softmax(x, -1),
]  # fmt: skip
RECURRENT = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}


class Stage(nn.Module):
    """A part: x [B, T, size] -> [B, T', self.size]. `keeps` says that T' = T and each step follows the same step."""

    def __init__(self, rng: random.Random, size: int, ragged: bool) -> None:
        super().__init__()
        self.rng, self.size, self.ragged = rng, size, ragged


class Recurrent(Stage):
    def __init__(self, rng, size, ragged):
        super().__init__(rng, size, ragged)
        kind = rng.choice(list(RECURRENT))
        self.both = kind != "RNN" and rng.random() < 0.25
        self.layers, self.units = rng.choice([1, 1, 1, 2, 3]), rng.randint(2, 9)
        more = {"proj_size": self.units - 1} if kind == "LSTM" and rng.random() < 0.2 else {}
        if kind == "RNN":
            more["nonlinearity"] = rng.choice(["tanh", "relu"])
        self.batch_first = rng.random() < 0.6
        self.rnn = RECURRENT[kind](
            size, self.units, self.layers, bias=rng.random() < 0.85, batch_first=self.batch_first,
            dropout=rng.choice([0, 0.3]) if self.layers > 1 else 0, bidirectional=self.both, **more,
        )  # fmt: skip
        self.out = more.get("proj_size", self.units)
        self.reads_cell = kind == "LSTM" and rng.random() < 0.3
        self.size = self.out * (2 if self.both else 1)
        self.start = rng.choice(["none", "zeros", "new_zeros"])

    def states(self, x):
        if self.start == "none":
            return None
        count = self.layers * (2 if self.both else 1)
        make = torch.zeros if self.start == "zeros" else x.new_zeros
        h = make((count, x.size(0), self.out))
        return (h, make((count, x.size(0), self.units))) if isinstance(self.rnn, nn.LSTM) else h

    def run(self, x, lengths):
        """Every step, and a final state [layers · directions, B, units]."""
        states = self.states(x)
        if self.ragged:
            x = x if self.batch_first else x.transpose(0, 1)
            packed = pack_padded_sequence(x, lengths, self.batch_first, enforce_sorted=False)
            y, final = self.rnn(packed, states)
            y, _ = pad_packed_sequence(y, self.batch_first)
        else:
            y, final = self.rnn(x if self.batch_first else x.permute(1, 0, 2), states)
        y = y if self.batch_first else y.transpose(0, 1)
        return y, final[self.reads_cell] if isinstance(final, tuple) else final

    def forward(self, x, lengths):
        return self.run(x, lengths)[0]


class Convolution(Stage):
    def __init__(self, rng, size, ragged):
        super().__init__(rng, size, ragged)
        self.style = rng.choice(["pad", "chomp", "cut", "zeros"] + ["same", "valid", "stride", "both"] * (not ragged))
        self.k, self.d = rng.randint(1, 4), rng.randint(1, 3)
        self.size = rng.randint(1, 4) * 2
        groups = 2 if size % 2 == 0 and rng.random() < 0.25 else 1
        self.reach = self.d * (self.k - 1)
        padding = {"chomp": self.reach, "cut": self.reach, "same": "same", "both": self.reach // 2}.get(self.style, 0)
        stride = 2 if self.style == "stride" else 1
        self.conv = nn.Conv1d(size, self.size, self.k, stride, padding, self.d, groups, bias=rng.random() < 0.8)
        if rng.random() < 0.3:
            self.conv = nn.utils.parametrizations.weight_norm(self.conv)
        self.steps = rng.choice(["transpose", "permute", "mT", "movedim"])

    def forward(self, x, lengths):
        moves = {
            "transpose": lambda x: x.transpose(1, 2),
            "permute": lambda x: x.permute(0, 2, 1),
            "mT": lambda x: x.mT,
            "movedim": lambda x: x.movedim(1, 2),
        }
        move, steps = moves[self.steps], x.shape[1]
        x = move(x)
        if self.style in ("pad", "stride"):
            x = F.pad(x, (self.reach, 0))
        if self.style == "zeros" and self.reach:
            x = torch.cat([x.new_zeros(x.shape[0], x.shape[1], self.reach), x], -1)
        y = self.conv(x)
        if self.style == "chomp" and self.reach:
            y = y[:, :, : -self.reach].contiguous()
        if self.style == "cut":
            y = y[:, :, :steps]
        return move(y)


class Pooling(Stage):
    def __init__(self, rng, size, ragged):
        super().__init__(rng, size, ragged)
        k, stride = rng.randint(1, 3), rng.randint(1, 2)
        self.pool = rng.choice([nn.MaxPool1d(k, stride), nn.AvgPool1d(k, stride), nn.MaxPool1d(3, 1, 1)])

    def forward(self, x, lengths):
        return self.pool(x.transpose(1, 2)).transpose(1, 2)


class Dense(Stage):
    def __init__(self, rng, size, ragged):
        super().__init__(rng, size, ragged)
        self.style, self.size = rng.choice(["linear", "folded", "conv", "matmul"]), rng.randint(1, 9)
        self.linear = nn.Linear(size, self.size) if self.style != "conv" else nn.Conv1d(size, self.size, 1)

    def forward(self, x, lengths):
        if self.style == "conv":
            return self.linear(x.transpose(1, 2)).transpose(1, 2)
        if self.style == "matmul":
            return x @ self.linear.weight.t() + self.linear.bias
        if self.style == "folded":
            return self.linear(x.reshape(-1, x.size(-1))).view(x.size(0), x.size(1), -1)
        return self.linear(x)


def _rms_norm(epsilon, x):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)


def _length_one(rng):
    return rng.choice([lambda x: F.normalize(x, dim=-1), lambda x: x / (x.norm(dim=-1, keepdim=True) + 1e-8)])


class Normalization(Stage):
    def __init__(self, rng, size, ragged):
        super().__init__(rng, size, ragged)
        self.style = rng.choice(["batch", "folded", "layer", "rms", "written", "groups"] + ["length"] * (size > 1))
        epsilon, affine = rng.choice([1e-5, 1e-3]), rng.random() < 0.7
        if self.style == "layer":
            self.norm = nn.LayerNorm(size, epsilon, elementwise_affine=affine)
        elif self.style == "rms":
            self.norm = nn.RMSNorm(size, epsilon, elementwise_affine=affine)
        elif self.style == "groups":
            count = rng.choice([n for n in range(1, size + 1) if size % n == 0])
            # Few features that hardly differ are divided by a tiny number, and rounding with them.
            self.norm = nn.GroupNorm(count, size, 0.1, affine=affine)
        elif self.style in ("written", "length"):
            self.norm = functools.partial(_rms_norm, epsilon) if self.style == "written" else _length_one(rng)
        else:
            self.norm = nn.BatchNorm1d(size, epsilon, affine=rng.random() < 0.7)
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)
        for weight in self.parameters():
            nn.init.normal_(weight)

    def forward(self, x, lengths):
        if self.style == "batch":
            return self.norm(x.transpose(1, 2)).transpose(1, 2)
        if self.style in ("folded", "groups"):
            return self.norm(x.flatten(0, 1)).reshape(x.shape)
        return self.norm(x)


class Function(Stage):
    def __init__(self, rng, size, ragged):
        super().__init__(rng, size, ragged)
        self.function = rng.choice([*FUNCTIONS, nn.PReLU(size), nn.Dropout(0.3)])
        self.is_prelu = isinstance(self.function, nn.PReLU)

    def forward(self, x, lengths):
        if self.is_prelu:
            return self.function(x.transpose(1, 2)).transpose(1, 2)
        return self.function(x + 0)


class Layout(Stage):
    """Another order of the features."""

    def __init__(self, rng, size, ragged):
        super().__init__(rng, size, ragged)
        self.style = rng.choice(["flip", "select", "halves", "shuffle", "pad", "repeat"])
        self.order = torch.tensor(rng.sample(range(size), rng.randint(1, size)))
        if self.style == "select":
            self.size = len(self.order)
        if self.style in ("pad", "repeat"):
            self.size = size + 2 if self.style == "pad" else 2 * size

    def forward(self, x, lengths):
        half = x.shape[-1] // 2
        if self.style == "flip":
            return x.flip(-1)
        if self.style == "select":
            return x[:, :, self.order] if half % 2 else x.index_select(-1, self.order)
        if self.style == "halves":
            a, b = x[..., :half], x[..., half:]
            return torch.cat((b, a), -1)
        if self.style == "shuffle" and x.shape[-1] % 2 == 0:
            return x.view(*x.shape[:2], 2, half).transpose(2, 3).flatten(2)
        if self.style == "pad":
            return F.pad(x, (1, 1))
        if self.style == "repeat":
            return torch.stack([x, x], -1).flatten(-2)
        return x


class Affine(Stage):
    def __init__(self, rng, size, ragged):
        super().__init__(rng, size, ragged)
        self.style = rng.choice(["normalize", "gain", "one", "negative"])
        self.register_buffer("mean", torch.randn(size))
        self.register_buffer("std", torch.rand(size) + 0.5)
        self.gain = nn.Parameter(torch.randn(1, 1, size))

    def forward(self, x, lengths):
        if self.style == "normalize":
            return (x - self.mean) / self.std
        if self.style == "gain":
            return x * self.gain + self.mean
        return 1 - x if self.style == "one" else -x * 0.5


class Residual(Stage):
    def __init__(self, rng, size, ragged):
        super().__init__(rng, size, ragged)
        self.inner = rng.choice([Dense, Gate])(rng, size, ragged)
        self.way = nn.Identity() if self.inner.size == size else nn.Linear(size, self.inner.size, bias=False)
        self.size, self.minus = self.inner.size, rng.random() < 0.3

    def forward(self, x, lengths):
        y = self.inner(x, lengths)
        return self.way(x) - y if self.minus else y + self.way(x)


class CausalResidual(Stage):
    def __init__(self, rng, size, ragged):
        super().__init__(rng, size, ragged)
        k, d = rng.randint(2, 3), rng.choice([1, 2, 4])
        self.pad = (k - 1) * d
        self.conv1 = nn.Conv1d(size, size, k, padding=self.pad, dilation=d)
        self.conv2 = nn.Conv1d(size, size, k, padding=self.pad, dilation=d)

    def forward(self, x, lengths):
        x = x.transpose(1, 2)
        y = F.relu(self.conv1(x)[:, :, : -self.pad])
        return F.relu(x + self.conv2(y)[:, :, : -self.pad]).transpose(1, 2)


class Gate(Stage):
    def __init__(self, rng, size, ragged):
        super().__init__(rng, size, ragged)
        self.style, self.size = rng.choice(["glu", "chunk", "excite"]), size
        self.linear = nn.Linear(size, size if self.style == "excite" else 2 * size)

    def forward(self, x, lengths):
        y = self.linear(x)
        if self.style == "glu":
            return F.glu(y, -1)
        if self.style == "chunk":
            a, b = y.chunk(2, -1)
            return torch.tanh(a) * torch.sigmoid(b)
        return x * y.sigmoid()


class Branches(Stage):
    def __init__(self, rng, size, ragged):
        super().__init__(rng, size, ragged)
        kinds = [Dense, Gate, Recurrent, CausalResidual, Function]
        self.branches = nn.ModuleList([rng.choice(kinds)(rng, size, ragged) for _ in range(rng.randint(2, 3))])
        self.size = sum(branch.size for branch in self.branches)

    def forward(self, x, lengths):
        return torch.cat([branch(x, lengths) for branch in self.branches], dim=-1)


class Differences(Stage):
    def forward(self, x, lengths):
        before = F.pad(x, (0, 0, 1, 0))[:, :-1]
        return x - before


class Second(Stage):
    """What a second input does: a sequence [B, T, count], or a vector [B, count], which may go to the heads."""

    def __init__(self, rng, size, ragged):
        super().__init__(rng, size, ragged)
        self.count, self.style = rng.randint(1, 4), rng.choice(["cat", "sum", "gate", "branch", "film", "heads"])
        self.has_time = self.style == "branch" or (self.style in ("cat", "sum", "gate") and rng.random() < 0.6)
        if self.style == "branch":
            self.branch = Recurrent(rng, self.count, ragged)
            self.size = size + self.branch.size
        elif self.style == "cat":
            self.size = size + self.count
        elif self.style != "heads":
            self.linear = nn.Linear(self.count, 2 * size if self.style == "film" else size)

    def join(self, x, second):
        if self.has_time or x.ndim == 2:
            return torch.cat([x, second], -1)
        return torch.cat([x, second.unsqueeze(1).expand(-1, x.shape[1], -1)], -1)

    def forward(self, x, second, lengths):
        if self.style == "heads":
            return x
        if self.style == "cat":
            return self.join(x, second)
        if self.style == "branch":
            return torch.cat([self.branch(second, lengths), x], 2)
        y = self.linear(second) if self.has_time else self.linear(second)[:, None]
        if self.style == "sum":
            return x + y
        if self.style == "gate":
            return x * torch.sigmoid(y)
        gain, offset = y.chunk(2, -1)
        return (1 + gain) * x + offset


STAGES = [
    Recurrent, Recurrent, Convolution, Convolution, Dense, Normalization, Function, Function, Layout, Affine, Residual,
    CausalResidual, Gate, Branches, Differences,
]  # fmt: skip
ANSWERS = ["steps", "last", "mean", "max", "both", "narrow", "attention", "statistics", "sum"]


class RandomNetwork(nn.Module):
    """Some stages, then one or two heads; with `two`, x and a second input go into the first stage, or the heads."""

    def __init__(self, seed: str, two: bool = False) -> None:
        super().__init__()
        rng = random.Random(seed)
        torch.manual_seed(rng.randrange(2**31))
        self.ragged = rng.random() < 0.2
        self.axes = rng.choice(["BTC", "BTC", "TBC", "BCT", "BT", "tokens", "TC"])
        if self.ragged:
            self.axes = rng.choice(["BTC", "tokens"])
        if two:
            self.axes = "BTC" if self.ragged else rng.choice(["BTC", "BTC", "TBC", "BCT"])
        size = self.features = 1 if self.axes == "BT" else rng.randint(1, 7)
        if self.axes == "tokens":
            self.embedding = nn.Embedding(12, size)
        self.second = Second(rng, size, self.ragged) if two else None
        size = self.second.size if self.second else size
        stages = []
        for _ in range(rng.randint(1, 5)):
            kinds = STAGES + ([Pooling] if not self.ragged else [])
            stages.append(rng.choice(kinds)(rng, size, self.ragged))
            size = stages[-1].size
        self.last = Recurrent(rng, size, self.ragged) if rng.random() < 0.4 else None
        size = self.last.out if self.last else size
        self.stages = nn.ModuleList(stages)
        answers = ["steps", "last", "masked", "attention"] if self.ragged else ANSWERS
        self.answers = [rng.choice(answers) for _ in range(rng.choice([1, 1, 2]))]
        if self.last:
            self.answers[0] = "state"
            state = self.last.units if self.last.reads_cell else self.last.out
            size_of = [state, *[self.last.size] * (len(self.answers) - 1)]
        else:
            size_of = [size] * len(self.answers)
        beside = self.second.count if self.second and self.second.style == "heads" else 0
        self.heads = nn.ModuleList(
            nn.Linear(n * (2 if a in ("both", "statistics") else 1) + beside, rng.randint(1, 4))
            for n, a in zip(size_of, self.answers, strict=True)
        )
        # Scores may be in the hundreds, where torch's float32 is off by 1e-5 itself.
        self.scores = nn.ModuleList(nn.Linear(n, rng.choice([1, n])) for n in size_of)
        self.written = rng.choice(["sum", "bmm", "einsum"])
        self.kind = rng.choice(["tuple", "dict"])

    def example(self):
        """Arguments for from_torch."""
        shape = {"B": 2, "T": 33, "C": self.features}
        if self.axes == "tokens":
            x = torch.randint(0, 12, (2, 33))
        else:
            x = torch.randn([shape[letter] for letter in self.axes])
        arguments = [x]
        if self.second:
            shape["C"] = self.second.count
            arguments.append(torch.randn([shape[letter] for letter in (self.axes if self.second.has_time else "BC")]))
        if self.ragged:
            arguments.append(torch.tensor([33, 20]))
        return tuple(arguments) if len(arguments) > 1 else x

    @property
    def inputs(self):
        """For each input whether it is a sequence."""
        return {"x": True} | ({"more": self.second.has_time} if self.second else {})

    def forward(self, x, lengths=None):
        return self.run(x, None, lengths)

    def run(self, x, second, lengths):
        if self.axes == "tokens":
            x = self.embedding(x)
        elif self.axes == "BT":
            x = x.unsqueeze(-1)
        elif self.axes == "TC":
            x = x[None]
        elif self.axes != "BTC":
            order = [self.axes.index(letter) for letter in "BTC"]
            x = x.permute(order)
            second = second.permute(order) if self.second and self.second.has_time else second
        if self.second:
            x = self.second(x, second, lengths)
        for stage in self.stages:
            x = stage(x, lengths)
        state = None
        if self.last:
            x, state = self.last.run(x, lengths)
        read = [
            self.pick(answer, x, state, lengths, scores)
            for answer, scores in zip(self.answers, self.scores, strict=True)
        ]
        if self.second and self.second.style == "heads":
            read = [self.second.join(each, second) for each in read]
        found = [head(each) for head, each in zip(self.heads, read, strict=True)]
        if len(found) == 1:
            return found[0]
        return dict(zip("ab", found, strict=True)) if self.kind == "dict" else tuple(found)

    def pooled(self, x, scores, lengths):
        """The mean weighted by a softmax over time."""
        e = scores(x)
        if self.ragged:
            mask = torch.arange(x.shape[1]) < lengths[:, None]
            e = e.masked_fill(~mask[..., None], float("-inf"))
        weights = F.softmax(e, 1)
        if weights.shape[2] > 1 or self.written == "sum":
            return (weights * x).sum(1)
        if self.written == "bmm":
            return torch.bmm(weights.transpose(1, 2), x)[:, 0]
        return torch.einsum("bt,btc->bc", weights.squeeze(2), x)

    def pick(self, answer, x, state, lengths, scores):
        """What a head reads."""
        if answer == "attention":
            return self.pooled(x, scores, lengths)
        if answer == "state":
            return state[-1]
        if answer == "last" and self.ragged:
            return x[torch.arange(len(x)), lengths - 1]
        if answer == "masked":
            mask = torch.arange(x.shape[1]) < lengths[:, None]
            return (x * mask[..., None]).sum(1) / lengths[:, None]
        if answer == "last":
            return x[:, -1]
        if answer == "mean":
            return x.mean(1)
        if answer == "max":
            return x.max(dim=1)[0]
        if answer == "both":
            return torch.cat([x.amax(1), x.sum(1) / x.size(1)], 1)
        if answer == "statistics":
            return torch.cat([x.mean(1), torch.sqrt(x.var(1, unbiased=False) + 0.1)], 1)
        if answer == "sum":
            return x.sum(1)
        return x[:, 0:] if answer == "narrow" else x


class RandomTwoInputs(RandomNetwork):
    """A random network of two sequences, or of a sequence and a vector."""

    def __init__(self, seed: str) -> None:
        super().__init__(seed, two=True)

    def forward(self, x, more, lengths=None):
        return self.run(x, more, lengths)


def random_network(seed: str) -> RandomNetwork:
    """Draw a network; one of ten has two inputs."""
    return (RandomTwoInputs if random.Random(f"{seed} inputs").random() < 0.1 else RandomNetwork)(seed)
