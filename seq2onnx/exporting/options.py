"""ExportOptions: the choices of an export. ExportPlan: those choices applied to a network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import get_args

import onnx

from seq2onnx.contract import Contract, Form, Signature, Storage, activation_name, choices, output_names
from seq2onnx.errors import NotStreamable, SpecError
from seq2onnx.exporting.words import words_to_look_up
from seq2onnx.integers import whole_number
from seq2onnx.layers import Signal
from seq2onnx.network import Network, NetworkState

OLDEST_OPSET = 17  # the first with LayerNormalization
OLDEST_OPSET_OF_STEP = 13  # the first whose Squeeze, Unsqueeze and Split take axes and sizes as inputs

_NO_WORDS = "; export without words: the file then takes the numbers of the words, and predict looks them up"
UNFIT: dict[str, dict[str, str]] = {
    "step": {
        "lookahead": '; export with form="dynamic", or use padding="causal" and no layer that reads ahead',
        "closed_loop": '; feed each y back as the next x, which model.forecast does, or use form="portable"',
        "words": _NO_WORDS,
    },
    "portable": {"words": f", because other runtimes do not take texts{_NO_WORDS}"},
}
"""The options that files of a form cannot have, each with the remedy."""


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """The choices of an export; `export` describes each of them."""

    signature: Signature | None = None
    opset: int = 17
    lookahead: bool = False
    activations: Sequence[str] | bool = ()
    closed_loop: int | None = None
    words: bool = False
    form: Form = "dynamic"
    weights: Storage = "float32"

    def __post_init__(self) -> None:
        if self.signature not in (None, *get_args(Signature)):
            raise SpecError(f"signature: must be {choices(Signature)}, got {self.signature!r}")
        oldest = OLDEST_OPSET_OF_STEP if self.form == "step" else OLDEST_OPSET
        whole_number(self.opset, "opset", oldest, onnx.defs.onnx_opset_version())
        if self.weights not in get_args(Storage):
            raise SpecError(f"weights: must be {choices(Storage)}, got {self.weights!r:.60}")
        if self.closed_loop is not None:
            whole_number(self.closed_loop, "closed_loop")
        if not isinstance(self.words, bool):
            received = f"got {self.words!r:.60}; the words themselves belong to the WordEmbedding"
            raise SpecError(f"words: must be True or False, {received}")
        if self.signature == "sequence" and self.lookahead:
            raise SpecError('lookahead: needs states, which signature "sequence" does not have')
        if isinstance(self.activations, str):
            raise SpecError(f"activations: expected a list of layer names, got the string {self.activations!r}")
        if self.form == "step" and self.signature not in (None, "stream"):
            raise SpecError(
                f'form: "step" takes x and states, as signature="stream"; got signature={self.signature!r}. Leave '
                'signature out, or use form="portable" for whole sequences'
            )
        if self.form == "portable" and self.signature == "stream":
            raise SpecError(
                'form: "portable" takes lengths; got signature="stream", which does not. Use signature="full", or '
                'form="step" for one step in each run'
            )
        for name, remedy in UNFIT.get(self.form, {}).items():
            if getattr(self, name) not in (None, False):
                raise SpecError(f'{name}: a file with form="{self.form}" cannot have it{remedy}')

    @classmethod
    def of_contract(cls, contract: Contract, has_end: bool) -> ExportOptions:
        """Return the options that a file was exported with; files of version 0.1 do not record all of them."""
        if contract.options is not None:
            known = {field.name for field in dataclasses.fields(cls)}
            return cls(**{name: value for name, value in contract.options.items() if name in known})
        return cls(contract.signature, lookahead=has_end, closed_loop=contract.closed_loop)


@dataclasses.dataclass(frozen=True)
class ExportPlan:
    """A network and the options of its export, with everything derived from the two.

    Attributes:
        network: the network.
        options: the options, with the signature chosen and the activations listed.
        signals: the output of each layer.
        states: the states of the file, in order. None: the signature has none.
        loop_states: the states of the closed loop, which it has with any signature.
        words: the words that the file looks up. None: it takes numbers.
    """

    network: Network
    options: ExportOptions
    signals: Mapping[str, Signal]
    states: tuple[NetworkState, ...] | None
    loop_states: tuple[NetworkState, ...]
    words: Sequence[str] | None

    @property
    def output_names(self) -> list[tuple[str, str]]:
        """The layers whose results the file has, each with its tensor: the outputs of the network, then activations."""
        activations = [(label, activation_name(label)) for label in self.options.activations]  # type: ignore[union-attr]
        return [*output_names(self.network.outputs).items(), *activations]

    @property
    def steps_per_run(self) -> int:
        """The steps of x in each run of a step file: the least common multiple of all strides."""
        return math.lcm(*(signal.clock.stride for signal in self.signals.values()))

    @classmethod
    def of(cls, network: Network, options: ExportOptions) -> ExportPlan:
        """Apply the options to a network.

        Raises:
            SpecError: they do not fit the network.
            NotStreamable: the signature has states, and the network cannot stream; or a layer gives no result in the
                first runs of a step file.
        """
        loop_states = () if options.closed_loop is None else closed_loop_states(network, options)
        signature, states = _signature(network, options)
        activations = options.activations
        if isinstance(activations, bool):
            activations = list(network.reads) if activations else []
        activations = tuple(network[name].label for name in dict.fromkeys(activations))
        plan = cls(
            network,
            dataclasses.replace(options, signature=signature, activations=activations),
            network.infer(options.lookahead),
            states,
            loop_states,
            words_to_look_up(network) if options.words else None,
        )
        if options.form == "step":
            plan._check_first_run()
        return plan

    def _check_first_run(self) -> None:
        """Raise NotStreamable if a layer of a step file gives no result in the first run."""
        steps = self.steps_per_run
        for label, signal in self.signals.items():
            if signal.has_time and signal.clock.length(steps) != steps // signal.clock.stride:
                raise NotStreamable(
                    f"{label}: gives no result before step {signal.clock.fewest_steps}, and each run of a file with "
                    'form="step" must give one; use padding="causal", or form="dynamic"'
                )


def _signature(network: Network, options: ExportOptions) -> tuple[Signature, tuple[NetworkState, ...] | None]:
    """Choose the signature, and compute the states that the file then has."""
    if options.signature == "sequence":
        return "sequence", None
    try:
        states = network.states(options.lookahead)
        if options.form == "step":  # each run has a multiple of all strides, so a phase is always 0
            return "stream", tuple(entry for entry in states if entry.state.kind != "phase")
        return options.signature or "full", states
    except NotStreamable as error:
        if options.form == "step":
            raise NotStreamable(f'{error}. A file with form="step" runs step by step') from None
        if options.signature is None and not options.lookahead:
            return "sequence", None
        raise NotStreamable(f'{error}. Or export with signature="sequence", for whole sequences only') from None


def closed_loop_states(network: Network, options: ExportOptions) -> tuple[NetworkState, ...]:
    """Return the states of the loop; raise SpecError or NotStreamable if the network cannot run in a closed loop."""
    if options.lookahead or options.activations:
        raise SpecError(
            f"closed_loop: cannot have {'lookahead' if options.lookahead else 'activations'}; export a second file "
            "with it"
        )
    inputs, outputs = [layer.label for layer in network.inputs], list(network.outputs)
    if len(inputs) > 1 or len(outputs) > 1:
        raise SpecError(
            f"closed_loop: needs one input and one output, because the output is the next input, got {inputs} and "
            f"{outputs}; model.forecast takes known future values of other inputs, and loops outside the file"
        )
    source, answer = network.signals[inputs[0]], network.signals[outputs[0]]
    needs_each_step = "the loop needs an output at each step"
    if not answer.has_time:
        raise SpecError(
            f"closed_loop: {outputs[0]} gives one output per sequence, {answer}; {needs_each_step}: use "
            'output_mode="sequence" and no global pooling'
        )
    if (source.shape, source.dtype) != (answer.shape, answer.dtype):
        raise SpecError(
            f"closed_loop: the output of {outputs[0]}, {answer.dtype} {answer}, is fed back into {inputs[0]}, which "
            f"takes {source.dtype} {source}; in a closed loop the output must have the shape and type of the input"
        )
    if answer.clock.stride != 1:
        raise SpecError(
            f"closed_loop: {outputs[0]} gives an output every {answer.clock.stride} steps; {needs_each_step}: use "
            "stride=1"
        )
    try:
        states = network.states()
    except NotStreamable as error:
        raise NotStreamable(f"closed_loop: runs step by step, without lookahead. {error}") from None
    if answer.clock.windows:
        raise SpecError(
            f"closed_loop: {outputs[0]} gives no output before step {answer.clock.fewest_steps}; {needs_each_step}: "
            'use padding="causal"'
        )
    return states
