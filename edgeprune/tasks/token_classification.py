"""Classify words: give each word a label. The metric is F1 over spans if labels are B- and I- tags, else accuracy.

A word has the label of its first token. Spans are counted as in the CoNLL evaluation (and seqeval): a span is right if
its label, its first word and its last word are all right.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from edgeprune.base.errors import DataError
from edgeprune.base.wording import quoted
from edgeprune.data.table import Table, flat
from edgeprune.models.reader import Array
from edgeprune.ondevice.postprocess_token_classification import first_tokens, has_spans, spans
from edgeprune.tasks.example import IGNORED, Example
from edgeprune.tasks.labels import LabelNumbers, distinct_labels, labelled_rows
from edgeprune.tasks.losses import SoftmaxLosses
from edgeprune.tasks.roles import Task
from edgeprune.tasks.source import Source
from edgeprune.tasks.spec import TaskSpec
from edgeprune.tasks.text import Texts, Tokenized

__all__ = ["TokenClassification"]


class TokenClassification(Texts, SoftmaxLosses, Task):
    """Give every word a label.

    Raw outputs are logits, [tokens, labels]. A row's output is the logits of its words, [words, labels].
    """

    output_names = ("logits",)

    @classmethod
    def resolve(cls, source: Source) -> TaskSpec:
        if source.has_head:
            labels, form = source.head_labels(), source.head_label_form()
        else:
            labels, form = distinct_labels(source.train, "the train split"), "name"
        if not has_spans(labels):
            source.note(f"labels such as {quoted(labels[0])} are no B- and I- tags: words are counted, not spans")
        return TaskSpec(
            task=source.task, labels=labels, label_form=form, max_length=source.max_length, inputs=source.inputs
        )

    def references(self, table: Table, *, where: str) -> list[Array]:
        """Give for each row the positions of its words' labels, [words]."""
        found, number = [], LabelNumbers(self.spec.labels, self.spec.label_form)
        for (place, labels), text in zip(labelled_rows(table, where), flat(table.texts), strict=True):
            words = text.split(" ")
            if not isinstance(labels, list) or len(labels) != len(words):
                got = f"{len(labels)}" if isinstance(labels, list) else quoted(labels)
                raise DataError(f"{place}: expected a label for each of {len(words)} words, got {got}")
            found.append(np.array([number(one, place) for one in labels], np.int64))
        return found

    def example(self, tokenized: Tokenized, reference: Any) -> Example:
        """Make the example of one text. `reads` is [words]: the first token of each word; -1: the word has no token."""
        tokens = np.array(first_tokens(_words(str(tokenized.text)), tokenized.offsets), np.int64)
        if reference is None:
            return Example(tokenized.inputs, reads=tokens)
        target = np.full(len(tokenized.offsets), IGNORED, np.int64)
        target[tokens[tokens >= 0]] = reference[tokens >= 0]
        return Example(tokenized.inputs, target, tokens)

    def behind_cut(self, examples: Sequence[Example]) -> float:
        return float(np.mean(np.concatenate([example.reads for example in examples]) < 0))

    def read(self, raw: Array, example: Example) -> Array:
        """Read each word's logits. A word that has no token left gets zeros, which stand for no label."""
        found = raw[example.reads]
        found[example.reads < 0] = 0
        return found

    def rows(self, outputs: torch.Tensor, targets: torch.Tensor | None) -> torch.Tensor:
        return outputs.flatten(0, 1) if targets is None else outputs[targets != IGNORED]

    @property
    def metric_name(self) -> str:
        return "f1" if has_spans(self.spec.labels) else "accuracy"

    def statistics(self, outputs: Sequence[Array], references: Sequence[Array]) -> Array:
        """Count for each row the right words, all words, the right spans, the spans found, and the row's own spans."""
        rows = []
        names = [*self.spec.labels, "O"]  # the last name, at -1, is for a word without a label
        for output, reference in zip(outputs, references, strict=True):
            predicted = np.where(np.ptp(output, -1) > 0, output.argmax(-1), -1)
            found, there = (set(spans([names[one] for one in tags])) for tags in (predicted, reference))
            rows.append([(predicted == reference).sum(), len(reference), len(found & there), len(found), len(there)])
        return np.array(rows, np.float64)

    def summary(self, statistics: Array) -> dict[str, float]:
        right_words, words, right, found, there = statistics.sum(0).tolist()
        accuracy = {"accuracy": right_words / max(1, words)}
        if self.metric_name == "accuracy":
            return accuracy
        return {
            "f1": 2 * right / max(1, found + there),
            "precision": right / max(1, found),
            "recall": right / max(1, there),
            **accuracy,
        }

    def same_answer(self, a: Array, b: Array) -> bool:
        return np.array_equal(a.argmax(-1), b.argmax(-1))


def _words(text: str) -> list[tuple[int, int]]:
    """Find where each word begins and ends in a text that was joined of words."""
    spans_, start = [], 0
    for word in text.split(" "):
        spans_.append((start, start + len(word)))
        start += len(word) + 1
    return spans_
