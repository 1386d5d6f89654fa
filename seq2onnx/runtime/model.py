"""Model: an open file, with its tensors as objects and one way to run it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from seq2onnx.contract import END, LENGTHS, Contract, ContractState
from seq2onnx.errors import ModelFileError, NotStreamable
from seq2onnx.layer_facts import largest_phase
from seq2onnx.modelfile import CheckedFile
from seq2onnx.runtime.inputs import read_inputs
from seq2onnx.runtime.outputs import Answer, Lengths, Output, read_outputs
from seq2onnx.runtime.session import SessionSettings, cannot_run
from seq2onnx.runtime.states import MOST_COUNT, DeviceStates, StateInfo
from seq2onnx.runtime.step_runs import run_steps
from seq2onnx.sequences import Array
from seq2onnx.sequences.training_distance import Distance


class Results(NamedTuple):
    """The result of a run: the values of each output, by layer, and the new states in order."""

    answers: dict[str, Answer]
    states: list[Array]


class Model:
    """An exported file that is open in onnxruntime.

    Args:
        file: the file, which was read and checked.
        settings: how onnxruntime opens it.

    Attributes:
        path: the file.
        device: "cpu" or "cuda".
        allow_changed: whether another program may have changed the file.
        session: onnxruntime's session.
        contract: the metadata of the file.
        inputs: the data inputs, in the order of the file.
        outputs: the outputs of the network.
        activations: the other outputs, by layer.
        states: the states, in order.
        takes_lengths: whether the valid steps of each row are an input.
        lookahead: whether results come with a delay. The file then has an input for the end of a row.
        closed_loop: how many steps the file forecasts in one run, or None.
        kept_inputs: inputs without time that a stream must keep, because `finish` runs without data.
        stream_states: all that a stream must keep: the states and the kept inputs.
        keeps_states_on_device: whether streams leave their states on the device.
    """

    def __init__(self, file: CheckedFile, settings: SessionSettings) -> None:
        self.path, self.device, self.allow_changed = file.path, settings.device, file.allow_changed
        self.contract = file.contract
        self.session = settings.open(file, limited=self.contract.network is None and not self.allow_changed)
        # `weights_checksum` reads the weights only if a state is saved or loaded.
        self._file = None if self.contract.signature == "sequence" else file
        # onnxruntime's GRU ends the process if it has no steps, and no input that says how many it has.
        self._needs_steps = any(
            node.op == b"GRU" and not (node.inputs[4:5] or [b""])[0] for node in file.onnx.graph.nodes
        )
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        self.inputs = read_inputs(inputs, self.contract)
        self.outputs, self.activations = read_outputs(outputs, self.contract)
        shapes = {output.tensor: output.shape for output in (*self.outputs, *self.activations.values())}
        for tensor, shape in shapes.items():
            if not all(isinstance(size, int) for size in shape):
                raise ModelFileError(
                    f"{self.path}: {tensor} is computed with another shape than the file declares: its graph was "
                    "changed"
                )
        self.states = tuple(
            StateInfo(
                state.input, state.output, (1, *state.shape), np.dtype(state.dtype), _largest(state, self.contract)
            )
            for state in self.contract.states
        )
        names = {entry.name for entry in inputs}
        self.takes_lengths, self.lookahead = LENGTHS in names, END in names
        self.closed_loop = self.contract.closed_loop
        self.kept_inputs = tuple(entry for entry in self.inputs if self.lookahead and not entry.has_time)
        self.stream_states = self.states + tuple(
            StateInfo(entry.tensor, entry.tensor, (1, *entry.shape), entry.dtype) for entry in self.kept_inputs
        )
        # onnxruntime binds numbers only, and without a binding the states come back to the host.
        # A step file is for small hosts.
        self.keeps_states_on_device = (
            self.device != "cpu"
            and self.contract.form != "step"
            and not any(entry.takes_words for entry in self.inputs)
        )

    @cached_property
    def training_distances(self) -> dict[str, Distance]:
        """How far sequences are from the training data, for each input of numbers; empty if that is not known."""
        trained = self.contract.data_info.training_statistics
        return {} if trained is None else {layer: Distance(found) for layer, found in trained.inputs.items()}

    @cached_property
    def weights_checksum(self) -> str:
        """A checksum of the weights."""
        assert self._file is not None
        digest = hashlib.sha256()
        for tensor in sorted(self._file.onnx.graph.initializers):
            if b"." in tensor.name:
                start, stop = tensor.raw or (0, 0)
                digest.update(repr((tensor.name, tensor.dims, tensor.dtype)).encode())
                digest.update(memoryview(self._file.content)[start:stop])
        return digest.hexdigest()

    @property
    def can_bind_steps(self) -> bool:
        """Whether a step is one float array in and one out, so that its buffers can be bound once."""
        (entry, *more), (output, *others) = self.inputs, self.outputs
        plain = entry.has_time and not entry.is_tokens and output.lengths_tensor is None
        return plain and not (more or others or self.lookahead)

    @property
    def can_bind_chunks(self) -> bool:
        """Whether a chunk is one float array, so that its buffers can be bound."""
        (entry, *more) = self.inputs
        return entry.has_time and not entry.is_tokens and not more and self.contract.form != "step"

    def zeros(self, rows: int) -> list[Array]:
        """Return the initial states of `rows` rows."""
        return [state.zeros(rows) for state in self.states]

    def no_steps(self, kept: Mapping[str, Array], rows: int) -> dict[str, Array]:
        """Return the inputs of a run that only ends sequences, by layer; those without time are in `kept`."""
        return {
            entry.layer: np.zeros((rows, 0, *entry.shape), entry.dtype) if entry.has_time else kept[entry.layer]
            for entry in self.inputs
        }

    def device_states(self) -> DeviceStates:
        """Return a place for states on the device of the model."""
        return DeviceStates(self.session, self.states, self.device)

    def run(
        self,
        x: Mapping[str, Array],
        lengths: Lengths,
        states: Sequence[Array] | None = None,
        end: bool | Array = True,
        outputs: Sequence[Output] | None = None,
        on_device: DeviceStates | None = None,
    ) -> Results:
        """Run the network once on a batch of rows.

        Args:
            x: by input layer [batch, time, …], or [batch, …] without time.
            lengths: the valid steps of each row [batch]; files that take none need rows of equal length.
            states: where to continue. None: at the start, and no new states are returned.
            end: whether rows end with this chunk, for files with lookahead.
            outputs: the outputs to return. None: the outputs of the network.
            on_device: where the new states stay instead of being returned; `states` must then be given, too.
        """
        outputs = self.outputs if outputs is None else outputs
        if self.contract.form == "step":
            before = self.zeros(len(lengths)) if states is None else states
            run = partial(self._run, self.session.run)
            results = run_steps(run, self.contract, self.inputs, outputs, self.states, x, lengths, before)
            return Results(results[0], [] if states is None else results[1])
        rows, steps = len(lengths), next((x[entry.layer].shape[1] for entry in self.inputs if entry.has_time), None)
        if self._needs_steps and not steps:
            raise ModelFileError(f"{self.path}: its GRU cannot run a chunk without steps; leave such chunks out")
        if steps == 0 and self.contract.emission is None and self.contract.network is not None:
            # A file of version 0.1. Some of their graphs fail on an empty array in onnxruntime before 1.32.
            if self.takes_lengths:  # one step of which none is valid is the same
                x = {**x, **{e.layer: np.zeros((rows, 1, *e.shape), e.dtype) for e in self.inputs if e.has_time}}
            elif self._gives_nothing_for_nothing(outputs) and states is not None and on_device is None:
                empty = {output.layer: np.zeros((rows, 0, *output.shape), output.dtype) for output in outputs}
                return Results({o.layer: Answer(o, empty[o.layer], lengths) for o in outputs}, list(states))
        feeds: dict[str, Array] = {entry.tensor: x[entry.layer] for entry in self.inputs}
        if self.takes_lengths:
            feeds[LENGTHS] = lengths
        if self.lookahead:
            feeds[END] = np.full(len(lengths), end, np.int32)
        names = [output.tensor for output in outputs]
        names += [output.lengths_tensor for output in outputs if output.lengths_tensor is not None]
        if on_device is not None and states is not None:
            values = self._run(on_device.run, feeds, names, states)
        elif states is not None:
            feeds |= {state.name: array for state, array in zip(self.states, states, strict=True)}
            values = self._run(self.session.run, [*names, *(state.new_name for state in self.states)], feeds)
        else:
            feeds |= {state.name: state.zeros(len(lengths)) for state in self.states}
            values = self._run(self.session.run, names, feeds)
        at, answers = len(outputs), {}
        for output, value in zip(outputs, values, strict=False):
            valid = lengths
            if output.lengths_tensor is not None:
                valid, at = values[at], at + 1
            has_steps_of_x = output.has_time and output.lengths_tensor is None
            if has_steps_of_x and steps == 0:
                value = value[:, :0]
            between = (steps or 0,) if has_steps_of_x else value.shape[1 : 1 + output.has_time]
            if value.shape != (rows, *between, *output.shape):
                raise self._wrong_shape(output.tensor, value.shape, rows)
            answers[output.layer] = Answer(output, value, valid)
        new = values[at:]
        for state, value in zip(self.states, new, strict=False):
            if value.shape != (rows, *state.shape[1:]):
                raise self._wrong_shape(state.new_name, value.shape, rows)
        return Results(answers, new)

    def _gives_nothing_for_nothing(self, outputs: Sequence[Output]) -> bool:
        """Whether a chunk of no steps has no results and keeps the states."""
        return not self.lookahead and self.closed_loop is None and all(output.has_time for output in outputs)

    def _wrong_shape(self, tensor: str, shape: Sequence[int], rows: int) -> ModelFileError:
        return ModelFileError(
            f"{self.path}: {tensor} has the shape {list(shape)} for {rows} rows, which is not the shape that the file "
            "declares: its graph was changed"
        )

    def _run(self, run: Callable[..., list[Array]], *arguments: Any) -> list[Array]:
        try:
            values = run(*arguments)
            if any(value is None for value in values):
                raise ValueError("it leaves out an output")
        except Exception as error:  # noqa: BLE001 (onnxruntime raises a dozen classes of errors)
            raise cannot_run(self.path, error) from None
        return values

    def require_states(self) -> None:
        """Raise NotStreamable unless the file can run a step at a time."""
        if self.contract.signature == "sequence":
            raise NotStreamable(
                f"{self.path}: was exported with signature 'sequence', which has no states; export it with "
                "signature='full' or 'stream'. Networks that read ahead, such as a BiLSTM, cannot stream"
            )

    def require_batches(self) -> None:
        """Raise NotStreamable if the file runs one row at a time."""
        if self.contract.form == "step":
            raise NotStreamable(
                f'{self.path}: was exported with form="step", which runs one stream at a time; export it with '
                'form="dynamic" for a pool, or use a model.stream() for each stream'
            )

    def require_lookahead(self) -> None:
        """Raise NotStreamable unless results come with a delay: only then can `finish` return any."""
        if not self.lookahead:
            raise NotStreamable(
                f"{self.path}: was exported without lookahead, so no results are pending; do not call finish"
            )


def _largest(state: ContractState, contract: Contract) -> int:
    """Return the largest number of a counter: a phase is a place within the stride of its layer."""
    _, fields = contract.layers.get(state.layer, ("", {}))
    largest = largest_phase(fields) if state.kind == "phase" else None
    return MOST_COUNT if largest is None else largest
