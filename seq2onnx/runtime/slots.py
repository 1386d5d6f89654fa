"""Which place in the arrays of a pool belongs to which stream."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import StreamError

MOST = 2**24  # slots; so many that a generation fits beside them for 17 years of 1,000 streams a second in one slot

Ids = NDArray[np.int64]
Places = NDArray[np.int64]


class Slots:
    """Ids of streams and their slots; thousands are found without a loop.

    An id is generation · 2²⁴ + slot. A slot that is used again has the next generation, so the id of a closed stream
    never reaches the stream that came after it.
    """

    def __init__(self, capacity: int) -> None:
        self.ids: Ids = np.zeros(0, np.int64)  # of each slot: its stream's id; where it is free ~ of the next, so < 0
        self._stepped = np.zeros(0)  # when, on the monotonic clock
        self._mark: Places = np.zeros(0, np.int64)
        self._free: list[int] = []
        self.grow(capacity)

    def __len__(self) -> int:
        return len(self.ids) - len(self._free)

    @property
    def capacity(self) -> int:
        """How many streams there is room for."""
        return len(self.ids)

    def grow(self, capacity: int) -> None:
        """Room for so many."""
        more = np.arange(self.capacity, capacity)
        self._free += more[::-1].tolist()
        self._stepped = np.concatenate([self._stepped, np.zeros(len(more))])
        self._mark = np.arange(capacity)
        self._order = np.arange(capacity)
        self.ids = np.concatenate([self.ids, ~more])

    def open(self) -> tuple[int, int]:
        """A new stream's id and its slot; there must be room."""
        slot = self._free.pop()
        self.ids[slot] = ~self.ids[slot]
        self._stepped[slot] = time.monotonic()
        return int(self.ids[slot]), slot

    def close(self, slots: Places) -> None:
        """Make them free."""
        self.ids[slots] = ~(self.ids[slots] + MOST)
        self._free += slots[::-1].tolist()

    def find(self, ids: Any) -> tuple[Ids, Places]:
        """The ids as an array, and their slots; raises StreamError unless each is open, and there but once."""
        given = np.asarray(ids)
        if given.ndim != 1 or given.dtype.kind not in "iu" or not given.size:
            raise StreamError(
                f"ids: expected a list of ids that open() gave, at least one, got {given.dtype} {list(given.shape)}"
            )
        given = given.astype(np.int64, copy=False)
        slots: Places = given & (MOST - 1)
        wrong = (self.ids.take(slots, mode="clip") != given) | (given < 0)
        if np.count_nonzero(wrong):
            raise StreamError(self._why(int(given[wrong][0])))
        order = self._order[: len(slots)]
        if len(order) == len(slots):  # else there are more ids than slots
            self._mark[slots] = order
            # Of ids with one slot the last mark stays, and is not what the first wrote.
            if not np.count_nonzero(self._mark[slots] != order):
                return given, slots
        values, counts = np.unique(given, return_counts=True)
        raise StreamError(f"ids: {values[counts > 1][0]} is there twice; a stream takes one step or chunk in a run")

    def must_be_open(self, id: int) -> None:
        """Raise StreamError unless there is such a stream."""
        slot = id % MOST
        if id < 0 or slot >= self.capacity or int(self.ids[slot]) != id:
            raise StreamError(self._why(id))

    def touch(self, slots: Places) -> None:
        """They are stepped now."""
        self._stepped[slots] = time.monotonic()

    def idle(self, seconds: float) -> Places:
        """The slots of streams that were not stepped for so long."""
        return np.flatnonzero((self.ids >= 0) & (self._stepped < time.monotonic() - seconds))

    def _why(self, id: int) -> str:
        """What is wrong with an id that is not open."""
        slot = id % MOST
        if id >= 0 and slot < self.capacity:
            own = int(self.ids[slot])
            if id < (own + MOST if own >= 0 else ~own):
                return f"stream {id}: is closed; open() gives a new one"
        return f"stream {id}: this pool has not opened it; take the id that open() gave"
