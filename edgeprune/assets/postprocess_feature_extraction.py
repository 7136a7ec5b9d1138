"""Sentence embeddings as they are."""


def answer(output, encoding, text, model):
    """{"embedding": [float]} of `output` [hidden]."""
    return {"embedding": output.tolist()}


def same_answer(a, b, config):
    """Whether two outputs lead to the same answer; embeddings have none beside their values."""
    return True


def golden(output, encoding, model):
    """What of an output the package's goldens keep."""
    return output
