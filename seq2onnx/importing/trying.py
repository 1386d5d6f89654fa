"""Trying a way in with the options of the user, then with those that the refusals propose."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from seq2onnx.errors import ModelFileError, Seq2OnnxError
from seq2onnx.importing.refusals import OptionNeeded, causes

Options = Mapping[str, Any]
MOST_OUTPUTS = 8
"""The most outputs that are tried alone: the file decides how many there are."""


@dataclasses.dataclass(frozen=True)
class Door:
    """A way in, and what came of it.

    Attributes:
        name: what the network becomes, and the function.
        works: whether the network came in, equal to its source.
        text: what it became, or the reason against it.
        options: those that it came in with, or else came furthest with.
        behind: how many nodes or layers need what is refused, and how many there are. None: none is in the way.
        proposed: for options that a refusal proposed, the values that it left open.
    """

    name: str
    works: bool
    text: str
    options: Options
    behind: tuple[int, int] | None = None
    proposed: Options = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Way:
    """A way in that is to be tried.

    Attributes:
        name: as in Door.
        path: the file.
        enter: goes in with options; returns those that it found out, and what the network became.
        letters: those of the axes of the input that the file names; "?" is any.
    """

    name: str
    path: str
    enter: Callable[[Options], tuple[Options, str]]
    letters: Sequence[str] = ()

    def first_that_works(self, tries: Sequence[Options]) -> Door:
        """Try each of these options, and what the refusals propose; return the first that work, else the furthest."""
        waiting: list[tuple[Options, Options]] = [(options, {}) for options in tries]
        refused = []
        for options, proposed in waiting:  # it grows
            try:
                found, text = self.enter(options)
                return Door(self.name, True, text, {**options, **found}, proposed=proposed)
            except ModelFileError:
                raise
            except Seq2OnnxError as error:
                chain = [*causes(error)]
                behind = next(filter(None, (getattr(cause, "behind", None) for cause in chain)), None)
                # An option that a refusal asks for leads further, whatever is refused then.
                reached = (len(options), max(getattr(cause, "reached", -1) for cause in chain))
                door = Door(self.name, False, str(error).removeprefix(f"{self.path}: "), options, behind)
                refused.append((reached, door))
                needed = next((cause for cause in chain if isinstance(cause, OptionNeeded)), None)
                waiting += self._more(options, proposed, needed.values) if needed else []
        return max(refused, key=lambda each: each[0])[1]

    def _more(
        self, options: Options, proposed: Options, values: Mapping[str, Sequence[Any]]
    ) -> Iterator[tuple[Options, Options]]:
        """Yield options with each value that a refusal proposes: axes as the file names them, if it does."""
        for name, choices in values.items():
            if name == "axes":
                choices = [axes for axes in choices if fits(self.letters, axes)] or choices
            for choice in choices if name not in options else ():
                yield {**options, name: choice}, {**proposed, name: choices}

    def all_or_some_outputs(self, tries: Sequence[Options], outputs: Sequence[str]) -> Door:
        """Try all outputs; if they are refused, each alone, then those that work together."""
        whole = self.first_that_works(tries)
        if whole.works or not 2 <= len(outputs) <= MOST_OUTPUTS:
            return whole
        alone = [self.first_that_works([{**each, "outputs": [name]} for each in tries]) for name in outputs]
        if not (working := [door for door in alone if door.works]):
            return whole
        kept = [name for door in working for name in door.options["outputs"]]
        some = self.first_that_works([{**each, "outputs": kept} for each in tries])
        some = some if some.works else working[0]
        return dataclasses.replace(some, text=f"{some.text}. All outputs together are refused: {whole.text}")


def fits(letters: Sequence[str], axes: str) -> bool:
    """Whether an order of axes is what the names of sizes say."""
    return all(named in ("?", letter) for named, letter in zip(letters, axes, strict=False))
