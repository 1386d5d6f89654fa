"""The comparison of an imported network with its source."""

from __future__ import annotations

import numpy as np
import pytest

from seq2onnx.importing.equivalence import Candidate, ProofFailed, SourceBatch, compare


def compared(change=lambda y: y, source=lambda x: x, short=((3, 4, 2),), long=(), counts=None, lengths=False):
    """Compare the identity, with its answer changed, with a source; return the comparison."""

    def runs(batches: list[SourceBatch], rng):
        assert batches
        for batch in batches:
            steps = np.full(len(batch.x), batch.steps) if counts is None else np.array(counts)
            yield batch, "whole", {"y": (change(batch.x.copy()), steps)}

    rng = np.random.default_rng(0)
    draw = lambda shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    return compare(
        Candidate("the network", runs),
        lambda x, known: {"y": source(x)},
        rng,
        map(draw, short),
        map(draw, long),
        lengths,
    )


def changed(at, by):
    def change(y):
        y[at] += by
        return y

    return change


def test_equal_answers_are_rows_of_the_comparison():
    made = compared(short=[(3, 1, 2), (3, 4, 2)])
    assert [row.check for row in made.rows] == ["whole, 1 steps", "whole, 4 steps"]
    assert all(row.ok and row.max_abs == row.max_rel == 0 for row in made.rows)


def test_the_first_difference_is_that_of_the_earliest_step():
    late, early = changed((0, 3, 0), 1), changed((2, 1, 1), 1)
    with pytest.raises(ProofFailed, match="whole, 4 steps: y, sequence 2, step 1, number 1: ") as failed:
        compared(lambda y: late(early(y)))
    assert failed.value.steps == 4


def test_a_row_is_measured_by_its_own_numbers():
    def source(x):
        return x * np.array([1e4, 1, 1], np.float32)[:, None, None]

    large, small = changed((0, 0, 0), 1e-3), changed((1, 0, 0), 1e-3)
    compared(lambda y: large(source(y)), source)
    with pytest.raises(ProofFailed, match="sequence 1, step 0, number 0"):
        compared(lambda y: small(source(y)), source)


@pytest.mark.parametrize("number", [np.inf, np.nan])
@pytest.mark.parametrize("same", [False, True])
def test_a_source_without_a_finite_answer_is_no_reference(number, same):
    put = changed((1, 2, 0), number)
    with (
        pytest.raises(ProofFailed, match="the source itself answers NaN or infinity .* of 4 steps"),
        np.errstate(all="ignore"),
    ):
        compared(put if same else lambda y: y, lambda x: put(x.copy()))


def test_steps_past_the_length_of_a_row_have_no_meaning():
    counts = [4, 2, 1]
    compared(changed((1, 2, 0), 1), lambda x: changed((2, 3, 0), np.inf)(x.copy()), counts=counts)
    with pytest.raises(ProofFailed, match="sequence 1, step 1"):
        compared(changed((1, 1, 0), 1), counts=counts)


def test_of_longer_sequences_the_first_that_the_source_takes_is_compared():
    def source(x):
        if x.shape[1] > 30:
            raise ValueError("too long")
        return x

    made = compared(source=source, long=[(3, 40, 2), (3, 20, 2), (3, 10, 2)])
    assert made.lengths == [4, 20]
    assert made.refusals == ["40 steps: too long"]


def test_another_shape_is_a_difference():
    with pytest.raises(ProofFailed, match=r"y has the shape \[3, 3, 2\], the source gives \[3, 4, 2\]"):
        compared(lambda y: y[:, :3])


def test_a_source_that_takes_no_length_is_compared_with_nothing():
    def source(x):
        raise ValueError

    made = compared(source=source, long=[(3, 40, 2)])
    assert not made.rows
    assert made.refusals == ["4 steps: ValueError", "40 steps: ValueError"]


def wide(answers):
    """Compare a source that rounds by 1e-4, whose answers in float64 are these, with a network that does not round."""
    rng = np.random.default_rng(0)

    def runs(batches, rng):
        for batch in batches:
            yield batch, "whole", {"y": (batch.x, np.full(len(batch.x), batch.steps))}

    x = rng.normal(size=(3, 4, 2)).astype(np.float32)
    candidate = Candidate("the network", runs, wide=lambda x, known: {"y": answers(x.astype(np.float64))})
    return compare(candidate, lambda x, known: {"y": x + np.float32(1e-4)}, rng, [x], [])


def test_where_they_differ_the_source_in_float64_decides():
    assert wide(lambda x: x).rows[0].max_abs == 0


@pytest.mark.parametrize("answers", [lambda x: x + 2e-5, lambda x: x * np.nan, lambda x: x[:, :1], lambda x: x.upper()])
def test_a_source_that_also_differs_or_fails_in_float64_is_refused_with_its_own_answers(answers):
    with pytest.raises(ProofFailed, match=r"y, sequence 0, step 0, number 0: 0\.12573, the source gives 0\.12583"):
        wide(answers)


def test_a_source_that_is_undefined_for_a_single_step_is_compared_from_two_on():
    drawn = []

    def source(x, known):
        drawn.append(known)
        return {"y": x * (np.nan if x.shape[1] == 1 else 1)}

    def runs(batches, rng):
        for batch in batches:
            yield batch, "whole", {"y": (batch.x, batch.lengths)}

    rng = np.random.default_rng(0)
    x = [rng.normal(size=(3, steps, 2)).astype(np.float32) for steps in (1, 2, 2, 2, 3, 3)]
    made = compare(Candidate("the network", runs), source, rng, x, [], lengths=True)
    assert made.lengths == [2, 2, 2, 3, 3]
    assert made.refusals == ["1 steps: the answer to each sequence contains NaN"]
    assert all(lengths.min() >= 2 for lengths in drawn[1:])
