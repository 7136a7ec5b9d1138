"""Android devices, by the system's adb: everything runs in its shell, or as an app's user (Termux's).

Standard input, output and exit codes are told apart by adb's shell protocol 2, which Android has had since 7.0.
"""

import shlex
from collections.abc import Mapping
from subprocess import CompletedProcess

from edgeprune.profiles.runners import AdbConfig

__all__ = ["AdbLine"]

_ENDED = "edgeprune-ended"
"""Said after every script: when the cable is pulled, some versions of adb end as if all were well."""

_REFUSALS = {
    r"unauthorized": (
        "{place} doesn't trust this machine yet; unlock it, and accept this machine's key in the dialog that adb made it show"
    ),
    r"unknown package|not debuggable|not an application": (
        "{place} runs nothing as runner.app's user ({last}); install a debuggable build of that app, or leave runner.app out"
    ),
}
"""What adb or run-as says that no second attempt would change, to a sentence."""


class AdbLine:
    """See `Line`.

    Args:
        config: Of the profile.
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
        """See `Line.command`; adb's server holds the connection."""
        marked = f"sh -c {shlex.quote(script)}; code=$?; echo {_ENDED} >&2; exit $code"
        shell = f"sh -c {shlex.quote(marked)}"
        return ["adb", "-s", self.place, "shell", "-T", f"run-as {self._app} {shell}" if self._app else shell]

    def ended(self, done: CompletedProcess[str]) -> CompletedProcess[str] | None:
        """See `Line.ended`."""
        before, mark, _ = done.stderr.rpartition(_ENDED)
        return CompletedProcess(done.args, done.returncode, done.stdout, before) if mark else None
