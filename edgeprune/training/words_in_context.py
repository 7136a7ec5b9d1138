"""Find the words that are likeliest in the place of each word of a text, by a masked language model.

TinyBERT (https://arxiv.org/abs/1909.10351, algorithm 1) masks a word, and takes the likeliest words at this place. Here
every seventh word of a text is masked at once, about the share that such models were trained with. So seven passes find the words for
all places, however long the text is. In a text of seven words or fewer, each word is masked alone.

    found = find_in_context(model, task, reader, ["a fine film"], on_batch=lambda done, total: None)
    InContext(found, whole_words(reader.tokenizer)).of(0, 0, ["a", "fine", "film"])    # [["the", …], ["superb", …], …]
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from transformers import PreTrainedModel

from edgeprune.data.table import Text
from edgeprune.models.reader import Array, Encoding
from edgeprune.models.text_reader import TextReader
from edgeprune.tasks.evaluation import by_length, to_torch
from edgeprune.tasks.example import IGNORED
from edgeprune.tasks.fill_mask import FillMask
from edgeprune.tasks.spec import TaskSpec
from edgeprune.tasks.text import Texts, Tokenized
from edgeprune.training.whole_words import (
    CHUNK,
    MOST_SUBSTITUTES,
    RANKED,
    no_word_to_replace,
    other_words,
    standing_words,
    whole_words,
    word_in,
)
from edgeprune.training.word_replacement import Substitutes

__all__ = ["FoundInContext", "InContext", "find_in_context"]

_APART = 7
"""Every so many words of a text, one is masked in a pass."""
_TOKENS_AT_ONCE = 2048
"""The most padded tokens in a batch. About a seventh of them is masked, and has scores for the whole vocabulary."""


@dataclass(frozen=True)
class FoundInContext:
    """Hold the likeliest words of each place, for texts in their order."""

    counts: Array
    """How many places each text has, [rows, texts of a row]."""
    chunks: Array
    """By place, the number of its word among all that stands between spaces in its text, [places]."""
    tokens: Array
    """By place, the tokens of the words, the likeliest first, [places, 15]. Behind fewer words there is the padding token."""

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        save_file({"counts": self.counts, "chunks": self.chunks, "tokens": self.tokens}, path)

    @classmethod
    def load(cls, path: Path) -> "FoundInContext":
        """Read what `save` wrote."""
        return cls(**load_file(path))


class InContext(Substitutes):
    """Hold the words that may take a word's place in its own text.

    Args:
        found: The likeliest words of each place.
        words: Those of them that are used, by token.
    """

    def __init__(self, found: FoundInContext, words: Mapping[int, str]) -> None:
        self._found = found
        self._words = words
        self._ends = found.counts.cumsum().reshape(found.counts.shape)

    def of(self, row: int, side: int, words: Sequence[str]) -> Sequence[Sequence[str]]:
        others: list[Sequence[str]] = [()] * len(words)
        end = int(self._ends[row, side])
        places = slice(end - int(self._found.counts[row, side]), end)
        for chunk, tokens in zip(self._found.chunks[places], self._found.tokens[places].tolist(), strict=True):
            others[chunk] = [self._words[token] for token in tokens if token in self._words]
        return others


@dataclass(frozen=True)
class _Place:
    """A word that is masked."""

    side: int
    chunk: int
    position: int
    """Of its one token, among the model's inputs."""
    token: int
    """The word's, as it is read after a space."""


@dataclass(frozen=True)
class _Pass:
    """A text with some of its words masked."""

    row: int
    places: dict[int, int]
    """By position of a masked token, the number of its place among all places."""


def find_in_context(
    model: PreTrainedModel,
    task: Texts,
    reader: TextReader,
    contents: Sequence[Text],
    on_batch: Callable[[int, int], None],
) -> FoundInContext:
    """Find the 15 likeliest words of each place, without the word that stands there, in any letters.

    Args:
        model: The masked language model.
        task: The task that reads the texts; it cuts them too. Words behind the cut have no place.
        reader: Makes the model's inputs.
        contents: The texts.
        on_batch: Called with the numbers of batches that are done and that there are.

    Raises:
        UsageError: No word of the texts could be replaced.
    """
    whole = whole_words(reader.tokenizer)
    token_of = standing_words(reader.tokenizer, whole, contents)
    inputs, counts, places, passes = list[Encoding](), list[list[int]](), list[_Place](), list[_Pass]()
    for row, tokenized in enumerate(task.tokenized(reader, contents)):
        found = list(_places(tokenized, token_of))
        numbered = {place.position: len(places) + number for number, place in enumerate(found)}
        starts = range(min(_APART, len(found)))
        passes += [_Pass(row, dict(list(numbered.items())[start::_APART])) for start in starts]
        sides = [place.side for place in found]
        counts.append([sides.count(side) for side in range(1 if isinstance(tokenized.text, str) else 2)])
        inputs.append(tokenized.inputs)
        places += found
    if not places:
        raise no_word_to_replace("")
    padding = int(reader.tokenizer.pad_token_id)
    tokens = np.full((len(places), MOST_SUBSTITUTES), padding, np.min_scalar_type(max(padding, *whole)))
    candidates = torch.tensor(list(whole))
    batches = by_length([reader.length(inputs[one.row]) for one in passes], _TOKENS_AT_ONCE)
    for done, batch in enumerate(batches, 1):
        for number, ranked in _ranked(model, reader, inputs, [passes[one] for one in batch], candidates):
            others = other_words(places[number].token, ranked, whole)
            tokens[number, : len(others)] = others
        on_batch(done, len(batches))
    return FoundInContext(np.array(counts), np.array([place.chunk for place in places], np.int32), tokens)


def _ranked(
    model: PreTrainedModel,
    reader: TextReader,
    inputs: Sequence[Encoding],
    passes: Sequence[_Pass],
    candidates: torch.Tensor,
) -> Iterator[tuple[int, list[int]]]:
    """Yield the numbers of the places that are masked in some passes, each with the likeliest of the candidates."""
    shown = to_torch(reader.collate([inputs[one.row] for one in passes]))
    targets = torch.full_like(shown["input_ids"], IGNORED)
    for row, one in enumerate(passes):
        targets[row, list(one.places)] = 0
    masked = targets != IGNORED
    shown["input_ids"][masked] = int(reader.tokenizer.mask_token_id)
    task = FillMask(TaskSpec(task="fill-mask", inputs=tuple(shown)))
    with torch.inference_mode():
        logits, _ = task.forward(model, {**shown, "targets": targets})
        best = logits[:, candidates].topk(min(RANKED, len(candidates))).indices
    for (row, position), ranked in zip(masked.nonzero().tolist(), candidates[best].tolist(), strict=True):
        yield passes[row].places[position], ranked


def _places(tokenized: Tokenized, token_of: Mapping[str, int]) -> Iterator[_Place]:
    """Find the words of a text, or of both texts of a pair, that one token stands for."""
    texts = (tokenized.text,) if isinstance(tokenized.text, str) else tokenized.text
    for side, text in enumerate(texts):
        of_span: dict[tuple[int, int], list[int]] = {}
        for position, (span, token_side) in enumerate(zip(tokenized.offsets, tokenized.sides, strict=True)):
            if token_side == side:
                of_span.setdefault(_without_spaces(text, *span), []).append(position)
        for chunk, match in enumerate(CHUNK.finditer(text)):
            word = word_in(match[0])
            start = match.start() + match[0].find(word)
            positions = of_span.get((start, start + len(word)), [])
            if word in token_of and len(positions) == 1:
                yield _Place(side, chunk, positions[0], token_of[word])


def _without_spaces(text: str, start: int, end: int) -> tuple[int, int]:
    """Leave out the space before a word, which some tokenizers count as the word's."""
    return end - len(text[start:end].lstrip()), end
