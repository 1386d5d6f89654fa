"""Packed sequences while a module is traced: they stay padded, because the layers here take lengths anyway."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from torch.nn.utils import rnn

_LOCK = threading.Lock()
_packed_lengths: list[Any] = []
_notice: list[Callable[[Any], None]] = []


def _pack(input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True) -> Any:
    from seq2onnx.importing.torch import packing as torch_packing

    torch_packing._packed_lengths.append(lengths)
    for notice in torch_packing._notice:
        notice(lengths)
    return input


def _unpack(
    sequence: Any, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> Any:
    from seq2onnx.importing.torch import packing as torch_packing

    return sequence, torch_packing._packed_lengths[-1]


@contextlib.contextmanager
def without_packing(notice: Callable[[Any], None] | None = None) -> Iterator[None]:
    """Make torch's functions for packed sequences pass padded tensors on; `notice` is told their lengths.

    Modules hold these functions under names of their own, so their code is exchanged and not the names.
    """
    with _LOCK:
        old = [(f, f.__code__) for f in (rnn.pack_padded_sequence, rnn.pad_packed_sequence)]
        try:
            _notice.extend([notice] if notice else [])
            for (function, _), stand_in in zip(old, (_pack, _unpack), strict=True):
                function.__code__ = stand_in.__code__
            yield
        finally:
            for function, code in old:
                function.__code__ = code
            _packed_lengths.clear()
            _notice.clear()
