"""Write the files of this folder, with version 0.1.0 of seq2onnx: python tests/old_files/make.py

This is a record of how the files were made; README.md describes what is in them. Every network is small and has random,
distinct weights; `trained` was trained for two epochs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

import seq2onnx as s2o
from seq2onnx.sequences import PaddingPolicy

VERSION = "0.1.0"
HERE = Path(__file__).parent
MODELS = HERE.parent.parent / "models"
KEPT_MODELS = ("co2", "covid", "spotting", "sunspots", "vowels_lstm")
KEPT_MODELS += ("digits_conv", "digits_gru", "digits_tcn", "vowels_bilstm")
SEQUENCES_OF_MODELS, STEPS_OF_MODELS = 3, 40
LENGTHS = (7, 12, 1, 19)  # of the sequences of a network, unless it needs longer ones
CHUNKS = (1, 1, 3, 0, 2, 1)  # steps of each call of Stream.step, again and again
# onnxruntime before 1.32 keeps the reduced axis of an array without elements, so that pooling over the width failed.
NO_EMPTY_CHUNK = ("space_axis",)
STEPS_BEFORE_SAVE = 4
WORDS = ("good", "bad", "film", "New York", "日本")
TEXTS = (
    ["good", "film"],
    ["a", "bad", "", "film", "日本", "?"],
    ["New York"],
    ["film", "film", "unknown", "bad", "", "good", "good"],
)

STATISTICS = {
    "zerocenter": {"mean": [1.0, -2.0, 0.5]},
    "zscore": {"mean": [0.3, -1.0, 0.5], "std": [1.5, 0.7, 2.0]},
    "rescale_symmetric": {"min": [-2.0, -1.0, -3.0], "max": [2.0, 1.5, 2.5]},
    "rescale_zero_one": {"min": [-2.5, -1.0, -3.0], "max": [2.0, 1.25, 2.0]},
}


def normalized(kind: str, **options: Any) -> s2o.layers.Layer:
    """An input of three features, with statistics."""
    return s2o.SequenceInput(3, kind, statistics=STATISTICS[kind], **options)


def classifier() -> s2o.Network:
    """An LSTM that scores three classes once a sequence."""
    return s2o.Network(
        [normalized("zscore"), s2o.LSTM(6, "last"), s2o.Dropout(0.2), s2o.FullyConnected(3), s2o.Softmax()],
        name="classifier",
    )


def forecaster() -> s2o.Network:
    """A GRU whose answer to a step is the next step."""
    return s2o.Network([normalized("zerocenter"), s2o.GRU(5), s2o.FullyConnected(3)])


def tokens(vocabulary: Any = WORDS) -> s2o.Network:
    """Words, or their numbers, to two classes."""
    return s2o.Network(
        [
            s2o.SequenceInput("tokens"),
            s2o.WordEmbedding(4, vocabulary),
            s2o.LSTM(5, "last"),
            s2o.FullyConnected(2),
            s2o.Softmax(),
        ]
    )


def branches() -> s2o.Network:
    """Two sequences and a vector in, an answer for each step and one for each sequence out."""
    return s2o.Network(
        [
            s2o.SequenceInput(2, name="speed"),
            s2o.SequenceInput(3, "rescale_symmetric", statistics=STATISTICS["rescale_symmetric"], name="load"),
            s2o.FeatureInput(2, name="car"),
            s2o.LSTM(4, name="a", inputs=["speed"]),
            s2o.Conv1d(4, 3, padding="causal", name="b", inputs=["load"]),
            s2o.FullyConnected(4, name="c", inputs=["car"]),
            s2o.Add(name="sum", inputs=["a", "b"]),
            s2o.Concat(name="all", inputs=["sum", "a", "c"]),
            s2o.GRU(3, "last", name="last", inputs=["all"]),
            s2o.FullyConnected(2, name="each_step", inputs=["all"]),
            s2o.FullyConnected(1, name="total", inputs=["last"]),
        ],
        outputs=["each_step", "total"],
    )


def same() -> s2o.Network:
    """Windows that read ahead: streamed with a delay, by lookahead."""
    return s2o.Network(
        [
            normalized("rescale_zero_one"),
            s2o.Conv1d(4, 5, padding="same"),
            s2o.ReLU(),
            s2o.AvgPool1d(3, padding="same"),
            s2o.FullyConnected(2),
        ]
    )


def images() -> s2o.Network:
    """Short films of two channels."""
    return s2o.Network(
        [
            s2o.SequenceInput((2, 6, 5)),
            s2o.Conv2d(3, 3, stride=(2, 1), padding="same"),
            s2o.BatchNorm(),
            s2o.ReLU(),
            s2o.Conv2d(2, (3, 2), dilation=(1, 2)),
            s2o.Flatten(),
            s2o.LSTM(4),
            s2o.FullyConnected(2),
            s2o.Sigmoid(),
        ]
    )


def gru(mode: str) -> s2o.Network:
    """A GRU of one of the three reset modes."""
    return s2o.Network(
        [s2o.SequenceInput(3), s2o.GRU(5, reset_gate_mode=mode), s2o.GRU(2, "last", reset_gate_mode=mode)]
    )


def strided(padding: str) -> s2o.Network:
    """Convolution and pooling with strides, and layers that norm."""
    return s2o.Network(
        [
            s2o.SequenceInput(3),
            s2o.Conv1d(6, 4, stride=2, padding=padding, groups=3),
            s2o.BatchNorm(),
            s2o.MaxPool1d(2, stride=2, padding=padding),
            s2o.LayerNorm(),
            s2o.LSTM(4),
            s2o.Rescale([2.0, -0.5, 0.25, 1.5], [0.1, 0.2, 0.3, 0.4]),
        ]
    )


def dilated() -> s2o.Network:
    """Residual dilated convolutions, then the mean and the largest over time."""
    return s2o.Network(
        [
            s2o.SequenceInput(3, name="x"),
            s2o.Conv1d(4, 1, name="widen"),
            s2o.Conv1d(4, 2, dilation=3, padding="causal", name="conv"),
            s2o.Tanh(name="tanh"),
            s2o.Add(name="block", inputs=["tanh", "widen"]),
            s2o.AvgPool1d(3, padding="causal", count_padding=True, name="pool"),
            s2o.GlobalAvgPool1d(name="mean"),
            s2o.GlobalMaxPool1d(name="most", inputs=["pool"]),
            s2o.Concat(name="both", inputs=["mean", "most"]),
            s2o.FullyConnected(2, name="y"),
        ]
    )


def unpadded() -> s2o.Network:
    """Windows without padding, which need sequences of at least seven steps."""
    return s2o.Network([s2o.SequenceInput(3, min_length=7), s2o.Conv1d(4, 5), s2o.MaxPool1d(3), s2o.GlobalAvgPool1d()])


def other_activations() -> s2o.Network:
    """Recurrent layers whose activations are not the usual ones."""
    return s2o.Network(
        [
            s2o.SequenceInput(3),
            s2o.LSTM(4, state_activation="softsign", gate_activation="hard_sigmoid"),
            s2o.GRU(4, state_activation="softsign", gate_activation="hard_sigmoid"),
            s2o.LSTM(3, "last", state_activation="relu", gate_activation="hard_sigmoid"),
        ]
    )


def space_axis() -> s2o.Network:
    """Windows over the width of a step, and not over time."""
    return s2o.Network(
        [
            s2o.SequenceInput((2, 9)),
            s2o.Conv1d(3, 3, stride=2, padding="same", axis="space"),
            s2o.MaxPool1d(2, axis="space"),
            s2o.GlobalAvgPool1d(axis="space"),
            s2o.GRU(2),
        ]
    )


def bilstm(last: str) -> s2o.Network:
    """Two BiLSTMs, the second to one answer a sequence."""
    return s2o.Network([s2o.SequenceInput(3), s2o.BiLSTM(3), s2o.BiLSTM(2, "last", last=last)])


INT_CLASSES = [10, 20, 30]
NAMED = ["left", "right", "up"]
NETWORKS: dict[str, tuple[s2o.Network, dict[str, Any]]] = {
    "full": (classifier(), {"signature": "full", "classes": NAMED}),
    "sequence": (classifier(), {"signature": "sequence", "classes": NAMED}),
    "stream": (classifier(), {"signature": "stream", "classes": INT_CLASSES}),
    "activations": (classifier(), {"classes": NAMED, "activations": True}),
    "closed_loop": (forecaster(), {"closed_loop": 4}),
    "closed_loop_sequence": (forecaster(), {"closed_loop": 4, "signature": "sequence"}),
    "closed_loop_stream": (forecaster(), {"closed_loop": 3, "signature": "stream"}),
    "forecaster": (forecaster(), {"opset": 21}),
    "words": (tokens(), {"words": True, "classes": ["no", "yes"]}),
    "words_stream": (tokens(), {"words": True, "signature": "stream"}),
    "tokens": (tokens(), {"classes": ["no", "yes"]}),
    "token_ids": (tokens(9), {}),
    "branches": (branches(), {}),
    "branches_lookahead": (branches(), {"lookahead": True, "activations": ["sum", "a"]}),
    "lookahead": (same(), {"lookahead": True}),
    "lookahead_stream": (same(), {"lookahead": True, "signature": "stream"}),
    "images": (images(), {"activations": ["flatten_1"]}),
    "gru_before": (gru("before_multiplication"), {}),
    "gru_after": (gru("after_multiplication"), {}),
    "gru_recurrent_bias": (gru("recurrent_bias_after_multiplication"), {}),
    "other_activations": (other_activations(), {}),
    "bilstm": (bilstm("final_state"), {}),
    "bilstm_last_step": (bilstm("last_step"), {}),
    "strided": (strided("causal"), {}),
    "strided_same": (strided("same"), {}),
    "dilated": (dilated(), {}),
    "dilated_opset_20": (dilated(), {"opset": 20, "signature": "stream"}),
    "space_axis": (space_axis(), {}),
    "unpadded": (unpadded(), {}),
    "split": (classifier(), {}),
    "shortest": (classifier(), {}),
    "six_steps": (tokens(9), {}),
}
POLICIES = {
    "split": PaddingPolicy(("split", 4)),
    "shortest": PaddingPolicy("shortest", padding_direction="left"),
    "six_steps": PaddingPolicy(6, padding_direction="left", mask_padding=False),
}


def main() -> None:
    if s2o.__version__ != VERSION:
        raise SystemExit(f"these files were written by version {VERSION}, this is {s2o.__version__}")
    index = {}
    for seed, (name, (network, options)) in enumerate(NETWORKS.items()):
        rng = np.random.default_rng(seed)
        module = random_module(network, rng)
        module.policy = POLICIES.get(name, module.policy)
        s2o.export(module, HERE / f"{name}.onnx", **options)
        index[name] = {name: value for name, value in options.items() if name != "classes"}
        record(name, sequences_for(network, rng, bool(options.get("words"))))
    train_one()
    record_models()
    index |= {name: {} for name in ("trained", *(f"model_{model}" for model in KEPT_MODELS))}
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(options)}" for name, options in index.items())
    (HERE / "index.json").write_text(f"{{\n{rows}\n}}\n")


def random_module(network: s2o.Network, rng: np.random.Generator) -> Any:
    """A module with random distinct weights."""
    module = s2o.build(network).eval()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            values = rng.normal(0, 0.5, tensor.shape).astype("f")
            tensor.copy_(torch.from_numpy(abs(values) + 0.5 if name.endswith("variance") else values))
    return module


def sequences_for(network: s2o.Network, rng: np.random.Generator, words: bool) -> dict[str, list[np.ndarray]]:
    """By input layer, four sequences of different lengths."""
    if words:
        return {network.inputs[0].label: [np.array(text) for text in TEXTS]}
    lengths = [max(length, *(getattr(layer, "min_length", 1) for layer in network.inputs), 1) for length in LENGTHS]
    found: dict[str, list[np.ndarray]] = {}
    for layer in network.inputs:
        signal = network.signals[layer.label]
        shapes = [(n, *signal.shape) if signal.has_time else signal.shape for n in lengths]
        if signal.dtype == "int64":
            found[layer.label] = [rng.integers(0, 8, shape) for shape in shapes]
        else:
            found[layer.label] = [rng.normal(size=shape).astype("f") for shape in shapes]
    return found


def record(name: str, x: dict[str, list[np.ndarray]]) -> None:
    """Write NAME.npz, the sequences and all answers, and NAME.state.npz where the file streams."""
    model = s2o.load(HERE / f"{name}.onnx")
    given = x if len(x) > 1 else next(iter(x.values()))
    arrays = flat("x", x) | flat("y", by_output(model.predict(given)))
    if x[next(iter(x))][0].dtype.kind == "U":
        x = {layer: [np.array([number(word) for word in text]) for text in texts] for layer, texts in x.items()}
        arrays |= flat("numbers", x)
    arrays |= flat("torch", by_torch(s2o.restore(HERE / f"{name}.onnx"), x))
    if model.classes is not None:
        arrays["labels"] = np.asarray(model.classify(given))
    layers = [output.removeprefix("act_") for output in model.shapes if output.startswith("act_")]
    layers = [layer for layer in layers if not layer.endswith("_lengths")]
    if layers:
        arrays |= flat("activation", model.predict(given, outputs=layers))
    if name in ("forecaster", "closed_loop"):
        arrays |= flat("forecast", {"y": model.forecast(given, 9)})
    if model.signature != "sequence":
        given = given if isinstance(given, dict) else {next(iter(x)): given}
        arrays |= streamed(model, {layer: rows[-1] for layer, rows in given.items()}, HERE / f"{name}.state.npz")
    np.savez_compressed(HERE / f"{name}.npz", **arrays)


def streamed(model: s2o.Predictor, sequence: dict[str, np.ndarray], saved: Path) -> dict[str, np.ndarray]:
    """The answers to one sequence: of each chunk, of each single step, and of what follows a saved state."""
    timed = {entry.layer for entry in model.inputs if entry.has_time}
    steps = len(sequence[next(iter(timed))])

    def cut(start: int, stop: int) -> Any:
        part = {layer: array[start:stop] if layer in timed else array for layer, array in sequence.items()}
        return part if len(part) > 1 else next(iter(part.values()))

    def one(step: int) -> Any:
        part = {layer: array[step] if layer in timed else array for layer, array in sequence.items()}
        return part if len(part) > 1 else next(iter(part.values()))

    sizes = [size for size in CHUNKS if size or model.path.stem not in NO_EMPTY_CHUNK]
    stream, at, chunks, answers = model.stream(), 0, [], []
    while at < steps:
        size = sizes[len(chunks) % len(sizes)]
        answers.append(stream.step(cut(at, at + size)))
        chunks.append(size)
        at += size
    if model.lookahead:
        answers.append(stream.finish())
    stream.reset()
    singles = [stream.step(one(step)) for step in range(STEPS_BEFORE_SAVE)]
    stream.save(saved)
    singles += [stream.step(one(step)) for step in range(STEPS_BEFORE_SAVE, steps)]
    arrays = {"chunks": np.array(chunks)}
    for kind, parts in (("chunk", answers), ("step", singles)):
        for output in by_output(parts[0]):
            mine = [by_output(part)[output] for part in parts]
            arrays[f"{kind}/{output}"] = np.concatenate([part.reshape(-1, part.shape[-1]) for part in mine])
    return arrays


def number(word: str) -> int:
    """The number of a word in the vocabulary."""
    return 0 if word == "" else WORDS.index(word) + 1 if word in WORDS else len(WORDS) + 1


def by_torch(module: Any, x: dict[str, list[np.ndarray]]) -> dict[str, list[np.ndarray]]:
    """What the torch module answers to each sequence alone and unpadded, by output."""
    found: dict[str, list[np.ndarray]] = {}
    for row in zip(*x.values(), strict=True):
        tensors = {layer: torch.from_numpy(array[None]) for layer, array in zip(x, row, strict=True)}
        with torch.no_grad():
            y, _, _ = module(tensors if len(tensors) > 1 else next(iter(tensors.values())))
        for output, answer in by_output(y).items():
            found.setdefault(output, []).append(answer[0].numpy())
    return found


def by_output(answer: Any) -> dict[str, Any]:
    """An answer by output; of one output its name is y."""
    return answer if isinstance(answer, dict) else {"y": answer}


def flat(kind: str, arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    """The names of an npz: kind/layer/number."""
    return {f"{kind}/{name}/{i:02d}": np.asarray(row) for name, rows in arrays.items() for i, row in enumerate(rows)}


def train_one() -> None:
    """A run folder of a network trained with padding as data, and what is exported of it."""
    rng = np.random.default_rng(99)
    x = [rng.normal(size=(length, 3)).astype("f") for length in rng.integers(3, 12, 24)]
    labels = [INT_CLASSES[int(sequence.mean(0).argmax())] for sequence in x]
    data = s2o.SequenceDataset(x, labels, INT_CLASSES)
    network = s2o.Network(
        [
            s2o.SequenceInput(3, "zscore"),
            s2o.GRU(5),
            s2o.BatchNorm(),
            s2o.LSTM(4, "last"),
            s2o.FullyConnected(3),
            s2o.Softmax(),
        ]
    )
    padding = {"sequence_length": 9, "padding_value": 0.5, "padding_direction": "left", "mask_padding": False}
    options = s2o.TrainingOptions(epochs=2, batch_size=8, learning_rate=0.02, device="cpu", progress=False, **padding)
    run = HERE / "run"
    shutil.rmtree(run, ignore_errors=True)
    result = s2o.train(network, data, data, options=options, run_dir=run, logger=False)
    for picture in run.glob("*.png"):
        picture.unlink()
    assert result.module.policy == PaddingPolicy(**padding)
    s2o.export(result.module, HERE / "trained.onnx")
    record("trained", {network.inputs[0].label: x})
    arrays = dict(np.load(HERE / "trained.npz"))
    np.savez_compressed(HERE / "trained.npz", **arrays, targets=np.array(labels))


def record_models() -> None:
    """models.npz: what the shipped models answer to the first sequences of their test slices; and some of them."""
    arrays = {}
    for folder in sorted(path for path in MODELS.iterdir() if path.is_dir()):
        model = s2o.load(folder / "model.onnx")
        (data,) = folder.glob("test_slice.*")
        column = s2o.SequenceDataset.load(data).sequences
        sequences = [np.asarray(column[i])[:STEPS_OF_MODELS] for i in range(min(SEQUENCES_OF_MODELS, len(column)))]
        arrays |= flat(f"{folder.name}/y", by_output(model.predict(sequences)))
        arrays[f"{folder.name}/sha256"] = np.array(hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest())
        if folder.name in KEPT_MODELS:
            shutil.copy(folder / "model.onnx", HERE / f"model_{folder.name}.onnx")
            record(f"model_{folder.name}", {model.inputs[0].layer: [x.astype("f") for x in sequences]})
    np.savez_compressed(HERE / "models.npz", **arrays)


if __name__ == "__main__":
    main()
