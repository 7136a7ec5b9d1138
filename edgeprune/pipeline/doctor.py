"""Examine an installation: what is installed, which extra is missing, and what this machine can build and measure."""

import os
import platform
import shutil
from importlib import import_module
from importlib.metadata import Distribution, PackageNotFoundError, distribution, version
from pathlib import Path

from packaging.requirements import Requirement

from edgeprune.base.errors import first_exit_code
from edgeprune.base.strict_yaml import Frozen
from edgeprune.base.wording import first_line
from edgeprune.devices.emulated import EmulatedRunner
from edgeprune.devices.match import this_machine
from edgeprune.devices.protocol import DeviceFacts
from edgeprune.devices.runner import fitting_targets, why_unreachable
from edgeprune.profiles.runners import EmulatedConfig
from edgeprune.profiles.shipped import load_target
from edgeprune.store.files import is_writable

__all__ = ["Checkup", "Extra", "Library", "Reach", "examine"]

_COMPILED = ("torch", "transformers", "onnx", "onnxruntime", "tokenizers")
"""Libraries that may be installed and still not work here."""
_OF_DEVELOPERS = ("dev", "docs")
"""Extras that only work on edgeprune itself needs."""


class Library(Frozen):
    """Describe a library that every build needs."""

    name: str
    needed: str
    """The versions that will do, such as `>=2.12`; empty: any."""
    installed: str | None
    fault: str | None
    """Why builds don't work with it; None: they do."""


class Extra(Frozen):
    """Describe an extra of edgeprune."""

    name: str
    missing: list[str]
    """What of it isn't installed, or too old; empty: all of it is there."""
    command: str
    """Installs it."""


class Reach(Frozen):
    """Describe a way to reach targets from here."""

    name: str
    lacking: str | None
    """What isn't here, and what to do; None: everything is."""


class Checkup(Frozen):
    """Hold what was found."""

    schema_version: int = 1
    edgeprune: str
    python: str
    device: DeviceFacts
    providers: list[str]
    """ONNX Runtime's execution providers here."""
    libraries: list[Library]
    extras: list[Extra]
    targets: dict[str, list[str]]
    """By shipped target, why this machine isn't one; empty: it is, and is measured as one."""
    reach: list[Reach]
    store: str
    store_is_writable: bool
    exit_code: int
    """0: builds work here."""


def examine(store: Path) -> Checkup:
    """Examine the installation and this machine. No device is reached, and nothing is written.

    Args:
        store: The folder of the store.
    """
    own = distribution("edgeprune")
    needs = [Requirement(text) for text in own.requires or []]
    libraries = [_library(one) for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})]
    providers = _providers()
    device = this_machine()
    writable = is_writable(store)
    codes = {2} if any(one.fault for one in libraries) else set[int]()
    return Checkup(
        edgeprune=own.version,
        python=platform.python_version(),
        device=device,
        providers=providers,
        libraries=libraries,
        extras=[_extra(name, needs) for name in _extras(own)],
        targets=fitting_targets(device, providers),
        reach=_ways(),
        store=str(store),
        store_is_writable=writable,
        exit_code=first_exit_code(codes if writable else codes | {8}),
    )


def _library(need: Requirement) -> Library:
    installed = _version(need.name)
    fault = _lacking(need)
    if fault is None and need.name in _COMPILED:
        try:
            import_module(need.name)
        except Exception as error:  # noqa: BLE001 (whatever keeps it from being imported)
            fault = f"{need.name} {installed} can't be imported: {first_line(error)}"
    return Library(name=need.name, needed=str(need.specifier), installed=installed, fault=fault)


def _lacking(need: Requirement) -> str | None:
    installed = _version(need.name)
    if installed is None:
        return f"{need.name} is not installed"
    if not need.specifier.contains(installed, prereleases=True):
        return f"{need.name} is {installed}, but {need.specifier} is needed"
    return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _extras(own: Distribution) -> list[str]:
    return [name for name in own.metadata.get_all("Provides-Extra") or [] if name not in _OF_DEVELOPERS]


def _extra(name: str, needs: list[Requirement]) -> Extra:
    own = [one for one in needs if one.marker is not None and one.marker.evaluate({"extra": name})]
    own = [one for one in own if one.marker is not None and not one.marker.evaluate({"extra": ""})]
    missing = [fault for one in own if (fault := _lacking(one)) is not None]
    return Extra(name=name, missing=missing, command=f"pip install 'edgeprune[{name}]'")


def _providers() -> list[str]:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except Exception:  # noqa: BLE001 (the library's own row says why)
        return []
    return list(onnxruntime.get_available_providers())


def _ways() -> list[Reach]:
    programs = {
        "ssh": "there is no ssh here; install an OpenSSH client to measure boards",
        "adb": "there is no adb here; install Android's platform tools to measure phones",
    }
    emulated = EmulatedRunner(EmulatedConfig(type="emulated", core="cortex-a72")).lacking
    return [
        *(Reach(name=name, lacking=None if shutil.which(name) else why) for name, why in programs.items()),
        Reach(name="emulated ARM", lacking=emulated),
        Reach(name="browser", lacking=why_unreachable(load_target("web"))),
    ]
