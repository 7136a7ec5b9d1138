"""Answer questions from a context, and measure answers by F1 and exact match, as in SQuAD.

An answer is a place in the context, or none. A context that is too long is cut. An answer behind the cut counts as
missed, for the dense model too.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from edgeprune.base.errors import DataError
from edgeprune.base.wording import quoted
from edgeprune.data.table import Content, Label, Table, Text
from edgeprune.models.reader import Array, Reader
from edgeprune.ondevice.postprocess_question_answering import best_span, context_offsets
from edgeprune.tasks.example import IGNORED, Batch, Example, model_inputs
from edgeprune.tasks.labels import labelled_rows
from edgeprune.tasks.losses import SoftmaxLosses
from edgeprune.tasks.roles import Task
from edgeprune.tasks.source import Source
from edgeprune.tasks.spec import TaskSpec
from edgeprune.tasks.text import Texts, Tokenized, tokenizer_of

__all__ = ["Answers", "QuestionAnswering", "squad_scores"]

_PADDING = -1e4


@dataclass(frozen=True)
class Answers:
    """Hold what a question's answer is compared with."""

    context: str
    texts: tuple[str, ...]
    """The right answers, each of which is enough; empty: the context has no answer."""
    start: int
    """The place of the first answer in the context, in characters; -1: the context has no answer."""


class _StartAndEnd(nn.Module):
    """Wrap a model, and give its two outputs alone."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Turn token ids and masks, [batch, tokens], into logits of the same shape."""
        result = self.model(**inputs)
        return {"start_logits": result.start_logits, "end_logits": result.end_logits}


class QuestionAnswering(Texts, SoftmaxLosses, Task):
    """Find a question's answer in its context.

    Raw outputs are start and end logits, [tokens, 2]. A row's output is [3]: the score of its answer, and the answer's
    start and end in characters.
    """

    output_names = ("start_logits", "end_logits")
    truncation = "only_second"
    metric_name = "f1"

    @classmethod
    def resolve(cls, source: Source) -> TaskSpec:
        labels = [label for table in source.splits.values() for label in table.labels or ()]
        return TaskSpec(
            task=source.task,
            max_length=source.max_length,
            inputs=source.inputs,
            pair=True,
            unanswerable=any(_has_no_answer(label) for label in labels),
        )

    def references(self, table: Table, *, where: str) -> list[Answers]:
        rows = zip(labelled_rows(table, where), table.texts, strict=True)
        return [_answers(text[1], label, place) for (place, label), text in rows]

    def encode(
        self, reader: Reader, contents: Sequence[Content], references: Sequence[Any] | None = None
    ) -> list[Example]:
        tokenizer = tokenizer_of(reader)
        special = tokenizer.num_special_tokens_to_add(pair=True)
        questions = [text[0] for text in cast("Sequence[Text]", contents)]
        for question, ids in zip(questions, tokenizer(questions, add_special_tokens=False)["input_ids"], strict=True):
            if len(ids) + special >= self.max_length:
                raise DataError(
                    f"the question {question[:60]!r} alone has {len(ids)} tokens, but texts are cut to "
                    f"{self.max_length} (stages.prepare.max_length); raise max_length, or leave the question out"
                )
        return super().encode(reader, contents, references)

    def example(self, tokenized: Tokenized, reference: Any) -> Example:
        """Make the example of one question and its context.

        `reads` is [tokens, 2]: each token's start and end in the context, in characters; -1: the token is outside of
        it.
        """
        offsets = np.array(context_offsets(tokenized.offsets, tokenized.sides, tokenized.text[1]), np.int64)
        if reference is None:
            return Example(tokenized.inputs, reads=offsets)
        if not reference.texts:
            target = [0, 0] if self.spec.unanswerable else [IGNORED, IGNORED]
        else:
            end = reference.start + len(reference.texts[0].rstrip())
            inside = np.flatnonzero((offsets[:, 1] > reference.start) & (offsets[:, 0] < end))
            whole = len(inside) > 0 and end <= offsets[:, 1].max()
            target = [int(inside[0]), int(inside[-1])] if whole else [IGNORED, IGNORED]
        return Example(tokenized.inputs, np.array(target, np.int64), offsets)

    def behind_cut(self, examples: Sequence[Example]) -> float:
        return float(np.mean([example.target is not None and example.target[0] == IGNORED for example in examples]))

    def read(self, raw: Array, example: Example) -> Array:
        start, end, score = best_span(raw, example.reads, self.spec.unanswerable)
        return np.array([score, start, end], np.float32)

    def forward(
        self, model: nn.Module, batch: Batch, *, hidden: bool = False
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Compute start and end logits; padding gets no probability."""
        result = model(**model_inputs(batch), output_hidden_states=hidden)
        outputs = torch.stack([result.start_logits, result.end_logits], -1)
        outputs = outputs.masked_fill(batch["attention_mask"][..., None] == 0, _PADDING)
        return outputs, result.hidden_states if hidden else ()

    def rows(self, outputs: torch.Tensor, targets: torch.Tensor | None) -> torch.Tensor:
        """Turn outputs, [batch, tokens, 2], into starts and ends by turns, [batch · 2 or fewer, tokens]."""
        both = outputs.transpose(1, 2)
        return both.flatten(0, 1) if targets is None else both[targets != IGNORED]

    def exportable(self, model: PreTrainedModel) -> nn.Module:
        return _StartAndEnd(model)

    def statistics(self, outputs: Sequence[Array], references: Sequence[Answers]) -> Array:
        """Compute F1 and exact match of each row's answer."""
        return np.array(
            [
                squad_scores(reference.context[int(start) : int(end)] if start >= 0 else "", reference.texts)
                for (_, start, end), reference in zip(outputs, references, strict=True)
            ]
        )

    def summary(self, statistics: Array) -> dict[str, float]:
        f1, exact = statistics.mean(0).tolist()
        return {"f1": f1, "exact_match": exact}

    def said(self, output: Array, content: Content) -> dict[str, Any]:
        score, start, end = float(output[0]), int(output[1]), int(output[2])
        if start < 0:
            return {"answer": "", "start": None, "end": None, "score": score}
        return {"answer": cast("Text", content)[1][start:end], "start": start, "end": end, "score": score}

    def same_answer(self, a: Array, b: Array) -> bool:
        return np.array_equal(a[1:], b[1:])

    def example_texts(self, tokenizer: PreTrainedTokenizerFast) -> tuple[str, ...]:
        return "A question?", "Its context."

    def values(self, output: Array) -> Array:
        """Give the score."""
        return output[:1]


def squad_scores(answer: str, right: Sequence[str]) -> tuple[float, float]:
    """Compute F1 over words and exact match of an answer with the nearest right answer.

    If there is no right answer, the answer should be empty. Case, punctuation and articles don't count, as in Rajpurkar
    et al., https://arxiv.org/abs/1606.05250.
    """
    found = _normalized(answer)
    scores = []
    for text in right or ("",):
        wanted = _normalized(text)
        common = sum((Counter(found) & Counter(wanted)).values())
        # If both texts are empty, the answer is right; if one text is empty, it is wrong.
        f1 = 2 * common / (len(found) + len(wanted)) if found and wanted else float(found == wanted)
        scores.append((f1, float(found == wanted)))
    return max(one for one, _ in scores), max(one for _, one in scores)


def _normalized(text: str) -> list[str]:
    bare = "".join(character for character in text.lower() if character not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def _texts_and_starts(label: Any, where: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Read answers in one of their forms: SQuAD's dict, a list of such dicts, several texts, or one text.

    Returns:
        The right answers and, if the label has them, their places in characters. No answers: the context has none.
    """
    found = label if isinstance(label, dict) else {"text": label}
    if isinstance(label, list) and label and all(isinstance(one, dict) for one in label):
        found = {name: [one.get(name) for one in label] for name in ("text", "answer_start")}
    texts, starts = (_listed(found.get(name)) for name in ("text", "answer_start"))
    good = isinstance(texts, list) and all(isinstance(one, str) and one.strip() for one in texts)
    if good and starts is not None:
        good = isinstance(starts, list) and len(starts) == len(texts) and all(isinstance(one, int) for one in starts)
    if not good:
        raise DataError(
            f'{where}: answers should be a text, several texts, or {{"text": [...], "answer_start": [...]}} with their places in '
            f"the context, got {quoted(label)}"
        )
    return tuple(texts), tuple(starts or ())


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


def _has_no_answer(label: Any) -> bool:
    return not (label.get("text") if isinstance(label, dict) else label)


def _answers(context: str, label: Label, where: str) -> Answers:
    texts, starts = _texts_and_starts(label, where)
    if not texts:
        return Answers(context, (), -1)
    start = starts[0] if starts else context.find(texts[0])
    if start < 0 or not context.startswith(texts[0], start):
        place = f" at character {start}" if starts else ""
        raise DataError(f"{where}: the answer {texts[0][:60]!r} is not in its context{place}")
    return Answers(context, texts, start)
