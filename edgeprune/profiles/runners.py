"""How a target is reached, as a profile says it."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from edgeprune.base.strict_yaml import Frozen

__all__ = ["AdbConfig", "ArmCore", "EmulatedConfig", "LocalConfig", "RemoteConfig", "RunnerConfig", "SshConfig"]


ArmCore = Literal["cortex-a53", "cortex-a72", "cortex-a76", "neoverse-n1"]


def _like(pattern: str, wanted: str) -> AfterValidator:
    """Accepts text that the pattern matches as a whole."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} should be {wanted}")
        return value

    return AfterValidator(check)


class LocalConfig(Frozen):
    """This machine."""

    type: Literal["local"]


Command = Annotated[
    str, _like(r"(~/)?[A-Za-z0-9_./+][A-Za-z0-9_./+-]*", "a command or a path of letters, digits and . _ + - /")
]
Folder = Annotated[
    str, _like(r"(~?/)[A-Za-z0-9_./+-]*", "a path that begins with / or ~/, of letters, digits and . _ + - /")
]


class RemoteConfig(Frozen):
    """A device that a shell can be had on. No text in here needs quoting there."""

    python: Command = "python3"
    """Has onnxruntime and numpy."""
    perf_test: Command | None = None
    """ONNX Runtime's own benchmark, onnxruntime_perf_test, to be run in `python`'s place; libonnxruntime.so may lie beside it."""
    folder: Folder = "/tmp"  # noqa: S108 (mktemp makes a folder of its own there)
    """Where the work folder is made, and removed again."""

    @model_validator(mode="after")
    def _one_program(self) -> Self:
        if self.perf_test is not None and self.python != RemoteConfig.model_fields["python"].default:
            raise ValueError("python and perf_test are two ways to run models there; give one of them")
        return self


class SshConfig(RemoteConfig):
    """A board or a phone that runs an SSH server."""

    type: Literal["ssh"]
    host: Annotated[str, _like(r"[^\s-]\S*", "user@host, or a host of ~/.ssh/config")]
    """Logged in to without a password; its host key is known."""

    @property
    def place(self) -> str:
        """What messages call the device, and how one is told from another."""
        return self.host


class AdbConfig(RemoteConfig):
    """An Android device that `adb devices` lists."""

    type: Literal["adb"]
    serial: Annotated[str, _like(r"[A-Za-z0-9][A-Za-z0-9._:-]*", "a serial number as adb devices lists it")]
    folder: Folder = "/data/local/tmp"
    """Where the work folder is made, and removed again; an app's must be its own."""
    app: Annotated[str, _like(r"[A-Za-z][A-Za-z0-9_.]*", "the name of an Android app, such as com.termux")] | None = (
        None
    )
    """Whose user runs everything there (`run-as`): its build must be debuggable; null: adb's own user."""

    @property
    def place(self) -> str:
        """What messages call the device, and how one is told from another."""
        return self.serial


class EmulatedConfig(Frozen):
    """An ARM64 core that qemu emulates: it shows whether a package runs there, never how fast."""

    type: Literal["emulated"]
    core: ArmCore
    root: str | None = None
    """The folder that `make arm` made; null: $EDGEPRUNE_ARM_ROOT, else `.edgeprune-arm` in the current folder."""


RunnerConfig = Annotated[LocalConfig | SshConfig | AdbConfig | EmulatedConfig, Field(discriminator="type")]
