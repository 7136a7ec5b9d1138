"""From what a profile says to a runner that refuses to measure anything but that device."""

from collections.abc import Callable, Mapping
from pathlib import Path

from edgeprune.base.errors import TargetError
from edgeprune.devices import Record, Runner
from edgeprune.devices.adb import AdbLine
from edgeprune.devices.local import LocalRunner
from edgeprune.devices.remote import RemoteRunner
from edgeprune.devices.ssh import SshLine
from edgeprune.profiles.runners import AdbConfig, EmulatedConfig, LocalConfig, RunnerConfig, SshConfig

__all__ = ["runner_for"]


def runner_for(config: RunnerConfig, target: str, mismatches: Callable[[Record], list[str]]) -> Runner:
    """The runner of a profile.

    Args:
        config: The profile's `runner`. Nothing is reached before the first run.
        target: The profile's name.
        mismatches: Why a device, as the agent describes it, isn't the target; empty if it is.
    """
    match config:
        case LocalConfig():
            return _Checked(LocalRunner(), "this machine", target, mismatches)
        case SshConfig():
            return _Checked(RemoteRunner(config, lambda: SshLine(config)), config.place, target, mismatches)
        case AdbConfig():
            return _Checked(RemoteRunner(config, lambda: AdbLine(config)), config.place, target, mismatches)
        case EmulatedConfig():
            raise ValueError("an emulated core is asked what it computes, by its own runner, never how fast it is")


class _Checked:
    """A runner that looks at the device before it believes a figure."""

    def __init__(self, runner: Runner, place: str, target: str, mismatches: Callable[[Record], list[str]]) -> None:
        self._runner = runner
        self._place = place
        self._target = target
        self._mismatches = mismatches

    def run(self, request: Record, models: Mapping[str, Path]) -> list[Record]:
        """See `Runner.run`."""
        records = self._runner.run(request, models)
        for record in records:
            if record["kind"] == "device" and (reasons := self._mismatches(record)):
                raise TargetError(f"{self._place} is not a {self._target}: it {'; it '.join(reasons)}")
        return records

    def close(self) -> None:
        """See `Runner.close`."""
        self._runner.close()
