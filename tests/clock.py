"""Limits of time that hold on a busy machine too."""

from __future__ import annotations

import os
from contextlib import contextmanager

HANG = 600
"""Seconds of the clock after which a test gives up. Only what would never end takes so long."""


@contextmanager
def at_most(seconds):
    """Fail if this process, and those which it has started and which have ended, work longer than this.

    That is the time of the processor. The clock would also count what else runs on the machine.
    """
    before = _worked()
    yield
    assert _worked() - before < seconds


def _worked():
    return sum(os.times()[:4])
