"""Read BERT's kind of tokenizer: each character by itself, then the longest pieces of each word. Refuse every other kind.

BERT, DistilBERT, ELECTRA and MPNet have tokenizers of this kind, and so have models of other families that were trained with one.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from tokenizers import AddedToken, Tokenizer

from edgeprune.base.errors import ModelError

__all__ = ["WordPiece", "read_wordpiece", "why_not_wordpiece"]


_WORD = "a"


@dataclass(frozen=True)
class WordPiece:
    """Hold what a tokenizer of BERT's kind looks words up with."""

    vocabulary: Mapping[str, int]
    unknown: str
    """The piece that stands for a word that can't be put together."""
    prefix: str
    """What pieces begin with that don't begin a word."""
    longest_word: int
    """The most characters of a word. A longer word is unknown."""
    added: Mapping[str, int]
    """Tokens that are found in texts before anything is done to their characters."""
    added_after: Mapping[str, int]
    """Tokens that are found once characters are normalized, as they are written then."""
    before: tuple[int, ...]
    """Ids that come before every text."""
    after: tuple[int, ...]


def why_not_wordpiece(tokenizer: Tokenizer) -> str | None:
    """Say what a tokenizer has that isn't BERT's; None: it is of BERT's kind."""
    return next(_faults(tokenizer), None)


def _faults(tokenizer: Tokenizer) -> Iterator[str]:
    content = json.loads(tokenizer.to_str())
    model, normalizer, splitter = (content[role] for role in ("model", "normalizer", "pre_tokenizer"))
    if model["type"] != "WordPiece":
        parts = ", ".join(one for one in (_kind(normalizer), _kind(splitter)) if one)
        yield f"its model is {model['type']}{f' ({parts})' if parts else ''}, not WordPiece"
    if _kind(normalizer) not in ("BertNormalizer", "Lowercase + BertNormalizer"):
        yield f"its normalizer is {_kind(normalizer) or 'none'}, not BertNormalizer"
    if not _last(normalizer)["clean_text"]:
        yield "its normalizer keeps control characters (clean_text is false)"
    if _kind(splitter) != "BertPreTokenizer":
        yield f"its pre-tokenizer is {_kind(splitter) or 'none'}, not BertPreTokenizer"
    if any(tokenizer.encode(_WORD).type_ids):
        yield "its template gives a single text another token type than 0"
    for token in tokenizer.get_added_tokens_decoder().values():
        if token.single_word:
            yield f"its added token {token.content!r} is found only where it stands alone (single_word)"


def read_wordpiece(tokenizer: Tokenizer, *, split_special_tokens: bool = False) -> WordPiece:
    """Read a tokenizer of BERT's kind.

    Args:
        tokenizer: The tokenizer.
        split_special_tokens: Whether a text that holds the name of a special token is read as any other text.

    Raises:
        ModelError: The tokenizer is of another kind.
    """
    fault = why_not_wordpiece(tokenizer)
    if fault is not None:
        raise ModelError(f"the tokenizer is not of BERT's kind: {fault}")
    model: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    found = {
        number: token
        for number, token in sorted(tokenizer.get_added_tokens_decoder().items(), key=itemgetter(0))
        if token.content and not (split_special_tokens and token.special)
    }
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.no_truncation()
    plain.no_padding()
    whole, alone = plain.encode(_WORD).ids, plain.encode(_WORD, add_special_tokens=False).ids
    start = next(at for at in range(len(whole)) if whole[at : at + len(alone)] == alone)
    return WordPiece(
        vocabulary=model["vocab"],
        unknown=model["unk_token"],
        prefix=model["continuing_subword_prefix"],
        longest_word=model["max_input_chars_per_word"],
        added={token.content: number for number, token in found.items() if not token.normalized},
        added_after={_normalized(tokenizer, token): number for number, token in found.items() if token.normalized},
        before=tuple(whole[:start]),
        after=tuple(whole[start + len(alone) :]),
    )


def _normalized(tokenizer: Tokenizer, token: AddedToken) -> str:
    return str(tokenizer.normalizer.normalize_str(token.content))


def _last(normalizer: dict[str, Any]) -> dict[str, Any]:
    return normalizer["normalizers"][-1] if "normalizers" in normalizer else normalizer


def _kind(part: dict[str, Any] | None) -> str:
    """Name a part, or the parts of a sequence."""
    if not part:
        return ""
    inner = next((part[name] for name in ("normalizers", "pretokenizers") if name in part), None)
    return part["type"] if inner is None else " + ".join(map(_kind, inner))
