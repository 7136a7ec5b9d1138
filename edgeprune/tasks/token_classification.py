"""Classify words: give each word a label. The metric is F1 over spans if labels are B- and I- tags, else accuracy.

Words are those that a package's `run.py` finds in a text (`tasks/words.py`), in training and in the metric too. A word has
the label of its first token. Spans are counted as in the CoNLL evaluation (and seqeval): a span is right if its label, its
first word and its last word are all right.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from pydantic import JsonValue

from edgeprune.base.errors import DataError
from edgeprune.base.wording import quoted
from edgeprune.data.table import Content, Table, flat
from edgeprune.models.reader import Array, Reader
from edgeprune.ondevice.postprocess_token_classification import (
    by_word,
    first_tokens,
    has_spans,
    labelled,
    spans,
    words,
)
from edgeprune.tasks.example import IGNORED, Example
from edgeprune.tasks.labels import LabelNumbers, distinct_labels, labelled_rows
from edgeprune.tasks.losses import SoftmaxLosses
from edgeprune.tasks.roles import Task
from edgeprune.tasks.source import Source
from edgeprune.tasks.spec import TaskSpec
from edgeprune.tasks.text import Texts, Tokenized
from edgeprune.tasks.words import continued, cut_words, tags_of_words, word_signs

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
        data_words = [word for text in flat(source.train.texts) for word in text.split(" ")]
        signs = word_signs(data_words)
        share, shown = cut_words(data_words, signs)
        if share:
            source.note(
                f"{share:.1%} of the training words, such as {shown[:30]!r}, are several for run.py, which is given texts "
                f"without words: they are trained and measured as several"
            )
        return TaskSpec(
            task=source.task,
            labels=labels,
            label_form=form,
            max_length=source.max_length,
            inputs=source.inputs,
            word_signs=signs,
        )

    def references(self, table: Table, *, where: str) -> list[tuple[str, ...]]:
        """Give for each row the labels of its words. A piece of a word may have a label that the model lacks."""
        found, number = [], LabelNumbers(self.spec.labels, self.spec.label_form)
        for (place, labels), text in zip(labelled_rows(table, where), flat(table.texts), strict=True):
            count = text.count(" ") + 1
            if not isinstance(labels, list) or len(labels) != count:
                got = f"{len(labels)}" if isinstance(labels, list) else quoted(labels)
                raise DataError(f"{place}: expected a label for each of {count} words, got {got}")
            tags = [self.spec.labels[number(one, place)] for one in labels]
            found.append(tags_of_words(text, tags, self.spec.word_signs, spans=has_spans(self.spec.labels)))
        return found

    def example(self, tokenized: Tokenized, reference: Any) -> Example:
        """Make the example of one text. `reads` is [words]: the first token of each word; -1: the word has no token."""
        found = words(str(tokenized.text), self.spec.word_signs)
        tokens = np.array(first_tokens(found, tokenized.offsets), np.int64)
        if reference is None:
            return Example(tokenized.inputs, reads=tokens)
        target = np.full(len(tokenized.offsets), IGNORED, np.int64)
        numbers = {label: number for number, label in enumerate(self.spec.labels)}
        for token, label in zip(tokens[::-1], reference[::-1], strict=True):  # of several words of a token the first
            if token >= 0:
                target[token] = numbers.get(label, IGNORED)
        return Example(tokenized.inputs, target, tokens)

    def behind_cut(self, examples: Sequence[Example]) -> float:
        return float(np.mean(np.concatenate([example.reads for example in examples]) < 0))

    def read(self, raw: Array, example: Example) -> Array:
        """Read each word's logits. A word that has no token left has no label."""
        return cast("Array", by_word(raw, example.reads))

    def rows(self, outputs: torch.Tensor, targets: torch.Tensor | None) -> torch.Tensor:
        return outputs.flatten(0, 1) if targets is None else outputs[targets != IGNORED]

    @property
    def metric_name(self) -> str:
        return "f1" if has_spans(self.spec.labels) else "accuracy"

    def statistics(self, outputs: Sequence[Array], references: Sequence[Sequence[str]]) -> Array:
        """Count for each row the right words, all words, the right spans, the spans found, and the row's own spans."""
        rows = []
        for output, reference in zip(outputs, references, strict=True):
            right = sum(one == other for one, other in zip(self._tags(output), reference, strict=True))
            found, there = set(self._spans(output)), set(spans(reference))
            rows.append([right, len(reference), len(found & there), len(found), len(there)])
        return np.array(rows, np.float64)

    def _tags(self, output: Array) -> list[str]:
        """Give each word's tag, "" where it has no token; a word that shares its token goes on with its tag."""
        tags: list[str] = []
        for row in output:
            if np.ptp(row) > 0:
                tags.append(self.spec.labels[int(row.argmax())])
            else:
                before = next((tag for tag in reversed(tags) if tag), "")
                goes_on = continued(before, 2)[1] if has_spans(self.spec.labels) else before
                tags.append(goes_on if row[0] else "")
        return tags

    def _spans(self, output: Array) -> list[tuple[str, int, int]]:
        """Give (label, first word, word after the last) of what run.py answers."""
        return [(label, first, after) for label, first, after, _ in labelled(output, self.spec.labels)]

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
        return self._spans(a) == self._spans(b)

    def said(self, output: Array, content: Content) -> dict[str, Any]:
        found = words(str(content), self.spec.word_signs)
        return {
            "spans": [
                {"label": label, "start": found[first][0], "end": found[after - 1][1]}
                for label, first, after in self._spans(output)
            ]
        }

    def reading(self, reader: Reader) -> dict[str, JsonValue]:
        return {**super().reading(reader), "word_signs": self.spec.word_signs}
