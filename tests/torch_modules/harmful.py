"""Modules that must be refused, because a network of layers would give other numbers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.torch_modules.cases import C, H, K, refused, x


class Harmful(nn.Module):
    """An LSTM with something around it that a stream cannot do."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, batch_first=True)
        self.fc = nn.Linear(H, K)

    def run(self, x):
        return self.fc(self.lstm(x)[0])


@refused("differs from the source")
class DividedByTime(Harmful):
    def forward(self, x):
        return self.run(x) / x.size(1)


@refused("position encoding")
class PositionAdded(Harmful):
    def forward(self, x):
        return self.run(x + torch.arange(x.shape[1]).float()[None, :, None] / 10)


@refused("position encoding")
class LearnedPositions(Harmful):
    def __init__(self):
        super().__init__()
        self.positions = nn.Parameter(torch.randn(1, 100, C))

    def forward(self, x):
        return self.run(x + self.positions[:, : x.size(1)])


@refused("reverses time")
class Flipped(Harmful):
    def forward(self, x):
        return self.run(torch.flip(x, [1]))


@refused("so far")
class SummedSoFar(Harmful):
    def forward(self, x):
        return self.run(x.cumsum(1))


@refused("attention")
class Attention(Harmful):
    def forward(self, x):
        y = self.lstm(x)[0]
        weights = torch.softmax(y @ y.transpose(1, 2), -1)
        return self.fc(weights @ y)


@refused("attention with several heads", x(2, 9, 8))
class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        return self.layer(x)


@refused("statistics of the batch")
class BatchStatistics(Harmful):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm1d(C, track_running_stats=False)

    def forward(self, x):
        return self.run(self.bn(x.transpose(1, 2)).transpose(1, 2))


@refused("over the batch")
class CentredOverBatch(Harmful):
    def forward(self, x):
        return self.run(x - x.mean(0, keepdim=True))


@refused("the batch")
class DifferencesOverBatch(Harmful):
    def forward(self, x):
        y = self.run(x)
        return y - torch.cat([y[-1:], y[:-1]], 0)


@refused("time and features")
class FlattenedOverTime(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(9 * C, K)

    def forward(self, x):
        return self.fc(x.flatten(1))


@refused("cuts")
class ViewInsteadOfTranspose(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H)

    def forward(self, x):
        return self.lstm(x.reshape(x.size(1), x.size(0), -1))[0]


@refused("batch_first")
class BatchFirstForgotten(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H)

    def forward(self, x):
        return self.lstm(x)[0]


@refused("LSTMCell")
class LoopOverSteps(nn.Module):
    """A decoder, whose output is a part of its next input."""

    def __init__(self):
        super().__init__()
        self.cell, self.fc = nn.LSTMCell(C + K, H), nn.Linear(H, K)

    def forward(self, x):
        h = c = torch.zeros(x.size(0), H)
        y, found = torch.zeros(x.size(0), K), []
        for t in range(x.size(1)):
            h, c = self.cell(torch.cat((x[:, t], y), 1), (h, c))
            y = self.fc(h)
            found.append(y)
        return torch.stack(found, 1)


class HarmfulLoop(nn.Module):
    """A loop over steps of a cell, of which the other classes change one thing."""

    def __init__(self):
        super().__init__()
        self.cell, self.other, self.lstm = nn.RNNCell(C, C), nn.RNNCell(C, C), nn.LSTM(C, C, batch_first=True)

    def steps(self, x):
        return x.unbind(1)

    def start(self, x):
        return torch.zeros(x.size(0), C)

    def step(self, t, x, h):
        return self.cell(x, h)

    def end(self, x, found):
        return torch.stack(found, 1)

    def forward(self, x):
        h, found = self.start(x), []
        for t, step in enumerate(self.steps(x)):
            h = self.step(t, step, h)
            found.append(h)
        return self.end(x, found)


@refused("not the last")
class LoopInReverse(HarmfulLoop):
    def steps(self, x):
        return x.unbind(1)[::-1]


@refused("not the last")
class LoopOfEverySecondStep(HarmfulLoop):
    def steps(self, x):
        return x.unbind(1)[::2]


@refused("not the last")
class LoopWithoutTheFirstStep(HarmfulLoop):
    def steps(self, x):
        return x.unbind(1)[1:]


@refused("not the last")
class LoopThatChangesTheState(HarmfulLoop):
    def step(self, t, x, h):
        return torch.relu(self.cell(x, h))


@refused("calculated")
class LoopThatSwapsUnits(HarmfulLoop):
    def step(self, t, x, h):
        return self.cell(x, h.flip(1))


@refused("not the last")
class LoopOfTwoCellsInTurn(HarmfulLoop):
    def step(self, t, x, h):
        return (self.other if t % 2 else self.cell)(x, h)

    def end(self, x, found):
        return found[-1]


@refused("not the last")
class LoopThatReadsItsInputTwiceLate(HarmfulLoop):
    """The second cell reads the step before."""

    def end(self, x, found):
        h, late = self.start(x), []
        for step in (found[0], *found[:-1]):
            h = self.other(step, h)
            late.append(h)
        return torch.stack(late, 1)


@refused("calculated")
class LoopFromAnEncoder(HarmfulLoop):
    def start(self, x):
        return self.lstm(x)[0][:, -1]


@refused("calculated")
class LstmFromAStepOfALoop(HarmfulLoop):
    def end(self, x, found):
        h = found[3][None]
        return self.lstm(x, (h, torch.zeros_like(h)))[0]


@refused("time and features")
class StepsOfALoopAsFeatures(HarmfulLoop):
    def end(self, x, found):
        return torch.stack(found, 2).flatten(1)


@refused("not the last")
class StepsOfALoopInReverse(HarmfulLoop):
    def end(self, x, found):
        return torch.stack(found[::-1], 1)


@refused("x[:, :2000] takes at most 2000 steps".replace("[", r"\["))
class LoopOverTheFirstSteps(HarmfulLoop):
    def steps(self, x):
        return x[:, :2000].unbind(1)


@refused("does not run over all of 5,003 steps")
class LoopOverTheLastSteps(HarmfulLoop):
    """A cell forgets, so the comparison does not notice."""

    def steps(self, x):
        return [x[:, t] for t in range(max(0, x.shape[1] - 1500), x.shape[1])]

    def end(self, x, found):
        return found[-1]


@refused("takes at most 1500 steps")
class LoopOfWhichLastStepsAreRead(HarmfulLoop):
    def end(self, x, found):
        return torch.stack(found, 1)[:, -1500:]


@refused("calculated")
class EncoderDecoder(Harmful):
    def forward(self, x):
        _, state = self.lstm(x)
        return self.lstm(x, state)[0]


class HarmfulLoopOfLayers(nn.Module):
    """A layer that is called for each step, whose outputs fill a tensor."""

    def __init__(self, **options):
        super().__init__()
        self.gru = nn.GRU(C, C, batch_first=True, **options)

    def forward(self, x):
        state, y = None, torch.zeros(x.size(0), x.size(1), C)
        for t in range(x.size(1)):
            state = self.step(x, y, t, state)
        return y

    def step(self, x, y, t, state):
        out, state = self.gru(x[:, t : t + 1], state)
        y[:, t] = out[:, 0]
        return state


@refused("not the last.*call nn.LSTM, nn.GRU or nn.RNN once with the whole sequence")
class LayerThatForgetsEachStep(HarmfulLoopOfLayers):
    def step(self, x, y, t, state):
        super().step(x, y, t, None)


@refused("call it once with the whole sequence")
class LoopOfLayersInBothDirections(HarmfulLoopOfLayers):
    def __init__(self):
        super().__init__(bidirectional=True)

    def step(self, x, y, t, state):
        out, state = self.gru(x[:, t : t + 1], state)
        y[:, t] = out[:, 0, :C]
        return state


@refused("not the last")
class LoopThatSwapsTheStatesOfLayers(HarmfulLoopOfLayers):
    def __init__(self):
        super().__init__(num_layers=2)

    def step(self, x, y, t, state):
        return super().step(x, y, t, None if state is None else state.flip(0))


@refused("fills a tensor piece by piece, but not with all steps in order.*torch.stack")
class FirstStepLeftAtZero(HarmfulLoopOfLayers):
    def step(self, x, y, t, state):
        return super().step(x, y, t, state) if t else self.gru(x[:, :1], state)[1]


@refused("fills a tensor piece by piece")
class ReadsItsLastAnswer(HarmfulLoopOfLayers):
    def step(self, x, y, t, state):
        return super().step(x + y[:, t - 1 : t].sum(1, keepdim=True), y, t, state)


@refused("fills a tensor piece by piece")
class FillsAView(HarmfulLoopOfLayers):
    def step(self, x, y, t, state):
        out, state = self.gru(x[:, t : t + 1], state)
        if t == 0:
            self.view = y.transpose(0, 1)
        self.view[t] = out[:, 0]
        return state


@refused("fills a tensor piece by piece")
class AddsToWhatItFilled(HarmfulLoopOfLayers):
    def step(self, x, y, t, state):
        out, state = self.gru(x[:, t : t + 1], state)
        piece = y[:, t]
        piece.copy_(out[:, 0])
        piece.add_(1)
        return state


@refused("fills a tensor piece by piece")
class RepeatsOneFeature(HarmfulLoopOfLayers):
    def step(self, x, y, t, state):
        out, state = self.gru(x[:, t : t + 1], state)
        y[:, t].copy_(out[:, 0, :1])
        return state


@refused("cell state of an LSTM at a step that is not the last")
class CellStateOfEachStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.fc = nn.LSTMCell(C, H), nn.Linear(H, K)

    def forward(self, x):
        state, found = None, []
        for step in x.unbind(1):
            state = self.cell(step, state)
            found.append(self.fc(state[1]))
        return torch.stack(found, 1)


@refused("random numbers in eval mode")
class DropoutAlways(Harmful):
    def forward(self, x):
        return self.fc(F.dropout(self.lstm(x)[0], 0.5))


@refused("random")
class RandomStart(Harmful):
    def forward(self, x):
        h = torch.randn(1, x.size(0), H)
        return self.fc(self.lstm(x, (h, h))[0])


@refused("statistics over time")
class InstanceNorm(Harmful):
    def __init__(self):
        super().__init__()
        self.norm = nn.InstanceNorm1d(C)

    def forward(self, x):
        return self.run(self.norm(x.transpose(1, 2)).transpose(1, 2))


@refused("differs from the source")
class FirstTenSteps(Harmful):
    def forward(self, x):
        return self.run(x[:, :10])


@refused("differs from the source")
class FirstHundredSteps(Harmful):
    def forward(self, x):
        return self.run(x[:, :100])


@refused("not the last")
class FirstStepOnly(Harmful):
    def forward(self, x):
        return self.run(x)[:, 0]


@refused("differs from the source")
class ScaledByStepsOfItsOwn(Harmful):
    """The number of steps comes in through a constant."""

    def forward(self, x):
        return self.run(x * torch.full((1,), float(x.shape[1])))


@refused("differs from the source")
class LongSequencesOtherwise(Harmful):
    def forward(self, x):
        return self.run(x) if x.shape[1] > 5 else self.run(2 * x)


@refused("padding of shorter rows", (x(), torch.tensor([9, 4])))
class PaddingRead(Harmful):
    """Reads the last step of padded sequences, which is padding in all but the longest."""

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.fc(y[:, -1])


@refused("a mask can only be")
class MaskOfItsOwn(Harmful):
    def forward(self, x):
        return self.run(x * (x.abs() > 0.1))


@refused("batch_first")
class LstmOverFeatures(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(1, H, batch_first=True)

    def forward(self, x):
        b, t, c = x.shape
        return self.lstm(x.reshape(b * t, c, 1))[0][:, -1].reshape(b, t, H)


@refused(r"keeps self\.h from call to call")
class KeepsItsState(Harmful):
    """The module remembers its state from call to call."""

    def __init__(self):
        super().__init__()
        self.register_buffer("h", torch.zeros(1, 1, H))
        self.gru = nn.GRU(C, H, batch_first=True)

    def forward(self, x):
        y, h = self.gru(x, self.h.expand(-1, x.size(0), -1).contiguous())
        self.h = h[:, :1].detach()
        return y


@refused("attention")
class MultiHeadAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(C, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)[0]


@refused("bidirectional RNN")
class BidirectionalRnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(C, H, batch_first=True, bidirectional=True)

    def forward(self, x):
        return self.rnn(x)[0]
