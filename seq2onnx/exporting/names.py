"""Labels of scores and names of features: those that an export is given must be in the order of the module's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from seq2onnx.errors import SpecError
from seq2onnx.network import Network, input_channels
from seq2onnx.sequences import Channels, Names

if TYPE_CHECKING:
    from seq2onnx.building.module import SequenceModule

Label = str | int


def classes_of(module: SequenceModule, classes: Sequence[Label] | Mapping[Label, Label] | None) -> list[Label] | None:
    """Return the labels of the scores: those of the module, or where it has none those given.

    Raises:
        SpecError: the labels given are other ones than those of the module, or in another order, or a dict does not
            rename each of them; or they do not fit the network.
    """
    known = module.classes
    if isinstance(classes, Mapping):
        if known is None:
            raise SpecError("classes: a dict renames the labels of a module, and this one has none; give a list")
        if left_out := [label for label in [*known, *classes] if label not in classes or label not in known]:
            raise SpecError(
                f"classes: a dict must name each label of the module, {known}, and no other; it differs in "
                f"{left_out[0]!r}"
            )
        return check_classes(module.network, [classes[label] for label in known])
    given = check_classes(module.network, known if classes is None else classes)
    if given is not None and known is not None and given != known:
        raise SpecError(
            f"classes: expected {known}, the labels that the module was trained on in the order of its scores, got "
            f"{given}. Leave classes out; or to rename labels give a dict such as {{{known[0]!r}: 'new name', …}}"
        )
    return given


def check_classes(network: Network, classes: Sequence[Label] | None) -> list[Label] | None:
    """Convert the classes to plain strings or integers, one for each score of the network."""
    if classes is None:
        return None
    plain: list[Label] = [np.asarray(label).item() for label in classes]
    for label in plain:
        if not isinstance(label, str | int):
            raise SpecError(f"classes: must be strings or integers, got {label!r}")
    if len({str(label) for label in plain}) != len(plain):
        raise SpecError(f"classes: must differ, got {plain}")
    size = network.signals[network.outputs[0]].size
    if len(plain) != size:
        raise SpecError(f"classes: {network.outputs[0]} gives {size} scores, got {len(plain)} classes: {plain}")
    return plain


def channels_of(module: SequenceModule, channels: Channels) -> Channels:
    """Return the names of the features: those given, or else those of the module.

    Raises:
        SpecError: a name of the module is given for another feature; or the names do not fit the network.
    """
    if channels is None:
        return module.channels
    given, known = (_by_input(module.network, names) for names in (channels, module.channels))
    for layer, names in given.items():
        before = known.get(layer) or []
        for place, (name, other) in enumerate(zip(names or [], before, strict=False)):
            if name != other and name in before:
                raise SpecError(
                    f"channels: {name!r} is feature {before.index(name)} of {layer} in the module, and {place} in "
                    f"{names}; the order is that of the training data, {before}"
                )
    return channels


def _by_input(network: Network, channels: Channels) -> Mapping[str, Names | None]:
    checked = input_channels(network, channels)
    return checked if isinstance(checked, dict) else {network.inputs[0].label: checked}
