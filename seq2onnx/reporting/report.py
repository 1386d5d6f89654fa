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
    """Describe a model, see `Facts`, on one HTML page; return the page, and whether all parity checks hold."""
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
