"""Make one file of a wake word of openWakeWord: mel frames in, a score every 80 ms out.

    python tools/wake_word.py alexa_v0.1 --out alexa.onnx

The embedding network and the classifier, which openWakeWord runs one after the other on windows that it buffers, become
one network that streams. Its scores are compared with those of the two files. pip downloads them; they are no part of
seq2onnx. The pre-trained networks of openWakeWord, and so the file that is written, have the licence CC BY-NC-SA 4.0:
no commercial use.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from real_data import download

import seq2onnx as s2o

PACKAGE, MODELS = "openwakeword==0.4.0", "openwakeword/resources/models"
SAMPLES, BEFORE = 1280, 480  # of a turn of the package, and those before it that it reads again
FRAMES, EMBEDDINGS = 76, 16  # that the embedding network and the classifiers read
Array = NDArray[np.float32]


def join(first: s2o.SequenceModule, second: s2o.SequenceModule, name: str) -> s2o.SequenceModule:
    """Return one module: the input of the second network reads the output of the first."""
    entry, (last,) = second.network.layers[0].label, first.network.outputs
    after = [
        dataclasses.replace(layer, inputs=[last if label == entry else label for label in layer.inputs or ()])
        for layer in second.network.layers[1:]
    ]
    module = s2o.build(s2o.Network([*first.network.layers, *after], name=name))
    module.load_state_dict(first.state_dict() | second.state_dict())
    return module


def make(folder: Path, name: str) -> s2o.SequenceModule:
    """Return the network of a wake word from the files of the package."""
    embedding = s2o.from_onnx(folder / "embedding_model.onnx", axes="BTWC", window=1)
    return join(embedding, s2o.from_onnx(folder / f"{name}.onnx", axes="BTC", window=EMBEDDINGS), name)


def mel_frames(folder: Path, audio: NDArray[np.int16]) -> Array:
    """Return the mel frames [time, 1, 32] that the package makes of audio at 16 kHz, 80 ms at a time."""
    session = onnxruntime.InferenceSession(folder / "melspectrogram.onnx")
    turns = []
    for end in range(SAMPLES, len(audio) + 1, SAMPLES):
        x = audio[max(0, end - SAMPLES - BEFORE) : end]
        turns.append(session.run(None, {"input": x[None].astype(np.float32)})[0].reshape(-1, 1, 32) / 10 + 2)
    return np.concatenate(turns).astype(np.float32)


def own_logits(folder: Path, name: str, frames: Array) -> Array:
    """Return what the package's files give: of the last 16 embeddings, each of 76 frames, every 8 frames.

    The scores before their sigmoid: scores near 0 would hide differences.
    """
    classifier = onnx.load(folder / f"{name}.onnx")
    (sigmoid,) = (node for node in classifier.graph.node if node.op_type == "Sigmoid")
    classifier.graph.output.append(onnx.ValueInfoProto(name=sigmoid.input[0]))
    second = onnxruntime.InferenceSession(classifier.SerializeToString())
    first = onnxruntime.InferenceSession(folder / "embedding_model.onnx")
    starts = range(0, len(frames) - FRAMES + 1, 8)
    windows = [frames[start : start + FRAMES].swapaxes(1, 2)[None] for start in starts]
    found = np.stack([first.run(None, {"input_1": x})[0].ravel() for x in windows])
    entry = second.get_inputs()[0].name
    windows = [found[None, at : at + EMBEDDINGS] for at in range(len(found) - EMBEDDINGS + 1)]
    return np.concatenate([second.run([sigmoid.input[0]], {entry: x})[0] for x in windows])


def without_sigmoid(module: s2o.SequenceModule) -> s2o.SequenceModule:
    """Return the network that gives what the sigmoid reads."""
    return s2o.without(module, module.network.outputs)


def main() -> None:
    """Write the file of a wake word, and compare it with the files of the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="alexa_v0.1", help="the classifier (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("wake_word.onnx"), help="(default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, MODELS)
        zipfile.ZipFile(io.BytesIO(download(PACKAGE))).extractall(name)
        module, logits = make(folder, arguments.name), Path(name, "logits.onnx")
        s2o.export(module, arguments.out, lookahead=True)
        s2o.export(without_sigmoid(module), logits, lookahead=True)
        audio = np.random.default_rng(0).normal(0, 3000, 16000 * 10).astype(np.int16)
        frames = mel_frames(folder, audio)
        own = own_logits(folder, arguments.name, frames)
        stream = s2o.load(logits).stream()
        found = np.concatenate([stream.step(frames[at : at + 8]) for at in range(0, len(frames), 8)])
    difference, largest = np.abs(found - own).max(), np.abs(own).max()
    print(
        f"{arguments.out}: before the sigmoid, {len(found)} scores of 10 s of noise differ by up to {difference:.1e}, "
        f"of values up to {largest:.3g}"
    )


if __name__ == "__main__":
    main()
