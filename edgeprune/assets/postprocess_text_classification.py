"""Logits to labels."""

import numpy as np


def answers(outputs, config):
    """A dict a row of `outputs` [texts, labels].

    single label: {"label", "score", "scores"}; multi-label: {"labels", "scores"}; regression: {"value"}.
    """
    labels, kind = config["labels"], config["problem_type"]
    if kind == "regression":
        return [{"value": float(row[0])} for row in outputs]
    if kind == "multi_label_classification":
        scores = 1 / (1 + np.exp(-outputs.astype(np.float64)))
        return [
            {
                "labels": [label for label, score in zip(labels, row) if score > 0.5],
                "scores": dict(zip(labels, np.round(row, 4).tolist())),
            }
            for row in scores
        ]
    shifted = np.exp(outputs.astype(np.float64) - outputs.max(-1, keepdims=True))
    scores = shifted / shifted.sum(-1, keepdims=True)
    return [
        {
            "label": labels[int(row.argmax())],
            "score": round(float(row.max()), 4),
            "scores": dict(zip(labels, np.round(row, 4).tolist())),
        }
        for row in scores
    ]


def same_answers(a, b, config):
    """By row of two outputs, whether they lead to the same label or labels; a regression has none beside its value."""
    kind = config["problem_type"]
    if kind == "regression":
        return [True] * len(a)
    if kind == "multi_label_classification":
        return ((a > 0) == (b > 0)).all(-1)
    return a.argmax(-1) == b.argmax(-1)
