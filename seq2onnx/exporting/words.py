"""Words in the file: the vocabularies of its metadata, and the look-up that a file exported with words does itself."""

from __future__ import annotations

from collections.abc import Sequence

from seq2onnx.errors import SpecError
from seq2onnx.exporting.graph import ML_DOMAIN, GraphBuilder
from seq2onnx.network import Network


def vocabularies(network: Network) -> dict[str, list[str]] | None:
    """The words of each token input whose WordEmbedding has a vocabulary."""
    found: dict[str, list[str]] = {}
    for layer in network.layers:
        words = getattr(layer, "vocabulary", None)
        if words is not None and not isinstance(words, int):
            source = network.reads[layer.label][0]
            if found.setdefault(source, list(words)) != list(words):
                raise SpecError(
                    f"{layer.label}: numbers the words of {source} otherwise than another WordEmbedding does; "
                    "give both the same vocabulary"
                )
    return found or None


def words_to_look_up(network: Network) -> list[str]:
    """The words that a file with words=True numbers itself, 1 … V in this order; SpecError where it cannot."""
    inputs = [layer.label for layer in network.inputs]
    if len(inputs) > 1:
        raise SpecError(
            f"words: needs one input, of words, got {', '.join(inputs)}; export without words: predict takes words all "
            "the same, and looks them up before the run"
        )
    (source,) = inputs
    if network.signals[source].dtype != "int64":
        raise SpecError(
            f"words: {source} takes numbers, {network.signals[source]}; begin the network with "
            'SequenceInput("tokens"), WordEmbedding(dimension, a list of words), or export without words'
        )
    words = (vocabularies(network) or {}).get(source)
    if words is None:
        raise SpecError(
            f"words: no layer says which words {source} has; give WordEmbedding a list of them, not how many there "
            "are, or train it on texts, of which it then has them; or export without words"
        )
    for number, word in enumerate(words, 1):
        if not word:
            raise SpecError(
                f'words: the vocabulary has "" as its word {number}, and "" is padding; take it out and train again, '
                "or export without words"
            )
        if "\0" in word or not _is_unicode(word):
            raise SpecError(
                f"words: word {number} of the vocabulary, {word!r}, has a NUL or half of a surrogate pair in it, which "
                "strings in ONNX files cannot have; take it out and train again, or export without words"
            )
    return words


def emit_look_up(graph: GraphBuilder, source: str, x: str, words: Sequence[str]) -> str:
    """The numbers [batch, time] of the words x: 1 … V as in `words`, V + 1 for any other, 0 for padding, ""."""
    with graph.scope(source):
        return graph.op(
            "LabelEncoder",
            x,
            domain=ML_DOMAIN,
            keys_strings=[*words, ""],
            values_int64s=[*range(1, len(words) + 1), 0],
            default_int64=len(words) + 1,
        )


def _is_unicode(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True
