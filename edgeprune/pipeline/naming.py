"""Name a package: as the user asks, or after the model's folder."""

import hashlib
import re
import unicodedata

from edgeprune.base.errors import UsageError
from edgeprune.base.wording import quoted

__all__ = ["checked_name", "name_after"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_LONGEST = 80
"""Characters; a file's name has room for 255, and holds the release and the target too."""


def checked_name(flag: str, value: str) -> str:
    """Give a name as it was asked for.

    Raises:
        UsageError: It can't be part of a folder's name.
    """
    if not _NAME.fullmatch(value):
        raise UsageError(
            f"{flag} {quoted(value)} should consist of letters from a to z, digits and . _ + - (it names a folder), and begin "
            f"with a letter or a digit"
        )
    if len(value) > _LONGEST:
        raise UsageError(f"{flag} {quoted(value)} should have at most {_LONGEST} characters (it names a folder)")
    return value


def name_after(model: str) -> str:
    """Make a package's name of a model's, which is kept where it can be: accents go, and anything else that can't be in a name becomes a hyphen.

    What loses a letter or a digit so, or is cut, ends with a digest: other models of the kind get another name.

    Args:
        model: The name of its folder, in any script.
    """
    if _NAME.fullmatch(model) and len(model) <= _LONGEST:
        return model
    plain = unicodedata.normalize("NFKD", model).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._+]+", "-", plain).strip("-._+")
    lost = sum(map(str.isalnum, unicodedata.normalize("NFKD", model))) - sum(map(str.isalnum, plain))
    if not lost and name and len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(unicodedata.normalize("NFC", model).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{name[: _LONGEST - 9].rstrip('-._+') or 'model'}-{digest}"
