"""How a target is reached. A runner takes a request for `agent.py` and the model files, and gives back its lines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

__all__ = ["Record", "Runner"]

Record = dict[str, JsonValue]
"""One line of the agent."""


class Runner(Protocol):
    """Answers the agent's requests in fresh processes on the target, as often as it is asked to."""

    def run(self, request: Record, models: Mapping[str, Path]) -> list[Record]:
        """The agent's lines for `request`.

        Args:
            request: As in `agent.py`, without `models`.
            models: Name to file, or to a package's folder in answers mode, in the order in which they take turns.

        Raises:
            TargetError: The target can't be reached, lacks the provider, or the agent failed there.
        """
        ...

    def close(self) -> None:
        """Leave the target as it was. A runner that is asked again after that reaches it anew."""
        ...
