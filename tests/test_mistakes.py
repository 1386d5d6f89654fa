"""Messages about the fields of layers and options: plain words, and no names of Python or pydantic."""

from __future__ import annotations

import re

import pytest

import seq2onnx as s2o

MISTAKES = [
    (lambda: s2o.LSTM(100, "lst"), "lstm.output_mode: must be 'sequence', 'last' or 'cell'; got 'lst'"),
    (
        lambda: s2o.SequenceInput(5, "z-score"),
        "sequence_input.normalization: must be 'none', 'zerocenter', 'zscore', 'rescale_symmetric' or "
        "'rescale_zero_one', or a function; got 'z-score'",
    ),
    (lambda: s2o.LSTM("a"), "lstm.hidden_size: must be a whole number; got 'a'"),
    (lambda: s2o.LSTM(5, name="a b"), "a b.name: must have only letters, digits and underscores; got 'a b'"),
    (lambda: s2o.LSTM(5, inputs=3), "lstm.inputs: must be a list; got 3"),
    (lambda: s2o.SequenceInput("words"), "sequence_input.size: must be a whole number, or a list, or 'tokens'"),
    (lambda: s2o.SequenceInput((1, "a")), "sequence_input.size.1: must be a whole number; got 'a'"),
    (lambda: s2o.Conv1d(3, 2, padding="sam"), "padding: must be 'same' or 'causal', or a whole number, or a list; got"),
    (lambda: s2o.Conv2d(3, (1, 2, 3)), "conv2d.kernel_size: must have at most 2 values; got (1, 2, 3)"),
    (lambda: s2o.MaxPool1d(2, padding=5), "max_pool1d: padding 5 must be less than pool_size 2"),
    (lambda: s2o.WordEmbedding(3, 4.5), "word_embedding.vocabulary: must be a whole number, or a list; got 4.5"),
    (lambda: s2o.Concat(3), "concat.name: takes no value by its place, got 3; write it with its name. The fields are"),
    (lambda: s2o.Dropout(2), "dropout.probability: must be less than 1; got 2"),
    (
        lambda: s2o.TrainingOptions(sequence_length="long"),
        "must be a whole number, or 'longest' or 'shortest', or a list",
    ),
    (
        lambda: s2o.TrainingOptions(sequence_length=("split", 0)),
        "options.sequence_length.1: must be greater than 0; got 0",
    ),
    (
        lambda: s2o.TrainingOptions(class_weights="bal"),
        "options.class_weights: must be a mapping, or 'balanced'; got 'bal'",
    ),
    (lambda: s2o.TrainingOptions(mask_padding="maybe"), "options.mask_padding: must be true or false; got 'maybe'"),
    (lambda: s2o.TrainingOptions(epoch=2), "options.epoch: is not a field of TrainingOptions; its fields are epochs, "),
]


@pytest.mark.parametrize(("make", "message"), MISTAKES, ids=[message[:30] for _, message in MISTAKES])
def test_a_mistake_is_named_in_plain_words(make, message):
    with pytest.raises(s2o.SpecError, match=re.escape(message)) as error:
        make()
    assert not re.search(r"ArgsKwargs|literal\[|tuple\[|dict\[|constrained|valid |[Ii]nput should", str(error.value))
    assert len(str(error.value).splitlines()) == 1
