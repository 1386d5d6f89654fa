"""verify: compare an exported file with the torch module, and with itself run whole, in batches and in chunks."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seq2onnx.errors import DataError, ShapeError, SpecError
from seq2onnx.modelfile import read_checked
from seq2onnx.parity.checks import compare_batches, compare_with_streams, compare_with_torch
from seq2onnx.parity.comparing import ParityReport, ParityRow
from seq2onnx.runtime.inputs import Rows, read_rows
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.random_rows import random_sequences
from seq2onnx.runtime.session import SessionSettings

if TYPE_CHECKING:
    from seq2onnx.building import SequenceModule


def verify(
    path: str | Path,
    module: SequenceModule | None = None,
    data: Any = None,
    *,
    seed: int = 0,
    allow_changed: bool = False,
) -> ParityReport:
    """Compare an exported file with the torch module, and with itself run in other ways.

    The checks run on random sequences of different lengths, scaled to the network's normalization, and on `data`:

    - torch = onnxruntime: both run the first 128 sequences as a whole. If the file has states, a row without steps is
      added, and both start from the same random states, which the network can reach. They start with zeros if an
      earlier version wrote the file and its layers now have other states. For a closed loop, torch reads the history
      and the file's forecast; its prediction for each next step must equal the forecast of that step.
    - batch = one at a time: `predict` on all sequences together and on each alone. For a closed loop, only the first
      forecast step is compared.
    - whole = steps, whole = chunks: `predict` on whole sequences, and `Stream` in single steps or in random chunks,
      some of them empty, for the first 12 sequences. Files with a closed loop are not checked in this way.

    A row passes if its largest error is at most 1e-5 × max(1, largest number of the reference).

    Args:
        path: the file.
        module: the module that was exported; if the file stores its weights as float16 or int8, a copy with rounded
            weights is compared. None: it is built from the layers and the weights in the file if torch is installed. A
            file whose graph was changed then fails.
        data: a SequenceDataset, or what `predict` takes, preferably real data; sequences with NaN are left out, unless
            values of the input may be missing.
        seed: of the random numbers.
        allow_changed: also run a file that another program has optimized or quantized, as in `load`. A quantized file
            fails: its numbers differ by more than rounding.

    Returns:
        The comparisons: `ok`, `rows` with check, tensor, max_abs, max_rel, tolerance, and `notes`: how many sequences
        were left out, and whether `predict` cuts sequences, which the checks do not.

    Raises:
        ModelFileError: it is not an exported file.
        ShapeError: the module has a different network.
        DataError: `data` has no sequence that can be used.
        SpecError: `path` is no path.

    Example:
        >>> print(verify("vowels.onnx", result.module, test))
    """
    if not isinstance(path, str | Path):
        raise SpecError(f"verify: expected the path of a file first, got {type(path).__name__}; verify(path, module)")
    file = read_checked(path, allow_changed)
    model, rng = Model(file, SessionSettings()), np.random.default_rng(seed)
    notes = _policy_notes(model)
    has_network = model.contract.network is not None  # else there is nothing that torch could run
    if module is None and has_network and importlib.util.find_spec("torch") and importlib.util.find_spec("onnx"):
        from seq2onnx.exporting.restorer import module_of

        # The comparisons below find out whether the graph is that of the layers.
        module = module_of(file, compare=False)
    if module is not None:
        _check_same_network(model, module)
        if model.contract.weights != "float32":
            from seq2onnx.exporting.storage import round_module

            module = round_module(module, model.contract.weights)
            notes += (f"the file stores its weights as {model.contract.weights}; those of torch were rounded alike",)
    sources = {"random": random_sequences(model, rng)}
    if data is not None:
        given = read_rows(data, model.inputs, model.contract)
        sources["data"] = _usable(model, given)
        count, kept = (len(next(iter(rows.values()))) for rows in (given, sources["data"]))
        if kept < count:
            notes += (f"{count - kept:,} of {count:,} sequences of data have NaN or infinity and were left out",)
    rows: list[ParityRow] = []
    for name, sequences in sources.items():
        if module is not None:
            rows += compare_with_torch(model, module, sequences, rng, name)
        rows += compare_batches(model, sequences, name)
        rows += compare_with_streams(model, sequences, rng, name)
    return ParityReport(str(path), rows, notes)


def _policy_notes(model: Model) -> tuple[str, ...]:
    """Say whether `predict` cuts sequences. The checks use another policy."""
    length = model.contract.data_info.policy.sequence_length
    if not isinstance(length, int) and length != "shortest":
        return ()
    cut = f"to {length} steps" if isinstance(length, int) else "to the shortest of its batch"
    return (f"predict cuts each sequence {cut}, as in training; streams and these checks do not",)


def _check_same_network(model: Model, module: SequenceModule) -> None:
    def layers(network: Any) -> list[dict[str, Any]]:
        return [
            {kind: {key: value for key, value in fields.items() if key != "statistics"}}
            for layer in network["layers"]
            for kind, fields in layer.items()
        ]

    if model.contract.network is None:
        raise ShapeError(f"{model.path}: was made by add_states and has no layers; call verify without a module")
    in_file = layers(model.contract.network)
    given = layers(json.loads(json.dumps(module.network.to_dict(every_field=True))))
    for a, b in zip(in_file, given, strict=False):
        if a != b:
            raise ShapeError(
                f"{model.path}: contains another network than the module: {a} in the file, {b} in the module"
            )
    if len(in_file) != len(given):
        raise ShapeError(f"{model.path}: contains {len(in_file)} layers, the module has {len(given)}")


def _usable(model: Model, rows: Rows) -> Rows:
    checks = {entry.layer: entry.accepts for entry in model.inputs}
    good = [
        all(checks[layer](array) for layer, array in zip(rows, arrays, strict=True))
        for arrays in zip(*rows.values(), strict=True)
    ]
    if not any(good):
        raise DataError("data: has NaN or infinity in every sequence; there is nothing to compare")
    return {name: [a for a, ok in zip(arrays, good, strict=True) if ok] for name, arrays in rows.items()}
