"""The slots of a pool's arrays, and the ids of the streams in them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import StreamError

# Slots of a pool at most. Generations above them last for 17 years of 1,000 new streams a second in one slot.
MAX_SLOTS = 2**24

Ids = NDArray[np.int64]
Indices = NDArray[np.int64]


class Slots:
    """Ids of streams and their slots; thousands of ids are found without a Python loop.

    An id is generation · 2²⁴ + slot. A slot that is used again has the next generation, so the id of a closed stream
    never reaches the stream that came after it.
    """

    def __init__(self, capacity: int) -> None:
        self.ids: Ids = np.zeros(0, np.int64)  # the id of each slot's stream; ~ (next id), which is < 0, if it is free
        self._last_step = np.zeros(0)  # on the monotonic clock
        self._free: list[int] = []
        self._last_lookup: tuple[Ids, Indices] | None = None  # the last ids and their slots, until a stream closes
        self.grow(capacity)

    def __len__(self) -> int:
        return len(self.ids) - len(self._free)

    @property
    def capacity(self) -> int:
        """The number of slots."""
        return len(self.ids)

    def grow(self, capacity: int) -> None:
        """Add free slots up to `capacity`."""
        more = np.arange(self.capacity, capacity)
        self._free += more[::-1].tolist()
        self._last_step = np.concatenate([self._last_step, np.zeros(len(more))])
        self._order: Indices = np.arange(capacity)
        self._owner: Indices = np.arange(capacity)  # scratch of `find`
        self.ids = np.concatenate([self.ids, ~more])

    def open(self) -> tuple[int, int]:
        """Take a free slot, which must exist, for a new stream; return the stream's id and the slot."""
        slot = self._free.pop()
        self.ids[slot] = ~self.ids[slot]
        self._last_step[slot] = time.monotonic()
        return int(self.ids[slot]), slot

    def close(self, slots: Indices) -> None:
        """Free these slots."""
        self._last_lookup = None
        self.ids[slots] = ~(self.ids[slots] + MAX_SLOTS)
        self._free += slots[::-1].tolist()

    def find(self, ids: Any) -> tuple[Ids, Indices]:
        """Return the ids as an array, and their slots; for the ids of the last call, these are the same objects."""
        given = np.asarray(ids)
        if given.ndim != 1 or given.dtype.kind not in "iu" or not given.size:
            raise StreamError(
                f"ids: expected a list of at least one id from open(), got {given.dtype} {list(given.shape)}"
            )
        given = given.astype(np.int64, copy=False)
        if self._last_lookup is not None and np.array_equal(given, self._last_lookup[0]):
            return self._last_lookup
        slots: Indices = given & (MAX_SLOTS - 1)
        wrong = (self.ids.take(slots, mode="clip") != given) | (given < 0)
        if np.count_nonzero(wrong):
            raise StreamError(self._not_open(int(given[wrong][0])))
        order = self._order[: len(slots)]
        if len(order) == len(slots):  # otherwise there are more ids than slots
            self._owner[slots] = order
            # If two ids have one slot, the later write has replaced the earlier.
            if not np.count_nonzero(self._owner[slots] != order):
                self._last_lookup = given.copy(), slots  # the caller may change its array
                return self._last_lookup
        values, counts = np.unique(given, return_counts=True)
        raise StreamError(f"ids: {values[counts > 1][0]} is given twice; a stream takes one step or chunk in a run")

    def require_open(self, id: int) -> None:
        """Raise StreamError unless this id is open."""
        slot = id % MAX_SLOTS
        if id < 0 or slot >= self.capacity or int(self.ids[slot]) != id:
            raise StreamError(self._not_open(id))

    def mark_stepped(self, slots: Indices) -> None:
        """Set the time of the last step of these slots to now."""
        self._last_step[slots] = time.monotonic()

    def idle(self, seconds: float) -> Indices:
        """Return the slots of streams whose last step is longer ago."""
        return np.flatnonzero((self.ids >= 0) & (self._last_step < time.monotonic() - seconds))

    def _not_open(self, id: int) -> str:
        slot = id % MAX_SLOTS
        if id >= 0 and slot < self.capacity:
            own = int(self.ids[slot])
            if id < (own + MAX_SLOTS if own >= 0 else ~own):
                return f"stream {id}: is closed; open() gives a new one"
        return f"stream {id}: this pool has not opened it; take an id that open() returned"
