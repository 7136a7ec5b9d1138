"""Describe how a target is reached, as its profile says it."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from edgeprune.base.strict_yaml import Frozen

__all__ = [
    "AdbConfig",
    "ArmCore",
    "BrowserConfig",
    "EmulatedConfig",
    "LocalConfig",
    "RemoteConfig",
    "RunnerConfig",
    "SshConfig",
]


ArmCore = Literal["cortex-a53", "cortex-a72", "cortex-a76", "neoverse-n1"]


def _like(pattern: str, wanted: str) -> AfterValidator:
    """Accept only text that the pattern matches as a whole."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} should be {wanted}")
        return value

    return AfterValidator(check)


class LocalConfig(Frozen):
    """Reach this machine."""

    type: Literal["local"]


Command = Annotated[
    str, _like(r"(~/)?[A-Za-z0-9_./+][A-Za-z0-9_./+-]*", "a command or a path of letters, digits and . _ + - /")
]
Folder = Annotated[
    str, _like(r"(~?/)[A-Za-z0-9_./+-]*", "a path that begins with / or ~/, of letters, digits and . _ + - /")
]


class RemoteConfig(Frozen):
    """Reach a device through a shell. No text in this model needs quoting in that shell."""

    python: Command = "python3"
    """The device's Python. It has onnxruntime and numpy."""
    perf_test: Command | None = None
    """ONNX Runtime's own benchmark, onnxruntime_perf_test, to run instead of `python`. libonnxruntime.so may lie beside
    it."""
    folder: Folder = "/tmp"  # noqa: S108 (mktemp makes a folder of its own there)
    """The folder in which the work folder is made and removed again."""

    @model_validator(mode="after")
    def _one_program(self) -> Self:
        if self.perf_test is not None and self.python != RemoteConfig.model_fields["python"].default:
            raise ValueError("python and perf_test are two ways to run models there; give one of them")
        return self


class SshConfig(RemoteConfig):
    """Reach a board or a phone that runs an SSH server."""

    type: Literal["ssh"]
    host: Annotated[str, _like(r"[^\s-]\S*", "user@host, or a host of ~/.ssh/config")]
    """The host. It must accept a login without a password, and its host key must be known."""

    @property
    def place(self) -> str:
        """The device's name in messages. It also tells one device from another."""
        return self.host


class AdbConfig(RemoteConfig):
    """Reach an Android device that `adb devices` lists."""

    type: Literal["adb"]
    serial: Annotated[str, _like(r"[A-Za-z0-9][A-Za-z0-9._:-]*", "a serial number as adb devices lists it")]
    folder: Folder = "/data/local/tmp"
    """The folder in which the work folder is made and removed again. With `app` it must be the app's own."""
    app: Annotated[str, _like(r"[A-Za-z][A-Za-z0-9_.]*", "the name of an Android app, such as com.termux")] | None = (
        None
    )
    """The app whose user runs everything on the device (`run-as`). Its build must be debuggable. null: adb's own
    user."""

    @property
    def place(self) -> str:
        """The device's name in messages. It also tells one device from another."""
        return self.serial


class EmulatedConfig(Frozen):
    """Emulate an ARM64 core with qemu. It shows whether a package runs there, never how fast."""

    type: Literal["emulated"]
    core: ArmCore
    root: str | None = None
    """The folder that `make arm` made; null: $EDGEPRUNE_ARM_ROOT or, if that isn't set, `.edgeprune-arm` in the current
    folder."""


class BrowserConfig(Frozen):
    """Reach a page in a headless Chromium on this machine. The page runs onnxruntime-web's wasm."""

    type: Literal["browser"]
    chromium: str = Field(default="chromium", min_length=1)
    """Chromium's command or path. Chrome is one too."""
    node_modules: str | None = None
    """The folder in which npm put onnxruntime-web; null: $EDGEPRUNE_NODE_MODULES or, if that isn't set, the folder that
    `make browser` made in the current folder."""


RunnerConfig = Annotated[
    LocalConfig | SshConfig | AdbConfig | EmulatedConfig | BrowserConfig, Field(discriminator="type")
]
