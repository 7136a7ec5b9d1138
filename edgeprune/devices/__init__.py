"""Reach a target. A runner takes a request for `agent.py` and the model files, and gives back typed answers.

`protocol.py` has the requests and answers, `runner.py` makes a profile's runner, and `fake.py` is one for tests.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from edgeprune.devices.protocol import Answer, Request

__all__ = ["Runner"]


class Runner(Protocol):
    """Answer the agent's requests in fresh processes on the target, as often as it is asked to."""

    def run(self, request: Request, models: Mapping[str, Path]) -> list[Answer]:
        """Have the target answer a request.

        Args:
            request: What is asked.
            models: Name to file, or to a package's folder for an `AnswersRequest`, in the order in which they take turns.

        Returns:
            What the device is comes first, or nothing could be believed of the rest.

        Raises:
            TargetError: The target can't be reached, lacks the provider, or the agent failed there.
        """
        ...

    def close(self) -> None:
        """Leave the target as it was. A runner that is asked again after that reaches it anew."""
        ...
