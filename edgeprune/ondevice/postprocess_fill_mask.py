"""Logits of masked tokens to the tokens that fit best."""

import numpy as np

CANDIDATES = 5
_KEPT = 500
"""About so many of the vocabulary's logits are kept in a golden; all of them would be larger than the model."""


def _masks(encoding, model):
    mask = model.inputs.tokenizer.token_to_id(model.config["mask_token"])
    return [position for position, token in enumerate(encoding.ids) if token == mask]


def answer(output, encoding, text, model):
    """{"masks": [[{"token", "score"}]]} of `output` [tokens, vocabulary]: the best five of every mask, best first."""
    logits = output[_masks(encoding, model)].astype(np.float64)
    found = []
    for row in logits:
        shifted = np.exp(row - row.max())
        scores = shifted / shifted.sum()
        best = np.argsort(-scores, kind="stable")[:CANDIDATES]
        found.append(
            [
                {"token": model.inputs.tokenizer.id_to_token(int(one)), "score": round(float(scores[one]), 4)}
                for one in best
            ]
        )
    return {"masks": found}


def decision(found):
    """What an answer says, its scores left out: the best token of every mask."""
    return [candidates[0]["token"] for candidates in found["masks"]]


def kept(output, encoding, model):
    """The part of an output that goldens keep: some of the vocabulary's logits at the masks."""
    return output[_masks(encoding, model)][:, :: max(1, output.shape[-1] // _KEPT)]
