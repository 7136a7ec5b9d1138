"""Start and end logits to the answer's characters."""

import numpy as np

LONGEST = 30
"""Most tokens of an answer, as in the evaluation of BERT on SQuAD."""


def best_span(output, offsets, unanswerable):
    """(start, end, score) of the best answer in characters; (-1, -1, score) for none.

    output: [tokens, 2], start and end logits; offsets: [(start, end)] by token, (-1, -1) outside of the context. The
    score is the sum of the two logits; no answer has that of the first token, where there may be none.
    """
    inside = np.array([end > start >= 0 for start, end in offsets])
    best = (-1, -1, float(output[0].sum()))
    if not inside.any():
        return best
    start = np.where(inside, output[: len(inside), 0], -np.inf)
    end = np.where(inside, output[: len(inside), 1], -np.inf)
    scores = start[:, None] + end[None, :]
    scores[~(np.tri(len(inside), k=LONGEST - 1, dtype=bool) & np.tri(len(inside), dtype=bool).T)] = -np.inf
    first, last = np.unravel_index(int(scores.argmax()), scores.shape)
    if unanswerable and best[2] > scores[first, last]:
        return best
    return int(offsets[first][0]), int(offsets[last][1]), float(scores[first, last])


def context_offsets(offsets, sides, context):
    """[(start, end)] by token, the first character in the context and the one after the last; (-1, -1) outside of it.

    Some tokenizers count the space before a word as its own; here it isn't.
    """
    found = []
    for (start, end), side in zip(offsets, sides):
        inside = context[start:end]
        found.append((start + len(inside) - len(inside.lstrip()), end) if side == 1 else (-1, -1))
    return found


def answer(output, encoding, text, model):
    """{"answer", "start", "end", "score"} of `output` [tokens, 2] for [question, context]; characters of the context.

    The answer is "" with start and end None where the context has none.
    """
    offsets = context_offsets(encoding.offsets, encoding.sequence_ids, text[1])
    start, end, score = best_span(output, offsets, model.config["unanswerable"])
    if start < 0:
        return {"answer": "", "start": None, "end": None, "score": round(score, 4)}
    return {"answer": text[1][start:end], "start": start, "end": end, "score": round(score, 4)}


def decision(found):
    """What an answer says, its score left out: its place."""
    return [found["start"], found["end"]]
