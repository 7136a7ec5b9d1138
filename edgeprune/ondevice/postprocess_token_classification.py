"""Logits of tokens to labelled spans of characters."""

import re

import numpy as np

_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ua4cf\uf900-\ufaff\U00020000-\U0003ffff"
_LETTERS = f"[^\\W{_SPACELESS}]+"
WORD = re.compile(
    f"(?:[^\\W\\d_{_SPACELESS}]\\.){{2,}}|{_LETTERS}(?:(?:[-.'’]|(?<=\\d),(?=\\d)){_LETTERS})*|\\w|[^\\w\\s]"
)
"""A word or a sign, much as the data sets of the field have them: U.N., Jean-Paul, 3.5, and a letter where a script has no
spaces (Thai, Chinese, Japanese).
"""


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
    """{"spans": [{"label", "start", "end", "text", "score"}]} of `output` [tokens, labels]; start and end in characters.

    Where labels are no B- and I- tags, every word is a span.
    """
    labels = model.config["labels"]
    words = [match.span() for match in WORD.finditer(text)]
    places = []
    for (start, end), token in zip(words, first_tokens(words, encoding.offsets)):
        if token >= 0 and places and places[-1][1] == token:  # a token of several words makes them one
            places[-1] = ((places[-1][0][0], end), token)
        elif token >= 0:
            places.append(((start, end), token))
    if not places:
        return {"spans": []}
    logits = output[[token for _, token in places]].astype(np.float64)
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    scores = shifted / shifted.sum(-1, keepdims=True)
    tags = [labels[position] for position in scores.argmax(-1)]
    grouped = spans(tags) if has_spans(labels) else [(tag, word, word + 1) for word, tag in enumerate(tags)]
    found = []
    for label, first, after in grouped:
        start, end = places[first][0][0], places[after - 1][0][1]
        score = round(float(scores[first:after].max(-1).mean()), 4)
        found.append({"label": label, "start": start, "end": end, "text": text[start:end], "score": score})
    return {"spans": found}


def decision(found):
    """What an answer says, its scores left out: labels and places."""
    return [[one["label"], one["start"], one["end"]] for one in found["spans"]]
