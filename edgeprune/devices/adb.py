"""Reach Android devices with the system's adb.

Everything runs in the device's shell, or as the user of an app, such as Termux. adb's shell protocol 2 keeps standard
input, standard output and exit codes apart. Android has had it since version 7.0.
"""

import shlex
from collections.abc import Mapping
from subprocess import CompletedProcess

from edgeprune.profiles.runners import AdbConfig

__all__ = ["AdbLine"]

_ENDED = "edgeprune-ended"
"""A line that is written after every script. When the cable is pulled, some versions of adb end as if the script had
succeeded."""

_REFUSALS = {
    r"unauthorized": (
        "{place} doesn't trust this machine yet; unlock it, and accept this machine's key in the dialog that adb made it show"
    ),
    r"unknown package|not debuggable|not an application": (
        "{place} runs nothing as runner.app's user ({last}); install a debuggable build of that app, or leave runner.app out"
    ),
}
"""Complaints of adb or run-as that a second attempt would not change, as patterns, and the sentence that explains each
one."""


class AdbLine:
    """Run scripts on an Android device with adb. See `Line`.

    Args:
        config: The profile's `runner`.
    """

    program, package = "adb", "Android's platform tools"
    refusals: Mapping[str, str] = _REFUSALS
    unanswered = (
        "adb doesn't reach {place} ({last}); see that it is on, plugged in with USB debugging allowed (or connected with adb "
        "connect), and listed by adb devices"
    )

    def __init__(self, config: AdbConfig) -> None:
        self.place = config.serial
        self._app = config.app

    def command(self, script: str, *, first: bool) -> list[str]:
        """Give the adb command that runs a script. See `Line.command`; adb's own server holds the connection."""
        marked = f"sh -c {shlex.quote(script)}; code=$?; echo {_ENDED} >&2; exit $code"
        shell = f"sh -c {shlex.quote(marked)}"
        return ["adb", "-s", self.place, "shell", "-T", f"run-as {self._app} {shell}" if self._app else shell]

    def ended(self, done: CompletedProcess[str]) -> CompletedProcess[str] | None:
        """Tell how a script ended, by the line that is written after it. See `Line.ended`."""
        before, mark, _ = done.stderr.rpartition(_ENDED)
        return CompletedProcess(done.args, done.returncode, done.stdout, before) if mark else None
