"""Tell which machine a target profile describes, and which profile describes this one. Light: no torch."""

from collections.abc import Sequence

from pydantic import JsonValue

from edgeprune.base.errors import ProfileError
from edgeprune.devices.protocol import DeviceFacts
from edgeprune.ondevice.agent import device_info
from edgeprune.profiles.runners import LocalConfig
from edgeprune.profiles.shipped import load_target, shipped_names
from edgeprune.profiles.target import LATENCY_BUDGETS, Target

__all__ = ["host_target", "measured_on", "mismatches", "this_machine"]


def this_machine() -> DeviceFacts:
    """Say what this machine is, as the agent does; which onnxruntime it has is left open."""
    return DeviceFacts(**device_info())


def mismatches(target: Target, device: DeviceFacts, providers: Sequence[str] | None = None) -> list[str]:
    """List why a machine isn't the target; empty if it is.

    Args:
        target: A profile.
        device: The machine.
        providers: ONNX Runtime's execution providers there; None doesn't check them.
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
    """Say what a measurement holds for: this CPU, or what a profile says of another machine."""
    if isinstance(target.runner, LocalConfig):
        device = this_machine()
        return [device.arch, list[JsonValue](device.isa), device.cpu]
    return [target.model_dump(mode="json")[name] for name in ("device", "runner")]


def host_target(device: DeviceFacts, overrides: Sequence[str] = ()) -> Target:
    """Pick the shipped local profile that fits a machine and uses most of its instruction set, without latency budget.

    Args:
        device: The machine: most often `this_machine()`.
        overrides: As for `load_target`.

    Raises:
        ProfileError: None fits.
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
