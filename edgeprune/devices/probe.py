"""Make a target profile from what a device says about itself. Light: no torch."""

import contextlib
import re

from edgeprune.base.errors import TargetError, UsageError
from edgeprune.base.strict_yaml import validate
from edgeprune.devices import Runner
from edgeprune.devices.protocol import DeviceFacts, ProbeRequest, of_type
from edgeprune.devices.runner import runner_for
from edgeprune.profiles.runners import AdbConfig, LocalConfig, RunnerConfig, SshConfig
from edgeprune.profiles.target import Target

__all__ = ["place_of", "probe"]

_ARCHITECTURES = ("x86_64", "aarch64")
_KINDS: dict[str, tuple[type[SshConfig] | type[AdbConfig], str]] = {
    "ssh": (SshConfig, "host"),
    "adb": (AdbConfig, "serial"),
}
_PROVIDER = "CPUExecutionProvider"


def place_of(address: str | None, **settings: str | None) -> RunnerConfig:
    """Read how a device is reached.

    Args:
        address: The device's address: `ssh://user@host`, `adb://serial`, or None for this machine.
        settings: Settings of the profile's `runner`; a setting that is None is left out.

    Raises:
        UsageError: The address or a setting isn't valid.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if address is None:
        if given:
            option = next(iter(given)).replace("_", "-")
            raise UsageError(f"--{option} is for a device that is reached by ssh or adb; name the device")
        return LocalConfig(type="local")
    kind, separator, place = address.partition("://")
    if not separator or kind not in _KINDS or not place:
        raise UsageError(
            f"{address!r} is no address of a device; give ssh://user@host, adb://serial, or nothing for this machine"
        )
    model, named = _KINDS[kind]
    return validate(model, {"type": kind, named: place, **given}, source=address, kind="device")


def probe(place: RunnerConfig, name: str | None = None) -> Target:
    """Make a profile of a device: its CPU, all of its cores, int8, and no latency budget.

    Args:
        place: How the device is reached.
        name: The profile's name; None: made from the CPU's name.

    Raises:
        TargetError: The device can't be reached, or has an architecture that no profile describes.
    """
    with contextlib.closing(runner_for(place, "device", lambda _: [])) as runner:
        device = _device(runner)
    if device.arch not in _ARCHITECTURES:
        raise TargetError(f"the device is {device.arch}; profiles describe {' and '.join(_ARCHITECTURES)}")
    cpu = device.cpu
    return validate(
        Target,
        {
            "schema_version": 1,
            "name": name or _slug(cpu or device.arch),
            "description": f"{cpu or device.arch}, {device.cores} cores, as it was when it was probed",
            "device": {"arch": device.arch, "isa": [*device.isa], "cpu": cpu},
            "runtime": {"provider": _PROVIDER, "threads": device.cores or 1},
            "precision": {"mode": "int8-dynamic"},
            "budget": {"metric_drop": 0.01},
            "runner": place.model_dump(mode="json"),
        },
        source="what was probed",
        kind="target profile",
    )


def _device(runner: Runner) -> DeviceFacts:
    device, *_ = of_type(runner.run(ProbeRequest(provider=_PROVIDER), {}), DeviceFacts)
    return device


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "device"
