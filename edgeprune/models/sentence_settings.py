"""Read what a sentence-transformers folder says of its texts: whether they are lowercased, their prompts, their length."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.base.errors import ModelError

__all__ = ["SentenceSettings", "read_sentence_settings"]

_TEXTS = "sentence_*_config.json"
_PROMPTS = "config_sentence_transformers.json"
_LONGEST = 1_000_000
"""A tokenizer's model_max_length above it says that there is none."""


@dataclass(frozen=True)
class SentenceSettings:
    """Hold what a folder says beside its pooling."""

    lowercase: bool = False
    max_length: int | None = None
    """Tokens that sentence-transformers cuts texts to; None: the folder doesn't say."""
    prompts: tuple[str, ...] = ()
    """Names of those that aren't empty; sentence-transformers writes them before texts where it is asked to."""


def read_sentence_settings(folder: Path) -> SentenceSettings:
    """Read a folder's settings; those of a bare encoder say nothing.

    Raises:
        ModelError: A file that can't be read, or a prompt that is written before every text.
    """
    if not (folder / "modules.json").is_file():
        return SentenceSettings()
    texts: dict[str, Any] = {}
    for path in sorted(folder.glob(_TEXTS)):
        texts |= _read(path)
    chosen = _read(folder / _PROMPTS)
    prompts, default = chosen.get("prompts") or {}, chosen.get("default_prompt_name")
    if not isinstance(prompts, dict):
        raise ModelError(f"{folder / _PROMPTS}: prompts should be names with a text each, got {str(prompts)[:60]}")
    if prompts.get(default):
        raise ModelError(
            f"{folder / _PROMPTS}: sentence-transformers writes the prompt {str(default)!r} ({str(prompts[default])[:60]!r}) "
            f"before every text, packages write none; write it into the texts of the data and set default_prompt_name to null"
        )
    length = texts.get("max_seq_length") or _read(folder / "tokenizer_config.json").get("model_max_length")
    return SentenceSettings(
        lowercase=bool(texts.get("do_lower_case")),
        max_length=int(length) if isinstance(length, int | float) and length < _LONGEST else None,
        prompts=tuple(str(name) for name, prompt in prompts.items() if prompt),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} can't be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} should hold settings by name, got {str(content)[:60]}")
    return content
