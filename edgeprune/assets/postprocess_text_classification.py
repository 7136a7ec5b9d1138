"""Logits to labels."""

import numpy as np


def answer(output, encoding, text, model):
    """What `output` [labels] says.

    single label: {"label", "score", "scores"}; multi-label: {"labels", "scores"}; regression: {"value"}.
    """
    labels, kind = model.config["labels"], model.config["problem_type"]
    if kind == "regression":
        return {"value": float(output[0])}
    output = output.astype(np.float64)
    if kind == "multi_label_classification":
        scores = 1 / (1 + np.exp(-output))
        return {
            "labels": [label for label, score in zip(labels, scores) if score > 0.5],
            "scores": dict(zip(labels, np.round(scores, 4).tolist())),
        }
    shifted = np.exp(output - output.max())
    scores = shifted / shifted.sum()
    return {
        "label": labels[int(scores.argmax())],
        "score": round(float(scores.max()), 4),
        "scores": dict(zip(labels, np.round(scores, 4).tolist())),
    }


def same_answer(a, b, config):
    """Whether two outputs lead to the same label or labels; a regression has none beside its value."""
    kind = config["problem_type"]
    if kind == "regression":
        return True
    if kind == "multi_label_classification":
        return bool(((a > 0) == (b > 0)).all())
    return bool(a.argmax() == b.argmax())


def golden(output, encoding, model):
    """What of an output the package's goldens keep."""
    return output
