"""Read what a model's own card says in its front matter: the licence, the models it was made from, and its data sets.

The card may hold anything. What isn't a name that the hub could have is left out.
"""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgeprune.base.bounded_yaml import load_yaml
from edgeprune.base.markdown import printable
from edgeprune.models.reference import ModelSource

__all__ = ["OwnCard", "read_own_card"]

_LONGEST_CARD = 1_000_000
_LONGEST_LICENCE = 200
_MOST_NAMES = 20


@dataclass(frozen=True)
class OwnCard:
    """Hold what a model's own card says."""

    licence: str | None = None
    """None: it names none."""
    base_models: tuple[str, ...] = ()
    """Ids of the models on the hub that it was made from."""
    datasets: tuple[str, ...] = ()
    """Ids of the data sets on the hub that it was trained on."""


def read_own_card(model: ModelSource) -> OwnCard:
    """Read the front matter of a model's README.md. What it doesn't say, or what can't be read, is left empty."""
    import yaml
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    try:
        with (model.folder / "README.md").open(encoding="utf-8-sig") as file:
            front = REGEX_YAML_BLOCK.search(file.read(_LONGEST_CARD))
        content = load_yaml(front.group(2)) if front else None
    except (OSError, ValueError, yaml.YAMLError):
        return OwnCard()
    if not isinstance(content, dict):
        return OwnCard()
    named = [one for one in _listed(content.get("license")) if isinstance(one, str | int | float)]
    licence = textwrap.shorten(printable(", ".join(map(str, named))), _LONGEST_LICENCE, placeholder="…")
    return OwnCard(licence or None, _ids(content.get("base_model")), _ids(content.get("datasets")))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _ids(value: Any) -> tuple[str, ...]:
    """Keep what could be an id on the hub."""
    return tuple(dict.fromkeys(_valid(_listed(value))))[:_MOST_NAMES]


def _valid(values: Iterable[Any]) -> Iterable[str]:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined] # documented, but not in an __all__

    for value in values:
        if isinstance(value, str):
            try:
                validate_repo_id(value)
            except HFValidationError:
                continue
            yield value
