"""Tell whether a machine is the one that a target profile describes, and which profile describes this machine.

Light: no torch.
"""

from collections.abc import Sequence

from pydantic import JsonValue

from edgeprune.base.errors import ProfileError
from edgeprune.base.overrides import Override
from edgeprune.devices.chromium import chromium_version
from edgeprune.devices.protocol import DeviceFacts
from edgeprune.devices.web_modules import RUNTIME, WebModules
from edgeprune.ondevice.agent import device_info
from edgeprune.profiles.runners import BrowserConfig, LocalConfig
from edgeprune.profiles.shipped import load_target, shipped_names
from edgeprune.profiles.target import LATENCY_BUDGETS, Target

__all__ = ["host_target", "measured_on", "mismatches", "this_machine"]


def this_machine() -> DeviceFacts:
    """Describe this machine as the agent does, but without the version of onnxruntime."""
    return DeviceFacts(**device_info())


def mismatches(target: Target, device: DeviceFacts, providers: Sequence[str] | None = None) -> list[str]:
    """List the reasons why a machine isn't the target. The list is empty if it is.

    Args:
        target: The target's profile.
        device: The machine.
        providers: ONNX Runtime's execution providers on the machine; None: they are not checked.
    """
    reasons = []
    if target.device.arch != device.arch:
        reasons.append(f"needs {target.device.arch}, this is {device.arch}")
    else:
        lacking = [feature for feature in target.device.isa if feature not in device.isa]
        if lacking:
            reasons.append(f"needs {', '.join(lacking)}, which this CPU lacks")
    if target.device.cpu is not None and target.device.cpu.lower() not in (device.cpu or "").lower():
        reasons.append(f"is a {target.device.cpu}, this is {device.cpu or 'unknown'}")
    if target.runtime.threads > (device.cores or 1):
        reasons.append(f"uses {target.runtime.threads} threads, this machine has {device.cores} cores")
    if providers is not None and target.runtime.provider not in providers:
        reasons.append(f"needs {target.runtime.provider}, onnxruntime here has {', '.join(providers)}")
    return reasons


def measured_on(target: Target) -> JsonValue:
    """Say what a measurement holds for: this machine's CPU, or another machine as its profile describes it.

    A page runs on this machine's CPU too, in the versions of Chromium and of onnxruntime-web that are installed here.
    """
    if isinstance(target.runner, LocalConfig | BrowserConfig):
        device = this_machine()
        here: list[JsonValue] = [device.arch, list[JsonValue](device.isa), device.cpu]
        if isinstance(target.runner, LocalConfig):
            return here
        runtime = WebModules(target.runner.node_modules).version(RUNTIME)
        return [*here, chromium_version(target.runner.chromium), runtime]
    return [target.model_dump(mode="json")[name] for name in ("device", "runner")]


def host_target(device: DeviceFacts, overrides: Sequence[str | Override] = ()) -> Target:
    """Pick the shipped local profile that fits a machine and uses most of its instruction set.

    The profile's latency budgets are left out, because they hold for another machine.

    Args:
        device: The machine, most often `this_machine()`.
        overrides: Overrides of the profile, as `load_target` takes them.

    Raises:
        ProfileError: No shipped profile fits.
    """
    candidates = [load_target(name) for name in shipped_names("targets")]
    fitting = [
        target
        for target in candidates
        if isinstance(target.runner, LocalConfig)
        and target.runtime.provider == "CPUExecutionProvider"
        and not mismatches(target, device)
    ]
    if not fitting:
        raise ProfileError(
            "no shipped target fits this machine (edgeprune targets match says why); write a profile for it"
        )
    best = max(fitting, key=lambda target: (len(target.device.isa), target.name))
    loosened = [f"target.budget.{name}=null" for name in LATENCY_BUDGETS]
    return load_target(best.name, [*loosened, *overrides])
