""".mat files: cell arrays of matrices, and their targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seq2onnx.data.contents import Contents
from seq2onnx.data.formats.mat_variables import Opaque, Value, Variables, describe, read_variables
from seq2onnx.errors import DataError
from seq2onnx.sequences import Array

REMEDIES = {
    "string": "save cellstr(Y) instead",
    "categorical": "save cellstr(Y) instead, for a cell of them cellfun(@cellstr, Y, UniformOutput=false)",
    "sparse": "save full(X) instead",
    "struct": 'save its fields as variables: save("file.mat", "-struct", "S"); of a struct array collect a field: '
    "X = {S.data}",
    "table": "save its columns as variables",
    "timetable": "save its columns as variables",
    "dlarray": "save extractdata(X) instead",
}
"""The remedies for values that cannot be read."""

CELLS = "of an array whose third axis counts the sequences save X = squeeze(num2cell(A, [1 2]))"


def read(
    path: str | Path,
    *,
    sequences: Any = None,
    targets: str | None = None,
    features_by_time: bool = False,
    trusted: bool = False,
) -> Contents:
    """Read a .mat file of version 5 to 7.2 (with scipy) or 7.3 (with h5py).

    Sequences are a cell array, N × 1 or 1 × N, of matrices of numbers. Targets for N sequences are one of

        N texts, a cell array of them or the rows of a char matrix     a label for each sequence
        N numbers, a vector or a cell array with one in each cell      integers and logical: a label for each sequence;
                                                                       double and single: a number
        a double or single matrix [N, k]                               k numbers for each sequence
        a cell array of N vectors, of numbers or of texts              a label or number for each step
        a cell array of N matrices, laid out as the sequences are      k numbers for each step

    Objects such as `string` and `categorical` are stored in a form that is not published: save cellstr(Y).

    Args:
        path: the file.
        sequences: the name of a variable. None: the only cell array of matrices.
        targets: the name of a variable, "" for none. None: the only other variable with a target for each sequence.
        features_by_time: the matrices are features by time, as in MATLAB's older releases, and not time by features.
            This is never guessed.
        trusted: whether reading may take any time and memory.

    Raises:
        DataError: the variables cannot be used. The message names file, variable and cell; the first cell is X{1}.
        OSError: the file cannot be read.
        MissingExtra: scipy or h5py is needed and not installed.
    """
    if not isinstance(sequences, str | None):
        raise DataError(f"{path}: sequences is the name of one variable in a .mat file, got {list(sequences)}")
    variables = read_variables(path, None if sequences is None or targets is None else {sequences, targets}, trusted)
    for role, name in (("sequences", sequences), ("targets", targets)):
        if name and name not in variables:
            raise DataError(f"{path}: has no variable {name!r} for the {role}; {_listing(variables)}")
    name = sequences or _find_sequences(path, variables)
    matrices = _matrices(f"{path}: {name}", variables[name], features_by_time)
    if targets is None:
        targets = _find_targets(path, variables, name, len(matrices))
    found = _targets(f"{path}: {targets}", variables[targets], matrices, features_by_time) if targets else None
    return Contents(matrices, found, per_step=isinstance(found, list))


def _find_sequences(path: str | Path, variables: Variables) -> str:
    """Return the name of the only cell array of matrices."""
    found = [name for name, value in variables.items() if (cells := _cells(value)) and all(map(_is_matrix, cells))]
    if len(found) == 1:
        return found[0]
    raise DataError(
        f"{path}: expected one cell array of matrices, found {', '.join(found) or 'none'}; "
        f'sequences="NAME", or --sequences NAME, chooses one; {_listing(variables)}{_remedies(variables)}'
    )


def _remedies(variables: Variables) -> str:
    """Return what to save in place of structs, tables and arrays of several axes."""
    values = variables.values()
    kinds = {value.kind for value in values if isinstance(value, Opaque)}
    found = [REMEDIES[kind] for kind in sorted(kinds & set(REMEDIES))] + [CELLS] * any(map(_has_three_axes, values))
    return "".join(f"; {remedy}" for remedy in found)


def _has_three_axes(value: Value) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.ndim > 2


def _find_targets(path: str | Path, variables: Variables, sequences: str, count: int) -> str:
    """Return the name of the only other variable with a target for each sequence, "" where there is none."""
    found = [name for name, value in variables.items() if name != sequences and _may_be_targets(value, count)]
    if len(found) < 2:
        return "".join(found)
    raise DataError(
        f"{path}: expected one variable with a target for each of the {count} sequences, found {', '.join(found)}; "
        f'targets="NAME", or --targets NAME, chooses one, and "" none; {_listing(variables)}'
    )


def _may_be_targets(value: Value, count: int) -> bool:
    if isinstance(value, Opaque):
        return value.kind in ("string", "categorical")  # the file does not say how many
    return len(value) == count or value.shape == (1, count)


def _matrices(where: str, value: Value, features_by_time: bool) -> list[Array]:
    """Return the sequences, each [time, features]."""
    cells = _cells(value)
    if not cells:
        raise DataError(f"{where}: expected a cell array of matrices, N × 1 or 1 × N, got {_received(value)}")
    for number, cell in enumerate(cells, 1):
        if not _is_matrix(cell) or cell.shape == (0, 0):
            raise DataError(f"{where}{{{number}}}: expected a matrix of real numbers, got {_received(cell)}")
    axis, name = (0, "rows") if features_by_time else (1, "columns")
    for number, cell in enumerate(cells, 1):
        if cell.shape[axis] != cells[0].shape[axis]:
            remedy = "all sequences must have the same features"
            if len({cell.shape[1 - axis] for cell in cells}) == 1:
                turned = "time by features, leave out" if features_by_time else "features by time, give"
                remedy = f"if the matrices are {turned} features_by_time=True, or --features-by-time"
            raise DataError(
                f"{where}{{{number}}}: expected {cells[0].shape[axis]} {name} (features) as in the first cell, "
                f"got {describe(cell)}; {remedy}"
            )
    return [cell.T if features_by_time else cell for cell in cells]


def _targets(where: str, value: Value, matrices: list[Array], features_by_time: bool) -> Array | list[Array]:
    """Return an array with a row for each sequence, or a list of arrays with a row for each step."""
    count, cells = len(matrices), _cells(value)
    if cells is None:
        if isinstance(value, Opaque) or value.dtype.kind not in "fiubU" or value.ndim > 2 or value.dtype == object:
            raise DataError(f"{where}: expected labels or numbers, got {_received(value)}")
        rows = value if value.dtype.kind == "U" else value.T if value.shape == (1, count) else value
        if len(rows) != count:
            raise DataError(f"{where}: expected a row for each of the {count} sequences, got {describe(value)}")
        if value.dtype.kind == "U":
            return np.char.rstrip(rows)  # MATLAB pads the rows of a char matrix with blanks
        return rows[:, 0] if rows.shape[1] == 1 else rows
    if len(cells) != count:
        raise DataError(f"{where}: expected a cell for each of the {count} sequences, got {describe(value)}")
    texts = [_text(cell) for cell in cells]
    if any(text is not None for text in texts):
        if None in texts:
            number = texts.index(None)
            raise DataError(
                f"{where}{{{number + 1}}}: expected a text as in other cells, got {_received(cells[number])}"
            )
        return np.array(texts)
    # Cells of single numbers are targets of sequences, unless each sequence has one step.
    if all(_is_matrix(cell) and cell.size == 1 for cell in cells) and any(len(matrix) != 1 for matrix in matrices):
        return np.concatenate(cells)[:, 0]
    found: list[Array] = []
    for number, (cell, matrix) in enumerate(zip(cells, matrices, strict=True), 1):
        words = [_text(word) for word in _cells(cell) or [None]]
        if None not in words:
            found.append(np.array(words))
        elif _is_matrix(cell) and cell.shape != (0, 0):
            rows = cell.T if features_by_time else cell
            # A row or column as long as the sequence has one target for each step.
            found.append(rows.T if rows.shape == (1, len(matrix)) else rows)
        else:
            raise DataError(
                f"{where}{{{number}}}: expected labels or numbers, one for each step, got {_received(cell)}"
            )
        if found[-1].shape[1:] != found[0].shape[1:] or (found[-1].dtype.kind == "U") != (found[0].dtype.kind == "U"):
            raise DataError(f"{where}{{{number}}}: expected targets like those of the first cell, got {describe(cell)}")
    return [row[:, 0] for row in found] if all(row.ndim == 2 and row.shape[1] == 1 for row in found) else found


def _cells(value: Any) -> list[Any] | None:
    """Return the cells of a cell array N × 1 or 1 × N, else None."""
    if isinstance(value, Opaque) or value.dtype != object or value.ndim != 2 or 1 not in value.shape:
        return None
    return list(value.flat)


def _is_matrix(cell: Any) -> bool:
    return isinstance(cell, np.ndarray) and cell.dtype.kind in "fiub" and cell.ndim == 2


def _text(cell: Any) -> str | None:
    """Return the text of a char vector, else None."""
    if not isinstance(cell, np.ndarray) or cell.dtype.kind != "U" or len(cell) > 1:
        return None
    return "".join(cell.tolist())


def _received(value: Any) -> str:
    """Describe a value that was not expected, with the remedy."""
    cells = [] if isinstance(value, Opaque) or value.dtype != object else value.flat
    kinds = [cell.kind for cell in (value, *cells) if isinstance(cell, Opaque)]
    of = f" of {kinds[0]}" if kinds and kinds[0] not in describe(value) else ""
    remedy = next((f"; {REMEDIES[kind]}" for kind in kinds if kind in REMEDIES), "")
    return f"{describe(value)}{of}{f'; {CELLS}' if _has_three_axes(value) else remedy}"


def _listing(variables: Variables) -> str:
    found = ", ".join(f"{name} ({describe(value)})" for name, value in variables.items())
    return f"the file holds {found or 'nothing'}"
