"""Fill masks with a masked language model, and judge it by the words that it gives back.

In every text, 15% of the words are masked as a whole. The same words are masked in every epoch and with every tokenizer
(except words behind the cut). A word is right if all of its tokens are right; its probability is the product of its
tokens' probabilities. The texts themselves are the labels. In scripts without spaces, every letter is a word.
"""

import unicodedata
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from edgeprune.base.errors import ModelError
from edgeprune.data.table import Content, Table, Text
from edgeprune.models.reader import Array, Reader
from edgeprune.tasks.example import IGNORED, Batch, Example
from edgeprune.tasks.losses import SoftmaxLosses
from edgeprune.tasks.roles import Task
from edgeprune.tasks.source import Source
from edgeprune.tasks.spec import TaskSpec
from edgeprune.tasks.text import Texts, Tokenized

__all__ = ["FillMask"]

_SHARE = 0.15


class FillMask(Texts, SoftmaxLosses, Task):
    """Give masked words back.

    Raw outputs are logits, [tokens, vocabulary]. A row's output is [masked words, 2]: whether each masked word is
    right, and its log probability.
    """

    output_names = ("logits",)
    metric_name = "masked_accuracy"
    max_batch_tokens = 256
    """The most padded tokens that are predicted at once: logits of a vocabulary of 250,000 take 1 MB for each token."""

    @classmethod
    def resolve(cls, source: Source) -> TaskSpec:
        return TaskSpec(task=source.task, max_length=source.max_length, inputs=source.inputs)

    def references(self, table: Table, *, where: str) -> list[None]:
        """Give None for every row: the outputs themselves say what was right."""
        return [None] * len(table.texts)

    def example(self, tokenized: Tokenized, reference: Any) -> Example:
        """Make the example of one text, with some of its words masked.

        `reads` is [masked tokens, 3]: the token's place, its id, and the number of its word among the masked words.
        """
        ids, reads = np.array(tokenized.inputs["input_ids"]), _masked(tokenized)
        places = reads[:, 0]
        target = np.full(len(ids), IGNORED, np.int64)
        target[places] = ids[places]
        ids[places] = tokenized.tokenizer.mask_token_id
        return Example({**tokenized.inputs, "input_ids": ids.tolist()}, target, reads)

    def asked(self, content: Content, reader: Reader) -> Content | None:
        """Give the text with masks in place of the words that are masked, where it is tokenized as they are.

        Some tokenizers count the space before a word as its own, so that it must go too.
        """
        text = str(content)
        (tokenized,) = self.tokenized(reader, [text])
        tokenizer, reads = tokenized.tokenizer, _masked(tokenized)
        if tokenizer.mask_token_id in tokenized.inputs["input_ids"]:
            return None
        of_word: dict[int, list[tuple[int, int]]] = {}
        for place, _, word in reads.tolist():
            of_word.setdefault(word, []).append(tokenized.offsets[place])
        wanted, joined, apart = self.example(tokenized, None).inputs, text, text
        for offsets in sorted(of_word.values(), reverse=True):  # from the end, so that places before stay
            start, end = min(one for one, _ in offsets), max(one for _, one in offsets)
            masks = str(tokenizer.mask_token) * len(offsets)
            before = text[:end].removesuffix(text[start:end].lstrip())
            apart, joined = before + masks + apart[end:], before.rstrip() + masks + joined[end:]
        given = list(self.tokenized(reader, [apart, joined]))
        return next((one.text for one in given if one.inputs == wanted), None)

    def heard(self, answer: dict[str, Any], content: Content, reader: Reader) -> dict[str, Any]:
        (tokenized,) = self.tokenized(reader, [str(content)])
        reads = _masked(tokenized)
        names = tokenized.tokenizer.convert_ids_to_tokens(reads[:, 1].tolist())
        best = [candidates[0]["token"] for candidates in answer["masks"]]
        order = np.argsort(np.argsort(reads[:, 0])).tolist()  # of each place among the masks, from the text's start
        right: dict[int, bool] = {}
        for mask, word, name in zip(order, reads[:, 2].tolist(), names, strict=True):
            right[word] = right.get(word, True) and best[mask] == name
        return {"right": list(right.values())}

    def said(self, output: Array, content: Content) -> dict[str, Any]:
        return {"right": [bool(right) for right in output[:, 0]]}

    def read(self, raw: Array, example: Example) -> Array:
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
        """Compute logits; with targets, compute the logits of masked tokens alone, [masked, vocabulary].

        All logits of a batch would fill the memory.
        """
        targets = batch.get("targets")
        if targets is None:
            return super().forward(model, batch, hidden=hidden)
        masked = targets != IGNORED

        def choose(_decoder: nn.Module, states: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            return (states[0][masked],)

        handle = model.get_output_embeddings().register_forward_pre_hook(choose)  # type: ignore[operator]
        try:
            return super().forward(model, batch, hidden=hidden)
        finally:
            handle.remove()

    def rows(self, outputs: torch.Tensor, targets: torch.Tensor | None) -> torch.Tensor:
        return outputs.flatten(0, -2)

    def among(self, outputs: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return outputs.index_select(-1, tokens)

    def statistics(self, outputs: Sequence[Array], references: Sequence[Any]) -> Array:
        """Compute for each row the number of right words, the words' total log probability, and the number of words."""
        return np.array([[*output.sum(0), len(output)] for output in outputs], np.float64)

    def summary(self, statistics: Array) -> dict[str, float]:
        """Compute the share of right words, and the pseudo-perplexity.

        The pseudo-perplexity is exp of the mean negative log probability of a masked word. Salazar et al.,
        https://arxiv.org/abs/1910.14659, mask one token at a time; this task masks several words.
        """
        right, probability, words = statistics.sum(0).tolist()
        words = max(1.0, words)
        return {"masked_accuracy": right / words, "pseudo_perplexity": float(np.exp(min(-probability / words, 700.0)))}

    def same_answer(self, a: Array, b: Array) -> bool:
        return np.array_equal(a[:, 0], b[:, 0])

    def values(self, output: Array) -> Array:
        """Give the log probabilities."""
        return output[:, 1]

    def example_texts(self, tokenizer: PreTrainedTokenizerFast) -> tuple[str, ...]:
        return (f"A {tokenizer.mask_token} text.",)

    def golden_text(self, text: Text, tokenizer: PreTrainedTokenizerFast) -> Text:
        """Return the part of a text that isn't cut, with its middle word masked."""
        offsets = tokenizer(str(text), truncation=True, max_length=self.max_length - 2, return_offsets_mapping=True)[
            "offset_mapping"
        ]
        kept = [(start, end) for start, end in offsets if end > start]
        words = str(text)[kept[0][0] : kept[-1][1]].split()
        words[len(words) // 2] = str(tokenizer.mask_token)
        return " ".join(words)


def _masked(tokenized: Tokenized) -> Array:
    """Choose the words of a text that are masked: `reads` of its example."""
    tokenizer, text = tokenized.tokenizer, str(tokenized.text)
    if tokenizer.mask_token_id is None:
        raise ModelError("the tokenizer has no mask token, which fill-mask needs")
    ids, words = np.array(tokenized.inputs["input_ids"]), _word_of_characters(text)
    by_word: dict[int, list[int]] = {}
    for place, (start, end) in enumerate(tokenized.offsets):
        found = next((words[character] for character in range(start, end) if words[character] >= 0), None)
        if found is not None:
            by_word.setdefault(found, []).append(place)
    known = {word for word, places in by_word.items() if tokenizer.unk_token_id not in ids[places]}
    count = max(words, default=-1) + 1
    order = np.random.default_rng(zlib.crc32(text.encode())).permutation(count).tolist()
    wanted = [word for word in order[: max(1, round(_SHARE * count))] if word in known]
    chosen = wanted or [word for word in order if word in known][:1]
    reads = [(place, ids[place], number) for number, word in enumerate(chosen) for place in by_word[word]]
    return np.array(reads, np.int64).reshape(-1, 3)


def _word_of_characters(text: str) -> list[int]:
    """Return for each character the number of its word; -1: the character is between words."""
    found, word, inside = [], -1, False
    for character in text:
        if character.isspace():
            inside = False
        elif not inside or _is_a_word(character):
            word, inside = word + 1, True
        found.append(word if inside else -1)
    return found


def _is_a_word(character: str) -> bool:
    """Tell whether a character is a letter of a script without spaces: Thai to Myanmar, Khmer, Chinese, Japanese."""
    number = ord(character)
    spaceless = (
        0x0E00 <= number < 0x10A0 or 0x1780 <= number < 0x1800 or (number >= 0x2E80 and not 0xAC00 <= number < 0xD800)
    )
    return spaceless and unicodedata.category(character) == "Lo"
