"""Fill-mask: a masked language model, judged by the words that it gives back.

In every text 15% of the words are masked, whole, the same ones whatever the tokenizer and in every epoch. A word is right
when all of its tokens are; its probability is their product. The texts themselves are the labels.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerFast

from edgeprune.data import Table, Text
from edgeprune.errors import ModelError
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

__all__ = ["FillMask"]

_SHARE = 0.15


class FillMask(Task):
    """Raw outputs are logits, [tokens, vocabulary]; a row's are [masked words, 2]: right or not, and log probability."""

    output_names = ("logits",)
    batch_tokens = 256
    """Logits of 250,000 tokens take 1 MB a token."""

    @classmethod
    def resolve(cls, source: Source) -> TaskSpec:
        return TaskSpec(task="fill-mask", max_length=source.max_length, inputs=source.inputs)

    def references(self, table: Table, *, where: str) -> list[None]:
        """Nothing: outputs tell what was right themselves."""
        return [None] * len(table.texts)

    def encode(
        self, tokenizer: PreTrainedTokenizerFast, texts: Sequence[Text], references: Sequence[Any] | None = None
    ) -> list[Example]:
        if tokenizer.mask_token_id is None:
            raise ModelError("the tokenizer has no mask token, which fill-mask needs")
        masked = []
        for example in super().encode(tokenizer, texts):
            assert example.reads is not None  # noqa: S101 (`example` sets it)
            ids = np.array(example.inputs["input_ids"])
            target = np.full(len(ids), IGNORED, np.int64)
            places = example.reads[:, 0]
            target[places] = ids[places]
            ids[places] = tokenizer.mask_token_id
            masked.append(Example({**example.inputs, "input_ids": ids.tolist()}, target, example.reads))
        return masked

    def example(self, inputs: Encoding, encoded: BatchEncoding, row: int, text: Text, reference: Any) -> Example:
        """`reads` is [masked tokens, 3]: the token's place, its id and the number of its word among the masked."""
        by_word: dict[int, list[int]] = {}
        words = _word_of_characters(str(text))
        for place, (start, end) in enumerate(encoded["offset_mapping"][row]):
            found = next((words[character] for character in range(start, end) if words[character] >= 0), None)
            if found is not None:
                by_word.setdefault(found, []).append(place)
        # A word's number in the order decides, so that a text that is cut elsewhere masks the same words where it can.
        order = np.random.default_rng(zlib.crc32(str(text).encode())).permutation(max(words, default=-1) + 1)
        chosen = [word for word in order.tolist() if word in by_word][: max(1, round(_SHARE * len(by_word)))]
        ids = inputs["input_ids"]
        reads = [(place, ids[place], number) for number, word in enumerate(chosen) for place in by_word[word]]
        return Example(inputs, reads=np.array(reads, np.int64).reshape(-1, 3))

    def read(self, raw: Array, example: Example) -> Array:
        assert example.reads is not None  # noqa: S101 (`example` sets it)
        places, ids, words = example.reads.T
        count = int(words.max(initial=-1)) + 1
        logits = raw[places].astype(np.float32)
        top = logits.max(-1, initial=-np.inf)
        probability = logits[np.arange(len(ids)), ids] - top - np.log(np.exp(logits - top[:, None]).sum(-1))
        right, total = np.ones(count, np.float32), np.zeros(count, np.float32)
        np.minimum.at(right, words, (logits.argmax(-1) == ids).astype(np.float32))
        np.add.at(total, words, probability)
        return np.stack([right, total], 1)

    def forward(
        self, model: nn.Module, batch: Batch, *, hidden: bool = False
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        result = model(**batch, output_hidden_states=hidden)
        return result.logits, result.hidden_states if hidden else ()

    def label_loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        tokens = targets[targets != IGNORED]
        loss = functional.cross_entropy(outputs[targets != IGNORED].float(), tokens, reduction="sum")
        return loss / max(1, len(tokens))

    def distill_loss(
        self, student: torch.Tensor, teacher: torch.Tensor, temperature: float, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        return softmax_divergence(_masked(student, targets), _masked(teacher, targets), temperature)

    def divergence_loss(
        self, outputs: torch.Tensor, generator: torch.Generator, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The loss on tokens drawn from the model's own probabilities."""
        return drawn_loss(_masked(outputs, targets), generator)

    def among(self, outputs: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return outputs.index_select(-1, tokens)

    def exportable(self, model: PreTrainedModel) -> nn.Module:
        module: nn.Module = model
        return module

    @property
    def metric_name(self) -> str:
        return "masked_accuracy"

    def statistics(self, outputs: Sequence[Array], references: Sequence[Any]) -> Array:
        """By row: right words, their log probability, words."""
        return np.array([[*output.sum(0), len(output)] for output in outputs], np.float64)

    def summary(self, statistics: Array) -> dict[str, float]:
        """Pseudo-perplexity is exp of the mean negative log probability of a masked word.

        Salazar et al., https://arxiv.org/abs/1910.14659, mask one token at a time; this masks several words.
        """
        right, probability, words = statistics.sum(0).tolist()
        words = max(1.0, words)
        return {"masked_accuracy": right / words, "pseudo_perplexity": float(np.exp(min(-probability / words, 700.0)))}

    def same_answer(self, a: Array, b: Array) -> bool:
        return np.array_equal(a[:, 0], b[:, 0])

    def values(self, output: Array) -> Array:
        """The log probabilities."""
        return output[:, 1]

    def golden_text(self, text: Text, tokenizer: PreTrainedTokenizerFast) -> Text:
        """With its middle word masked."""
        words = str(text).split()
        words[len(words) // 2] = str(tokenizer.mask_token)
        return " ".join(words)


def _word_of_characters(text: str) -> list[int]:
    """By character, the number of its word; -1 between words."""
    found, word, inside = [], -1, False
    for character in text:
        if character.isspace():
            inside = False
        elif not inside:
            word, inside = word + 1, True
        found.append(word if inside else -1)
    return found


def _masked(outputs: torch.Tensor, targets: torch.Tensor | None) -> torch.Tensor:
    """[batch, tokens, vocabulary] to the masked tokens, [masked, vocabulary]."""
    return outputs.flatten(0, 1) if targets is None else outputs[targets != IGNORED]
