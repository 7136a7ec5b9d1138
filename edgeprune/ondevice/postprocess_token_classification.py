"""Logits of tokens to labelled spans of characters.

`words`, `by_word` and `labelled` are what a training, its metric and a package read of texts and outputs: there are no others.
"""

import functools
import re
import unicodedata

import numpy as np

_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ua4cf\uf900-\ufaff\U00020000-\U0003ffff"


@functools.lru_cache(maxsize=100)
def _word(inside):
    """The expression of a word or a sign, much as the data sets of the field have them.

    U.N., Jean-Paul, 3.5, 's, "...", and a letter where a script has no spaces (Thai, Chinese, Japanese). `inside`: characters that
    are no letters, but parts of words.
    """
    inside = "".join(map(re.escape, inside))
    marks = f"[{inside}]*" if inside else ""
    letters = f"(?:[^\\W{_SPACELESS}]|[{inside}])+" if inside else f"[^\\W{_SPACELESS}]+"
    return re.compile(
        f"(?:[^\\W\\d_{_SPACELESS}]\\.){{2,}}|(?<!\\S)['’][^\\W\\d_]{{1,2}}(?!\\w)"
        f"|{letters}(?:(?:[-.'’]|(?<=\\d),(?=\\d)){letters})*|\\w{marks}|([^\\w\\s])\\1*"
    )


def words(text, signs):
    """[(start, end)] of a text's words in characters; no word has spaces, and together they have everything else.

    signs: a string of those that words of the data have in them, such as "&+" where AT&T and C++ are words. Accents and
    other marks of their own are always part of theirs.
    """
    marks = {one for one in text if not one.isalnum() and unicodedata.category(one) in ("Mn", "Mc", "Me", "Cf")}
    return [match.span() for match in _word("".join(sorted(marks.union(signs)))).finditer(text)]


def first_tokens(words, offsets):
    """By word [(start, end)] in characters, the first token that lies in it, -1 where none does.

    offsets: [(start, end)] by token, in their order; (0, 0) of tokens that no text is behind.
    """
    found, token = [], 0
    for start, end in words:
        while token < len(offsets) and (offsets[token][1] <= start or offsets[token][0] == offsets[token][1]):
            token += 1
        found.append(token if token < len(offsets) and offsets[token][0] < end else -1)
    return found


def by_word(output, tokens):
    """Each word's logits [words, labels], those of its first token, of `output` [tokens, labels].

    Zeros where a word has no token; ones where its token is that of the word before, with which it is one.
    """
    rows = np.zeros((len(tokens), output.shape[-1]), output.dtype)
    before = -1
    for word, token in enumerate(tokens):
        if token >= 0:
            rows[word] = 1 if token == before else output[token]
            before = token
    return rows


def labelled(rows, labels):
    """[(label, first word, word after the last, score)] of `by_word`'s rows; words without a token are passed over.

    Where labels are no B- and I- tags, every word is a span.
    """
    places, own = [], []
    for word, row in enumerate(rows):
        if np.ptp(row) > 0:
            places.append([word, word + 1])
            own.append(row)
        elif row[0] and places:
            places[-1][1] = word + 1
    if not places:
        return []
    logits = np.array(own, np.float64)
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    scores = shifted / shifted.sum(-1, keepdims=True)
    tags = [labels[position] for position in scores.argmax(-1)]
    grouped = spans(tags) if has_spans(labels) else [(tag, place, place + 1) for place, tag in enumerate(tags)]
    return [
        (label, places[first][0], places[after - 1][1], float(scores[first:after].max(-1).mean()))
        for label, first, after in grouped
    ]


def spans(tags):
    """[(label, first word, word after the last)] of tags such as O, B-LOC and I-LOC; also I alone, E- and S-, L- and U-.

    A span goes on where the label stays and no B-, S- begins or E-, S- has ended one, as in the CoNLL evaluation.
    """
    found, label, first, before = [], None, 0, "O"
    for position, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        prefix = {"U": "S", "L": "E"}.get(prefix, prefix)
        inside = name and prefix in ("B", "I", "E", "S")
        goes_on = label is not None and inside and name == label and prefix in ("I", "E") and before in ("B", "I")
        if label is not None and not goes_on:
            found.append((label, first, position))
            label = None
        if inside and not goes_on:
            label, first = name, position
        before = prefix
    return found


def has_spans(labels):
    """Whether labels are such tags, and not one label a word (parts of speech)."""
    return any(label.startswith(("B-", "I-", "S-", "U-")) for label in labels)


def answer(output, encoding, text, model):
    """{"spans": [{"label", "start", "end", "text", "score"}]} of `output` [tokens, labels]; start and end in characters."""
    found = words(text, model.config.get("word_signs", ""))  # older packages don't say it
    rows = by_word(output, first_tokens(found, encoding.offsets))
    answers = []
    for label, first, after, score in labelled(rows, model.config["labels"]):
        start, end = found[first][0], found[after - 1][1]
        answers.append({"label": label, "start": start, "end": end, "text": text[start:end], "score": round(score, 4)})
    return {"spans": answers}


def decision(found):
    """What an answer says, its scores left out: labels and places."""
    return [[one["label"], one["start"], one["end"]] for one in found["spans"]]
