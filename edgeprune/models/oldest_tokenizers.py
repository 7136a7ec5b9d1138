"""Name the oldest version of tokenizers that reads a tokenizer.json of ours.

`benchmarks/tokenizers_versions.py` found by trying which version reads which part.
"""

import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["oldest_tokenizers"]

_Version = tuple[int, ...]

_OLDEST: _Version = (0, 13)
"""The first that has a build for every Python that packages run on."""

_PARTS: dict[str, dict[str, _Version]] = {
    "model": {
        "BPE": (0, 20),  # merges are written as pairs from here on
        "Unigram": _OLDEST,
        "WordLevel": _OLDEST,
        "WordPiece": _OLDEST,
    },
    "normalizer": {
        "BertNormalizer": _OLDEST,
        "ByteLevel": (0, 20),
        "Lowercase": _OLDEST,
        "NFC": _OLDEST,
        "NFD": _OLDEST,
        "NFKC": _OLDEST,
        "NFKD": _OLDEST,
        "Nmt": _OLDEST,
        "Precompiled": _OLDEST,
        "Prepend": (0, 13, 3),
        "Replace": _OLDEST,
        "Sequence": _OLDEST,
        "Strip": _OLDEST,
        "StripAccents": _OLDEST,
    },
    "pre_tokenizer": {
        "BertPreTokenizer": _OLDEST,
        "ByteLevel": _OLDEST,
        "CharDelimiterSplit": _OLDEST,
        "Digits": _OLDEST,
        "FixedLength": (0, 21, 2),
        "Metaspace": (0, 19),
        "Punctuation": _OLDEST,
        "Sequence": _OLDEST,
        "Split": _OLDEST,
        "UnicodeScripts": _OLDEST,
        "Whitespace": _OLDEST,
        "WhitespaceSplit": _OLDEST,
    },
    "post_processor": {
        "BertProcessing": _OLDEST,
        "ByteLevel": _OLDEST,
        "RobertaProcessing": (0, 13, 2),
        "Sequence": _OLDEST,
        "TemplateProcessing": _OLDEST,
    },
    "decoder": {
        "BPEDecoder": _OLDEST,
        "ByteFallback": (0, 13, 3),
        "ByteLevel": _OLDEST,
        "CTC": _OLDEST,
        "Fuse": (0, 13, 3),
        "Metaspace": (0, 19),
        "Replace": (0, 13, 3),
        "Sequence": (0, 13, 3),
        "Strip": (0, 13, 3),
        "WordPiece": _OLDEST,
    },
}
"""What a tokenizer is made of to the first version that computes the same; closed: what isn't here was not tried."""

_IGNORE_MERGES: _Version = (0, 20, 1)
"""The first in which BPE keeps a word whole that is in the vocabulary, where it is told to."""

_NESTED = {
    "normalizer": "normalizers",
    "pre_tokenizer": "pretokenizers",
    "post_processor": "processors",
    "decoder": "decoders",
}
"""Where a Sequence keeps its parts."""


def oldest_tokenizers(path: Path) -> str:
    """Name the oldest version that reads a tokenizer.json, as `0.20`. A part that was not tried needs the installed version."""
    content = json.loads(path.read_text(encoding="utf-8"))
    needed = [_OLDEST]
    for role, known in _PARTS.items():
        for part in _parts(content.get(role), _NESTED.get(role)):
            needed += [known.get(part.get("type", ""), _installed())]
    if content["model"].get("ignore_merges"):
        needed.append(_IGNORE_MERGES)
    return ".".join(map(str, max(needed)))


def _parts(part: dict[str, Any] | None, nested: str | None) -> Iterator[dict[str, Any]]:
    if part is not None:
        yield part
        for one in part.get(nested, ()) if nested else ():
            yield from _parts(one, nested)


def _installed() -> _Version:
    return tuple(int(number) for number in metadata.version("tokenizers").split(".")[:3])
