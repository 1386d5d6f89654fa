"""What a file is by its name, for errors: users give a network where a model is expected, or data, and so on."""

from __future__ import annotations

from pathlib import Path

DATA = "data, not {wanted}"
NETWORK = "a network without weights; train it first: `seq2onnx train {path} DATA --out RUN`"
KINDS = {
    **dict.fromkeys((".yaml", ".yml"), NETWORK),
    **dict.fromkeys((".csv", ".parquet", ".npz", ".npy", ".mat", ".ts", ".wav"), DATA),
    **dict.fromkeys(
        (".pt", ".pth", ".ckpt", ".pkl"),
        "a pickle, which seq2onnx does not open; load it in Python, and give the module to from_torch",
    ),
    ".keras": "a network of Keras; `seq2onnx import {path} --out stream.onnx` makes a file of it",
    ".safetensors": "weights without a network; give the run folder that has them",
    ".onnx": "an ONNX file, not {wanted}",
    ".tflite": "a network of LiteRT, which seq2onnx does not read; export the Keras model that it was made of",
}
"""By suffix."""
RUN = ("network.yaml", "options.yaml")
"""What a run folder has in any case."""


def instead(path: str | Path, wanted: str) -> str | None:
    """Return "PATH: is …" for a file or folder that is surely something else than is wanted, and what to do.

    Args:
        path: what the user gave.
        wanted: "a model", "a network", "data" or "a run folder".
    """
    path = Path(path)
    if path.is_dir():
        if not all((path / name).is_file() for name in RUN):
            return None
        model = path / "model.onnx"
        remedy = {
            "a model": f"its model is {model}" if model.is_file() else f"export it first: `seq2onnx export {path}`",
            "a network": f"its network is {path / 'network.yaml'}",
            "data": "give the data that it was trained with, or others",
        }
        return f"{path}: is a run folder; {remedy[wanted]}"
    kind = KINDS.get(path.suffix.lower())
    if kind is None or kind == {"a model": KINDS[".onnx"], "a network": NETWORK, "data": DATA}.get(wanted):
        return None
    if wanted == "data" and kind == NETWORK:
        kind = "a network, not data"
    return f"{path}: is {kind.format(path=path, wanted=wanted)}"
