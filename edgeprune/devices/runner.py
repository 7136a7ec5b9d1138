"""Make the runner of a profile. The runner refuses to measure any other device than the profile's."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgeprune.base.errors import TargetError
from edgeprune.devices import Runner
from edgeprune.devices.adb import AdbLine
from edgeprune.devices.browser import BrowserRunner
from edgeprune.devices.emulated import EmulatedRunner
from edgeprune.devices.local import LocalRunner
from edgeprune.devices.match import mismatches, this_machine
from edgeprune.devices.protocol import Answer, DeviceFacts, Request, of_type
from edgeprune.devices.remote import RemoteRunner
from edgeprune.devices.ssh import SshLine
from edgeprune.profiles.runners import AdbConfig, BrowserConfig, EmulatedConfig, LocalConfig, RunnerConfig, SshConfig
from edgeprune.profiles.shipped import load_target, shipped_names
from edgeprune.profiles.target import Target

__all__ = ["fitting_targets", "runner_for", "runner_of", "why_unreachable"]


def runner_for(config: RunnerConfig, target: str, mismatches: Callable[[DeviceFacts], list[str]]) -> Runner:
    """Make the runner of a profile.

    Args:
        config: The profile's `runner`. The device is not reached before the first run.
        target: The profile's name.
        mismatches: Lists why a device, as the agent describes it, isn't the target; the list is empty if it is.

    Raises:
        ValueError: The profile's device is emulated, so that it can't be timed.
    """
    match config:
        case LocalConfig():
            return _Checked(LocalRunner(), "this machine", target, mismatches)
        case SshConfig():
            return _Checked(RemoteRunner(config, lambda: SshLine(config)), config.place, target, mismatches)
        case AdbConfig():
            return _Checked(RemoteRunner(config, lambda: AdbLine(config)), config.place, target, mismatches)
        case BrowserConfig():
            return _Checked(BrowserRunner(config), f"a page in {config.chromium}", target, mismatches)
        case EmulatedConfig():
            raise ValueError("an emulated core can't be timed; EmulatedRunner tells what it computes")


class _Checked:
    """Refuse the answers of a device that isn't the target."""

    def __init__(self, runner: Runner, place: str, target: str, mismatches: Callable[[DeviceFacts], list[str]]) -> None:
        self._runner = runner
        self._place = place
        self._target = target
        self._mismatches = mismatches

    def run(self, request: Request, models: Mapping[str, Path]) -> list[Answer]:
        """Answer a request. Raise TargetError if the device isn't the target. See `Runner.run`."""
        answers = self._runner.run(request, models)
        for device in of_type(answers, DeviceFacts):
            if reasons := self._mismatches(device):
                raise TargetError(_not_the_target(self._place, self._target, reasons))
        return answers

    def close(self) -> None:
        """Leave the target as it was before the first run. See `Runner.close`."""
        self._runner.close()


def runner_of(target: Target) -> Runner:
    """Make the runner of a target that can be measured from here."""
    assert target.runner is not None  # noqa: S101 (without a runner it can't be measured)
    return runner_for(target.runner, target.name, lambda device: mismatches(target, device))


def why_unreachable(target: Target) -> str | None:
    """Say why the target can't be measured from here.

    Returns:
        The reason. None if the target can be measured, or if only the build can tell, because this function connects to
        no device.

    Raises:
        TargetError: The target is this machine, but its onnxruntime lacks the provider.
    """
    if target.runner is None:
        return f"{target.name} has no runner (runner: null)"
    if isinstance(target.runner, EmulatedConfig):
        lacking = EmulatedRunner(target.runner).lacking
        return f"{target.name} is emulated here ({target.runner.core})" + (f", but {lacking}" if lacking else "")
    if isinstance(target.runner, BrowserConfig):
        return BrowserRunner(target.runner).lacking
    if not isinstance(target.runner, LocalConfig):
        return None
    reasons = mismatches(target, this_machine())
    if reasons:
        return _not_the_target("this machine", target.name, reasons)
    if target.runtime.provider != "CPUExecutionProvider":
        import onnxruntime

        available = onnxruntime.get_available_providers()
        if target.runtime.provider not in available:
            raise TargetError(
                f"{target.name} needs {target.runtime.provider}, but onnxruntime {onnxruntime.__version__} here has "
                f"{', '.join(available)}; install a build of onnxruntime that has it, or package without measuring: "
                f"--set target.runner=null"
            )
    return None


def fitting_targets(device: DeviceFacts, providers: Sequence[str]) -> dict[str, list[str]]:
    """Give the reasons why this machine isn't a shipped target, for each of them. There are none for those that fit.

    Args:
        device: This machine.
        providers: ONNX Runtime's execution providers here.
    """
    found = {}
    for target in map(load_target, shipped_names("targets")):
        if isinstance(target.runner, BrowserConfig):  # a page on this machine
            found[target.name] = [reason] if (reason := why_unreachable(target)) else []
        else:
            found[target.name] = mismatches(target, device, providers)
    return found


def _not_the_target(place: str, target: str, reasons: Sequence[str]) -> str:
    return f"{place} is not a {target}: the target {'; the target '.join(reasons)}"
