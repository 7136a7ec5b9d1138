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


def _offsets(encoding):
    sides = encoding.sequence_ids
    return [offset if side == 1 else (-1, -1) for offset, side in zip(encoding.offsets, sides)]


def answer(output, encoding, text, model):
    """{"answer", "start", "end", "score"} of `output` [tokens, 2] for [question, context]; characters of the context.

    The answer is "" with start and end None where the context has none.
    """
    start, end, score = best_span(output, _offsets(encoding), model.config["unanswerable"])
    if start < 0:
        return {"answer": "", "start": None, "end": None, "score": round(score, 4)}
    found = text[1][start:end].lstrip()  # some tokenizers count the space before a word as its own
    return {"answer": found, "start": end - len(found), "end": end, "score": round(score, 4)}


def decision(found):
    """What an answer says, its score left out: its place."""
    return [found["start"], found["end"]]
