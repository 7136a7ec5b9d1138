"""Import what only an extra of edgeprune installs, or say how to install it."""

from importlib import import_module
from typing import Any

from edgeprune.base.errors import UsageError

__all__ = ["from_extra"]


def from_extra(module: str, extra: str, what: str) -> Any:
    """Import a module that an extra installs.

    Args:
        module: The module's name.
        extra: The extra's name.
        what: What needs the module; the message begins with it.

    Raises:
        UsageError: The module isn't installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(f"{what} needs {module}; install it with: pip install 'edgeprune[{extra}]'") from error
