"""Words in a file: its vocabularies, and the look-up in files that are exported with words."""

from __future__ import annotations

from collections.abc import Sequence

from seq2onnx.errors import SpecError
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.network import Network

ML_DOMAIN, ML_OPSET = "ai.onnx.ml", 2  # the first opset whose LabelEncoder maps strings to int64 with any default


def vocabularies(network: Network) -> dict[str, list[str]]:
    """Return the words of each token input whose words are known."""
    by_input: dict[str, list[str]] = {}
    for layer in network.layers:
        if layer.word_list is not None:
            source, words = network.reads[layer.label][0], list(layer.word_list)
            if by_input.setdefault(source, words) != words:
                raise SpecError(
                    f"{layer.label}: numbers the words of {source} differently from another WordEmbedding; give both "
                    "the same vocabulary"
                )
    return by_input


def words_to_look_up(network: Network) -> list[str]:
    """Return the words that a file with words=True looks up, with the numbers 1 … V in this order.

    Raises:
        SpecError: the file cannot look up words.
    """
    inputs = [layer.label for layer in network.inputs]
    if len(inputs) > 1:
        raise SpecError(
            f"words: needs one input, of words, got {', '.join(inputs)}; export without words: predict then looks "
            "words up before the run"
        )
    (source,) = inputs
    if network.signals[source].dtype != "int64":
        raise SpecError(
            f"words: {source} takes numbers, {network.signals[source]}; begin the network with "
            'SequenceInput("tokens") and WordEmbedding(dimension, a list of words), or export without words'
        )
    words = vocabularies(network).get(source)
    if words is None:
        raise SpecError(
            f"words: the words of {source} are unknown; give WordEmbedding a list of words instead of their number, "
            "train the network on texts, or export without words"
        )
    for number, word in enumerate(words, 1):
        if not word:
            raise SpecError(
                f'words: word {number} of the vocabulary is "", which is padding; remove it and train again, or export '
                "without words"
            )
        if "\0" in word:
            raise SpecError(
                f"words: word {number} of the vocabulary, {word!r}, contains a NUL, which strings of ONNX cannot; "
                "remove it and train again, or export without words"
            )
    return words


def emit_look_up(graph: GraphBuilder, source: str, x: str, words: Sequence[str]) -> str:
    """Look up the words x [batch, time]: 1 … V as in `words`, V + 1 for any other, 0 for the padding ""."""
    with graph.scope(source):
        return graph.op(
            "LabelEncoder",
            x,
            domain=ML_DOMAIN,
            keys_strings=[*words, ""],
            values_int64s=[*range(1, len(words) + 1), 0],
            default_int64=len(words) + 1,
        )
