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
