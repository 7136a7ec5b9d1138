"""Encode and describe texts, for every task on texts. A tokenizer reads the texts, and they are cut to a length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from pydantic import JsonValue
from transformers import PreTrainedTokenizerFast

from edgeprune.base.errors import DataError
from edgeprune.data.table import Content, Text
from edgeprune.models.reader import Encoding, Reader
from edgeprune.models.text_reader import TextReader
from edgeprune.ondevice.preprocess_text import Inputs
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
        """Encode every text's tokens, cut to max_length. With references, the examples have targets.

        Raises:
            DataError: A text can't be cut to max_length.
        """
        return [
            self.example(tokenized, None if references is None else references[row])
            for row, tokenized in enumerate(self.tokenized(reader, cast("Sequence[Text]", contents)))
        ]

    def tokenized(self, reader: Reader, texts: Sequence[Text]) -> Iterator[Tokenized]:
        """Tokenize texts as a package of this task does: by the same code, with the same settings."""
        tokenizer = tokenizer_of(reader)
        settings = {**self.reading(reader), "inputs": self.spec.inputs}
        inputs = Inputs(None, settings, tokenizer.backend_tokenizer)
        for text in texts:
            try:
                encoding = inputs.encode(text)
            except ValueError as error:
                raise DataError(f"{error}; leave it out, or raise stages.prepare.max_length") from error
            yield Tokenized(text, inputs.values(encoding), encoding.offsets, encoding.sequence_ids, tokenizer)

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
        tokenizer = tokenizer_of(reader)
        return {
            "max_length": self.max_length,
            "pair": self.spec.pair,
            "truncation": self.truncation,
            "truncation_side": tokenizer.truncation_side,
            "split_special_tokens": tokenizer.split_special_tokens,
            "mask_token": None if tokenizer.mask_token is None else str(tokenizer.mask_token),
        }

    def reading_notes(self, reader: Reader) -> str:
        which = "last" if tokenizer_of(reader).truncation_side == "left" else "first"
        return f"Texts are cut to their {which} {self.max_length} tokens."


def tokenizer_of(reader: Reader) -> PreTrainedTokenizerFast:
    """Give the tokenizer of a reader of texts."""
    assert isinstance(reader, TextReader)  # noqa: S101 (`load_reader` makes no other for these tasks)
    return reader.tokenizer
