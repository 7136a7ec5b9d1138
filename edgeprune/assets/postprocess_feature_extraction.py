"""Sentence embeddings as they are."""


def answers(outputs, config):
    """{"embedding": [float]} a row of `outputs` [texts, hidden]."""
    return [{"embedding": row.tolist()} for row in outputs]


def same_answers(a, b, config):
    """By row of two outputs, whether they lead to the same answer; embeddings have none beside their values."""
    return [True] * len(a)
