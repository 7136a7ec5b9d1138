"""Encode and describe texts, for every task on texts. A tokenizer reads the texts, and they are cut to a length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from pydantic import JsonValue
from transformers import PreTrainedTokenizerFast

from edgeprune.data.table import Content, Text
from edgeprune.models.reader import Encoding, Reader
from edgeprune.models.text_reader import TextReader
from edgeprune.tasks.example import Example
from edgeprune.tasks.roles import Packaging, RowEncoding
from edgeprune.tasks.spec import TaskSpec

__all__ = ["Texts", "Tokenized", "tokenizer_of"]


@dataclass(frozen=True)
class Tokenized:
    """Hold one text, or two texts that belong together, as a tokenizer read it."""

    text: Text
    inputs: Encoding
    offsets: Sequence[tuple[int, int]]
    """By token, its first character and the character after its last, in the text that the token is from."""
    sides: Sequence[int | None]
    """By token, the number of the text that it is from, 0 or 1; None for special tokens."""
    tokenizer: PreTrainedTokenizerFast


class Texts(RowEncoding, Packaging):
    """Encode and describe rows that are texts, or pairs of texts."""

    spec: TaskSpec
    truncation: ClassVar[str] = "longest_first"
    """Which of two texts is cut if both together are too long, in the tokenizer's words."""

    @property
    def max_length(self) -> int:
        """Give the number of tokens that a text is cut to."""
        assert self.spec.max_length is not None  # noqa: S101 (a task on texts always has one)
        return self.spec.max_length

    def encode(
        self, reader: Reader, contents: Sequence[Content], references: Sequence[Any] | None = None
    ) -> list[Example]:
        """Encode every text's tokens, cut to max_length. With references, the examples have targets."""
        tokenizer, texts = tokenizer_of(reader), cast("Sequence[Text]", contents)
        firsts = [text if isinstance(text, str) else text[0] for text in texts]
        seconds = [text[1] for text in texts if not isinstance(text, str)] or None
        encoded = tokenizer(
            firsts, seconds, truncation=self.truncation, max_length=self.max_length, return_offsets_mapping=True
        )
        return [
            self.example(
                Tokenized(
                    text,
                    {name: encoded[name][row] for name in self.spec.inputs},
                    encoded["offset_mapping"][row],
                    encoded.sequence_ids(row),
                    tokenizer,
                ),
                None if references is None else references[row],
            )
            for row, text in enumerate(texts)
        ]

    def example(self, tokenized: Tokenized, reference: Any) -> Example:
        """Make the example of one text. Its reference becomes its target; None: the example has no target."""
        return Example(tokenized.inputs, None if reference is None else np.asarray(reference))

    def golden(self, content: Content, reader: Reader) -> Text:
        return self.golden_text(cast("Text", content), tokenizer_of(reader))

    def golden_text(self, text: Text, tokenizer: PreTrainedTokenizerFast) -> Text:
        """Give a text of the data as a user of the package would give it."""
        return text

    def example_inputs(self, reader: Reader) -> tuple[str, ...]:
        return self.example_texts(tokenizer_of(reader))

    def example_texts(self, tokenizer: PreTrainedTokenizerFast) -> tuple[str, ...]:
        """Give the texts that a package's card gives to run.py in its example."""
        return ("A text.", "Another one.") if self.spec.pair else ("A text.",)

    def reading(self, reader: Reader) -> dict[str, JsonValue]:
        mask_token = tokenizer_of(reader).mask_token
        return {
            "max_length": self.max_length,
            "pair": self.spec.pair,
            "truncation": self.truncation,
            "mask_token": None if mask_token is None else str(mask_token),
        }

    def reading_notes(self, reader: Reader) -> str:
        return f"Texts are cut to {self.max_length} tokens."


def tokenizer_of(reader: Reader) -> PreTrainedTokenizerFast:
    """Give the tokenizer of a reader of texts."""
    assert isinstance(reader, TextReader)  # noqa: S101 (`load_reader` makes no other for these tasks)
    return reader.tokenizer
