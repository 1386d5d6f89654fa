"""export: a network as one ONNX file, by the contract of docs/onnx-contract.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

import seq2onnx
from seq2onnx.contract import Contract, ContractState, Form, Signature, Storage, input_names
from seq2onnx.errors import DataError, ModelFileError, SpecError
from seq2onnx.exporting.emission import EMISSION, Weights
from seq2onnx.exporting.model_proto import to_model
from seq2onnx.exporting.names import Label, channels_of, check_classes, classes_of
from seq2onnx.exporting.options import ExportOptions, ExportPlan
from seq2onnx.exporting.storage import emit_stored, module_weights
from seq2onnx.exporting.words import vocabularies
from seq2onnx.files import write_atomically
from seq2onnx.modelfile import CHANGED, check_file
from seq2onnx.modelfile.contract_rules import wrong_text
from seq2onnx.network import Network, input_channels
from seq2onnx.sequences import Channels, DataInfo

if TYPE_CHECKING:
    from seq2onnx.building.module import SequenceModule

NEWEST_OPSET = 25
"""The newest that the oldest supported onnxruntime opens. Files of later ones, which 0.1 wrote, can be read."""


def export(
    module: SequenceModule,
    path: str | Path,
    signature: Signature | None = None,
    classes: Sequence[Label] | Mapping[Label, Label] | None = None,
    opset: int = 17,
    lookahead: bool = False,
    *,
    activations: Sequence[str] | bool = (),
    closed_loop: int | None = None,
    words: bool = False,
    channels: Channels = None,
    form: Form = "dynamic",
    weights: Storage = "float32",
) -> None:
    """Write a trained module to one ONNX file that contains everything needed to run it.

    Args:
        module: a module from `build` or `train`.
        path: the file. It is replaced only when the new one is complete.
        signature: inputs and outputs of the file: "full" (x, lengths, states), "sequence" (x, lengths), "stream"
            (x, states). None: "full" if the network can stream, else "sequence".
        classes: the labels of the scores, in order. None: those that the module was trained on, if any. A dict renames
            these: {"old": "new"}, with each of them. A list is for a module that was not trained on labels.
        opset: version of the ONNX operators, up to 25. The IR version of the file follows from it.
        lookahead: stream with a delay if windows read future steps. The file then always has the output `y_lengths`,
            and the input `end`, which is 1 in the last chunk of a row.
        activations: names of layers whose results the file also outputs, or True for all layers.
        closed_loop: the number K of steps to forecast, each from the one before: y is [batch, K, features]. For
            networks with one input and one output of the same size, with an output for each step.
        words: x is strings [batch, time], which the file looks up in the vocabulary of its WordEmbedding. "" is
            padding. For networks with one input, SequenceInput("tokens").
        channels: the names of the features, a list or for several inputs a dict by layer; of images the names of the
            channels. None: those that the module was trained on, if any. New names may replace these, in their order.
        form: how the graph is written. "dynamic": for onnxruntime, batches of any size and length. "step": one sequence
            and one step of time in each run, or as many steps as strides need; only plain arithmetic on fixed shapes,
            for any runtime and for C. "portable": batches for runtimes that ignore the lengths of sequences.
        weights: how the file stores the weights: "float32", "float16" (about half of the size) or "int8" (about a
            third). It calculates in float32 with all of them. `compare_files` shows what that changes.

    Raises:
        SpecError: the options, classes or channels do not fit the network, or `load` would refuse the file.
        NotStreamable: the file has states, or there is a closed loop, and the network cannot stream.
        DataError: a weight is NaN or infinite.

    Example:
        >>> export(result.module, "vowels.onnx", classes=data.classes)
    """
    # A Network or a TrainingResult is an easy mistake, and would fail far from here.
    if not hasattr(module, "network") or not hasattr(module, "layers"):
        raise SpecError(f"export: expected a module, such as result.module, got {type(module).__name__}")
    options = ExportOptions(signature, opset, lookahead, activations, closed_loop, words, form, weights)
    if opset > NEWEST_OPSET:
        raise SpecError(
            f"opset: must be at most {NEWEST_OPSET}, got {opset}; onnxruntime 1.24.1 does not open files of later "
            "ones, and no layer needs them"
        )
    arrays = module_weights(module)
    for name, of_layer in arrays.items():
        for key, array in of_layer.items():
            if not np.isfinite(array).all():
                raise DataError(f"{name}.{key}: contains NaN or infinity; train again, with a lower learning rate")
    info = dataclasses.replace(
        module.data_info,
        classes=classes_of(module, classes),
        channels=input_channels(module.network, channels_of(module, channels)),
    )
    if closed_loop is not None and module.quantiles is not None:
        raise SpecError(
            "closed_loop: the outputs of this network are quantiles, not values to feed back; export it without"
        )
    model = build_model(module.network, arrays, options, info)
    content = model.SerializeToString()
    _check_opens(content, Path(path))
    write_atomically(path, content)


def _check_opens(content: bytes, path: Path) -> None:
    """Raise SpecError if `load` would refuse the file."""
    try:
        check_file(content, path)
    except ModelFileError as error:
        reason = str(error).removeprefix(f"{path}: ").removesuffix(CHANGED)
        raise SpecError(
            f"export: this network is beyond what `load` opens with these options: {reason}. Make it smaller, or "
            "choose other options"
        ) from None


def build_model(
    network: Network, weights: Weights, options: ExportOptions | None = None, data_info: DataInfo | None = None
) -> onnx.ModelProto:
    """Build the ONNX model of a network. It needs no torch.

    Args:
        network: the network.
        weights: numpy arrays by layer and weight.
        options: the options of the export. None: the defaults.
        data_info: what the inputs and outputs stand for. None: nothing is known.

    Raises:
        SpecError: the options, classes or channels do not fit the network.
        NotStreamable: as in `export`.
    """
    plan = ExportPlan.of(network, options or ExportOptions())
    graph = emit_stored(plan, weights)
    properties = describe(plan, data_info or DataInfo()).properties()
    return to_model(graph, plan.options.opset, network.name or "network", properties, seq2onnx.__version__)


def describe(plan: ExportPlan, data_info: DataInfo) -> Contract:
    """Return the contract of the file that this plan exports."""
    network, options = plan.network, plan.options
    clocks = [network.signals[name].clock for name in network.outputs]
    assert options.signature is not None
    is_step = options.form == "step"
    contract = Contract(
        network=network.to_dict(every_field=True),
        classes=check_classes(network, data_info.classes),
        signature=options.signature,
        states=tuple(
            ContractState(
                e.input_name, e.output_name, e.state.shape, e.state.dtype, e.state.kind, e.layer, e.state.name
            )
            for e in plan.states or ()
        ),
        time_stride=plan.steps_per_run if is_step else max(clock.stride for clock in clocks),
        min_length=max(layer.fewest_steps for layer in network.inputs),
        delay_steps=max(clock.delay for clock in clocks),
        data_policy=dataclasses.asdict(data_info.policy),
        vocabulary=vocabularies(network),
        writer=f"seq2onnx {seq2onnx.__version__}",
        closed_loop=options.closed_loop,
        form=options.form,
        weights=options.weights,
        options=dataclasses.asdict(options),
        emission=EMISSION,
        channels=input_channels(network, data_info.channels),
        missing=any(network.signals[layer.label].missing for layer in network.inputs),
        sample_rate=network.sample_rate or data_info.sample_rate,
        training=data_info.training_statistics.to_dict() if data_info.training_statistics else None,
        steps=_steps(plan) if is_step else None,
        answer="events" if network[network.outputs[0]].decides else "quantiles" if data_info.quantiles else None,
        quantiles=list(data_info.quantiles) if data_info.quantiles else None,
    )
    if wrong := wrong_text(contract):
        raise SpecError(f"{wrong}; no file may have it: rename it")
    return contract


def _steps(plan: ExportPlan) -> dict[str, int]:
    """Return the steps of each input and output of a step file that has a time axis."""
    names = [*input_names(layer.label for layer in plan.network.inputs).items(), *plan.output_names]
    clocks = {name: plan.signals[label].clock for label, name in names if plan.signals[label].has_time}
    return {name: plan.steps_per_run // clock.stride for name, clock in clocks.items()}
