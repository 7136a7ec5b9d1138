"""Whether a target can be measured from here, and the runner that does it. Light: no torch."""

import os

from edgeprune.base.errors import TargetError
from edgeprune.devices import Runner
from edgeprune.devices.emulated import EmulatedRunner
from edgeprune.devices.match import mismatches
from edgeprune.devices.runner import runner_for
from edgeprune.ondevice.agent import device_info
from edgeprune.profiles.pipeline import Target
from edgeprune.profiles.runners import EmulatedConfig, LocalConfig

__all__ = ["runner_of", "why_unreachable"]


def runner_of(target: Target) -> Runner:
    """The runner of a target that can be measured from here."""
    assert target.runner is not None  # noqa: S101 (else it can't)
    return runner_for(target.runner, target.name, lambda device: mismatches(target, device))


def why_unreachable(target: Target) -> str | None:
    """Why the target can't be measured from here; None if it can, or if only the build will tell: planning connects nowhere.

    Raises:
        TargetError: This is the machine, but its onnxruntime lacks the provider.
    """
    if target.runner is None:
        return f"{target.name} has no runner (runner: null)"
    if isinstance(target.runner, EmulatedConfig):
        lacking = EmulatedRunner(target.runner).lacking
        return f"{target.name} is emulated here ({target.runner.core})" + (f", but {lacking}" if lacking else "")
    if not isinstance(target.runner, LocalConfig):
        return None
    reasons = mismatches(target, device_info())
    if reasons:
        return f"this machine is not a {target.name}: it {'; it '.join(reasons)}"
    if target.runtime.provider != "CPUExecutionProvider":
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime

        available = onnxruntime.get_available_providers()
        if target.runtime.provider not in available:
            raise TargetError(
                f"{target.name} needs {target.runtime.provider}, onnxruntime {onnxruntime.__version__} here has "
                f"{', '.join(available)}; install a build that has it, or package without measuring: "
                f"--set target.runner=null"
            )
    return None
