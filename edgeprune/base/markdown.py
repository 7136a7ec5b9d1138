"""Write texts that come from users into Markdown, XML and consoles, so that they are shown and never obeyed."""

import re

__all__ = ["literal", "printable"]

_SPECIAL = re.compile(r"[\\`*\[\]<>|~&$#@]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE)
"""Characters that mean something in Markdown, or that make a link of an address. An underscore means something only at the
edge of a word."""
_JOINERS = "\u200c\u200d"
"""Characters that print nothing, but that several scripts need to spell words."""


def literal(text: str) -> str:
    """Write a text as Markdown that shows it unchanged, in a line or a table's cell. Names may be any text."""
    return _SPECIAL.sub(r"\\\g<0>", printable(" ".join(text.split())))


def printable(text: str) -> str:
    """Replace every character that prints nothing by its code: terminals obey some, and others turn a line round."""
    return "".join(
        one if one.isprintable() or one in _JOINERS else one.encode("unicode_escape").decode() for one in text
    )
