"""Build the HTML page of a report."""

from __future__ import annotations

import datetime
from pathlib import Path

from seq2onnx.reporting.benchmark import format_seconds
from seq2onnx.reporting.facts import Facts, ReadData
from seq2onnx.reporting.page import html_page, key_figures, section
from seq2onnx.reporting.results import key_scores
from seq2onnx.reporting.sections import SECTIONS


def build_report(source: Path, data: Path | None, read: ReadData, allow_changed: bool = False) -> tuple[bytes, bool]:
    """Measure a model and describe it on one HTML page.

    Args:
        source: a run folder or an ONNX file. Of a run, model.onnx is used; if it does not exist, it is exported.
        data: a data file with sequences, and targets to compare the predictions with.
        read: reads the data by the names of the model's features.
        allow_changed: whether another program may have changed the file.

    Returns:
        The page, and whether all parity checks hold.

    Raises:
        Seq2OnnxError: the source or the data cannot be used.
    """
    facts = Facts(source, data, read, allow_changed)
    latency, name = facts.latency[0], source.resolve().name
    figures = [
        *key_scores(facts.comparison),
        ("parameters", f"{facts.parameters:,}"),
        ("file size, bytes", f"{facts.file_bytes:,}"),
        (f"{latency.of}, median", format_seconds(latency.p50)),
        ("parity", "passed" if facts.parity.ok else "FAILED"),
    ]
    origin = f"{name}, exported for this report" if facts.is_exported else name
    subtitle = f"{origin}; {facts.model.contract.writer}; report of {datetime.date.today().isoformat()}"
    sections = [section(title, *parts) for title, content in SECTIONS.items() if (parts := content(facts))]
    return html_page(facts.network.name or name, subtitle, [key_figures(figures), *sections]), facts.parity.ok
