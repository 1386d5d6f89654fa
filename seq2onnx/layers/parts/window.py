"""Windows over time in torch: the common frame of Conv1d, MaxPool1d and AvgPool1d. window_nodes.py is its ONNX form.

A window layer is a frame and an operation. The frame lays out each row of steps so that its windows begin at 0, stride,
2 · stride …. The operation then knows nothing of padding, lengths and states.

In chunks, one row behaves like this (all states are zero at the start):

    def step(x, end):                             # end: this is the row's last chunk; only with lookahead
        if end and (count or len(x)): x = x + right padding
        e = buf + x                               # buf: the d(k−1) steps before x
        for i in range(len(x)):                   # the window that ends at the i-th new step
            if skip: skip -= 1; continue          # skip: d(k−1) − left at the start
            if phase == 0: emit f(e[i], e[i+d], …, e[i+d(k−1)])
            phase = (phase + 1) % stride
        buf = the last d(k−1) of e

`count` counts steps up to d(k−1). It tells how many are still to be skipped, and whether any step came.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import Field

from seq2onnx.errors import NotStreamable, ShapeError
from seq2onnx.layers.base import Layer, single_input
from seq2onnx.layers.signal import Clock, Signal, State

if TYPE_CHECKING:
    from torch import Tensor

    Framed = tuple[Tensor, int, Tensor, Mapping[str, Tensor]]

StepCount = Annotated[int, Field(ge=0, strict=True)]
Padding = Literal["same", "causal"] | StepCount | tuple[StepCount, StepCount]
Axis = Literal["time", "space"]
Pool = TypeVar("Pool", bound=Layer)


@dataclasses.dataclass(frozen=True)
class Window:
    """Windows of `kernel` steps, `dilation` apart, one every `stride` steps."""

    kernel: int
    stride: int
    dilation: int
    padding: Padding

    @property
    def reach(self) -> int:
        """Steps from the first to the last of a window: d(k − 1)."""
        return self.dilation * (self.kernel - 1)

    @property
    def pads(self) -> tuple[int, int] | None:
        """Padding (left, right); None where it depends on the length ("same" with a stride)."""
        if self.padding == "same":
            return None if self.stride > 1 else (self.reach // 2, self.reach - self.reach // 2)
        if self.padding == "causal":
            return self.reach, 0
        return (self.padding, self.padding) if isinstance(self.padding, int) else self.padding

    @property
    def extra(self) -> int:
        """Padding minus reach: the change of the length before the stride."""
        return 0 if self.pads is None else sum(self.pads) - self.reach

    @property
    def is_causal(self) -> bool:
        """Whether no window reads ahead of its step and the first one ends at the first step."""
        return self.pads == (self.reach, 0)

    def clock(self, clock: Clock) -> Clock:
        """Return the clock of the output."""
        ahead = 0 if self.pads is None else max(self.reach - self.pads[0], 0)
        return clock.after(self.extra, self.stride, ahead)

    def length(self, steps: int) -> int:
        """Return the number of windows over `steps` steps."""
        return Clock().after(self.extra, self.stride, 0).length(steps)

    def width_pads(self, width: int) -> tuple[int, int]:
        """Return the padding (left, right) along an axis of known size."""
        if self.pads is not None:
            return self.pads
        lack = max((self.length(width) - 1) * self.stride + self.reach + 1 - width, 0)
        return lack // 2, lack - lack // 2

    def infer(self, layer: Layer, signals: Sequence[Signal], axis: Axis) -> Signal:
        """Infer the output of a layer with these windows and as many channels as its input."""
        x = check_axis(layer, signals, axis)
        if axis == "time":
            return dataclasses.replace(x, clock=self.clock(x.clock))
        channels, width = x.shape
        found = self.length(width)
        if not found:
            raise ShapeError(
                f"{layer.label}: a window of {self.reach + 1} does not fit into the width {width} of x {x}; use a "
                "smaller one, or padding. Steps are [channels, width], channels first"
            )
        return dataclasses.replace(x, shape=(channels, found))

    def states(self, label: str, signal: Signal, channels: int) -> tuple[State, ...]:
        """Return the states of a layer with these windows, whose buffer has `channels` channels."""
        if self.pads is None:
            raise NotStreamable(
                f'{label}: with padding="same" and stride {self.stride}, the windows depend on the length of the whole '
                'sequence; use padding="causal"'
            )
        left, right = self.pads
        if left > self.reach:
            raise NotStreamable(
                f"{label}: its first windows contain only padding, because left padding {left} is more than d(k − 1) = "
                f'{self.reach}; use padding="causal"'
            )
        if not self.is_causal and not signal.clock.lookahead:
            raise NotStreamable(
                f"{label}: its windows read {self.reach - left} steps ahead, with {right} of padding at the end; use "
                'padding="causal", or export with lookahead=True, which delays the results'
            )
        found = [State("buf", (self.reach, channels))] if self.reach else []
        if not self.is_causal:
            found.append(State("count", (1,), "int32"))
        if self.stride > 1:
            found.append(State("phase", (1,), "int32"))
        return tuple(found)

    def frame(self, x: Tensor, lengths: Tensor, states: Mapping[str, Tensor] | None) -> Framed:
        """Lay out x [B, T, C] for the operation.

        Returns:
            The steps [B, …, C], with room for at least one window; the number of windows that count; that number in
            each row; the new states.
        """
        import torch

        time, stride, reach = x.shape[1], self.stride, self.reach
        if states is not None:
            return self._frame_chunk(x, lengths, states)
        count = self.length(time)
        room = (max(count, 1) - 1) * stride + reach + 1
        if self.pads is None:
            windows = (lengths + stride - 1) // stride
            left = ((windows - 1) * stride + reach + 1 - lengths).clamp(min=0) // 2
            padded = pad_steps(mask(x, lengths), reach, room)
            return gather_steps(padded, reach - left, room), count, windows, {}
        left_pad, right_pad = self.pads
        if right_pad:
            x = mask(x, lengths)  # windows reach past the end of a row, where padding is zeros
        windows = torch.where(
            lengths > 0, (lengths + self.extra - 1 + stride).clamp(min=0) // stride, torch.zeros_like(lengths)
        )
        return pad_steps(x, left_pad, room - left_pad - time), count, windows, {}

    def _frame_chunk(self, x: Tensor, lengths: Tensor, states: Mapping[str, Tensor]) -> Framed:
        """Lay out a chunk for causal windows."""
        import torch

        stride, reach = self.stride, self.reach
        new: dict[str, Tensor] = {}
        if reach:
            x = torch.cat([states["buf"], x], 1)
            new["buf"] = gather_steps(x, lengths, reach)
        count = (x.shape[1] - reach + stride - 1) // stride
        room = (max(count, 1) - 1) * stride + reach + 1
        if stride == 1:
            return pad_steps(x, 0, room - x.shape[1]), count, lengths, new
        phase = states["phase"][:, 0]
        first = (stride - phase) % stride
        windows = ((lengths - first).clamp(min=0) + stride - 1) // stride
        new["phase"] = ((phase + lengths) % stride).to(torch.int32)[:, None]
        return gather_steps(pad_steps(x, 0, 1), first, room), count, windows.to(lengths.dtype), new


def check_axis(layer: Layer, signals: Sequence[Signal], axis: Axis) -> Signal:
    """Return the only input of the layer; raise ShapeError unless it has the axis that the layer works along."""
    signal = single_input(layer, signals)
    expected = "[batch, time, channels]" if axis == "time" else "[batch, time, channels, width], channels first"
    if not signal.has_time or len(signal.shape) != (1 if axis == "time" else 2) or signal.dtype != "float32":
        raise ShapeError(f'{layer.label}: with axis="{axis}" expected {expected}, got {signal}')
    return signal


def check_pool_padding(layer: Pool) -> Pool:
    """Return a layer that pools; raise ValueError if one of its windows could contain only padding."""
    fields: Any = layer
    padding, size = fields.padding, fields.pool_size
    smallest = size if isinstance(size, int) else min(size)
    pads = (padding, padding) if isinstance(padding, int) else padding
    if isinstance(pads, tuple) and max(pads) >= smallest:
        raise ValueError(
            f"padding {padding} must be less than pool_size {smallest}; a window would contain only padding"
        )
    return layer


def within_steps(
    x: Tensor, windows: Sequence[Window], compute: Callable[[Tensor], Tensor], padding: float = 0
) -> Tensor:
    """Apply `compute` within each step of x [batch, time, channels, …], with a window for each axis after the channels.

    It gets all steps as one batch [batch · time, channels, …], padded with the number `padding`.
    """
    from torch.nn.functional import pad

    sizes = x.shape[-len(windows) :]
    sides = [window.width_pads(size) for window, size in zip(windows, sizes, strict=True)]
    steps = x.flatten(0, -len(windows) - 2)
    y = compute(pad(steps, [count for side in reversed(sides) for count in side], value=padding))
    return y.reshape(*x.shape[: -len(windows) - 1], *y.shape[1:])


def mean_within_steps(x: Tensor, windows: Sequence[Window], count_padding: bool, pool: Callable[..., Tensor]) -> Tensor:
    """Take the mean of windows within each step of x. `pool`: avg_pool1d or avg_pool2d of torch."""
    import torch

    def mean(steps: Tensor) -> Tensor:
        return pool(steps, [window.kernel for window in windows], [window.stride for window in windows])

    y = within_steps(x, windows, mean)
    return y if count_padding else y / within_steps(torch.ones_like(x), windows, mean)


def mask(x: Tensor, lengths: Tensor) -> Tensor:
    """Set the steps of x [batch, time, …] past each row's length to zero."""
    import torch

    from seq2onnx.building.layer_module import step_mask

    return torch.where(step_mask(x, lengths), x, 0)


def pad_steps(x: Tensor, left: int, right: int) -> Tensor:
    """Add steps of zeros before and after x [batch, time, channels]; a negative `right` removes steps."""
    import torch

    padded = torch.nn.functional.pad(x, (0, 0, left, max(right, 0))) if left or right > 0 else x
    return padded[:, :right] if right < 0 else padded


def gather_steps(x: Tensor, offset: Tensor, count: int) -> Tensor:
    """Take `count` steps of x [batch, time, channels], each row from its own offset [batch]."""
    import torch

    index = offset.long()[:, None] + torch.arange(count, device=x.device)
    return x.gather(1, index.clamp(max=x.shape[1] - 1)[:, :, None].expand(-1, -1, x.shape[2]))
