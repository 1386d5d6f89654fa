"""Files that take words: strings in, scores out, the same numbers as of a file that takes their numbers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator

import seq2onnx as s2o
from seq2onnx.exporting import ExportOptions, build_model
from seq2onnx.runtime.session import SessionSettings
from seq2onnx.sequences import PaddingPolicy, pad
from tests import laws
from tests.command import run
from tests.conftest import described
from tests.twins import Twins

pytestmark = pytest.mark.usefixtures("in_this_process")

WORDS = ["good", "bad", "film", "New York", "日本", "é", "?"]
TEXTS = [
    ["good", "film"],
    ["a", "bad", "", "film", "??", "日本", "?"],
    ["New York", "new york", "é", "e\u0301"],  # composed and not: two words, of which one is known
    ["x" * 5000],
]
NUMBERS = [[1, 3], [8, 2, 0, 3, 8, 5, 7], [4, 8, 6, 8], [8]]


def network(*layers: s2o.layers.Layer, vocabulary=WORDS) -> s2o.Network:
    return s2o.Network([s2o.SequenceInput("tokens"), s2o.WordEmbedding(4, vocabulary), *layers])


NETWORKS = {
    "a sequence": lambda: network(s2o.LSTM(5, "last"), s2o.FullyConnected(2), s2o.Softmax()),
    "a step": lambda: network(s2o.GRU(5), s2o.FullyConnected(2)),
    "strided": lambda: network(s2o.Conv1d(3, 2, stride=2, padding="causal"), s2o.LSTM(4)),
    "pooled": lambda: network(s2o.Conv1d(3, 2, padding="causal"), s2o.GlobalMaxPool1d()),
    "embedding alone": network,
    "reads ahead": lambda: network(s2o.Conv1d(3, 3, padding="same"), s2o.GlobalAvgPool1d()),
    "both ways": lambda: network(s2o.BiLSTM(3, "last")),
}
STREAMED = ["a sequence", "a step", "strided", "pooled", "embedding alone"]
SIGNATURES = [(name, "sequence") for name in NETWORKS] + [(n, s) for n in STREAMED for s in ("full", "stream")]


def exported(tmp_path, net, **options):
    """The module, and what is loaded of its files that take words and numbers."""
    torch.manual_seed(0)
    module = s2o.build(net).eval()
    for name, words in (("words.onnx", True), ("numbers.onnx", False)):
        s2o.export(module, tmp_path / name, words=words, **options)
    return module, s2o.load(tmp_path / "words.onnx"), s2o.load(tmp_path / "numbers.onnx")


def tokens(numbers):
    return [np.array(row) for row in numbers]


def same(a, b):
    """Exactly: it is the same graph after the look-up."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        pairs = [(a[name], b[name]) for name in a]
    else:
        pairs = [(a, b)]
    for left, right in pairs:
        assert len(left) == len(right)
        for x, y in zip(left, right, strict=True):
            np.testing.assert_array_equal(x, y)


def test_the_contract(tmp_path):
    exported(tmp_path, NETWORKS["a sequence"]())
    words, numbers = (onnx.load(tmp_path / f"{name}.onnx") for name in ("words", "numbers"))
    assert described(words.graph.input) == described(numbers.graph.input) | {"x": ("STRING", ["batch", "time"])}
    assert list(described(words.graph.input)) == list(described(numbers.graph.input))
    assert described(words.graph.output) == described(numbers.graph.output)
    assert [(o.domain, o.version) for o in words.opset_import] == [("", 17), ("ai.onnx.ml", 2)]
    assert [(o.domain, o.version) for o in numbers.opset_import] == [("", 17)]
    assert words.ir_version == 8
    onnx.checker.check_model(words, full_check=True)
    (node,) = [node for node in words.graph.node if node.domain]
    assert (node.op_type, node.name) == ("LabelEncoder", "sequence_input_1/LabelEncoder_0")
    assert {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute} == {
        "keys_strings": [word.encode() for word in [*WORDS, ""]],
        "values_int64s": [1, 2, 3, 4, 5, 6, 7, 0],
        "default_int64": 8,
    }
    contracts = [
        json.loads(next(p.value for p in model.metadata_props if p.key == "seq2onnx")) for model in (words, numbers)
    ]
    assert [contract["options"].pop("words") for contract in contracts] == [True, False]
    assert contracts[0] == contracts[1]


@pytest.mark.parametrize(("name", "signature"), SIGNATURES)
def test_words_give_the_same_results_as_their_numbers(tmp_path, name, signature):
    _, words, numbers = exported(tmp_path, NETWORKS[name](), signature=signature, activations=True)
    assert (words.session.get_inputs()[0].type, words.signature) == ("tensor(string)", signature)
    layers = [layer.label for layer in NETWORKS[name]().layers]
    expected, activations = numbers.predict(tokens(NUMBERS)), numbers.predict(tokens(NUMBERS), outputs=layers)
    for given in (
        TEXTS,
        [tuple(text) for text in TEXTS],
        [np.array(text) for text in TEXTS],
        [np.array(text, object) for text in TEXTS],
        [np.array(text).astype(">U5000") for text in TEXTS],
        np.array([np.array(text) for text in TEXTS], object),
        (text for text in TEXTS),
        s2o.SequenceDataset(TEXTS),
    ):
        same(words.predict(given), expected)
    for size in (1, 2):
        same(words.predict(TEXTS, batch_size=size), numbers.predict(tokens(NUMBERS), batch_size=size))
    found = words.predict(TEXTS, outputs=layers)
    for layer in layers:
        same(found[layer], activations[layer])
    assert found["sequence_input_1"][1].tolist() == NUMBERS[1]


@pytest.mark.parametrize("opset", [17, 20, 22])
def test_later_opsets_and_onnx_s_own_evaluator_look_up_the_same(opset):
    net = NETWORKS["embedding alone"]()
    weights = laws.Subject(net).weights
    model = build_model(net, weights, ExportOptions("stream", opset, words=True))
    onnx.checker.check_model(model, full_check=True)
    x = np.array([["good", "", "New York", "unheard of"]], object)
    numbers = np.array([[1, 0, 4, 8]])
    expected = weights["word_embedding_1"]["vectors"][numbers]
    np.testing.assert_array_equal(laws.open_session(model).run(["y"], {"x": x})[0], expected)
    np.testing.assert_array_equal(ReferenceEvaluator(model).run(["y"], {"x": x})[0], expected)


def test_texts_are_split(tmp_path):
    _, words, numbers = exported(tmp_path, NETWORKS["a sequence"](), classes=["+", "-"])
    texts = ["A GOOD film?", "bad", "New York, 日本"]
    split = [s2o.tokenize(text) for text in texts]
    same(words.predict(texts), numbers.predict(split))
    assert words.classify(texts).tolist() == numbers.classify(split).tolist()
    same(words.predict(iter(texts)), numbers.predict(split))
    same(words.predict(s2o.SequenceDataset(texts)), numbers.predict(split))
    same(words.predict(["good", ["good", "film"], np.array(["bad"])]), numbers.predict(tokens([[1], [1, 3], [2]])))
    with pytest.raises(s2o.DataError, match="sequence 1: has 0 steps, the network needs at least 1"):
        words.predict(["good", "  "])
    with pytest.raises(s2o.DataError, match=r"got str; a text is one sequence of words: \[tokenize\(text\)\]"):
        words.predict("good film")
    with pytest.raises(s2o.ShapeError, match=r"got one array \[2\]; put a single sequence into a list"):
        words.predict(np.array(["good", "film"]))


def test_words_are_padded_with_empty_strings():
    batch, lengths = pad([np.array(["a", "bc"]), np.array(["def"])])
    assert (batch.tolist(), lengths.tolist()) == ([["a", "bc"], ["def", ""]], [2, 1])
    assert pad([np.array(["a"]), np.array(["def"])])[0].tolist() == [["a"], ["def"]]


def test_unusual_strings_are_unknown_words(tmp_path):
    """onnxruntime itself would cut a numpy string at a NUL, and refuse half of a surrogate pair."""
    _, words, numbers = exported(tmp_path, NETWORKS["embedding alone"]())
    odd = ["good\0film", "\ud800", "good ", "Good", "\ufffd", "x" * 10**6]
    expected = numbers.predict(tokens([[8] * len(odd)]))
    same(words.predict([odd]), expected)
    same(numbers.predict([odd]), expected)
    same(words.predict([np.array([letter]) for letter in "\ud800z\0"]), numbers.predict(tokens([[8], [8], [0]])))
    (entry,) = words.inputs
    assert entry.convert(odd, "here").dtype.itemsize == 8  # "??": no word of the vocabulary, and as wide as that
    assert entry.spell([0, 1, 7, 8, 99, -1]).tolist() == ["", "good", "?", "??", "??", "??"]


@pytest.mark.parametrize("number", [8, 2**31, 2**32 + 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1])
def test_a_number_of_any_size_that_is_no_word_is_the_unknown_word(tmp_path, number):
    _, _, model = exported(tmp_path, NETWORKS["embedding alone"]())
    expected = model.predict(tokens([[1, 8]]))
    same(model.predict([np.array([1, number], np.uint64)]), expected)
    same(model.predict(s2o.SequenceDataset([np.array([1, number], np.uint64)])), expected)
    same(model.stream().step(np.array([1, number], np.uint64)), model.stream().step(np.array([1, 8])))
    (entry,) = model.inputs
    assert entry.convert(np.array([number], np.uint64), "here").tolist() == [min(number, 2**63 - 1)]


@pytest.mark.parametrize("signature", ["full", "stream"])
@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_takes_a_word_or_a_list_of_them(tmp_path, name, signature):
    _, model, numbers = exported(tmp_path, NETWORKS[name](), signature=signature)
    words, other = model.stream(), numbers.stream()
    for word, number in (("good", 1), ("New York", 4), ("unheard", 8), ("", 0), (np.str_("?"), 7), (np.array("é"), 6)):
        same(words.step(word), other.step(number))
    for chunk, row in zip(TEXTS, NUMBERS, strict=True):
        same(words.step(chunk), other.step(row))
        same(words.step(np.array(chunk)), other.step(np.array(row)))
    same(words.step([]), other.step(np.zeros(0, int)))
    before = words.state
    same(before, other.state)
    for wrong, error, message in (
        (3, s2o.DataError, r"step: expected words \(strings\), got int64; the file was exported with words=True"),
        ([1, 2], s2o.DataError, r"step: expected words \(strings\), got int64"),
        (["good", 1], s2o.DataError, "step: expected words, got words and other values"),
        ("good film", s2o.DataError, r"step: expected a list of words, got the text 'good film'; split it"),
        ([["good"], ["bad"]], s2o.DataError, "step: expected words, got words and other values"),
        (np.array([["good"]]), s2o.ShapeError, r"step: expected one token or \[time\], got \[1, 1\]"),
        (None, s2o.DataError, r"step: expected words \(strings\), got object"),
    ):
        with pytest.raises(error, match=message):
            words.step(wrong)
    same(words.state, before)
    clone = words.clone()
    words.reset()
    words.state = before
    same(words.step("film"), clone.step("film"))


def test_lookahead_is_finished_without_a_word(tmp_path):
    _, words, numbers = exported(tmp_path, NETWORKS["reads ahead"](), lookahead=True)
    a, b = words.stream(), numbers.stream()
    for text, row in zip(TEXTS, NUMBERS, strict=True):
        for word, number in zip(text, row, strict=True):
            same(a.step(np.array(word)), b.step(number))
        same(a.finish(), b.finish())
    pool, other = words.pool(), numbers.pool()
    ids, others = [pool.open(), pool.open()], [other.open(), other.open()]
    same(pool.step(ids, TEXTS[:2]), other.step(others, tokens(NUMBERS[:2])))
    same(pool.finish(ids), other.finish(others))
    same(words.predict(TEXTS), numbers.predict(tokens(NUMBERS)))


@pytest.mark.parametrize("signature", ["full", "stream"])
@pytest.mark.parametrize("name", STREAMED)
def test_a_pool_takes_words(tmp_path, name, signature):
    _, words, numbers = exported(tmp_path, NETWORKS[name](), signature=signature)
    pool, other = words.pool(), numbers.pool()
    ids, others = [pool.open() for _ in range(3)], [other.open() for _ in range(3)]
    three = ["good", "unheard", "New York"]
    for given, row in (
        (three, [1, 8, 4]),
        (np.array(three), [1, 8, 4]),
        (np.array(three, object), [1, 8, 4]),
        ([[word] for word in three], [[1], [8], [4]]),
        (np.array([three, three, ["", "?", "é"]]), [[1, 8, 4], [1, 8, 4], [0, 7, 6]]),
        (np.zeros((3, 0), str), np.zeros((3, 0), int)),
    ):
        x = np.array(row) if isinstance(given, np.ndarray) else row
        same(pool.step(ids, given), other.step(others, x))
    same(pool.step(ids, TEXTS[:3]), other.step(others, tokens(NUMBERS[:3])))
    for id, twin in zip(ids, others, strict=True):
        same(pool.state(id), other.state(twin))
    for wrong, message in (
        ([1, 2, 3], r"step of stream 0: expected words \(strings\), got int64"),
        (np.array([1, 2, 3]), r"step: expected words \(strings\), got int64"),
        (["good", "good film", "bad"], "step of stream 1: expected a list of words, got the text 'good film'"),
    ):
        with pytest.raises(s2o.DataError, match=message):
            pool.step(ids, wrong)

    async def pushed(to, streams, chunks):
        return await asyncio.gather(*(to.push(id, chunk) for id, chunk in zip(streams, chunks, strict=True)))

    for chunks, rows in ((three, [1, 8, 4]), ([["good", "x y"], "bad", ["?"]], [[1, 8], 2, [7]])):
        found, expected = asyncio.run(pushed(pool, ids, chunks)), asyncio.run(pushed(other, others, rows))
        for a, b in zip(found, expected, strict=True):
            same(a, b)


@pytest.mark.parametrize("signature", ["full", "stream"])
@pytest.mark.parametrize("name", ["a sequence", "strided", "reads ahead"])
def test_a_pool_of_words_gives_the_numbers_of_its_streams_alone(tmp_path, name, signature):
    _, words, _ = exported(tmp_path, NETWORKS[name](), signature=signature, lookahead=name == "reads ahead")
    twins = Twins(words, 0)
    for _ in range(60):
        twins.act()
    twins.check_states()
    assert twins.answers > 20


def test_strings_are_not_bound_on_another_device(tmp_path, monkeypatch):
    _, words, numbers = exported(tmp_path, NETWORKS["a step"]())
    real = SessionSettings.open
    monkeypatch.setattr(SessionSettings, "open", lambda self, path, limited: real(SessionSettings(), path))
    model = s2o.load(words.path, "cuda")  # opened on the CPU, as nothing here but the states depends on it
    assert (model.model.keeps_states_on_device, s2o.load(numbers.path, "cuda").model.keeps_states_on_device) == (
        False,
        True,
    )
    stream, other = model.stream(), numbers.stream()
    same(stream.step("good"), other.step(1))
    same(stream.step(TEXTS[1]), other.step(NUMBERS[1]))
    pool, twin = model.pool(), numbers.pool()
    same(pool.step([pool.open()], ["bad"]), twin.step([twin.open()], [2]))


@pytest.mark.parametrize(("name", "signature"), SIGNATURES)
def test_verify_runs_torch_on_numbers_and_the_file_on_words(tmp_path, name, signature):
    module, words, _ = exported(tmp_path, NETWORKS[name](), signature=signature)
    report = s2o.verify(words.path, module, TEXTS)
    assert report.ok, report
    assert {row.check for row in report.rows} >= {"torch = onnxruntime, random", "torch = onnxruntime, data"}
    assert s2o.verify(words.path).ok
    model = onnx.load(words.path)
    (node,) = [node for node in model.graph.node if node.domain]
    (values,) = [a for a in node.attribute if a.name == "values_int64s"]
    values.ints[0], values.ints[1] = values.ints[1], values.ints[0]
    onnx.save(model, words.path)
    assert not s2o.verify(words.path, module, TEXTS).ok  # a file that numbers words otherwise does not pass


def test_it_restores_to_the_same_module_and_is_exported_again(tmp_path):
    module, words, numbers = exported(tmp_path, NETWORKS["a sequence"](), classes=["+", "-"])
    restored = s2o.restore(words.path)
    assert restored.network == module.network
    assert restored.classes == ["+", "-"]
    for name, value in module.state_dict().items():
        assert torch.equal(value, restored.state_dict()[name])
    s2o.export(restored, tmp_path / "again.onnx", words=True)
    assert (tmp_path / "again.onnx").read_bytes() == words.path.read_bytes()
    s2o.export(restored, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == numbers.path.read_bytes()
    options = s2o.TrainingOptions(epochs=1, progress=False, device="cpu")
    again = s2o.train(restored, s2o.SequenceDataset(TEXTS, ["+", "-", "+", "-"]), options=options).module
    s2o.export(again, tmp_path / "again.onnx", words=True)
    assert s2o.verify(tmp_path / "again.onnx", again, TEXTS).ok


@pytest.mark.parametrize("value", [0, 3, 2.7, 8, -1])
@pytest.mark.parametrize("direction", ["right", "left"])
def test_padding_that_counts_as_data_is_the_word_with_the_padding_number(tmp_path, direction, value):
    module, words, numbers = exported(tmp_path, NETWORKS["a step"]())
    module.policy = PaddingPolicy(5, value, direction, mask_padding=False)
    for model, takes_words in ((words, True), (numbers, False)):
        s2o.export(module, model.path, words=takes_words)
    same(s2o.load(words.path).predict(TEXTS), s2o.load(numbers.path).predict(tokens(NUMBERS)))
    for policy in ({"sequence_length": ("split", 2)}, {"sequence_length": "shortest"}, {"mask_padding": False}):
        same(words.predict(TEXTS, **policy), numbers.predict(tokens(NUMBERS), **policy))


def test_the_cache_and_threads_change_nothing(tmp_path):
    _, words, _ = exported(tmp_path, NETWORKS["a sequence"]())
    expected = words.predict(TEXTS * 20)
    for _ in range(2):
        model = s2o.load(words.path, threads=2, cache=tmp_path / "cache")
        same(model.predict(TEXTS * 20), expected)
        same(model.stream().step(TEXTS[1]), words.stream().step(TEXTS[1]))
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert any(place.op == "LabelEncoder" for place in words.placement())


def test_a_forecast_with_known_words(tmp_path):
    _, words, numbers = exported(tmp_path, NETWORKS["a step"]())
    known, future = {"sequence_input_1": [["bad", "?"]] * 4}, {"sequence_input_1": tokens([[2, 7]] * 4)}
    same(words.forecast(TEXTS, 3, known), numbers.forecast(tokens(NUMBERS), 3, future))
    with pytest.raises(s2o.SpecError, match=r"its output for a step is \[2\], but sequence_input_1 takes tokens"):
        words.forecast(TEXTS, 3)


def test_numbers_are_refused_by_a_file_that_takes_words(tmp_path):
    _, words, _ = exported(tmp_path, NETWORKS["a sequence"]())
    message = (
        r"sequence 1: expected words \(strings\), got {}; the file was exported with words=True and looks them "
        "up itself: give it words, or export without words"
    )
    for wrong, kind in ((np.array([1, 3]), "int64"), ([0.5], "float64"), ([b"good"], r"\|S4"), ([None], "object")):
        with pytest.raises(s2o.DataError, match=f"^{message.format(kind)}$"):
            words.predict([["good"], wrong])
    with pytest.raises(s2o.DataError, match="sequence 0: expected words, got words and other values"):
        words.predict([["good", 1]])
    with pytest.raises(s2o.DataError, match="sequence 0: expected a list of words, got lists of different lengths"):
        words.predict([[["good"], ["bad", "film"]]])
    with pytest.raises(s2o.ShapeError, match=r"sequence 0: expected \[time\], got \[1, 2\]"):
        words.predict([np.array([["good", "film"]])])
    with pytest.raises(s2o.DataError, match="sequence 0: has 0 steps"):
        words.predict([[]])


def test_words_that_are_masked_are_refused_and_strings_of_any_kind_are_taken(tmp_path):
    _, words, numbers = exported(tmp_path, NETWORKS["a sequence"]())
    kinds = ["U", "O", *"T" * hasattr(np.dtypes, "StringDType")]  # the last from numpy 2.0 on
    for model in (words, numbers):
        for kind in kinds:
            given = np.array(["New York", "é"], kind)
            np.testing.assert_array_equal(model.predict([given]), model.predict([["New York", "é"]]))
        with pytest.raises(s2o.DataError, match="sequence 1: expected words.*, but some are masked"):
            model.predict([["good"], np.ma.array(["good", "bad"], mask=[False, True])])
    with pytest.raises(s2o.DataError, match=r"sequence 0: .*but some are masked; fill them: x.filled\(0\)"):
        numbers.predict([np.ma.array([1, 2], mask=[True, False])])


def test_an_empty_string_is_padding_and_not_a_word():
    """In a vocabulary, a data set and a file with or without words alike."""
    vocabulary = s2o.Vocabulary.from_texts([["", "b", "a"], ["", "b", ""]])
    assert vocabulary.words == ("b", "a")
    assert vocabulary.encode(["", "a", "c"]).tolist() == [0, 2, 3]
    assert s2o.SequenceDataset([["", "a", "c"]]).with_vocabulary(vocabulary.words).sequences[0].tolist() == [0, 2, 3]


def two_inputs() -> s2o.Network:
    layers = [
        s2o.SequenceInput("tokens", name="text"),
        s2o.WordEmbedding(3, WORDS),
        s2o.FeatureInput(2, name="age"),
        s2o.Concat(inputs=["word_embedding_1", "age"]),
    ]
    return s2o.Network(layers)


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        (lambda: network(vocabulary=5), {}, "words: the words of sequence_input_1 are unknown; give WordEmbedding a"),
        (
            lambda: s2o.Network([s2o.SequenceInput(2), s2o.LSTM(2)]),
            {},
            r"words: sequence_input_1 takes numbers, \[batch, time, 2\]; begin the network with SequenceInput",
        ),
        (
            lambda: s2o.Network([s2o.FeatureInput(2), s2o.FullyConnected(2)]),
            {},
            r"words: feature_input_1 takes numbers, \[batch, 2\]",
        ),
        (two_inputs, {}, "words: needs one input, of words, got text, age; export without words"),
        (
            lambda: network(vocabulary=["a", ""]),
            {},
            'words: word 2 of the vocabulary is "", which is padding; remove it',
        ),
        (
            lambda: network(vocabulary=["a\0b"]),
            {},
            r"words: word 1 of the vocabulary, 'a\\x00b', contains a NUL, which",
        ),
        (network, {"words": WORDS}, r"words: must be True or False, got \['good', .*; the words themselves belong"),
        (network, {"words": 1}, "words: must be True or False, got 1;"),
        (
            network,
            {"closed_loop": 3},
            r"closed_loop: the output of word_embedding_1, .*, is fed back into sequence_input_1, which takes int64",
        ),
        (NETWORKS["both ways"], {"signature": "stream"}, "bilstm_1: its backward direction"),
    ],
)
def test_networks_that_cannot_take_words_are_refused_and_nothing_is_written(tmp_path, net, options, message):
    module = s2o.build(net())
    with pytest.raises((s2o.SpecError, s2o.NotStreamable), match=message):
        s2o.export(module, tmp_path / "model.onnx", **{"words": True} | options)
    assert not list(tmp_path.iterdir())


def test_a_vocabulary_with_a_word_twice_is_refused_before():
    with pytest.raises(s2o.SpecError, match="vocabulary contains a word more than once"):
        network(vocabulary=["a", "b", "a"])


def test_a_file_without_its_vocabulary_is_refused(tmp_path):
    _, words, _ = exported(tmp_path, network())
    model = onnx.load(words.path)
    (entry,) = [p for p in model.metadata_props if p.key == "seq2onnx"]
    entry.value = json.dumps(json.loads(entry.value) | {"vocabulary": None})
    onnx.save(model, words.path)
    with pytest.raises(s2o.ModelFileError, match="words.onnx: takes words, but its metadata has no vocabulary"):
        s2o.load(words.path)


def test_the_example_of_the_contract_runs_with_onnxruntime_alone(tmp_path, monkeypatch):
    text = (Path(__file__).parent.parent / "docs" / "onnx-contract.md").read_text(encoding="utf-8")
    (block,) = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    assert "seq2onnx" not in block
    _, _, numbers = exported(tmp_path, network(s2o.LSTM(5, "last"), vocabulary=["film", "so", "a", "fine"]))
    words = s2o.load(tmp_path / "words.onnx", optimization="disabled")
    s2o.export(s2o.restore(words.path), words.path, "sequence", words=True)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(block, found)
    assert isinstance(found["session"], onnxruntime.InferenceSession)
    same(found["y"], numbers.predict(tokens([[3, 4, 1], [2, 5]]), batch_size=2))


# -- the command --


def test_the_command_from_texts_to_scores(tmp_path):
    texts = ["A good film!", "bad, bad film", "good", "It's a bad one."]
    s2o.SequenceDataset(texts, ["+", "-", "+", "-"]).save(tmp_path / "data.parquet")
    network(s2o.LSTM(3, "last"), s2o.FullyConnected(2), s2o.Softmax(), vocabulary=6).save(tmp_path / "net.yaml")
    folder, file = tmp_path / "run", tmp_path / "words.onnx"
    run("train", tmp_path / "net.yaml", tmp_path / "data.parquet", "--out", folder, "--set", "epochs=1", "-q")
    run("export", folder, "--words", "--out", file)
    run("export", folder, "--out", tmp_path / "numbers.onnx")
    out, _ = run("inspect", file)
    assert "input        x  string [batch, time]" in out
    assert "vocabulary   6 words of sequence_input_1, looked up in the file" in out
    assert "looked up before the run" in run("inspect", tmp_path / "numbers.onnx")[0]
    assert max(map(len, out.replace(str(tmp_path), "").splitlines())) <= 80
    out, _ = run("verify", file, folder, "--data", tmp_path / "data.parquet")
    assert "all comparisons passed" in out
    out, _ = run("predict", file, tmp_path / "data.parquet")
    assert out == run("predict", tmp_path / "numbers.onnx", tmp_path / "data.parquet")[0]
    assert len(out.splitlines()) == 5
    s2o.SequenceDataset([np.array([1, 2])]).save(tmp_path / "numbers.parquet")
    _, err = run("predict", file, tmp_path / "numbers.parquet", code=2)
    assert "sequence 0: expected words (strings), got int64" in err
    out, _ = run("bench", file, "--seconds", "0.01", "--lengths", "5")
    assert {line.split()[0] for line in out.splitlines() if line} >= {"Stream.step", "predict", "pool.step"}


def test_stream_answers_words(tmp_path):
    _, words, numbers = exported(tmp_path, network(s2o.LSTM(2, "last"), vocabulary=["yes", "no", "7"]))
    out, err = run("stream", words.path, stdin='yes\n"no"\n7\n[1]\n8\n["yes", "no"]\n"7"\nan unheard one\n', code=2)
    stream = numbers.stream()
    rows = [stream.step(number) for number in (1, 2, 3, 4, 3, 4)]
    lines = out.splitlines()
    answers = [lines[0], lines[1], lines[2], lines[4], lines[6], lines[7]]
    for line, row in zip(answers, rows, strict=True):
        scores = json.loads(line)["y"] if line.startswith("{") else [float(cell) for cell in line.split(",")]
        np.testing.assert_allclose(scores, row, rtol=1e-6)
    assert [lines[3], lines[5]] == ['{"y": [null, null]}'] * 2
    assert err.splitlines()[0].startswith("line 4: step: expected words (strings), got int64")
    assert err.splitlines()[1] == "line 6: expected one word, got a list of 2"
    _, err = run("stream", words.path, stdin='"yes\n', code=2)
    assert err.startswith('line 1: expected a word, such as good or "good": ')
    out, _ = run("stream", words.path, "--id-column", stdin='a,yes\nb,no\na,no\n{"id": "b", "x": "7"}\n')
    assert [line[0] for line in out.splitlines()[:3]] == ["a", "b", "a"]
    a, b = numbers.stream(), numbers.stream()
    expected = [a.step(1), b.step(2), a.step(2), b.step(3)]
    found = [line.split(",")[1:] for line in out.splitlines()[:3]] + [json.loads(out.splitlines()[3])["y"]]
    np.testing.assert_allclose(np.array(found, float), expected, rtol=1e-6)
