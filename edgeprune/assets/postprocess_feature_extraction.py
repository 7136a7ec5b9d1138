"""Sentence embeddings as they are."""


def answers(outputs, config):
    """{"embedding": [float]} a row of `outputs` [texts, hidden]."""
    return [{"embedding": row.tolist()} for row in outputs]


def same_answer(a, b, config):
    """Embeddings have no answers beside their values."""
    return True
