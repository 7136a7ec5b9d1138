"""How a target is reached, as a profile says it."""

from typing import Literal

from edgeprune.config import Frozen

__all__ = ["LocalConfig", "RunnerConfig"]


class LocalConfig(Frozen):
    """This machine."""

    type: Literal["local"]


RunnerConfig = LocalConfig
