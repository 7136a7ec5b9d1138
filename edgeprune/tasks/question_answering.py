"""Extractive question answering: the answer's place in a context, or none; F1 and exact match as in SQuAD.

A context that is too long is cut: an answer behind the cut counts as missed, for the dense model too.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import BatchEncoding, PreTrainedModel

from edgeprune.assets.postprocess_question_answering import best_span
from edgeprune.data import Label, Table, Text
from edgeprune.errors import DataError
from edgeprune.tasks import TaskSpec
from edgeprune.tasks.base import (
    IGNORED,
    Array,
    Batch,
    Encoding,
    Example,
    Source,
    Task,
    drawn_loss,
    softmax_divergence,
)

__all__ = ["Answers", "QuestionAnswering", "squad_scores"]

_PADDING = -1e4


@dataclass(frozen=True)
class Answers:
    """What a question's answer is compared with."""

    context: str
    texts: tuple[str, ...]
    """Any of them is right; none: the context has no answer."""
    start: int
    """Of the first in the context, in characters; -1 without an answer."""


class _StartAndEnd(nn.Module):
    """The model's two outputs alone."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Token ids and masks, [batch, tokens], to logits of the same shape."""
        result = self.model(**inputs)
        return {"start_logits": result.start_logits, "end_logits": result.end_logits}


class QuestionAnswering(Task):
    """Raw outputs are start and end logits, [tokens, 2]; a row's are its answer's score, start and end character, [3]."""

    output_names = ("start_logits", "end_logits")
    truncation = "only_second"

    @classmethod
    def resolve(cls, source: Source) -> TaskSpec:
        labels = source.train.labels or []
        return TaskSpec(
            task="question-answering",
            max_length=source.max_length,
            inputs=source.inputs,
            pair=True,
            unanswerable=any(not _texts_of(label) for label in labels),
        )

    def references(self, table: Table, *, where: str) -> list[Answers]:
        assert table.labels is not None  # noqa: S101 (this task is labelled, so its table is)
        return [
            _answers(text[1], label, f"{where} row {row}")
            for row, text, label in zip(table.numbers, table.texts, table.labels, strict=True)
        ]

    def example(self, inputs: Encoding, encoded: BatchEncoding, row: int, text: Text, reference: Any) -> Example:
        sides = encoded.sequence_ids(row)
        offsets = np.array(
            [
                offset if side == 1 else (-1, -1)
                for offset, side in zip(encoded["offset_mapping"][row], sides, strict=True)
            ],
            np.int64,
        )
        if reference is None:
            return Example(inputs, reads=offsets)
        if not reference.texts:
            target = [0, 0] if self.spec.unanswerable else [IGNORED, IGNORED]
        else:
            end = reference.start + len(reference.texts[0])
            covers = [
                np.flatnonzero((offsets[:, 0] <= character) & (character < offsets[:, 1]))
                for character in (reference.start, end - 1)
            ]
            target = [int(found[0]) if len(found) else IGNORED for found in covers]
            if IGNORED in target:
                target = [IGNORED, IGNORED]
        return Example(inputs, np.array(target, np.int64), offsets)

    def read(self, raw: Array, example: Example) -> Array:
        assert example.reads is not None  # noqa: S101 (`example` sets it)
        start, end, score = best_span(raw, example.reads, self.spec.unanswerable)
        return np.array([score, start, end], np.float32)

    def forward(
        self, model: nn.Module, batch: Batch, *, hidden: bool = False
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Padding gets no probability."""
        result = model(**batch, output_hidden_states=hidden)
        outputs = torch.stack([result.start_logits, result.end_logits], -1)
        outputs = outputs.masked_fill(batch["attention_mask"][..., None] == 0, _PADDING)
        return outputs, result.hidden_states if hidden else ()

    def label_loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        places = targets.flatten()
        loss = functional.cross_entropy(_rows(outputs).float(), places, ignore_index=IGNORED, reduction="sum")
        return loss / max(1, int((places != IGNORED).sum()))

    def distill_loss(
        self, student: torch.Tensor, teacher: torch.Tensor, temperature: float, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        return softmax_divergence(_rows(student), _rows(teacher), temperature)

    def divergence_loss(
        self, outputs: torch.Tensor, generator: torch.Generator, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The loss on places drawn from the model's own probabilities."""
        return drawn_loss(_rows(outputs), generator)

    def exportable(self, model: PreTrainedModel) -> nn.Module:
        return _StartAndEnd(model)

    @property
    def metric_name(self) -> str:
        return "f1"

    def statistics(self, outputs: Sequence[Array], references: Sequence[Answers]) -> Array:
        """By row: F1 and exact match."""
        return np.array(
            [
                squad_scores(reference.context[int(start) : int(end)] if start >= 0 else "", reference.texts)
                for (_, start, end), reference in zip(outputs, references, strict=True)
            ]
        )

    def summary(self, statistics: Array) -> dict[str, float]:
        f1, exact = statistics.mean(0).tolist()
        return {"f1": f1, "exact_match": exact}

    def same_answer(self, a: Array, b: Array) -> bool:
        return np.array_equal(a[1:], b[1:])

    def values(self, output: Array) -> Array:
        """The score."""
        return output[:1]


def squad_scores(answer: str, right: Sequence[str]) -> tuple[float, float]:
    """F1 over words and exact match of an answer with the nearest right one; none: it should be empty.

    Rajpurkar et al., https://arxiv.org/abs/1606.05250: without case, signs and articles.
    """
    found = _normalized(answer)
    scores = []
    for text in right or ("",):
        wanted = _normalized(text)
        common = sum((Counter(found) & Counter(wanted)).values())
        # Both empty is right, one empty is wrong.
        f1 = 2 * common / (len(found) + len(wanted)) if found and wanted else float(found == wanted)
        scores.append((f1, float(found == wanted)))
    return max(one for one, _ in scores), max(one for _, one in scores)


def _normalized(text: str) -> list[str]:
    bare = "".join(character for character in text.lower() if character not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def _texts_of(label: Label) -> list[str]:
    if isinstance(label, dict):
        return list(label.get("text") or [])
    return [str(label)]


def _answers(context: str, label: Label, where: str) -> Answers:
    """SQuAD's {"text": [...], "answer_start": [...]}, or the answer's text, which is looked for in the context."""
    texts = _texts_of(label)
    if not texts:
        return Answers(context, (), -1)
    starts = label.get("answer_start") if isinstance(label, dict) else None
    start = context.find(texts[0]) if not starts else int(starts[0])
    if start < 0 or context[start : start + len(texts[0])] != texts[0]:
        raise DataError(
            f"{where}: the answer {texts[0][:60]!r} is not in its context at character {start}; give "
            '{"text": [...], "answer_start": [...]} with the places in the context'
            if starts
            else f"{where}: the answer {texts[0][:60]!r} is not in its context"
        )
    return Answers(context, tuple(texts), start)


def _rows(outputs: torch.Tensor) -> torch.Tensor:
    """[batch, tokens, 2] to [batch · 2, tokens]."""
    return outputs.transpose(1, 2).flatten(0, 1)
