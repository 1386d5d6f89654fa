"""Classifiers and regressors of recurrent layers, as people write them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import rnn as rnn_utils
from torch.nn.utils.rnn import pack_padded_sequence

from tests.torch_modules.cases import C, H, K, lifted, x


@lifted()
class LstmLastHidden(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, batch_first=True)
        self.head = nn.Linear(H, K)

    def forward(self, x):
        _, (h, _) = self.lstm(x)
        return self.head(h[-1])


@lifted()
class LstmLastStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, num_layers=2, dropout=0.3, batch_first=True)
        self.drop = nn.Dropout(0.5)
        self.fc1, self.fc2 = nn.Linear(H, 8), nn.Linear(8, K)

    def forward(self, x):
        h0 = torch.zeros(2, x.size(0), H).to(x.device)
        c0 = torch.zeros(2, x.size(0), H).to(x.device)
        out, _ = self.lstm(x, (h0, c0))
        out = self.drop(out[:, -1, :])
        return self.fc2(F.relu(self.fc1(out)))


@lifted()
class LstmPerStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, batch_first=True, bias=False)
        self.linear = nn.Linear(H, K)

    def forward(self, x):
        out, (hn, cn) = self.lstm(x)
        return torch.sigmoid(self.linear(out)), (hn, cn)


@lifted()
class CellStateRead(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, num_layers=2, batch_first=True)
        self.fc = nn.Linear(H, K)

    def forward(self, x):
        _, (h, c) = self.lstm(x)
        return self.fc(c[-1])


@lifted((x(), torch.tensor([9, 4])))
class BothStatesOfPackedRows(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, batch_first=True, proj_size=5)
        self.fc = nn.Linear(H + 5, K)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (h, c) = self.lstm(packed)
        return self.fc(torch.cat((h.squeeze(0), c.squeeze(0)), dim=1))


@lifted((x(), torch.tensor([9, 4])), streams=False)
class BiLstmCellStates(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * H, K)

    def forward(self, x, lengths):
        _, (_, c) = self.lstm(pack_padded_sequence(x, lengths, batch_first=True))
        return self.fc(torch.cat((c[-2], c[-1]), dim=1))


@lifted(streams=False)
class BiLstmBothEnds(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * H, K)

    def forward(self, x):
        _, (h, _) = self.lstm(x)
        return self.head(torch.cat((h[-2], h[-1]), dim=1))


@lifted(streams=False)
class BiLstmLastStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * H, K)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


@lifted(streams=False)
class BiLstmEndsOfBoth(nn.Module):
    """The forward half at the last step, the backward half at the first: the final states."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * H, K)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.head(torch.cat([out[:, -1, :H], out[:, 0, H:]], 1))


@lifted(streams=False)
class BiGruViewed(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(C, H, 2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * H, K)

    def forward(self, x):
        _, h = self.gru(x)
        h = h.view(2, 2, x.size(0), H)[-1]
        return self.head(h.permute(1, 0, 2).reshape(x.size(0), -1))


@lifted()
class GruTimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(C, H)
        self.out = nn.Linear(H, K)

    def forward(self, x):
        x = x.permute(1, 0, 2)
        y, h = self.gru(x, torch.zeros(1, x.shape[1], H))
        return self.out(y).transpose(0, 1)


@lifted(x(9, 2), axes="TBC")
class LstmTimeFirstInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H)
        self.fc = nn.Linear(H, K)

    def forward(self, x):
        y, _ = self.lstm(x)
        return self.fc(y[-1])


@lifted()
class RnnStacked(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(C, H, 2, nonlinearity="relu", batch_first=True)
        self.fc = nn.Linear(H, 1)

    def forward(self, x):
        y, h = self.rnn(x)
        return self.fc(y).squeeze(-1), h


@lifted()
class LstmProjected(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, 2, batch_first=True, proj_size=5)
        self.fc = nn.Linear(5, K)

    def forward(self, x):
        y, (h, c) = self.lstm(x)
        return self.fc(y), self.fc(h[-1])


@lifted(streams=False)
class BiLstmProjected(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, batch_first=True, proj_size=3, bidirectional=True)

    def forward(self, x):
        return self.lstm(x)[0]


@lifted((x(), torch.tensor([9, 4])))
class PackedClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, batch_first=True)
        self.fc = nn.Linear(H, K)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (h, _) = self.lstm(packed)
        return self.fc(h.squeeze(0))


@lifted((x(9, 2), [9, 4]), axes="TBC")
class PackedTimeFirstWithListOfLengths(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(C, H)
        self.fc = nn.Linear(H, K)

    def forward(self, x, lengths):
        _, h = self.gru(pack_padded_sequence(x, lengths, enforce_sorted=False))
        return self.fc(h[0])


@lifted((torch.randint(0, 20, (3, 9)), torch.tensor([9, 7, 2])), streams=False)
class PackedBiLstmOnWords(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 7, padding_idx=0)
        self.lstm = nn.LSTM(7, H, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * H, K)

    def forward(self, text, lengths):
        packed = rnn_utils.pack_padded_sequence(self.embedding(text), lengths, batch_first=True)
        out, (h, _) = self.lstm(packed)
        out, _ = rnn_utils.pad_packed_sequence(out, batch_first=True)
        return self.fc(torch.cat([h[-2, :, :], h[-1, :, :]], dim=1)), self.fc(out)


@lifted((x(), torch.tensor([9, 4])))
class GatherLastValid(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(C, H, batch_first=True)
        self.fc = nn.Linear(H, K)

    def forward(self, x, lengths):
        out, _ = self.gru(x)
        idx = (lengths - 1).view(-1, 1, 1).expand(-1, 1, out.size(2))
        return self.fc(out.gather(1, idx).squeeze(1))


@lifted((x(), torch.tensor([9, 4])))
class IndexLastValid(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(C, H, batch_first=True)

    def forward(self, x, lengths):
        out, _ = self.gru(x)
        return out[torch.arange(x.size(0)), lengths - 1]


@lifted((x(), torch.tensor([9, 4])))
class MaskedMean(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(C, H, batch_first=True)
        self.fc = nn.Linear(H, K)

    def forward(self, x, lengths):
        out, _ = self.gru(x)
        mask = (torch.arange(x.size(1))[None, :] < lengths[:, None]).float()
        mean = (out * mask.unsqueeze(-1)).sum(1) / lengths.unsqueeze(1).clamp(min=1)
        best = out.masked_fill(mask.unsqueeze(-1) == 0, -1e9).max(dim=1).values
        return self.fc(mean), self.fc(best)


@lifted((x(2, 9), torch.tensor([9, 6])))
class CutToTheLongestRow(nn.Module):
    """Steps that no row has are cut off, in two ways, and the mask has the rest."""

    def __init__(self):
        super().__init__()
        self.lstm, self.fc = nn.LSTM(C, H, batch_first=True), nn.Linear(H, K)

    def forward(self, x, lengths):
        longest = int(torch.max(lengths.cpu()))
        out, _ = self.lstm(x[:, : lengths.max()].narrow(1, 0, longest))
        mask = torch.arange(longest).expand(len(lengths), longest) < lengths.unsqueeze(1)
        return self.fc(out.masked_fill(~mask.unsqueeze(-1), 0).sum(1) / lengths.unsqueeze(1))


@lifted((x(), torch.zeros(1, 2, H), torch.zeros(1, 2, H)))
class StatePassedIn(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, batch_first=True)
        self.fc = nn.Linear(H, K)

    def forward(self, x, h, c):
        y, (h, c) = self.lstm(x, (h, c))
        return self.fc(y), h, c


@lifted()
class StateByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.num_layers = 2
        self.lstm = nn.LSTM(C, H, self.num_layers, batch_first=True)
        self.fc = nn.Linear(H, K)

    def init_hidden(self, batch):
        weight = next(self.parameters()).data
        return (weight.new(self.num_layers, batch, H).zero_(), weight.new(self.num_layers, batch, H).zero_())

    def forward(self, x):
        out, hidden = self.lstm(x, self.init_hidden(x.size(0)))
        out = out.contiguous().view(-1, H)
        return self.fc(out), hidden


@lifted()
class TwoLstmsResidual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp = nn.Linear(C, H)
        self.lstm1, self.lstm2 = nn.LSTM(H, H, batch_first=True), nn.LSTM(H, H, batch_first=True)
        self.norm = nn.LayerNorm(H)
        self.fc = nn.Linear(H, K)

    def forward(self, x):
        x = torch.tanh(self.inp(x))
        y, _ = self.lstm1(x)
        x = self.norm(x + y)
        y, _ = self.lstm2(x)
        return F.softmax(self.fc((x + y)[:, -1]), dim=-1)


@lifted(x(9, 1)[:, 0], axes="TC")
class SingleSequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H)
        self.fc = nn.Linear(H, K)

    def forward(self, x):
        y, _ = self.lstm(x)
        return self.fc(y)


@lifted(x(1))
class FixedBatchOfOne(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(C, H, batch_first=True)
        self.fc = nn.Linear(H, K)

    def forward(self, x):
        y, _ = self.lstm(x, (torch.zeros(1, 1, H), torch.zeros(1, 1, H)))
        return self.fc(y.squeeze(0))


@lifted(torch.randn(3, 12), axes="BT")
class OneNumberAStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(1, H, batch_first=True)
        self.fc = nn.Linear(H, 1)

    def forward(self, x):
        y, _ = self.gru(x.unsqueeze(-1))
        return self.fc(y[:, -1]).squeeze(-1)


@lifted()
class LoopOfCells(nn.Module):
    """Cells upon cells, with layers between them and after them in the loop."""

    def __init__(self):
        super().__init__()
        self.before, self.lstm, self.gru = nn.Linear(C, H), nn.LSTMCell(H, H), nn.GRUCell(H + C, K)

    def forward(self, x):
        h, c, g = x.new_zeros(x.size(0), H), torch.zeros(x.size(0), H), torch.zeros(x.size(0), K)
        found = []
        for t in range(x.size(1)):
            h, c = self.lstm(self.before(x[:, t]), (h, c))
            g = self.gru(torch.cat((x[:, t], h), 1), g)
            found.append(torch.sigmoid(g))
        return torch.stack(found, 1)


@lifted()
class LoopForTheLastState(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.fc = nn.LSTMCell(C, H, bias=False), nn.Linear(H, K)

    def forward(self, x):
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.fc(state[0]), state


@lifted()
class LoopOfLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.fc = nn.Linear(C, C), nn.Linear(H, K)
        self.lstm = nn.LSTM(C, H, 2, dropout=0.2, batch_first=True)

    def forward(self, x):
        h, c = (torch.zeros(2, x.size(0), H) for _ in range(2))
        outs = []
        for t in range(x.size(1)):
            out, (h, c) = self.lstm(torch.relu(self.before(x[:, t : t + 1])), (h, c))
            outs.append(self.fc(out))
        return torch.cat(outs, 1), self.fc(c[-1])


@lifted()
class LoopThatFillsItsAnswer(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.fc = nn.GRU(C, H), nn.Linear(H, K)

    def forward(self, x):
        state, y = None, torch.zeros(x.size(0), x.size(1), K)
        for t in range(x.size(1)):
            out, state = self.gru(x[:, t].unsqueeze(0), state)
            y[:, t, :] = self.fc(out.squeeze(0))
        return F.softmax(y, dim=-1), state


@lifted(example=x().transpose(0, 1), axes="TBC")
class LoopOfLayersFromALearnedStart(nn.Module):
    def __init__(self):
        super().__init__()
        self.start, self.rnn = nn.Parameter(torch.randn(1, 1, H)), nn.RNN(C, H)

    def forward(self, x):
        h, y = self.start.expand(-1, x.size(1), -1).contiguous(), x.new_empty(*x.shape[:2], H)
        for t in range(len(x)):
            y[t : t + 1], h = self.rnn(x[t : t + 1], h)
        return y


@lifted()
class LoopThatFillsTheLastAxis(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.conv = nn.LSTMCell(C, H), nn.Conv1d(H, K, 1)

    def forward(self, x):
        state, y = None, torch.empty(x.size(0), H, x.size(1))
        for t in range(x.size(1)):
            state = self.cell(x[:, t], state)
            y[..., t] = state[0]
        return self.conv(y).transpose(1, 2)


@lifted()
class LoopForTheLastCellState(nn.Module):
    def __init__(self):
        super().__init__()
        self.start, self.cell, self.fc = nn.Parameter(torch.randn(1, H)), nn.LSTMCell(C, H), nn.Linear(H, K)

    def forward(self, x):
        h = c = self.start.expand(x.size(0), -1)
        for t in range(x.size(1)):
            h, c = self.cell(x[:, t], (h, c))
        return self.fc(c)


@lifted(example=x().transpose(0, 1), axes="TBC")
class LoopFromALearnedStart(nn.Module):
    def __init__(self):
        super().__init__()
        self.start, self.cell = nn.Parameter(torch.randn(1, H)), nn.RNNCell(C, H, nonlinearity="relu")

    def forward(self, x):
        h, found = self.start.expand(x.size(1), -1), []
        for t in range(len(x)):
            h = self.cell(x[t], h)
            found.append(h[None] * 2 + 1)
        return torch.cat(found), h


@lifted(streams=False)
class LoopsBesideALayer(nn.Module):
    """Loops without cells, before and after a layer in both directions."""

    def __init__(self):
        super().__init__()
        self.conv, self.lstm = nn.Conv1d(C, H, 3, padding=2), nn.LSTM(H, H, batch_first=True, bidirectional=True)
        self.fc, self.cell = nn.Linear(H, H), nn.RNNCell(2 * H, K)

    def forward(self, x):
        x = self.conv(x.transpose(1, 2))[:, :, :-2].transpose(1, 2)
        x = torch.stack([self.fc(x[:, t]) for t in range(x.size(1))], 1)
        y, _ = self.lstm(x)
        h = torch.zeros(x.size(0), K)
        for t in range(x.size(1)):
            h = self.cell(y[:, t], h)
        return h
