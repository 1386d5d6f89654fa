"""Bounds on the number of steps in a torch module, found in its calls for sequences of several lengths.

torch.export drops a slice that takes everything, so x[:, :2000] is not in the graph of a shorter run. Here the module
runs with sequences that have a shape and no numbers, which costs the same for every length, and each call is seen as it
is written. A size that grows with the sequence and then stops is a bound.
"""

from __future__ import annotations

import dataclasses
import itertools
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from seq2onnx.importing.equivalence import bends
from seq2onnx.importing.torch.layers import CELLS, RECURRENT
from seq2onnx.importing.torch.longest_row import COPIES
from seq2onnx.importing.torch.packing import without_packing
from seq2onnx.importing.torch.trace import Arguments, as_in_use

LENGTHS, ROWS = (31, 1009, 20_011, 2**20 + 7), 2
"""The lengths of the runs. A module that refuses the long ones is looked at with the others."""
LONG_LOOP = 5003
"""The length of the last run of a loop over steps, which takes seconds."""
FILLED: dict[str, Any] = {"zeros": 0, "ones": 1, "empty": 0, "full": None}
"""Operators whose result is a tensor of one number. None: the number is an argument."""
MOST_FILLED = 2**20
ARITHMETIC = {
    *("add", "sub", "rsub", "mul", "div", "divide", "true_divide", "floor_divide", "pow", "clamp", "clip"),
    *("maximum", "minimum"),
}
REMEDY = (
    "A network of layers takes all steps, so longer sequences would give other results; cut them before the network"
)


@dataclasses.dataclass(frozen=True)
class Limits:
    """The first bound on the number of steps, or wrong lengths ("": none); whether all lengths calculate the same.

    Of a loop over steps, only the comparison with the source shows a bound.
    """

    reason: str = ""
    complete: bool = False
    is_loop: bool = False


@dataclasses.dataclass(frozen=True)
class Taken:
    """A slice of one axis of this size, as it is written: its text, and its start, stop and step."""

    text: str
    size: int
    bounds: tuple[int | None, int | None, int | None]

    @property
    def count(self) -> int:
        """Number of elements that it takes."""
        return len(range(*slice(*self.bounds).indices(self.size)))


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of torch: its name, the shapes of its results, the slices that it takes and its numbers.

    `constants` has for each tensor that it combines with the sequences its only number, or all of them.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    taken: tuple[Taken, ...]
    numbers: tuple[float, ...]
    constants: tuple[float | bytes, ...]


class _Recorder(TorchFunctionMode):
    """Runs calls on tensors without numbers, and notes them. What does not depend on the sequences has its numbers."""

    def __init__(self, module: nn.Module, lengths: Sequence[Any], known: Tensor, code_at: int | None = None) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.code = self.refusal = ""
        self._known, self._code_at = known, code_at
        self._weights = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
        self._empty: dict[int, tuple[Tensor, Tensor]] = {}
        self._plain: dict[int, Tensor] = {id(leaf): leaf for leaf in lengths if isinstance(leaf, Tensor)}
        self._made: dict[int, tuple[Tensor, str]] = {}

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(function, "__name__", str(function)), kwargs or {}
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        found = self._call(function, name, args, kwargs, given)
        made = [x for x in (found if isinstance(found, tuple | list) else (found,)) if isinstance(x, Tensor)]
        if isinstance(found, torch.device):
            return torch.device("cpu")
        if not made:
            return found
        if len(self.calls) == self._code_at:
            self.code = _code()
        own = [leaf for leaf in given if not leaf.is_meta and id(leaf) not in self._weights]
        constants = tuple(map(_numbers, own)) if len(given) > 1 and any(leaf.is_meta for leaf in given) else ()
        plain = name.strip("_").removeprefix("r").removeprefix("i") if name.startswith("__") else name.rstrip("_")
        is_arithmetic = plain in ARITHMETIC or plain in ("truediv", "floordiv") or name in FILLED
        leaves = pytree.tree_leaves((args[name in FILLED :], kwargs)) if is_arithmetic else []
        numbers = tuple(float(leaf) for leaf in leaves if isinstance(leaf, int | float))
        shapes = tuple(tuple(leaf.shape) for leaf in made)
        self.calls.append(Call(name, shapes, tuple(_taken(name, args, kwargs)), numbers, constants))
        for leaf in made if given else ():
            self._note(leaf, given[0], name)
        return found

    def _call(self, function: Any, name: str, args: Any, kwargs: Any, given: Sequence[Tensor]) -> Any:
        base = name.removeprefix("new_").removesuffix("_like")
        if base in FILLED and (base != name or not given):
            return _filled(function, name, base, args, kwargs)
        if not any(leaf.is_meta for leaf in given):
            return function(*args, **kwargs)
        if name in RECURRENT:
            return _recurrent(*args)
        if name in CELLS:
            states = pytree.tree_map(lambda state: torch.empty(state.shape, dtype=state.dtype, device="meta"), args[1])
            return tuple(states) if isinstance(states, list | tuple) else states
        if name in ("cpu", "cuda"):
            return args[0]
        if name == "to":
            args = [leaf.dtype if isinstance(leaf, Tensor) and i else leaf for i, leaf in enumerate(args)]
            args = [leaf for leaf in args if not isinstance(leaf, torch.device | str)]
            kwargs = {key: value for key, value in kwargs.items() if key not in ("device", "other")}
            return function(*args, **kwargs) if len(args) > 1 or kwargs else args[0]
        if len(given) > 1:
            args, kwargs = pytree.tree_map(self._without_numbers, (args, kwargs))
        return function(*args, **kwargs)

    def _without_numbers(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or leaf.is_meta:
            return leaf
        if id(leaf) not in self._empty:
            empty = torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device="meta")
            self._empty[id(leaf)] = (leaf, empty)
        return self._empty[id(leaf)][1]

    def _note(self, leaf: Tensor, first: Tensor, name: str) -> None:
        """Remember what made a tensor; copies are what they are copies of."""
        if name in COPIES and id(first) in self._plain:
            self._plain[id(leaf)] = leaf
        elif id(leaf) not in self._plain:
            origin = self._made.get(id(first), (first, name))[1] if name in COPIES else name
            self._made[id(leaf)] = (leaf, origin)

    def check_lengths(self, lengths: Any) -> None:
        """Take only the lengths of the caller for a packed sequence."""
        if id(lengths) in self._plain or self.refusal:
            return
        if id(lengths) in self._made:
            origin = f"from {self._made[id(lengths)][1]}(…)"
        elif (own := torch.as_tensor(lengths).tolist()) != self._known.tolist():
            origin = f"{own} where the rows have {self._known.tolist()}"
        else:
            return
        self.refusal = (
            f"pack_padded_sequence takes its lengths {origin}. In a network of layers, the caller says the lengths: "
            f"take them as an argument, unchanged but for copies by .cpu(), .to() or .clone(){_code()}"
        )


def _numbers(constant: Tensor) -> float | bytes:
    if constant.numel() and bool((constant == constant.flatten()[0]).all()):
        return float(constant.flatten()[0])
    return constant.contiguous().numpy().tobytes()


def _filled(function: Any, name: str, base: str, args: Any, kwargs: Any) -> Tensor:
    """Make a tensor of one number, which takes no memory if it is large."""
    kwargs = {key: value for key, value in kwargs.items() if key != "device"}
    of_meta = name != base and args[0].is_meta
    empty: Tensor = function(*args, **kwargs, **({} if of_meta else {"device": "meta"}))
    if not of_meta and empty.numel() <= MOST_FILLED:
        return torch.Tensor.contiguous(function(*args, **kwargs))
    value = FILLED[base] if base != "full" else kwargs["fill_value"] if "fill_value" in kwargs else args[-1]
    one = torch.full((1,) * empty.ndim, value, dtype=empty.dtype).expand(empty.shape)
    return one if empty.numel() > MOST_FILLED else one.clone()


def _recurrent(x: Tensor, states: Any, *rest: Any) -> tuple[Tensor, ...]:
    """Give what a recurrent operator gives, without numbers."""
    finals = states if isinstance(states, tuple | list) else (states,)
    directions = 2 if rest[5] else 1
    y = torch.empty((*x.shape[:-1], directions * finals[0].shape[-1]), dtype=x.dtype, device="meta")
    return (y, *(torch.empty(state.shape, dtype=x.dtype, device="meta") for state in finals))


def _taken(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[Taken]:
    if name == "narrow" and isinstance(args[0], Tensor):
        axis, start, length = (*args[1:], *(kwargs[key] for key in ("dim", "start", "length") if key in kwargs))
        if isinstance(start, int):
            yield Taken(f"narrow({axis}, {start}, {length})", args[0].shape[axis], (start, start + length, None))
    if name != "__getitem__":
        return
    x, index = args[0], args[1] if isinstance(args[1], tuple) else (args[1],)
    used = sum(entry is not None and entry is not Ellipsis for entry in index)
    if not all(entry is None or entry is Ellipsis or isinstance(entry, int | slice) for entry in index):
        return
    axis, text = 0, f"x[{', '.join(map(_written, index))}]"
    for entry in index:
        if isinstance(entry, slice) and axis < x.ndim:
            yield Taken(text, x.shape[axis], (entry.start, entry.stop, entry.step))
        axis += x.ndim - used if entry is Ellipsis else entry is not None


def _written(entry: Any) -> str:
    if not isinstance(entry, slice):
        return "..." if entry is Ellipsis else str(entry)
    text = ":".join("" if bound is None else str(bound) for bound in (entry.start, entry.stop))
    return text if entry.step is None else f"{text}:{entry.step}"


def _code() -> str:
    """Return the line of the user's code that is being run."""
    for frame in reversed(traceback.extract_stack()):
        if "/torch/" not in frame.filename.replace("\\", "/") and frame.filename != __file__ and frame.line:
            return f" [code: {frame.line.strip()}]"
    return ""


def find_limits(module: nn.Module, arguments: Arguments) -> Limits:
    """Run a module with sequences of several lengths, and look for a bound on them."""
    runs: dict[int, list[Call]] = {}
    for length in LENGTHS:
        steps = LONG_LOOP if _has_loop(runs) else length
        found = _run(module, arguments, steps)
        if found is not None and found.refusal:
            return Limits(found.refusal)
        if found is not None:
            runs[steps] = found.calls
        if steps == LONG_LOOP:
            break
    if len(runs) < 2:
        return Limits()

    def code_of(at: int) -> str:
        found = _run(module, arguments, max(runs), at)
        return found.code if found is not None else ""

    return _limits_of_loop(runs, code_of) if _has_loop(runs) else _compared(runs, code_of)


def _has_loop(runs: Mapping[int, Sequence[Call]]) -> bool:
    """Whether each further step of the second run makes further calls."""
    (short, few), (long, more) = [*runs.items(), (0, ()), (0, ())][:2]
    return long > 0 and len(more) - len(few) >= long - short


def _limits_of_loop(runs: Mapping[int, list[Call]], code_of: Callable[[int], str]) -> Limits:
    """Look for a bound in the number of calls, and in those before and after the loop."""
    longest, counts = max(runs), {steps: len(calls) for steps, calls in runs.items()}
    least = min(counts.values())
    head = _alike(runs.values(), range(least))
    tail = _alike(runs.values(), range(-1, head - least - 1, -1))
    ends = {steps: calls[:head] + calls[len(calls) - tail :] for steps, calls in runs.items()}
    found = _compared(ends, lambda at: code_of(at if at < head else at - head - tail + counts[longest]))
    is_cut = bends(list(runs), list(counts.values()))
    reason = f"a loop does not run over all of {longest:,} steps. {REMEDY}" if is_cut else ""
    return Limits(found.reason or reason, is_loop=True)


def _alike(runs: Iterable[list[Call]], places: Iterable[int]) -> int:
    """Count at how many of these places, from the first on, all runs have the same call."""
    same = (len({(calls[at].name, len(calls[at].shapes)) for calls in runs}) == 1 for at in places)
    return sum(itertools.takewhile(bool, same))


def _run(module: nn.Module, arguments: Arguments, steps: int, code_at: int | None = None) -> _Recorder | None:
    """Run a module with a recorder; None if it refuses this length, or cannot run without numbers."""
    rows = ROWS if arguments.batch else 1
    x = torch.empty((rows, steps, *arguments.step_shape), dtype=arguments.example.dtype, device="meta")
    known = torch.tensor([steps, steps // 2 + 1][:rows])
    call = arguments.call(x, known)
    leaves = pytree.tree_leaves(call)
    lengths = [leaves[i] for i in arguments.lengths] if len(leaves) == len(arguments.leaves) else []
    recorder = _Recorder(module, lengths, known if arguments.lengths else torch.full((rows,), steps), code_at)
    try:
        with as_in_use(module), without_packing(recorder.check_lengths), recorder:
            module(*call)
    except Exception:  # whatever a module raises for a length that it does not take
        return recorder if recorder.refusal else None
    return recorder


def _compared(runs: Mapping[int, list[Call]], code_of: Callable[[int], str]) -> Limits:
    """Look for a bound in the calls of several runs, by the number of steps."""
    longest, names = max(runs), _names(runs[max(runs)])
    alike = [steps for steps in runs if _names(runs[steps]) == names]
    for steps in sorted(runs, reverse=True):
        if steps not in alike and steps > LENGTHS[0]:
            pairs = itertools.zip_longest(names, _names(runs[steps]))
            at = next(i for i, (a, b) in enumerate(pairs) if a != b)
            text = f"calculates otherwise with {longest:,} steps than with {steps:,}"
            return Limits(f"{text}. {REMEDY}{code_of(at)}")
    for at, calls in enumerate(zip(*(runs[steps] for steps in alike), strict=True)):
        if reason := _bound_of_slices(calls) or _bound_of_sizes(alike, calls):
            return Limits(f"{reason}. {REMEDY}{code_of(at)}")
    complete = longest == LENGTHS[-1] and len(runs) == len(alike) > 2
    return Limits(complete=complete and all(_is_settled(alike, calls) for calls in zip(*runs.values(), strict=True)))


def _is_settled(lengths: Sequence[int], calls: Sequence[Call]) -> bool:
    """Whether a call has the same constants in each run, and numbers that are the same or follow the length."""
    numbers = [call.numbers for call in calls]
    is_same = len({call.constants for call in calls}) == 1 and len({len(each) for each in numbers}) == 1
    return is_same and not bends(lengths, numbers)


def _names(calls: Sequence[Call]) -> list[tuple[str, int]]:
    return [(call.name, len(call.shapes)) for call in calls]


def _bound_of_slices(calls: Sequence[Call]) -> str:
    """Find a slice of an axis that grows which takes the same number of elements, or ends at the same one."""
    *_, one, two = calls
    if len(one.taken) != len(two.taken):
        return ""
    for a, b in zip(one.taken, two.taken, strict=True):
        (start, stop, _), text = b.bounds, b.text
        if a.size == b.size or b.count <= 1:
            continue
        if stop is not None and stop > 0 and a.bounds[1] == stop:
            return f"{text} takes at most {stop} steps"
        if start is not None and start < 0 and a.bounds[0] == start:
            return f"{text} takes at most {-start} steps"
        if a.count == b.count:
            return f"{text} takes at most {b.count} of {b.size:,} steps"
    return ""


def _bound_of_sizes(lengths: Sequence[int], calls: Sequence[Call]) -> str:
    """Find a size that grows with the number of steps, and then less."""
    for shapes in zip(*(call.shapes for call in calls), strict=True):
        if len({len(shape) for shape in shapes}) > 1:
            continue
        for sizes in zip(*shapes, strict=True):
            if bends(lengths, sizes, ROWS):
                last = calls[-1]
                text = last.taken[0].text if last.taken else last.name
                return f"{text} takes at most {sizes[-1]} of {lengths[-1]:,} steps"
    return ""
