"""The section of a report that lists the alarms of a file that answers events."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from seq2onnx.data.events import runs_of
from seq2onnx.evaluation.predictions import Predictions, event_table
from seq2onnx.layers import Alarm
from seq2onnx.reporting.facts import Facts
from seq2onnx.reporting.page import paragraph, picture, table

MOST_ALARMS = 50
Spans = list[tuple[int, int]]


def alarms(facts: Facts) -> list[str]:
    """The alarms of each class: their number, a list, and missed events if the data has a label for each step."""
    if facts.model.contract.answer != "events" or facts.data is None:
        return []
    found = event_table(facts.model, facts.data)
    assert found.lengths is not None
    assert found.steps is not None
    assert found.labels is not None
    names, rate = list(found.classes or ()), facts.model.contract.sample_rate
    hours = None if rate is None else float(facts.data.lengths.sum()) / rate / 3600
    truth = _true_events(facts, names)
    rows, cuts = [], np.cumsum(np.array(found.lengths))[:-1]
    by_sequence = list(zip(np.split(found.steps, cuts), np.split(found.labels, cuts), strict=True))
    for place, name in enumerate(names):
        of_class = [steps[labels == name] for steps, labels in by_sequence]
        count = sum(map(len, of_class))
        row: list[Any] = [name, f"{count:,}", *([] if hours is None else [f"{count / hours:,.4g}"])]
        if truth is not None:
            pairs = list(zip(of_class, truth[place], strict=True))
            hits = sum(any(a <= step <= b for step in steps) for steps, events in pairs for a, b in events)
            false = sum(not any(a <= step <= b for a, b in events) for steps, events in pairs for step in steps)
            row += [f"{hits:,} of {sum(map(len, truth[place])):,}", f"{false:,}"]
        rows.append(row)
    head = ["class", "alarms", *([] if hours is None else ["an hour"])]
    head += [] if truth is None else ["events found", "false alarms"]
    length = "" if hours is None else f" in {hours:,.3g} hours"
    parts = [
        paragraph(f"{len(found.steps):,} alarms begin in {len(facts.data):,} sequences{length}."),
        table(head, rows, range(1, len(head))),
    ]
    if len(found.steps):
        parts.append(_list_of_alarms(found))
    return parts + ([] if truth is None else _picture(facts, found, truth))


def _true_events(facts: Facts, names: list[Any]) -> list[list[Spans]] | None:
    """By class and sequence the runs of its label; None if the data has no such labels."""
    data = facts.data
    if data is None or data.targets is None or not data.per_step or facts.model.classes is None or data.classes is None:
        return None
    targets = data.with_classes(facts.model.classes).targets.take(range(len(data)))  # type: ignore[union-attr]
    return [[runs_of(np.asarray(target) == place) for target in targets] for place in range(len(names))]


def _list_of_alarms(found: Predictions) -> str:
    """The first alarms: sequence, step, seconds, class and score, in so far as they are known."""
    assert found.lengths is not None
    ids = found.ids or range(found.sequences)
    columns: dict[str, Any] = {"sequence": np.repeat(np.array(ids, object), found.lengths), "step": found.steps}
    if found.seconds is not None:
        columns["seconds"] = [f"{second:.6g}" for second in found.seconds]
    columns["class"] = found.labels
    if found.scores.shape[1]:
        columns["score"] = [f"{score:.4g}" for score in found.scores[:, 0]]
    head, rows = list(columns), list(zip(*columns.values(), strict=True))
    caption = f"The first {MOST_ALARMS} of {len(rows):,} alarms" if len(rows) > MOST_ALARMS else "The alarms"
    numeric = [place for place, name in enumerate(head) if name not in ("sequence", "class")]
    return table(head, rows[:MOST_ALARMS], numeric, caption)


def _picture(facts: Facts, found: Predictions, truth: list[list[Spans]]) -> list[str]:
    """Scores, threshold, events and alarms of the first sequence with an event, if the file outputs the scores."""
    from seq2onnx import plots

    contract = facts.model.contract
    alarm = facts.network[contract.output_layers[0]]
    assert isinstance(alarm, Alarm)
    source = facts.network.reads[alarm.label][0]
    places = [k for k in range(len(truth)) if not isinstance(alarm.threshold, tuple) or alarm.threshold[k] is not None]
    first = next(((i, k) for k in places for i, events in enumerate(truth[k]) if events), None)
    if first is None or source not in facts.model.model.activations or facts.data is None:
        return []
    index, place = first
    threshold = alarm.threshold[place] if isinstance(alarm.threshold, tuple) else alarm.threshold
    (scores,) = facts.model.predict(facts.data.subset([index]), outputs=[source])[source]
    rate = None if contract.sample_rate is None else contract.sample_rate / contract.time_stride
    draw = functools.partial(
        plots.alarms_over_time,
        scores[:, place],
        dataclasses.replace(alarm, threshold=threshold),
        truth[place][index],
        rate,
    )
    name = (found.classes or ())[place]
    alt = f"Scores of {name} over {len(scores)} steps, with the threshold, the true events, and the alarms."
    return [picture(plots.as_png(draw), alt, f"The alarms of {name} in the first sequence with such an event")]
