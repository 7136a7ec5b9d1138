"""Quote in a message what a user gave or a library said: cut, so that a sentence stays one, however long the value is."""

import reprlib
from collections.abc import Sequence

from edgeprune.ondevice.package_files import first_line

__all__ = ["cut", "first_line", "listed", "quoted"]

_LONGEST = 80
"""Characters that are quoted of one value."""
_SHOWN = 20
"""Names that are listed."""

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _LONGEST
_repr.maxlevel = 3


def quoted(value: object) -> str:
    """Give what Python would write for a value, cut to 80 characters and three levels."""
    if isinstance(value, str) and len(value) > _LONGEST:
        return f"{value[: _LONGEST - 20]!r}… ({len(value):,} characters)"
    return cut(_repr.repr(value))


def listed(names: Sequence[object], shown: int = _SHOWN) -> str:
    """Give names with commas between them, each cut, and how many more there are."""
    text = ", ".join(cut(str(name)) for name in names[:shown])
    return f"{text} and {len(names) - shown:,} more" if len(names) > shown else text


def cut(text: str, longest: int = _LONGEST) -> str:
    """Give a text, cut to so many characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
