"""Logits to labels."""

import numpy as np


def answer(output, encoding, content, model):
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


def decision(found):
    """What an answer says, its numbers left out: the label or labels; nothing for a regression."""
    return found.get("label", found.get("labels"))
