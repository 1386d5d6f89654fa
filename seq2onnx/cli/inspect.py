"""seq2onnx inspect: show what an ONNX file contains."""

from __future__ import annotations

from seq2onnx.cli.options import AllowChanged, ModelFile, Quiet, show


def inspect(file: ModelFile, allow_changed: AllowChanged = False, quiet: Quiet = False) -> None:
    """Show inputs, outputs, states, classes and network of an exported file."""
    from seq2onnx.network import Network
    from seq2onnx.reporting.description import describe_contract
    from seq2onnx.runtime import load
    from seq2onnx.tables import about, text_table

    del quiet  # results are printed with --quiet too
    model = load(file, allow_changed=allow_changed)
    show(about(file, f"{file.stat().st_size:,} bytes, written by {model.contract.writer}"))
    rows: list[tuple[str, str]] = []
    before = ""
    for label, text in describe_contract(model):
        rows.append(("" if label == before else label, text))
        before = label
    show(f"\n{text_table(rows)}")
    if model.contract.network is None:
        show("\nadd_states made this file of another program's network, so it lists no layers.")
    else:
        show(f"\n{Network.from_dict(model.contract.network, str(file)).summary()}")
