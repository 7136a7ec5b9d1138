"""Read a text as BERT's tokenizers do, inside of a graph: text [1] → input_ids [1, tokens].

onnxruntime-extensions has an operator for this, BertTokenizer, but its ids are not those of `tokenizers`: it knows no added tokens,
keeps the first pieces of a word that it can't finish, and has a Unicode of its own (benchmarks/LOG.md). So the graph takes smaller
steps, each of which is exact:

    text → added tokens, runs of letters and single characters     StringRegexSplitWithOffsets
         → what is written for each, put together again            StringMapping, StringJoin, StringRegexReplace
         → words → pieces                                          StringSplit, WordpieceTokenizer
         → ids, one unknown for a word that can't be finished      LabelEncoder, Compress
         → cut, with the tokens that come before and after         Slice, Concat

The operators are described in https://github.com/microsoft/onnxruntime-extensions/blob/main/docs/custom_ops.md.
"""

import json
import re
from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir

from edgeprune.base.errors import ModelError
from edgeprune.models.spelling import Spelling
from edgeprune.models.wordpiece import WordPiece

__all__ = ["EXTENSIONS", "ML", "Nodes", "require_tellable", "tokens_of"]

EXTENSIONS = "ai.onnx.contrib"
"""The domain of onnxruntime-extensions' operators."""
ML = "ai.onnx.ml"
_GONE, _GUARD = "\x01", "\x02"
"""Two of the characters that BERT's normalizer drops, so that no word has them. The first stands for what is dropped. The second
begins the words that stand for added tokens."""
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Nodes:
    """Collect the nodes of a graph in their order, and name their values.

    Args:
        prefix: What all names begin with.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.all: list[onnx_ir.Node] = []

    def add(
        self, op_type: str, *inputs: onnx_ir.Value | None, domain: str = "", outputs: int = 1, **attributes: object
    ) -> onnx_ir.Value:
        """Add a node, and give its first output."""
        return self.add_wide(op_type, *inputs, domain=domain, outputs=outputs, **attributes)[0]

    def add_wide(
        self, op_type: str, *inputs: onnx_ir.Value | None, domain: str = "", outputs: int = 1, **attributes: object
    ) -> Sequence[onnx_ir.Value]:
        """Add a node, and give all of its outputs."""
        node = onnx_ir.node(op_type, inputs, attributes=attributes, domain=domain, num_outputs=outputs)
        node.name = f"{self._prefix}_{len(self.all)}_{op_type}"
        for place, value in enumerate(node.outputs):
            value.name = f"{node.name}_{place}"
        self.all.append(node)
        return tuple(node.outputs)

    def strings(self, *values: str) -> onnx_ir.Value:
        """Add a constant of texts, [values]."""
        return self.add("Constant", value_strings=list(values))

    def string(self, value: str) -> onnx_ir.Value:
        """Add a constant text without axes."""
        return self.add("Constant", value_string=value)

    def numbers(self, *values: int) -> onnx_ir.Value:
        """Add a constant of whole numbers, [values]."""
        return self.add("Constant", value=onnx_ir.tensor(np.array(values, np.int64)))

    def scalar(self, value: int) -> onnx_ir.Value:
        """Add a constant whole number without axes."""
        return self.add("Constant", value=onnx_ir.tensor(np.array(value, np.int64)))


def tokens_of(
    nodes: Nodes, text: onnx_ir.Value, wordpiece: WordPiece, spelling: Spelling, *, max_length: int, from_left: bool
) -> onnx_ir.Value:
    """Add the nodes that read a text.

    Args:
        nodes: Where they are added.
        text: The text, [1].
        wordpiece: What words are looked up with.
        spelling: What becomes of each character.
        max_length: Tokens that a text is cut to, with those that come before and after it.
        from_left: Whether a text loses its first tokens when it is cut, not its last ones.

    Returns:
        The ids, [1, tokens].

    Raises:
        ModelError: An added token can't be kept apart from the text around it.
    """
    require_tellable(wordpiece, spelling)
    written = _written(nodes, text, wordpiece, spelling)
    ids = _ids(nodes, written, wordpiece)
    most = max_length - len(wordpiece.before) - len(wordpiece.after)
    if most <= 0:
        ids = nodes.add("Slice", ids, nodes.numbers(0), nodes.numbers(0))
    elif from_left:
        ids = nodes.add("Slice", ids, nodes.numbers(-most), nodes.numbers(np.iinfo(np.int64).max))
    else:
        ids = nodes.add("Slice", ids, nodes.numbers(0), nodes.numbers(most))
    ends = [nodes.numbers(*wordpiece.before)] if wordpiece.before else []
    after = [nodes.numbers(*wordpiece.after)] if wordpiece.after else []
    whole = nodes.add("Concat", *ends, ids, *after, axis=0)
    return nodes.add("Unsqueeze", whole, nodes.numbers(0))


def _without_nul(nodes: Nodes, text: onnx_ir.Value, instead: str) -> onnx_ir.Value:
    """Add the nodes that write something in place of each NUL, [1]: onnxruntime-extensions ends a text there."""
    pieces = nodes.add("StringSplit", text, outputs=2, delimiter="\0")
    pieces = nodes.add("Concat", nodes.strings(""), nodes.add("Reshape", pieces, nodes.numbers(-1)), axis=0)
    return nodes.add("StringJoin", pieces, nodes.string(instead), nodes.numbers(0), domain=EXTENSIONS)


def require_tellable(wordpiece: WordPiece, spelling: Spelling) -> None:
    """Refuse added tokens that can't be a line of a table, or that can't be found in what is written.

    Raises:
        ModelError: There is such a token.
    """
    after = wordpiece.added_after
    for token in (*wordpiece.added, *after):
        found_otherwise = token in after and (
            spelling.in_ranges(token) or any(_may_overlap(token, other) for other in after)
        )
        if re.search(r"[\0\t\n]", token) or found_otherwise:
            raise ModelError(
                f"the added token {token!r} can't be told from the text around it in a graph; leave stages.package.tokenizer out"
            )


def _may_overlap(one: str, other: str) -> bool:
    """Say whether a text may hold one token's end and another's beginning in the same place."""
    return one != other and any(one.endswith(other[:length]) for length in range(1, min(len(one), len(other))))


def _written(nodes: Nodes, text: onnx_ir.Value, wordpiece: WordPiece, spelling: Spelling) -> onnx_ir.Value:
    """Put together what is written for a text's characters, [1]: words with spaces between them."""
    text = _without_nul(nodes, text, _GONE)
    pattern = _pattern(wordpiece.added, spelling)
    pieces = nodes.add(
        "StringRegexSplitWithOffsets",
        text, nodes.string(pattern), nodes.string(r"(?s).+"),
        domain=EXTENSIONS, outputs=4,
    )  # fmt: skip
    table = {character: to or _GONE for character, to in spelling.written.items()}
    table |= {token: f" {_guarded(number)} " for token, number in wordpiece.added.items()}
    lines = "\n".join(f"{one}\t{to}" for one, to in table.items() if one not in "\n\t")
    pieces = nodes.add("StringMapping", pieces, domain=EXTENSIONS, map=lines)
    # StringMapping's own table can't have these two, and StringJoin needs a piece.
    pieces = nodes.add("Concat", nodes.strings(" "), pieces, axis=0)
    written = nodes.add("StringJoin", pieces, nodes.string(""), nodes.numbers(0), domain=EXTENSIONS)
    written = _replaced(nodes, written, r"[\n\t]", " ")
    written = _replaced(nodes, written, _class(spelling.dropped, _GONE), "")
    if spelling.parted:
        written = _replaced(nodes, written, f"({_class(spelling.parted)})", r" \1 ")
    for token in sorted(wordpiece.added_after, key=len, reverse=True):
        spelt = "".join(spelling.written.get(one, one) for one in token)
        written = _replaced(nodes, written, re.escape(spelt), f" {_guarded(wordpiece.added_after[token])} ")
    return written


def _ids(nodes: Nodes, written: onnx_ir.Value, wordpiece: WordPiece) -> onnx_ir.Value:
    """Look the words of a text up, [pieces]."""
    added = {_guarded(number): number for number in (*wordpiece.added.values(), *wordpiece.added_after.values())}
    vocabulary = {**wordpiece.vocabulary, **added}
    _, words, _ = nodes.add_wide(
        "StringSplit", written, nodes.string(" "), nodes.add("Constant", value=onnx_ir.tensor(np.array(True))),
        domain=EXTENSIONS, outputs=3,
    )  # fmt: skip
    pieces, _, _, ends = nodes.add_wide(
        "WordpieceTokenizer", words, nodes.numbers(),
        domain=EXTENSIONS, outputs=4, vocab=json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":")),
        suffix_indicator=wordpiece.prefix, unknown_token=wordpiece.unknown, max_input_chars_per_word=wordpiece.longest_word,
    )  # fmt: skip
    unknown = wordpiece.vocabulary[wordpiece.unknown]
    ids = nodes.add(
        "LabelEncoder", pieces,
        domain=ML, keys_strings=list(vocabulary), values_int64s=list(vocabulary.values()), default_int64=unknown,
    )  # fmt: skip
    return _finished(nodes, ids, ends, unknown)


def _finished(nodes: Nodes, ids: onnx_ir.Value, ends: onnx_ir.Value, unknown: int) -> onnx_ir.Value:
    """Leave out the pieces of words that end with an unknown one: WordpieceTokenizer keeps what it found before it gave up.

    A piece's word is the number of words that end at or before it. A word with an unknown end loses all of its pieces but this one.
    """
    count = nodes.add("Shape", ids)
    last = nodes.add("Sub", ends, nodes.numbers(1))
    zeros = nodes.add("ConstantOfShape", count, value=onnx_ir.tensor(np.array([0], np.int64)))
    ones = nodes.add("Expand", nodes.numbers(1), nodes.add("Shape", last))
    is_last = nodes.add("ScatterElements", zeros, last, ones)
    word = nodes.add("CumSum", is_last, nodes.scalar(0), exclusive=1)
    bad = nodes.add("Equal", nodes.add("Gather", nodes.add("Gather", ids, last), word), nodes.numbers(unknown))
    lost = nodes.add("And", bad, nodes.add("Equal", is_last, nodes.numbers(0)))
    return nodes.add("Compress", ids, nodes.add("Not", lost))


def _replaced(nodes: Nodes, text: onnx_ir.Value, pattern: str, by: str) -> onnx_ir.Value:
    return nodes.add("StringRegexReplace", text, nodes.string(pattern), nodes.string(by), domain=EXTENSIONS)


def _guarded(number: int) -> str:
    """Make a word of an added token's id, in characters that no other word has."""
    return _GUARD + f"{number:b}".translate({ord("0"): "\x03", ord("1"): "\x04"})


def _pattern(added: Iterable[str], spelling: Spelling) -> str:
    """Write the pattern of what is mapped by itself: added tokens, the longest first, and characters.

    Letters that stay as they are go together, which saves time, unless an added token could begin between them.
    """
    tokens = [re.escape(token) for token in sorted(added, key=len, reverse=True)]
    letters = spelling.kept(_LETTERS)
    if not any(token[0] in letters for token in added):
        tokens.append(f"[{letters}]+")
    return f"(?s)({'|'.join([*tokens, '.'])})"


def _class(spans: Iterable[range], *more: str) -> str:
    """Write a class of characters as RE2 reads it."""
    inside = [rf"\x{{{span[0]:x}}}-\x{{{span[-1]:x}}}" for span in spans] + [rf"\x{{{ord(one):x}}}" for one in more]
    return f"[{''.join(inside)}]"
