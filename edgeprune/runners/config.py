"""How a target is reached, as a profile says it."""

from typing import Annotated, Literal

from pydantic import Field

from edgeprune.config import Frozen

__all__ = ["ArmCore", "EmulatedConfig", "LocalConfig", "RunnerConfig"]

ArmCore = Literal["cortex-a53", "cortex-a72", "cortex-a76", "neoverse-n1"]


class LocalConfig(Frozen):
    """This machine."""

    type: Literal["local"]


class EmulatedConfig(Frozen):
    """An ARM64 core that qemu emulates: it shows whether a package runs there, never how fast."""

    type: Literal["emulated"]
    core: ArmCore
    root: str | None = None
    """The folder that `make arm` made; null: $EDGEPRUNE_ARM_ROOT, else `.edgeprune-arm` in the current folder."""


RunnerConfig = Annotated[LocalConfig | EmulatedConfig, Field(discriminator="type")]
