"""Read texts with a fast tokenizer."""

import json
from collections.abc import Iterator, Sequence
from inspect import signature
from pathlib import Path
from typing import cast

import numpy as np
from pydantic import JsonValue
from tokenizers import normalizers
from transformers import MODEL_MAPPING, PreTrainedConfig, PreTrainedTokenizerFast

from edgeprune.base.errors import ModelError
from edgeprune.base.wording import listed
from edgeprune.models.architectures import longest_text
from edgeprune.models.checkpoint import load_tokenizer
from edgeprune.models.reader import Array, Encoding, Inputs, Reader
from edgeprune.models.sentence_settings import read_sentence_settings

__all__ = ["TextReader", "load_text_reader"]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_PARITY_ROWS = 8
_CASED = 0.01
"""The share of tokens with capital letters from which a vocabulary is one of texts with capital letters."""


class TextReader(Reader):
    """Make batches of token ids and masks, [batch, tokens] each, padded on the right.

    Args:
        tokenizer: A fast tokenizer with a padding token.
        max_length: The number of tokens that a text is cut to.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.inputs = tuple(tokenizer.model_input_names)

    def inputs_of(self, *, pair: bool) -> tuple[str, ...]:
        """Leave out token types where every token of one text has type 0, which models take for granted.

        The export then folds that type into the table of positions. Where the tokenizer gives one text other types, they stay.
        """
        untyped = tuple(name for name in self.inputs if name != "token_type_ids")
        if pair or untyped == self.inputs or any(self.tokenizer.backend_tokenizer.encode("a").type_ids):
            return self.inputs
        return untyped

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files. `tokenizer.json` has no spaces and line ends between its parts."""
        self.tokenizer.save_pretrained(folder)
        self.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"), pretty=False)

    def fit_to(self, config: PreTrainedConfig, *, tokens: int | None = None) -> None:
        limit = longest_text(config)
        if limit is not None and self.max_length > limit:
            raise ModelError(
                f"stages.prepare.max_length is {self.max_length}, but the model takes {limit} tokens at most"
            )
        rows = config.vocab_size if tokens is None else tokens
        most = max(self.tokenizer.get_vocab().values())
        if most >= rows:
            raise ModelError(
                f"the tokenizer has {most + 1} tokens, {self.tokenizer.convert_ids_to_tokens(most)!r} the last, but the "
                f"model's embedding has {rows} rows: tokens were added and the model not resized; save the model after "
                f"resize_token_embeddings, or a tokenizer without them"
            )
        self.inputs = self._taken_by(config)

    def _taken_by(self, config: PreTrainedConfig) -> tuple[str, ...]:
        """Name the inputs that the tokenizer gives and the model takes; one token type needs no telling."""
        named = [name for name in self.inputs if name in _INPUTS]
        names = [*named, *(name for name in ("input_ids", "attention_mask") if name not in named)]
        parameters = signature(MODEL_MAPPING[type(config)].forward).parameters
        types = getattr(config, "type_vocab_size", None)
        if "token_type_ids" not in names or "token_type_ids" not in parameters or types in (0, 1):
            return tuple(name for name in names if name != "token_type_ids")
        most = max(self.tokenizer.backend_tokenizer.encode("a", "b").type_ids, default=0)
        if types and most >= types:
            raise ModelError(
                f"the tokenizer gives token types up to {most}, but the model has {types} (type_vocab_size); save the "
                f"model with its own tokenizer"
            )
        return tuple(names)

    def length(self, row: Inputs) -> int:
        return len(cast("Encoding", row)["input_ids"])

    def collate(self, rows: Sequence[Inputs], *, full: bool = False) -> dict[str, Array]:
        """Make a batch of int64 arrays, [batch, tokens] each."""
        encodings = cast("Sequence[Encoding]", rows)
        width = self.max_length if full else max(map(self.length, rows))
        result = {}
        for name in encodings[0]:
            fill = int(self.tokenizer.pad_token_id) if name == "input_ids" else 0
            padded = [encoding[name] + [fill] * (width - len(encoding[name])) for encoding in encodings]
            result[name] = np.array(padded, dtype=np.int64)
        return result

    def varied(self, rows: Sequence[Inputs], most_tokens: int, longest: int | None) -> Iterator[dict[str, Array]]:
        """Yield batches of texts of several lengths: one text, several with padding, and some padded beyond their need.

        One text is as long as texts are cut to. Another is as long as the model takes, or as a batch may be if that is
        less.
        """
        count = min(_PARITY_ROWS, max(2, most_tokens // self.max_length))
        ordered = sorted(rows, key=self.length)
        shortest, middle, last = ordered[0], ordered[len(ordered) // 2], ordered[-1]
        lengths = [self.max_length] if longest is None else [self.max_length, min(longest, most_tokens)]
        for alone in (shortest, middle, last, *(self.of_length(last, length) for length in lengths)):
            yield self.collate([alone])
        yield self.collate([shortest, middle, last])
        yield self.collate([shortest, middle], full=True)
        yield self.collate(ordered[:: max(1, len(ordered) // count)][:count], full=True)

    def timed(self, rows: Sequence[Inputs], number: int) -> dict[str, JsonValue]:
        """Describe a batch by the token ids themselves."""
        return {name: values.tolist() for name, values in self.collate(rows).items()}

    def of_length(self, row: Inputs, length: int) -> Inputs:
        """Cut or repeat the text to this many tokens."""
        return {name: (values * (-(-length // len(values))))[:length] for name, values in cast("Encoding", row).items()}


def load_text_reader(folder: Path, max_length: int) -> TextReader:
    """Load the text reader of a model's folder.

    Raises:
        ModelError: There is no fast tokenizer, or it has no padding token, or the settings of sentence-transformers can't
            be used.
    """
    tokenizer = load_tokenizer(folder)
    doubt = _doubt(folder, tokenizer)
    if read_sentence_settings(folder).lowercase:
        tokenizer = _lowercasing(tokenizer)
    if tokenizer.pad_token_id is None:
        raise ModelError(f"{folder}: the tokenizer has no padding token; name one in tokenizer_config.json")
    tokenizer.model_max_length = max_length
    reader = TextReader(tokenizer, max_length)
    reader.doubt = doubt
    return reader


def _doubt(folder: Path, tokenizer: PreTrainedTokenizerFast) -> str | None:
    """Doubt lower case where transformers assumes it, because no file of the tokenizer says what is meant."""
    settings = folder / "tokenizer_config.json"
    said = settings.is_file() and "do_lower_case" in json.loads(settings.read_text(encoding="utf-8"))
    normalizer = tokenizer.backend_tokenizer.normalizer
    if said or (folder / "tokenizer.json").is_file() or normalizer is None or normalizer.normalize_str("A") == "A":
        return None
    words = tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens)
    lost = sorted(word for word in words if word != word.lower())
    if len(lost) < _CASED * len(words):
        return None
    return (
        f"{len(lost):,} of the tokenizer's {len(words):,} tokens have capital letters ({listed(lost)}), but no text reaches "
        f"them: every text is made lower case, for no file says otherwise; if the model was trained on capital letters, "
        f'write {{"do_lower_case": false}} to tokenizer_config.json beside it'
    )


def _lowercasing(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Make the tokenizer lowercase its texts first, as sentence-transformers does. Its tokenizer.json then says so too.

    The result is a plain PreTrainedTokenizerFast, because other classes make their normalizer anew when they are loaded.
    """
    backend = tokenizer.backend_tokenizer
    before = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *before])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=tokenizer.model_input_names,
        truncation_side=tokenizer.truncation_side,
        split_special_tokens=tokenizer.split_special_tokens,
        **tokenizer.special_tokens_map,
    )
