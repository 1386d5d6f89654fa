"""Facts about layers, by kind and fields: what the checks and the runtime must know of them without importing layers.

The list holds for the kinds of this version. A file cannot state them itself, because a file of a stranger could lie.
Other kinds, which a user defined, have the facts of a layer that acts on each step alone.
tests/test_layer_facts.py compares the list with the layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Fields = Mapping[str, Any]

INPUT_HAS_TIME = {"sequence_input": True, "feature_input": False}
"""The kinds of input layers, and whether their data has a time axis."""
TAKES_SAMPLES = {"spectrogram", "mel_spectrogram", "mfcc"}
"""The kinds that take samples of a raw signal, in ±1."""

_POOLS = {"attention_pool", "global_sum_pool1d", "global_std_pool1d"}
_ALWAYS_STATEFUL = {"lstm", "gru", "rnn", "last_step", "alarm", "delay", *_POOLS}
_REVERSED = {"bilstm", "bigru"}
_GLOBAL = {"global_max_pool1d", "global_avg_pool1d"}
_WINDOW_SIZES = {"conv1d": "kernel_size", "max_pool1d": "pool_size", "avg_pool1d": "pool_size"}
_FRAMES = {"spectrogram", "mel_spectrogram", "mfcc", "window_statistics", "decimate"}


def keeps_state(kind: str, fields: Fields, has_phases: bool = True) -> bool | None:
    """Return whether a layer needs a state in a stream; None: it cannot stream.

    `has_phases`: whether strides need a state. In step files they need none.
    """
    if kind in _REVERSED:
        return None
    if kind in _WINDOW_SIZES:
        strided = has_phases and fields.get("stride", 1) != 1
        return _is_over_time(fields) and (fields.get(_WINDOW_SIZES[kind], 1) != 1 or strided)
    if kind in _FRAMES:
        return has_phases or fields.get("length") != 1
    if kind == "missing":
        return fields.get("fill", "hold") == "hold" or fields.get("mark") == "since"
    if kind == "self_attention":
        return fields.get("context") != 1
    return kind in _ALWAYS_STATEFUL or (kind in _GLOBAL and _is_over_time(fields))


def may_read_later_steps(kind: str, fields: Fields) -> bool:
    """Whether the result of a step may depend on later steps."""
    if kind in _WINDOW_SIZES:
        return _is_over_time(fields) and fields.get("padding") != "causal" and fields.get(_WINDOW_SIZES[kind]) != 1
    return kind in _FRAMES


def reads_state_of_full_chunk(kind: str) -> bool:
    """Whether a layer reads its state also in a chunk with steps. Step files have no other chunks."""
    return kind != "last_step"


def largest_phase(fields: Fields) -> int | None:
    """Return the largest phase of a layer: the phase is a place within its stride. None: it is not known."""
    stride = fields.get("stride")
    return stride - 1 if isinstance(stride, int) else None


def gpu_gap(fields: Fields) -> str | None:
    """Return why onnxruntime's kernel for GPUs cannot run a recurrent layer. None: it can."""
    if fields.get("state_activation", "tanh") != "tanh" or fields.get("gate_activation", "sigmoid") != "sigmoid":
        return "its kernel supports only the activations tanh and sigmoid"
    if fields.get("reset_gate_mode") == "before_multiplication":
        return "its kernel supports only the reset after the multiplication"
    return None


def _is_over_time(fields: Fields) -> bool:
    return bool(fields.get("axis", "time") == "time")
