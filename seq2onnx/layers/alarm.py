"""Alarm: decisions from scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, final

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Example, Layer, layer, numeric_input
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts.alarm_nodes import LOWEST, Rule, emit_chunk, emit_fixed, emit_warm_up
from seq2onnx.layers.signal import Signal, State

if TYPE_CHECKING:
    from torch import Tensor

MOST_STEPS = 10**6
"""The largest patience and hold: larger numbers in the metadata of a file are refused by `restore`."""


def _limit(value: Any) -> float:
    """Convert to a number that float32 can hold."""
    if isinstance(value, bool | np.bool_ | str) or not np.isscalar(value):
        raise ValueError("must be a number")
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(np.float32(number)):
        raise ValueError("must be a finite number, also in float32")
    return number


def _limits(value: Any) -> float | tuple[float | None, ...]:
    if isinstance(value, list | tuple | np.ndarray) and np.ndim(value) == 1 and len(value):
        return tuple(None if entry is None else _limit(entry) for entry in value)
    try:
        with np.errstate(over="ignore"):
            return _limit(value)
    except ValueError as error:
        raise ValueError(f"{error}, or a list with a number or None for each class") from None


Limit = Annotated[float, BeforeValidator(_limit)]
Limits = Annotated[Any, BeforeValidator(_limits)]
Patience = Annotated[int, Field(gt=0, le=MOST_STEPS, strict=True)]
Hold = Annotated[int, Field(ge=0, le=MOST_STEPS, strict=True)]


@final
@layer
class Alarm(Layer):
    """Decisions from scores: an alarm begins when a score stays high, and ends when it stays low.

        run_t = run_{t−1} + 1 if x_t ≥ threshold, else 0
        low_t = low_{t−1} + 1 if x_t < release, else 0
        on_t = 1 if run_t ≥ patience; 0 if low_t > hold; else on_{t−1}
        y_t = on_t ("level"), or on_t · (1 − on_{t−1}) ("event")

    In the first `warm_up` steps of a stream, x_t counts as below threshold and release. All comparisons are those of
    float32. A network with this layer cannot be trained, since decisions have no gradient: `append` adds it to a
    trained module, and `tune_alarm` finds the threshold.

    Shapes (B batch, T time, K scores; float32):
        x [B, T, K] -> y [B, T, K], zeros and ones; each score has its own alarm

    Args:
        threshold: an alarm begins where the score is at least this high. A number, or a list with one for each class,
            in which None stands for a class that never has an alarm.
        release: where the score is below it, the alarm ends; at most the threshold. None: the threshold.
        patience: how many steps in a row the score must be high before an alarm begins.
        hold: how many steps in a row the score may be low before the alarm ends. A step that is not low starts the
            count again. While an alarm lasts, no other begins.
        warm_up: in how many steps from the start, or from a reset, no score counts as high: layers before the alarm see
            zeros before the start, and need some steps until their results are right.
        output: "event": 1 only in the step in which an alarm begins. "level": 1 as long as it lasts.

    Raises:
        ShapeError: the input is not one vector of scores for each step, or there are not as many thresholds as scores.

    State:
        on [B, K]; with patience > 1 run [B, K], at most patience; with hold > 0 low [B, K], at most hold + 1; with
        warm_up > 0 count [B, 1], at most warm_up; all int32

    ONNX:
        GreaterOrEqual, Less, CumSum, ScatterElements, Gather; no loop. In step files plain arithmetic

    Example:
        >>> Alarm(0.8, release=0.5, hold=100)

    Source:
        Schmitt, A thermionic trigger, 1938 (two thresholds)
    """

    threshold: Limits
    release: Limit | None = None
    patience: Patience = 1
    hold: Hold = 0
    output: Literal["event", "level"] = "event"
    warm_up: Hold = 0

    kind: ClassVar[str] = "alarm"
    is_finite_past_end: ClassVar[bool] = True
    decides: ClassVar[bool] = True
    later_fields: ClassVar[tuple[str, ...]] = ("warm_up",)

    @model_validator(mode="after")
    def _check(self) -> Alarm:
        thresholds = self.threshold if isinstance(self.threshold, tuple) else (self.threshold,)
        for threshold in thresholds:
            if None not in (threshold, self.release) and self.release > threshold:
                raise ValueError(f"release {self.release:g} must not be above the threshold {threshold:g}")
        return self

    def infer(self, *signals: Signal) -> Signal:
        x = numeric_input(self, signals)
        if not x.has_time or len(x.shape) != 1:
            raise ShapeError(f"{self.label}: expected x [batch, time, scores], got {x}")
        if isinstance(self.threshold, tuple) and len(self.threshold) != x.shape[0]:
            raise ShapeError(
                f"{self.label}: threshold has {len(self.threshold)} numbers, x {x} has {x.shape[0]} scores"
            )
        return x

    def states(self, *signals: Signal) -> tuple[State, ...]:
        names = ["run"] * (self.patience > 1) + ["low"] * (self.hold > 0) + ["on"]
        count = (State("count", (1,), "int32"),) if self.warm_up else ()
        return (*(State(name, signals[0].shape, "int32") for name in names), *count)

    def limits(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
        """Return threshold and release, each [] or [K], and which classes can have an alarm; None: all."""
        thresholds = np.array(self.threshold, float).astype(np.float32)  # None becomes NaN
        is_never = np.isnan(thresholds)
        high = np.where(is_never, np.float32(0), thresholds)
        low = high if self.release is None else np.array(self.release, np.float32)
        return high, low, ~is_never if is_never.any() else None

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        x, states = call.x, call.states
        high, low, can = self.limits()
        zeros = torch.zeros(len(x), x.shape[2], dtype=torch.int64, device=x.device)
        new: dict[str, Tensor] = {}
        if self.warm_up:
            seen = zeros[:, :1] if states is None else states["count"].long()
            is_early = seen + torch.arange(x.shape[1], device=x.device) < self.warm_up
            x = torch.where(is_early[:, :, None], LOWEST, x)
            new["count"] = (seen + call.row_lengths.long()[:, None]).clamp(max=self.warm_up).to(torch.int32)
        above, below = x >= torch.from_numpy(high).to(x), x < torch.from_numpy(np.asarray(low)).to(x)
        if can is not None:
            above, below = (flags & torch.from_numpy(can).to(x.device) for flags in (above, below))
        start = {name: zeros if states is None or name not in states else states[name].long() for name in _NAMES}
        every: dict[str, Tensor] = {}
        if self.patience > 1:
            every["run"] = _count(above, start["run"], self.patience)
            above = every["run"][:, 1:] == self.patience
        if self.hold:
            every["low"] = _count(below, start["low"], self.hold + 1)
            below = every["low"][:, 1:] == self.hold + 1
        values = torch.cat([start["on"][:, None], above.long()], 1)
        every["on"] = on = values.gather(1, _last(above | below))
        y = on[:, 1:] * (1 - on[:, :-1]) if self.output == "event" else on[:, 1:]
        ends = call.row_lengths.long()[:, None, None].expand(-1, 1, x.shape[2])
        new |= {name: values.gather(1, ends)[:, 0].to(torch.int32) for name, values in every.items()}
        return y.to(x.dtype), call.lengths, {name: new[name] for name in states or ()}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        rule = Rule(*self.limits(), self.patience, self.hold, self.output == "event")
        call, counted = emit_warm_up(graph, call, self.warm_up) if self.warm_up else (call, {})
        y, kept = (emit_fixed if graph.is_fixed else emit_chunk)(graph, call, rule)
        kept |= counted
        return y, call.lengths, {name: kept[name] for name in call.states or ()}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            Example(cls(0.5), (Signal((1,)),)),
            Example(cls(0.4, -0.6, 1, 3), (Signal((3,)),)),
            Example(cls(-0.2, -0.6, 2, 2, "level"), (Signal((2,)),)),
            Example(cls([0.1, None, -0.3], None, 3, 1), (Signal((3,)),)),
            Example(cls(0.1, -0.3, 2, 1, warm_up=3), (Signal((2,)),)),
        ]


_NAMES = ("run", "low", "on")


def _last(marks: Tensor) -> Tensor:
    """The last marked step up to each step [B, T + 1, K], counted from 1; 0 before the first of them."""
    import torch

    steps = torch.arange(marks.shape[1] + 1, device=marks.device)[None, :, None]
    before = torch.zeros_like(marks[:, :1]) if marks.shape[1] else marks.new_zeros(len(marks), 1, marks.shape[2])
    return torch.where(torch.cat([before, marks], 1), steps, 0).cummax(1).values


def _count(flags: Tensor, start: Tensor, most: int) -> Tensor:
    """Count how many steps in a row were flagged, before the first and after each step: [B, T + 1, K]."""
    import torch

    last = _last(~flags)
    steps = torch.arange(flags.shape[1] + 1, device=flags.device)[None, :, None]
    return (steps - last + torch.where(last == 0, start[:, None], 0)).clamp(max=most)
