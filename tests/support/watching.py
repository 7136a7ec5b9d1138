"""See which fields of pydantic models are asked for while something runs."""

from collections import defaultdict
from typing import Any

import pytest
from pydantic import BaseModel

from edgeprune.base.strict_yaml import Frozen

__all__ = ["watched"]


def watched(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Watch from now on which fields are asked for, by class."""
    found: dict[str, set[str]] = defaultdict(set)
    ask = BaseModel.__getattribute__

    def watching(self: Frozen, name: str) -> Any:
        if name in type(self).model_fields:
            found[type(self).__name__].add(name)
        return ask(self, name)

    monkeypatch.setattr(Frozen, "__getattribute__", watching, raising=False)
    return found
