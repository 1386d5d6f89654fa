"""Comparing numbers: a row for each tensor, and the report of all rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from seq2onnx.tables import ShownAsText, about, text_table

# float32 has 7 digits; sums of a few hundred products lose one or two of them.
TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class ParityRow:
    """One comparison of one tensor.

    Attributes:
        check: what is compared.
        tensor: the tensor of the file.
        max_abs: the largest error.
        max_rel: the largest error over max(1, largest number of the reference).
        tolerance: the largest max_rel that is allowed.
    """

    check: str
    tensor: str
    max_abs: float
    max_rel: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the error is within the tolerance; an error that is NaN is not."""
        return self.max_rel <= self.tolerance


@dataclasses.dataclass(frozen=True, repr=False)
class ParityReport(ShownAsText):
    """All comparisons of a file; it prints as a table.

    Attributes:
        path: the file.
        rows: the comparisons.
        notes: what the comparisons leave out.
    """

    path: str
    rows: list[ParityRow]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there are rows and all of them hold."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    def __repr__(self) -> str:
        failed = sum(not row.ok for row in self.rows)
        return f"ParityReport({self.path!r}, {len(self.rows)} comparisons, {failed} failed)"

    def __str__(self) -> str:
        rows = [
            (row.check, row.tensor, f"{row.max_abs:.1e}", f"{row.max_rel:.1e}", "ok" if row.ok else "FAILED")
            for row in self.rows
        ]
        failed = sum(not row.ok for row in self.rows)
        verdict = f"{failed} of {len(self.rows)} FAILED" if failed else "all comparisons passed"
        verdict += f"; tolerance: {self.rows[0].tolerance:g} × max(1, largest value)"
        table = text_table([("check", "tensor", "max abs", "max rel", ""), *rows], (2, 3))
        return "\n".join([table, about(self.path, verdict), *(about("note", note) for note in self.notes)])


def compare(check: str, actual: Mapping[str, Any], reference: Mapping[str, Any]) -> Iterator[ParityRow]:
    """Yield a row for each tensor of the reference; a wrong shape or a NaN is an infinite error."""
    for name, expected in reference.items():
        got, expected = (np.asarray(value, np.float64) for value in (actual[name], expected))
        same_shape = got.shape == expected.shape
        error = float(np.max(np.abs(got - expected), initial=0.0)) if same_shape else np.inf
        error = np.inf if np.isnan(error) else error
        largest = float(np.max(np.abs(expected), initial=1.0))
        yield ParityRow(check, name, error, error / largest, TOLERANCE)
