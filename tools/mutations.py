"""The mutations of tools/mutate.py: how the code is broken, and which tests must notice.

The old text must be in the file exactly once; tests/test_mutations.py checks this. If a mutation names a folder, the
text must be in exactly one of its files: it then survives that a module is renamed. Keep texts short, and choose places
that stay.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Mutation(NamedTuple):
    """A way to break the code.

    Attributes:
        name: what is wrong then.
        place: the file, or a folder of Python files, from the root of the repository.
        old: the text that is replaced.
        new: the text in its place.
        tests: the arguments of pytest, of which a test must fail.
    """

    name: str
    place: str
    old: str
    new: str
    tests: str


def places(mutation: Mutation, tree: Path) -> list[Path]:
    """Return the file of each place where the old text of a mutation is; it must be one."""
    place = tree / mutation.place
    paths = sorted(place.rglob("*.py")) if place.is_dir() else [place] if place.is_file() else []
    return [path for path in paths for _ in range(path.read_text(encoding="utf-8").count(mutation.old))]


def _layers(choice: str) -> str:
    return f"tests/test_layers.py -k '{choice}'"


def _torch(choice: str) -> str:
    return f"tests/test_from_torch.py -k '{choice}'"


def _onnx(choice: str) -> str:
    return f"tests/test_from_onnx.py -k '{choice}'"


def _keras(choice: str) -> str:
    return f"tests/test_from_keras.py -k '{choice}'"


def _states(choice: str) -> str:
    return f"tests/test_add_states.py -k '{choice}'"


LAYERS = "seq2onnx/layers/"
PARTS = "seq2onnx/layers/parts/"
IMPORTING = "seq2onnx/importing"

MUTATIONS = (
    # Layers: gates, activations, normalization
    Mutation("gate order of LSTM", PARTS + "gates.py", '"iofg"', '"ifog"', _layers("agree and lstm")),
    Mutation("gate order of GRU", PARTS + "gates.py", '"onnx": "zrn"', '"onnx": "rzn"', _layers("agree and gru")),
    Mutation(
        "reset gate always after the product",
        PARTS + "cell_nodes.py",
        'int(mode != "before_multiplication")',
        "1",
        _layers("agree and gru"),
    ),
    Mutation(
        "recurrent bias of GRU dropped",
        PARTS + "cell_nodes.py",
        'recurrent_bias[0, -R.shape[2] :] = weights["recurrent_bias"]',
        "pass",
        _layers("agree and gru"),
    ),
    Mutation("slope of hard_sigmoid", PARTS + "cells.py", "alpha=0.2)", "alpha=1 / 6)", _layers("agree and lstm")),
    Mutation(
        "slope of hard_sigmoid_6",
        PARTS + "cell_nodes.py",
        "[1 / 6] * count",
        "[0.2] * count",
        _layers("agree and (lstm or gru)"),
    ),
    Mutation(
        "GELU with tanh in place of erf",
        LAYERS + "rectifiers.py",
        '"tanh" if self.approximate else "none"',
        '"tanh"',
        _layers("agree and gelu"),
    ),
    Mutation(
        "a constant channel is divided by 0",
        PARTS + "normalization.py",
        "np.where(scale < np.finfo(np.float32).tiny, 1.0, scale)",
        "np.where(scale < 0, 1.0, scale)",
        _layers("agree and sequence_input"),
    ),
    Mutation(
        "std with N in place of N - 1",
        "seq2onnx/data/statistics.py",
        "np.maximum(self.count - 1, 1)",
        "np.maximum(self.count, 1)",
        "tests/test_data.py -k statistics",
    ),
    # Layers: windows, masks, states
    Mutation(
        "odd step of padding on the other side",
        PARTS + "window.py",
        "(self.reach // 2, self.reach - self.reach // 2)",
        "(self.reach - self.reach // 2, self.reach // 2)",
        _layers("agree and (conv1d or pool1d)"),
    ),
    Mutation(
        "causal padding on the right",
        PARTS + "window.py",
        "return self.reach, 0",
        "return 0, self.reach",
        _layers("agree and conv1d"),
    ),
    Mutation(
        "phase of a stride in torch",
        PARTS + "window.py",
        "first = (stride - phase) % stride",
        "first = phase % stride",
        _layers("chunks and (conv1d or pool1d)"),
    ),
    Mutation(
        "phase of a stride in the graph",
        PARTS + "window_nodes.py",
        'graph.op("Add", phase, counted)',
        'graph.op("Add", phase, fresh)',
        "tests/test_networks_run.py tests/test_random.py",
    ),
    Mutation(
        "a stride that forgets its phase",
        PARTS + "window_nodes.py",
        'new["phase"] = graph.op("Mod", graph.op("Add", phase, counted), graph.number(stride))',
        'new["phase"] = phase',
        _layers("chunks and (conv1d or pool1d)"),
    ),
    Mutation(
        "steps of lookahead that are skipped, off by one",
        PARTS + "window_nodes.py",
        "graph.number(reach - left)",
        "graph.number(reach - left - 1)",
        _layers("chunks and (conv1d or pool1d)"),
    ),
    Mutation(
        "mask of torch left out",
        PARTS + "window.py",
        "return torch.where(step_mask(x, lengths), x, 0)",
        "return x",
        _layers("other_rows and (conv1d or pool1d)"),
    ),
    Mutation(
        "mask of the graph left out",
        LAYERS + "graph.py",
        'return self.op("Where", self.mask(x, lengths), x.name, self.constant(np.array(fill, x.signal.dtype)))',
        "return x.name",
        _layers("other_rows and (conv1d or pool1d)"),
    ),
    Mutation(
        "an empty row changes its state in torch",
        PARTS + "recurrent.py",
        "where_seen(final, call.row_lengths, call.states[name])",
        "final",
        _layers("chunks and lstm"),
    ),
    Mutation(
        "an empty row changes its state in the graph",
        PARTS + "recurrent.py",
        'graph.op("Where", some, graph.op("Squeeze", new, first), state)',
        'graph.op("Squeeze", new, first)',
        _layers("chunks and lstm"),
    ),
    Mutation(
        "the last step of padding in place of the last valid one",
        PARTS + "recurrent.py",
        'return graph.op("GatherND", every, index, batch_dims=1)',
        'return graph.op("Gather", every, graph.constant(np.array(-1)), axis=1)',
        _layers("other_rows and last_step"),
    ),
    Mutation(
        "gates of padding in the portable form",
        PARTS + "padding_nodes.py",
        '"GRU": (1e4, 0, 0)',
        '"GRU": (-1e4, 0, 0)',
        "tests/test_portable.py -k thousands",
    ),
    Mutation(
        "the mean of a stream forgets how many steps it has",
        LAYERS + "global_pool1d.py",
        '"carry": carry, "count": time_sums.kept_count(count)}',
        '"carry": carry, "count": time_sums.kept_count(call.row_lengths[:, None])}',
        _layers("chunks and global_avg"),
    ),
    Mutation(
        "a deviation over time forgets that its mean moves",
        LAYERS + "global_statistics1d.py",
        'moved = op("Add", variance, op("Mul", op("Mul", change, change), share))',
        "moved = variance",
        "tests/test_global_statistics.py -k any_lengths",
    ),
    Mutation(
        "a sum over time loses what its additions round away",
        LAYERS + "global_statistics1d.py",
        'time_sums.emit_more(graph, y, call.states["carry"], lost)',
        'time_sums.emit_more(graph, y, call.states["carry"], op("Sub", lost, lost))',
        "tests/test_global_statistics.py -k single_steps",
    ),
    Mutation(
        "attention sees one step more",
        LAYERS + "self_attention.py",
        "shape = (self.context - 1, self.width)",
        "shape = (self.context, self.width)",
        "tests/test_self_attention.py",
    ),
    Mutation(
        "attention pooling rescales its sums the wrong way",
        LAYERS + "attention_pool.py",
        'scale = op("Exp", op("Sub", seen, reference))',
        'scale = op("Exp", op("Sub", reference, seen))',
        "tests/test_attention_pool.py -k any_lengths",
    ),
    Mutation(
        "the groups of a norm take every second channel",
        LAYERS + "layer_norm.py",
        "return call.x.reshape(*rows, groups, step.numel() // groups)",
        "return call.x.reshape(*rows, step.numel() // groups, groups).mT",
        _layers("equations and norm"),
    ),
    Mutation(
        "an imported norm of heads whose features lie apart",
        IMPORTING,
        "if (members // size != members[:, :1] // size).any():",
        "if False:",
        _torch("NormOfHeads"),
    ),
    Mutation(
        "an imported division by the norm of another head",
        IMPORTING,
        "if wide.axes != a.axes or not np.array_equal(divisor.index, np.broadcast_to(expected, a.index.shape)):",
        "if wide.axes != a.axes:",
        _torch("NormOfTheOtherHead"),
    ),
    Mutation(
        "the least length of a vector counts as the least of its numbers",
        IMPORTING,
        "epsilon=norm.epsilon + (number / norm.gain) ** 2",
        "epsilon=norm.epsilon + number**2",
        _torch("one_layer"),
    ),
    Mutation(
        "a cell of a loop takes the states of another cell",
        "seq2onnx/importing/lifting/recurrence.py",
        "if before and made is not before[0]:",
        "if False:",
        _torch("LoopOfTwoCellsInTurn"),
    ),
    Mutation(
        "the output in place of the cell state",
        PARTS + "recurrent.py",
        'FINALS = {"last": 0, "cell": 1}',
        'FINALS = {"last": 0, "cell": 0}',
        _layers("agree and lstm"),
    ),
    Mutation(
        "whole numbers of the example become constants",
        "seq2onnx/importing/torch/graph.py",
        "if isinstance(leaf, Tensor):  # its numbers",
        "if False:  # its numbers",
        "tests/test_other_arguments.py",
    ),
    Mutation(
        "a loop may fill a tensor but for its first step",
        "seq2onnx/importing/torch/filled_tensors.py",
        "for number in range(size)]",
        "for _, _, number in places]",
        _torch("FirstStepLeftAtZero"),
    ),
    Mutation(
        "steps of a loop may be joined in any order",
        "seq2onnx/importing/lifting/time_axis.py",
        'if kind == "step" and what[1] != number:',
        "if False:",
        _torch("StepsOfALoopInReverse"),
    ),
    Mutation(
        "a loop may leave steps out",
        "seq2onnx/importing/torch/limits.py",
        "is_cut = bends(list(runs), list(counts.values()))",
        "is_cut = False",
        _torch("LoopOverTheLastSteps"),
    ),
    Mutation(
        "an imported head of attention weighs with the score of another",
        IMPORTING,
        "return places[ends] if",
        "return places[ends][::-1] if",
        "tests/test_from_torch.py -k StructuredSelfAttention",
    ),
    Mutation(
        "the weights of a flattened window read from its last step",
        IMPORTING,
        "found.size).transpose(0, 2, 1)",
        "found.size).transpose(0, 2, 1)[:, :, ::-1]",
        "tests/test_from_onnx.py -k flattened_window",
    ),
    Mutation(
        "patience of an alarm off by one in torch",
        LAYERS + "alarm.py",
        'above = every["run"][:, 1:] == self.patience',
        'above = every["run"][:, 1:] >= self.patience - 1',
        "tests/test_alarm.py -k plain_loop",
    ),
    Mutation(
        "patience of an alarm off by one in the graph",
        PARTS + "alarm_nodes.py",
        '{"run": (above, rule.patience)}',
        '{"run": (above, rule.patience + 1)}',
        "tests/test_alarm.py -k plain_loop",
    ),
    Mutation(
        "hold of an alarm off by one in step files",
        PARTS + "alarm_nodes.py",
        '("low", rule.hold + 1)',
        '("low", rule.hold)',
        _layers("step_file and alarm"),
    ),
    Mutation(
        "a missing value counts as seen",
        LAYERS + "missing.py",
        "place = torch.where(there, steps, 0).cummax(1).values",
        "place = steps.expand_as(xs)",
        _layers("missing"),
    ),
    # Training
    Mutation(
        "pinball loss with the quantile on the wrong side",
        "seq2onnx/training/losses.py",
        "(losses + CROSSING * crossings)",
        "(losses - CROSSING * crossings)",
        "tests/test_quantiles.py -k 'pinball or cross'",
    ),
    Mutation(
        "sequences are cut at the wrong end",
        "seq2onnx/sequences/padding.py",
        'return rows[:limit] if self.padding_direction == "right"',
        'return rows[:limit] if self.padding_direction == "left"',
        "tests/test_padding.py -k cut_by_hand",
    ),
    Mutation(
        "padding on the wrong side",
        "seq2onnx/sequences/padding.py",
        "return slice(steps - real, steps) if",
        "return slice(real) if",
        "tests/test_padding.py -k policy",
    ),
    Mutation(
        "labels of new data keep other numbers",
        "seq2onnx/data/targets.py",
        "numbers.get(label, -2) for label in old",
        "numbers.get(label, -2) for label in old[::-1]",
        "tests/test_data.py -k numbered_as_in_other_classes",
    ),
    # Export
    Mutation(
        "labels in another order than the scores",
        "seq2onnx/exporting/names.py",
        "given != known",
        "set(given) != set(known)",
        "tests/test_export.py -k order_than_the_scores",
    ),
    Mutation(
        "names of channels are lost",
        "seq2onnx/exporting/exporter.py",
        "channels=input_channels(network, data_info.channels),",
        "channels=None,",
        "tests/test_frames.py -k by_name",
    ),
    Mutation(
        "channels in another order are not noticed",
        "seq2onnx/exporting/names.py",
        "if name != other and name in before:",
        "if name != other and name not in before:",
        "tests/test_export.py -k names_of_features",
    ),
    Mutation(
        "quantiles are forgotten",
        "seq2onnx/exporting/exporter.py",
        "quantiles=list(data_info.quantiles) if data_info.quantiles else None,",
        "quantiles=None,",
        "tests/test_quantiles.py -k which_quantiles",
    ),
    Mutation(
        "a quantized weight is cut, not rounded",
        "seq2onnx/exporting/storage.py",
        "np.rint(array / ",
        "np.trunc(array / ",
        "tests/test_smaller_files.py -k rounding",
    ),
    Mutation(
        "a quantization scale that exceeds the levels",
        "seq2onnx/exporting/storage.py",
        "largest / np.float32(LEVELS)",
        "largest / np.float32(2 * LEVELS)",
        "tests/test_smaller_files.py -k rounding",
    ),
    Mutation(
        "other nodes under the same EMISSION",
        LAYERS + "activations.py",
        'graph.op("Relu", call.x.name)',
        'graph.op("Relu", graph.op("Identity", call.x.name))',
        "tests/test_emission.py",
    ),
    Mutation(
        "another EMISSION for the same nodes",
        "seq2onnx/exporting/emission.py",
        "EMISSION = ",
        "EMISSION = 1 + ",
        "tests/test_emission.py",
    ),
    Mutation(
        "answers of a closed loop come one step late",
        "seq2onnx/exporting/closed_loop.py",
        'graph.op("Concat", results[-1], results[0], axis=1)',
        'graph.op("Concat", results[0], results[-1], axis=1)',
        "tests/test_forecast.py -k loop",
    ),
    Mutation(
        "a row without steps changes its state in a closed loop",
        "seq2onnx/exporting/closed_loop.py",
        'graph.op("Unsqueeze", seen, axes), new, before)',
        'graph.op("Unsqueeze", seen, axes), new, new)',
        "tests/test_forecast.py -k loop",
    ),
    Mutation(
        "verify lets a rough file pass",
        "seq2onnx/parity/comparing.py",
        "self.max_rel <= self.tolerance",
        "self.max_rel <= 100 * self.tolerance",
        "tests/test_parity.py -k small_error",
    ),
    # Runtime
    Mutation(
        "rows of a pool get the states of others",
        "seq2onnx/runtime/pool_states.py",
        "array[slots[rows]] = new[rows]",
        "array[slots[rows]] = new[rows][::-1]",
        "tests/test_pool.py -k 'streams_alone or no_data'",
    ),
    Mutation(
        "a pool that grows moves its states",
        "seq2onnx/runtime/pool_states.py",
        "[(0, more), *",
        "[(more, 0), *",
        "tests/test_pool.py -k grows",
    ),
    Mutation(
        "the id of a closed stream reaches the next one",
        "seq2onnx/runtime/slots.py",
        "~(self.ids[slots] + MAX_SLOTS)",
        "~self.ids[slots]",
        "tests/test_pool.py -k never_given_twice",
    ),
    Mutation(
        "NaN in a step is not refused",
        "seq2onnx/runtime/stream.py",
        "if not math.isfinite(self._checked[self._turn].dot(self._small)):",
        "if False:",
        "tests/test_runtime.py -k refuses_nan",
    ),
    Mutation(
        "a stream reads the state that it has just written",
        "seq2onnx/runtime/stream.py",
        "self._turn ^= 1\n            return self._answer",
        "return self._answer",
        "tests/test_runtime.py -k a_stream_gives",
    ),
    Mutation(
        "two threads may use a stream at once",
        "seq2onnx/runtime/stream.py",
        "if not self._in_use.acquire(False):\n            raise StreamError(_IN_USE)\n        try:\n            chunk",
        "self._in_use.acquire(False)\n        try:\n            chunk",
        "tests/test_runtime.py -k second_thread",
    ),
    Mutation(
        "a saved state of another model is accepted",
        "seq2onnx/runtime/saved_state.py",
        "if owner is not None and owner != _owner(model):",
        "if False:",
        "tests/test_saved_state.py -k other_weights",
    ),
    Mutation(
        "a saved state may unpack to any size",
        "seq2onnx/runtime/saved_state.py",
        "> most:",
        "> 2**60:",
        "tests/test_saved_state.py -k gigabytes",
    ),
    Mutation(
        "counters of a state out of range",
        "seq2onnx/runtime/states.py",
        "array.max(initial=0) > info.most",
        "array.max(initial=0) > MOST_COUNT",
        "tests/test_saved_state.py -k counter",
    ),
    Mutation(
        "results in the order in which batches ran",
        "seq2onnx/runtime/scoring.py",
        "results[layer][batch] = result",
        "results[layer][np.sort(batch)] = result",
        "tests/test_runtime.py tests/test_predict.py -k 'keeps_the_order or identical'",
    ),
    Mutation(
        "label of the lowest score",
        "seq2onnx/runtime/labels.py",
        "np.argsort(-scores",
        "np.argsort(scores",
        "tests/test_predict.py -k top_k",
    ),
    Mutation(
        "a NaN score has a label",
        "seq2onnx/runtime/labels.py",
        "missing = np.isnan(scores).any(-1)",
        "missing = np.zeros(scores.shape[:-1], bool)",
        "tests/test_runtime.py tests/test_predict.py -k 'finite or labels'",
    ),
    # Files
    Mutation(
        "a file is written in place",
        "seq2onnx/files.py",
        "with atomic_file(path) as temporary:\n        temporary.write_bytes(content)",
        "Path(path).write_bytes(content)",
        "tests/test_files.py -k 'old_content or link'",
    ),
    Mutation(
        "locks are left out",
        "seq2onnx/files.py",
        "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        "tests/test_files.py -k 'alive or lock'",
    ),
    Mutation(
        "a link in a folder of a stranger is followed",
        "seq2onnx/files.py",
        'check_regular_file(path, links=False)\n    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)',
        "check_regular_file(path)\n    flags = os.O_RDONLY",
        "tests/test_strange_folders.py -k 'module_of_a_run or behind_a_link'",
    ),
    # Files of strangers
    Mutation(
        "weights that are not finite",
        "seq2onnx/modelfile/graph_rules.py",
        "if not math.isfinite(np.vdot(numbers, _FACTORS[: numbers.size])):",
        "if False:",
        "tests/test_modelfile.py -k 'not_a_number or finite'",
    ),
    Mutation(
        "a graph may compute a tensor of any size",
        "seq2onnx/modelfile/graph_rules.py",
        "if math.prod(known.shape) > most:",
        "if False:",
        "tests/test_modelfile.py -k refused_before",
    ),
    Mutation(
        "an operator that no layer emits",
        "seq2onnx/modelfile/graph_rules.py",
        "if rule is None:",
        "if rule is None and not node.op:",
        "tests/test_modelfile.py -k foreign_operator",
    ),
    Mutation(
        "two tensors of one name",
        "seq2onnx/modelfile/graph_rules.py",
        "if name in by_name:\n",
        "if not name:\n",
        "tests/test_modelfile.py -k twice",
    ),
    Mutation(
        "weights in other files",
        "seq2onnx/modelfile/protos.py",
        'raise ModelFileError(f"the tensor {show(name)} {EXTERNAL}")',
        "pass",
        "tests/test_modelfile.py -k external_data",
    ),
    Mutation(
        "metadata with other classes than scores",
        "seq2onnx/modelfile/contract_rules.py",
        "classes is not None and classes != json.dumps(contract.classes)",
        "classes is not None and False",
        "tests/test_texts.py -k classes",
    ),
    Mutation(
        "arrays of Python objects in npz files",
        "seq2onnx/data/formats",
        "if dtype.hasobject:",
        "if False:",
        "tests/test_hostile_files.py -k npz",
    ),
    # The wheel
    Mutation(
        "a wheel without the templates",
        "pyproject.toml",
        'packages = ["seq2onnx"]',
        'packages = ["seq2onnx"]\nexclude = ["*.yaml"]',
        "tests/test_wheel.py -k every_file",
    ),
    Mutation(
        "a dependency is not declared", "pyproject.toml", '    "pyyaml>=6",\n', "", "tests/test_wheel.py -k cpu_alone"
    ),
    # Package for C
    Mutation(
        "C code that takes the state of a step that it refuses",
        "seq2onnx/packaging/c/files/step.c",
        "@REFUSE@\n        return 1;\n",
        "@REFUSE@\n",
        "tests/test_package_c.py -k refused_step",
    ),
    Mutation(
        "C code that never takes the new state",
        "seq2onnx/packaging/c/generator.py",
        "program.commits += copied(view, to)",
        "copied(view, to)",
        "tests/test_package_c.py -k expected_output",
    ),
    Mutation(
        "C code in which a window moves by one number too few",
        "seq2onnx/packaging/c/plan.py",
        "{buffer.name} + {window.new * window.row}, {size}",
        "{buffer.name} + {window.new * window.row - 1}, {size}",
        "tests/test_package_c.py -k expected_output",
    ),
    Mutation(
        "C code in which a sum that goes on begins anew",
        "seq2onnx/packaging/c/products.py",
        "lines = [] if start == sums else",
        "lines = filled(sums, '0.0f') if start == sums else",
        "tests/test_package_c.py -k expected_output",
    ),
    Mutation(
        "C code in which results that are in use share a place",
        "seq2onnx/packaging/c/memory.py",
        "if other.first <= buffer.last and buffer.first <= other.last",
        "if other.first < buffer.last and buffer.first < other.last",
        "tests/test_package_c.py -k expected_output",
    ),
    Mutation(
        "C code with 8 bits that has the scale of another output",
        "seq2onnx/packaging/c/files/product_int8.c",
        "y[c] += scale[c] * step * (float)sum;",
        "y[c] += scale[0] * step * (float)sum;",
        "tests/test_package_c.py -k int8",
    ),
    # Imports: rules that refuse, and proofs
    Mutation(
        "an imported deviation over time is never unbiased",
        IMPORTING,
        "correction=int(correction)",
        "correction=0",
        _torch("XVector"),
    ),
    Mutation(
        "the source in float64 decides even where it differs, too",
        IMPORTING,
        "made = made if other.wrong.any() else other",
        "made = other",
        "tests/test_import_equivalence.py -k float64",
    ),
    Mutation(
        "rows of one step are compared though the source is undefined for them",
        IMPORTING,
        "least = 2",
        "least = 1",
        "tests/test_import_equivalence.py -k single_step",
    ),
    Mutation(
        "imports are not compared with their source",
        IMPORTING,
        "error <= TOLERANCE * unit",
        "error <= 1e8 * TOLERANCE * unit",
        _torch("wrong_weight"),
    ),
    Mutation(
        "from_torch: statistics of the batch",
        IMPORTING,
        'if op.get("training") or mean is None:',
        "if False:",
        _torch("BatchStatistics"),
    ),
    Mutation(
        "from_torch: dropout in eval mode",
        IMPORTING,
        "torch.Tag.nondeterministic_seeded in getattr(op.target",
        "None in getattr(op.target",
        _torch("DropoutAlways or RandomStart"),
    ),
    Mutation(
        "from_torch: two biases of a GRU become one",
        IMPORTING,
        "np.concatenate([second[:candidate], np.zeros(len(second) - candidate)])",
        "second",
        _torch("GruTimeFirst or BiGru"),
    ),
    Mutation(
        "from_keras: sequences from their end",
        IMPORTING,
        'if forward.get("go_backwards"):',
        "if False:",
        _keras("backwards"),
    ),
    Mutation(
        "from_keras: hard_sigmoid of the other version",
        IMPORTING,
        '{2: "hard_sigmoid", 3: "hard_sigmoid_6"}',
        '{2: "hard_sigmoid_6", 3: "hard_sigmoid"}',
        _keras("keras_saved"),
    ),
    Mutation(
        "from_keras: softmax along time",
        IMPORTING,
        'return x.with_(parts=tuple(barred(reason, part, stands_for=("softmax", part)) for part in x.parts))',
        "return x",
        _keras("softmax"),
    ),
    Mutation(
        "from_onnx: peepholes are dropped",
        IMPORTING,
        "if call.has(7) and np.any(call.numbers[7]):",
        "if False:",
        _onnx("options_of_recurrent"),
    ),
    Mutation(
        "from_onnx: another beta of HardSigmoid",
        IMPORTING,
        "if not known or beta != 0.5:",
        "if not known:",
        _onnx("options_of_recurrent"),
    ),
    Mutation(
        "from_onnx: backward as forward",
        IMPORTING,
        'if direction == "reverse":',
        "if False:",
        _onnx("options_of_recurrent"),
    ),
    Mutation(
        "add_states: windows that read ahead",
        IMPORTING,
        "if before < reach:\n        raise",
        "if False:\n        raise",
        _states("looks-ahead or step_by_step"),
    ),
    Mutation(
        "add_states: a stride along time",
        IMPORTING,
        'if attributes.get("strides", [1] * count)[place] != 1:',
        "if False:",
        _states("strides"),
    ),
    Mutation(
        "add_states: padding that is no zero", IMPORTING, "    if x.fill:\n", "    if False:\n", _states("another")
    ),
    Mutation(
        "add_states: numbers over time",
        IMPORTING,
        'raise refused(f"{what} over time, for which the whole sequence is needed")',
        "continue",
        _states("over or normalizes"),
    ),
    Mutation(
        "add_states: statistics of the batch",
        IMPORTING,
        'if call.attributes.get("training_mode") or len(call.node.output) > 1:',
        "if False:",
        _states("statistics"),
    ),
    Mutation(
        "add_states: start states that differ between rows",
        IMPORTING,
        "if any(each is not None and (each.reshape(-1, each.shape[-1]) != rows[:1]).any()",
        "if any(False",
        _states("differ_between_rows"),
    ),
    Mutation(
        "from_torch: a size of lengths is the number of the traced run",
        IMPORTING,
        "if ragged and isinstance(found, int | float):",
        "if False:",
        _torch("cut_to_another_length"),
    ),
    Mutation(
        "comparison: the source may give more steps than the layers",
        IMPORTING,
        "            y = y[:, : counts.max()]\n",
        "            y = y[:, : counts.max()]\n            want = want[:, : counts.max()]\n",
        _torch("list_of_lengths"),
    ),
    Mutation(
        "from_torch: the longest row is one step shorter",
        IMPORTING,
        "return torch.tensor(self.steps)",
        "return torch.tensor(self.steps - 1)",
        _torch("CutToTheLongestRow"),
    ),
    Mutation(
        "from_torch: add_states is named for operators over time",
        IMPORTING,
        "return op.name in ON_FEATURES and bool(dims) and not any(xs[0].axes[dim] for dim in dims)",
        "return op.name in ON_FEATURES",
        "tests/test_add_states_torch.py -k is_not_sent",
    ),
    Mutation(
        "from_onnx: the reason of an order that an operator contradicts",
        IMPORTING,
        "return contradicted, joined, -getattr",
        "return False, False, -getattr",
        "tests/test_import_axes.py",
    ),
    Mutation(
        "from_keras: a slice of the last steps is the last step",
        IMPORTING,
        "(start < 0 and (start, stop) != (-1, None))",
        "False",
        "tests/test_keras_operations.py -k certain_steps",
    ),
)
