"""Comparing numbers with a tolerance relative to max(1, largest expected number)."""

from __future__ import annotations

import numpy as np

FLOAT32 = 1e-5  # three implementations that round at other places: a few hundred roundings of 6e-8
SAME = 1e-6  # one implementation on other batches: its matrix products may sum in another order

WORST: dict[tuple[str, str], float] = {}
"""The largest error, relative as the tolerances are, by comparison and kind of layer in the network."""

KINDS_HERE: set[str] = set()
"""The kinds of layer in the network that is looked at."""


def close(found, expected, tolerance, what, kind="") -> None:
    """Raise unless the arrays, lists or dicts of arrays agree."""
    if isinstance(expected, dict):
        for name in expected:
            close(found[name], expected[name], tolerance, f"{what} of {name}", kind)
        return
    if isinstance(expected, list):
        assert len(found) == len(expected), f"{what}: {len(found)} arrays, expected {len(expected)}"
        for index, (a, b) in enumerate(zip(found, expected, strict=True)):
            close(a, b, tolerance, f"{what}[{index}]", kind)
        return
    assert np.shape(found) == np.shape(expected), f"{what}: {np.shape(found)}, expected {np.shape(expected)}"
    error = np.max(np.abs(np.asarray(found, float) - expected), initial=0.0)
    largest = np.max(np.abs(expected), initial=1.0)
    for layer in KINDS_HERE if kind else ():
        WORST[kind, layer] = max(WORST.get((kind, layer), 0.0), error / largest)
    assert error <= tolerance * largest, f"{what}: differs by {error:.2e}, allowed {tolerance * largest:.2e}"
