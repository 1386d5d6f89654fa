"""Describe what an exported file takes, gives and contains."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seq2onnx.runtime import Predictor


def describe_contract(model: Predictor) -> list[tuple[str, str]]:
    """The inputs, outputs, states, classes and time properties of an open file, as rows of (label, text)."""
    contract = model.contract
    of_run = f", {contract.chunk_steps} steps in each run" if contract.chunk_steps > 1 else ""
    rows = [("form", contract.form + of_run), ("signature", model.signature)]
    if model.closed_loop:
        rows.append(("closed loop", f"{model.closed_loop} steps"))
    for label, entries in (("input", model.session.get_inputs()), ("output", model.session.get_outputs())):
        for entry in entries:
            dtype = entry.type.removeprefix("tensor(").removesuffix(")")
            rows.append((label, f"{entry.name}  {dtype} [{', '.join(map(str, entry.shape))}]"))
    rows += [("state", f"{state.layer} {state.kind}: {state.input} -> {state.output}") for state in contract.states]
    for entry in model.inputs:
        if entry.words is not None:
            where = "in the file" if entry.takes_words else "before the run"
            rows.append(("vocabulary", f"{len(entry.words):,} words of {entry.layer}, looked up {where}"))
    for entry in model.inputs:
        if entry.channels is not None:
            of = f"{entry.layer}: " if len(model.inputs) > 1 else ""
            rows.append(("channels", of + ", ".join(entry.channels)))
    rows.append(("classes", "none" if model.classes is None else ", ".join(map(str, model.classes))))
    if model.quantiles is not None:
        rows.append(("quantiles", ", ".join(f"{quantile:g}" for quantile in model.quantiles)))
    if contract.sample_rate is not None:
        rows.append(("sample rate", f"{contract.sample_rate:g} a second"))
    if (trained := contract.data_info.training_statistics) is not None:
        rows.append(("trained on", f"{trained.recordings:,} sequences, {trained.steps:,} steps"))
    rows.append(("min length", str(contract.min_length)))
    rows.append(("time stride", str(contract.time_stride)))
    rows.append(("delay steps", str(contract.delay_steps)))
    if contract.weights != "float32":
        rows.append(("weights", f"stored as {contract.weights}"))
    return rows
