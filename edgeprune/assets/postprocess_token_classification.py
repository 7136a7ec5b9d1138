"""Logits of tokens to labelled spans of characters."""

import re

import numpy as np

WORD = re.compile(r"\w+|[^\w\s]")
"""A word, or a sign: what a text's labels are of, as in the data sets of the field."""


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
    """[(label, first word, word after the last)] of tags such as O, B-LOC and I-LOC; also I alone, E- and S-.

    A span goes on where the label stays and no B-, S- begins or E-, S- has ended one, as in the CoNLL evaluation.
    """
    found, label, first, before = [], None, 0, "O"
    for position, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
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
    return any(label.startswith(("B-", "I-", "E-", "S-")) for label in labels)


def answer(output, encoding, text, model):
    """{"spans": [{"label", "start", "end", "text", "score"}]} of `output` [tokens, labels]; start and end in characters.

    Where labels are no B- and I- tags, every word is a span.
    """
    labels = model.config["labels"]
    words = [match.span() for match in WORD.finditer(text)]
    places = [(word, token) for word, token in zip(words, first_tokens(words, encoding.offsets)) if token >= 0]
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


def same_answer(a, b, config):
    """Whether two outputs lead to the same tags."""
    return bool((a.argmax(-1) == b.argmax(-1)).all())


def golden(output, encoding, model):
    """What of an output the package's goldens keep."""
    return output
