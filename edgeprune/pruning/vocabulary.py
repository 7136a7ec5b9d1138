"""Do the `vocabulary` step: keep the tokens that a corpus needs. The embedding and tokenizer.json shrink alike.

The step keeps special and added tokens, the alphabet (so that any word can still be spelt), every token of the corpus,
and as many of the vocabulary's first tokens as the floor asks for. Texts of the corpus are tokenized as before:

    WordPiece   takes the longest match, which is still a token of the corpus
    Unigram     takes the best-scored path, all of whose tokens are kept
    BPE         follows merges, and every merge on the way to a kept token is kept

In other texts, a word whose token is gone is spelt in smaller pieces. TextPruner
(https://aclanthology.org/2022.acl-demo.4) does the same for its tokenizers.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedTokenizerFast

from edgeprune.base.errors import ModelError, UsageError
from edgeprune.data.table import Text, flat
from edgeprune.models.architectures import architecture_of
from edgeprune.models.checkpoint import load_tokenizer
from edgeprune.models.factored import token_table
from edgeprune.models.resize import keep_tokens
from edgeprune.models.text_reader import TextReader
from edgeprune.profiles.steps import VocabularyStep
from edgeprune.pruning.context import Context, Pruned

__all__ = ["count_tokens", "kept_tokens", "prune_vocabulary", "shrink_tokenizer"]

_CHECKED_TEXTS = 1000
_TEXTS_AT_ONCE = 1000


def prune_vocabulary(step: VocabularyStep, pruned: Pruned, context: Context) -> None:
    """Drop the tokens that the corpus doesn't need.

    Raises:
        UsageError: The corpus can't be read or is empty, or the model reads images.
        ModelError: The tokenizer is of a kind that can't be shrunk, or has more tokens than the model's embedding.
    """
    if not isinstance(pruned.reader, TextReader):
        raise UsageError("vocabulary: the model reads images; it has no vocabulary that could be pruned")
    tokenizer = pruned.reader.tokenizer
    texts = flat(cast("Sequence[Text]", context.corpus)) if step.corpus is None else _read_corpus(step.corpus)
    counts = count_tokens(tokenizer, texts)
    rows = token_table(pruned.model).num_embeddings
    keep = kept_tokens(
        tokenizer,
        {token for token, count in counts.items() if count >= step.min_count},
        floor=step.floor,
        keep_first=tokenizer.pad_token_id + 1 if architecture_of(pruned.model.config).positions_after_padding else 0,
    )
    smaller = shrink_tokenizer(tokenizer, keep)
    _check(tokenizer, smaller, keep, texts[:_CHECKED_TEXTS] if step.min_count == 1 else [])
    keep_tokens(pruned.model, keep)
    dense = pruned.record.vocabulary
    vocabulary = tuple(keep) if dense is None else tuple(dense[token] for token in keep)
    pruned.reader = TextReader(smaller, pruned.reader.max_length)
    pruned.record = pruned.record.model_copy(update={"vocabulary": vocabulary})
    pruned.facts["tokens"] = len(keep)
    context.note(f"{len(keep):,} of {rows:,} tokens are left")


def count_tokens(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Counter[int]:
    """Count how often each token stands in texts, by its id."""
    counts: Counter[int] = Counter()
    for first in range(0, len(texts), _TEXTS_AT_ONCE):  # encodings take much more memory than texts
        for row in tokenizer(list(texts[first : first + _TEXTS_AT_ONCE]))["input_ids"]:
            counts.update(row)
    return counts


def kept_tokens(tokenizer: PreTrainedTokenizerFast, used: set[int], *, floor: int, keep_first: int) -> list[int]:
    """List the ids of the tokens to keep, ascending.

    Args:
        tokenizer: A fast tokenizer.
        used: The ids that a corpus needs.
        floor: The fewest tokens to keep.
        keep_first: Ids below this number stay, whatever they are.
    """
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = tokenizer.get_vocab()
    keep = used | set(range(keep_first)) | {item["id"] for item in content["added_tokens"]}
    prefix = content["model"].get("continuing_subword_prefix") or ""
    keep |= {number for token, number in vocabulary.items() if _is_letter(token, prefix)}
    unknown = content["model"].get("unk_id")
    keep |= {unknown} if unknown is not None else set()
    if content["model"]["type"] == "BPE":
        keep = _with_parts(keep, content["model"], vocabulary)
    for number in sorted(vocabulary.values()):
        if len(keep) >= floor:
            break
        keep.add(number)
    if content["model"]["type"] == "BPE":
        keep = _with_parts(keep, content["model"], vocabulary)
    return sorted(keep)


def shrink_tokenizer(tokenizer: PreTrainedTokenizerFast, keep: list[int]) -> PreTrainedTokenizerFast:
    """Make a tokenizer that has only these tokens, renumbered in their order.

    Raises:
        ModelError: The tokenizer's model is not WordPiece, BPE or Unigram.
    """
    new = {old: position for position, old in enumerate(keep)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tokenizer.save_pretrained(folder)
        path = folder / "tokenizer.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        _shrink_model(content["model"], new)
        content["added_tokens"] = [{**item, "id": new[item["id"]]} for item in content["added_tokens"]]
        _renumber(content.get("post_processor"), new)
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        settings_path = folder / "tokenizer_config.json"
        settings = json.loads(settings_path.read_text(encoding="utf-8"))
        settings.pop("added_tokens_decoder", None)
        settings_path.write_text(json.dumps(settings), encoding="utf-8")
        return load_tokenizer(folder)


def _shrink_model(model: dict[str, Any], new: dict[int, int]) -> None:
    kind = model["type"]
    if kind in ("WordPiece", "BPE"):
        model["vocab"] = {token: new[number] for token, number in model["vocab"].items() if number in new}
    elif kind == "Unigram":
        model["vocab"] = [item for number, item in enumerate(model["vocab"]) if number in new]
        model["unk_id"] = None if model["unk_id"] is None else new[model["unk_id"]]
    else:
        raise ModelError(
            f"the tokenizer's model is {kind}; only a vocabulary of WordPiece, BPE or Unigram can be pruned"
        )
    if kind == "BPE":
        left = model["vocab"]
        model["merges"] = [
            merge for merge in model["merges"] if (parts := _parts(merge))[0] in left and parts[1] in left
            and "".join(parts) in left
        ]  # fmt: skip


def _renumber(node: object, new: dict[int, int]) -> None:
    """Renumber the ids in a post-processor: in pairs such as ["[SEP]", 102], and in lists under `ids`."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in ("sep", "cls") and isinstance(value, list):
                value[1] = new[value[1]]
            elif name == "ids":
                node[name] = [new[number] for number in value]
            else:
                _renumber(value, new)
    elif isinstance(node, list):
        for item in node:
            _renumber(item, new)


def _with_parts(keep: set[int], model: dict[str, Any], vocabulary: dict[str, int]) -> set[int]:
    """Return these tokens, and all tokens that merge into them."""
    made_of: dict[str, list[str]] = {}
    for merge in model["merges"]:
        first, second = _parts(merge)
        made_of.setdefault(first + second, []).extend((first, second))
    names = {number: token for token, number in vocabulary.items()}
    found, open_ = set(keep), [names[number] for number in keep if number in names]
    while open_:
        for part in made_of.get(open_.pop(), ()):
            if part in vocabulary and vocabulary[part] not in found:
                found.add(vocabulary[part])
                open_.append(part)
    return found


def _parts(merge: str | list[str]) -> tuple[str, str]:
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def _is_letter(token: str, prefix: str) -> bool:
    """Tell whether a token is a single character, at a word's start or inside a word, or a byte."""
    bare = token.removeprefix(prefix) if prefix else token.removeprefix("▁").removeprefix("Ġ")
    return len(bare) <= 1 or (len(token) == 6 and token.startswith("<0x"))


def _check(
    before: PreTrainedTokenizerFast, after: PreTrainedTokenizerFast, keep: list[int], texts: Iterable[str]
) -> None:
    """Raise a ModelError if a text of the corpus is tokenized otherwise than before."""
    for text in texts:
        old, now = before(text)["input_ids"], after(text)["input_ids"]
        if old != [keep[number] for number in now]:
            raise ModelError(f"the pruned tokenizer reads a text of the corpus otherwise than before ({text[:60]!r})")


def _read_corpus(path: Path) -> list[str]:
    try:
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        texts = [json.loads(line)["text"] for line in lines] if path.suffix == ".jsonl" else lines
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"the corpus {path} should be a text file or JSON Lines with a `text` each: {error}"
        ) from error
    wrong = [text for text in texts if not isinstance(text, str)]
    if wrong:
        raise UsageError(f"the corpus {path} should hold a string as every `text`, got {wrong[0]!r}")
    if not any(text.strip() for text in texts):
        raise UsageError(f"the corpus {path} has no text")
    return texts
