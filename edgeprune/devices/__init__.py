"""Reach a target. A runner takes a request for `agent.py` and the model files, and gives back typed answers.

`protocol.py` has the requests and answers, `runner.py` makes the runner of a profile, and `fake.py` has a runner for
tests.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from edgeprune.devices.protocol import Answer, Request

__all__ = ["Runner"]


class Runner(Protocol):
    """Answer the agent's requests on the target, each request in a fresh process."""

    def run(self, request: Request, models: Mapping[str, Path]) -> list[Answer]:
        """Have the target answer a request.

        Args:
            request: What the target is asked.
            models: The file of each model by the model's name, in the order in which models take turns. For an
                `AnswersRequest`, the folder of each package.

        Returns:
            The answers. The first one says what the device is, because the others mean nothing without it.

        Raises:
            TargetError: The target can't be reached, lacks the provider, or the agent failed there.
        """
        ...

    def close(self) -> None:
        """Leave the target as it was before the first run. A later run reaches the target anew."""
        ...
