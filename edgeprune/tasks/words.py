"""Carry labels from a data set's words to those that a package's `run.py` finds in a text.

Both are the same words where they can be: signs that the data's words have in them are kept in words. What is left (St. is
a word and a sign for run.py) is trained and measured as run.py has it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from edgeprune.ondevice.postprocess_token_classification import words

__all__ = ["continued", "cut_words", "tags_of_words", "word_signs"]

_PIECES = {"B": ("B", "I"), "I": ("I", "I"), "E": ("I", "E"), "L": ("I", "L"), "S": ("B", "E"), "U": ("B", "L")}
"""By the prefix of a word's tag, those of its first and its last piece."""


def word_signs(data_words: Iterable[str]) -> str:
    """Find the signs that cut more of the data's words than they are words, alone or with other signs."""
    inside: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    for word, count in Counter(data_words).items():
        if not any(map(str.isalnum, word)):
            alone.update(dict.fromkeys(word, count))
        elif len(found := words(word, "")) > 1:
            signs = {word[start] for start, _ in found if not word[start].isalnum()}
            inside.update(dict.fromkeys(signs, count))
    return "".join(sorted(sign for sign, count in inside.items() if count > alone[sign]))


def cut_words(data_words: Iterable[str], signs: str) -> tuple[float, str]:
    """Compute the share of the data's words that are several for run.py, and show the most frequent of these."""
    counts = Counter(data_words)
    cut = Counter({word: count for word, count in counts.items() if len(words(word, signs)) > 1})
    shown = max(cut, key=lambda word: (cut[word], word), default="")
    return cut.total() / max(1, counts.total()), shown


def tags_of_words(text: str, tags: Sequence[str], signs: str, *, spans: bool) -> tuple[str, ...]:
    """Give the tag of each of run.py's words in a text, whose words with a space between them have `tags`.

    Args:
        text: Of the data.
        tags: By word of the data.
        signs: That are parts of words.
        spans: Whether tags are B- and I- tags and the like; else each piece of a word has the word's.
    """
    found, ends = iter(words(text, signs)), list[int]()
    for word in text.split(" "):
        ends.append((ends[-1] + 1 if ends else 0) + len(word))
    result: list[str] = []
    place = next(found, None)
    for end, tag in zip(ends, tags, strict=True):
        pieces = 0
        while place is not None and place[0] < end:
            pieces, place = pieces + 1, next(found, None)
        result += continued(tag, pieces) if spans else [tag] * pieces
    return tuple(result)


def continued(tag: str, count: int) -> list[str]:
    """Spread a word's tag over its pieces: of B-LOC they are B-LOC, I-LOC, I-LOC."""
    prefix, _, name = tag.partition("-")
    if count < 2 or not name or prefix not in _PIECES:
        return [tag] * count
    first, last = _PIECES[prefix]
    return [f"{first}-{name}", *[f"I-{name}"] * (count - 2), f"{last}-{name}"]
