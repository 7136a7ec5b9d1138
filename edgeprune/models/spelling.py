"""Say what a tokenizer makes of each character before it looks words up.

BERT's normalizer and the pre-tokenizer after it treat every character by itself: they keep it, drop it, put spaces around it, or
write others in its place (`É` becomes `e`, a tab a space). So one table says all that both do. The table is made by asking the
tokenizer about every character of Unicode, because libraries know different versions of Unicode.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from tokenizers import Tokenizer

__all__ = ["Spelling", "spelling_of"]

_ASIDE = "0"
"""Put between characters. No character is written as it but itself."""
_AT_ONCE = 4096
_RANGE = 64
"""From so many neighbours of one treatment on, a range says it for all of them: the planes of Chinese, the private areas."""
_SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True)
class Spelling:
    """Hold what becomes of each character. A character that isn't mentioned stays as it is."""

    written: Mapping[str, str]
    """Characters to what is written in their place; spaces part words. Empty: the character is dropped."""
    dropped: tuple[range, ...]
    """Ranges of code points that are dropped."""
    parted: tuple[range, ...]
    """Ranges of code points, each of which is a word by itself."""

    def kept(self, characters: str) -> str:
        """Those of some characters that stay as they are."""
        return "".join(one for one in characters if one not in self.written and not self.in_ranges(one))

    def in_ranges(self, text: str) -> bool:
        """Say whether a character of the text is in one of the ranges."""
        return any(ord(one) in span for one in text for span in (*self.dropped, *self.parted))


def spelling_of(tokenizer: Tokenizer) -> Spelling:
    """Ask a tokenizer about every character.

    Args:
        tokenizer: One whose normalizer and pre-tokenizer treat every character by itself.
    """
    written: dict[str, str] = {}
    dropped: list[range] = []
    parted: list[range] = []
    for kind, group in groupby(_changed(tokenizer), key=lambda one: one[2]):
        for run in _runs([(code, text) for code, text, _ in group]):
            span = range(run[0][0], run[-1][0] + 1)
            if kind is not None and len(span) >= _RANGE:
                (parted if kind else dropped).append(span)
            else:
                written.update((chr(code), text) for code, text in run)
    return Spelling(written, tuple(dropped), tuple(parted))


def _changed(tokenizer: Tokenizer) -> Iterator[tuple[int, str, bool | None]]:
    """Yield each code point that doesn't stay, what is written for it, and False if dropped, True if parted, else None."""
    known: dict[str, str] = {}
    for start in range(0, 0x110000, _AT_ONCE):
        codes = [code for code in range(start, start + _AT_ONCE) if code not in _SURROGATES and chr(code) != _ASIDE]
        characters = [chr(code) for code in codes]
        given = _between(characters)
        normalized = tokenizer.normalizer.normalize_str(given)
        if normalized == given and len(tokenizer.pre_tokenizer.pre_tokenize_str(given)) == 1:
            continue  # as most of Unicode, which is empty
        spelt = _apart(normalized)
        new = sorted({one for text in spelt for one in text} - known.keys())
        if new:
            words = [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(_between(new))]
            known.update(zip(new, _apart(" ".join(words)), strict=True))
        for code, character, text in zip(codes, characters, spelt, strict=True):
            result = "".join(map(known.__getitem__, text))
            if result != character:
                yield code, result, False if not result else True if result == f" {character} " else None


def _between(characters: list[str]) -> str:
    return _ASIDE + _ASIDE.join(characters) + _ASIDE


def _apart(text: str) -> list[str]:
    return text.split(_ASIDE)[1:-1]


def _runs(found: list[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    """Yield runs of neighbours."""
    for _, group in groupby(enumerate(found), key=lambda one: one[1][0] - one[0]):
        yield [one for _, one in group]
