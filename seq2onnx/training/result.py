"""TrainingResult: what `train` returns."""

from __future__ import annotations

import base64
import dataclasses
import functools
import importlib.util

from seq2onnx.building import SequenceModule
from seq2onnx.evaluation.quantiles import Coverage
from seq2onnx.tables import ShownAsText, text_table
from seq2onnx.training.baseline import Baseline
from seq2onnx.training.history import History


@dataclasses.dataclass(frozen=True, repr=False)
class TrainingResult(ShownAsText):
    """The result of `train`.

    Attributes:
        module: the trained module, in evaluation mode.
        history: one row for each epoch: epoch, loss and so on; see `train`.
        rank: the number of this process, from 0.
        diverged: whether the loss or the weights were not finite after an epoch; the last row of `history` is this
            epoch. The module has the weights of the epoch before, or if there is none, those at the start.
        coverage: with loss="quantile", how right the quantiles are for the validation data, or without any for the
            training data, which look better than others. None with other losses.
        baseline: a linear model of the same data, with its figure beside that of the network. None: there are no
            validation data, or images, words, several inputs, a network that gives fewer steps than it takes, or a loss
            of one's own; or the options or several processes leave it out.
        advice: id and text of each warning about data and training, such as ("one-class", "all targets are 'a' …").
    """

    module: SequenceModule
    history: History
    rank: int = 0
    coverage: Coverage | None = None
    diverged: bool = False
    baseline: Baseline | None = None
    advice: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        last = {name: round(value, 4) for name, value in (self.history[-1] if self.history else {}).items()}
        name, end = self.module.network.name or "network", ", diverged" if self.diverged else ""
        return f"TrainingResult({name}, {len(self.history)} epochs, last {last}{end})"

    def __str__(self) -> str:
        last = self.history[-1] if self.history else {}
        rows = [(name.replace("_", " "), f"{value:.5g}") for name, value in last.items()]
        texts = [self.baseline, self.coverage, *(f"{id}: {text}" for id, text in self.advice)]
        table = text_table([("last epoch", "") if rows else ("no epoch", ""), *rows], (1,))
        return "\n\n".join([*(["training diverged"] if self.diverged else []), table, *map(str, filter(None, texts))])

    def _repr_html_(self) -> str:
        if not self.history or not importlib.util.find_spec("matplotlib"):
            return super()._repr_html_()
        from seq2onnx.plots import as_png, training_curve

        curve = base64.b64encode(as_png(functools.partial(training_curve, self.history))).decode()
        return f'{super()._repr_html_()}\n<img alt="Training curve" src="data:image/png;base64,{curve}">'


class RunNotSaved(OSError):
    """Training has ended, but run_dir cannot be written.

    Attributes:
        result: the TrainingResult that `train` would have returned.
    """

    def __init__(self, error: OSError, result: TrainingResult) -> None:
        reason = f"{error.strerror or error}, so the run is not saved. Make room, then resume from its last checkpoint"
        super().__init__(error.errno, reason, error.filename)
        self.result = result
