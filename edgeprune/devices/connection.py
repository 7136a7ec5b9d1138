"""Hold one connection to a device, and a work folder there that lives no longer than the connection.

A line (the system's ssh or adb) runs shell scripts on the device. The first script, the keeper, makes the folder and
reads its own standard input to the end. The end comes with `close`, when this process ends for any reason, and when the
line is cut. Then the keeper kills what `killable` started and removes the folder.
"""

import re
import shlex
import subprocess
from collections.abc import Mapping
from subprocess import CompletedProcess
from typing import IO, Protocol

from edgeprune.base.errors import TargetError
from edgeprune.devices.agent_answer import last_line

__all__ = ["Connection", "ConnectionLostError", "Line", "killable"]

_CLOSING_S = 10
"""Seconds that the device may take to clean up."""

_MARK = "edgeprune-folder "

# The system may give a process's number to a later process. The folder in the command line tells the two apart; mktemp
# replaces each X with a letter or a digit. A process that writes its number after `alive` is gone does not go on; a
# process that wrote its number before is killed.
_KEEPER = (
    'end() {{ trap "" HUP INT TERM PIPE; rm -f "$d/alive"; for p in $(cat "$d/pid"); do [ -d "/proc/$p" ] && '
    'tr "\\000" " " <"/proc/$p/cmdline" | grep -qF "$d/" && kill -9 "$p"; done; '
    'rm -rf "$d" || {{ sleep 1; rm -rf "$d"; }}; }} 2>/dev/null; '
    "export LC_ALL=C; {before}"
    "d=$(mktemp -d {folder}/edgeprune.XXXXXXXX) || exit 1; "
    'trap end EXIT; trap "exit 1" HUP INT TERM PIPE; : >"$d/alive" || exit 1; '
    'echo "{mark}$d"; cat >/dev/null; exit 0'
)


def killable(folder: str, command: str, words: str = "") -> str:
    """Write a line of POSIX shell whose process ends with the connection.

    The line's exit code tells which signal ended the process. ssh alone would hide the signal.

    Args:
        folder: The work folder.
        command: The line to run. It has `exec` before the program that it becomes, and the program's words include the
            folder.
        words: `$0`, `$1`, … of the command, each quoted where that is necessary.
    """
    place = shlex.quote(folder)
    inner = f"echo $$ >>{place}/pid && [ -e {place}/alive ] && {command}"
    return f"{{ sh -c {shlex.quote(inner)} {words}; }}"  # in braces, because a shell becomes a lone command


class ConnectionLostError(TargetError):
    """Say that the device doesn't answer, or no longer answers. A later attempt may succeed."""


class Line(Protocol):
    """Bring shell scripts to a device, as long as one connection lasts."""

    place: str
    """The device's name in messages."""
    program: str
    """The program on this machine that reaches the device."""
    package: str
    """The software package that contains the program."""
    refusals: Mapping[str, str]
    """Complaints of the program that a second attempt would not change, as patterns, and a sentence that explains each
    one. The sentence has places for {place} and for {last}, the complaint's last line."""
    unanswered: str
    """The sentence for every other complaint, with the same places."""

    def command(self, script: str, *, first: bool) -> list[str]:
        """Give the command for this machine that runs a line of POSIX shell on the device.

        Args:
            script: The line.
            first: Whether this command opens the connection.
        """
        ...

    def ended(self, done: CompletedProcess[str]) -> CompletedProcess[str] | None:
        """Tell how a script ended. None if the connection ended, not the script.

        Args:
            done: How the program on this machine ended.
        """
        ...


class Connection:
    """Log in to a device and make a work folder there.

    Args:
        line: How the device is reached.
        folder: Where the work folder is made.
        before: The work folder of an earlier connection that was lost. It is removed first, because the device may not
            have noticed yet that the connection was lost. None: there was none.

    Raises:
        ConnectionLostError: The device doesn't answer.
        TargetError: The device refuses the login, or can't make the folder.
    """

    def __init__(self, line: Line, folder: str, *, before: str | None = None) -> None:
        self._line = line
        keeper = _KEEPER.format(folder=folder, mark=_MARK, before=f"d={shlex.quote(before)}; end; " if before else "")
        try:
            self._keeper = subprocess.Popen(  # noqa: S603 (the profile's device)
                line.command(keeper, first=True),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C doesn't cut the line before the device is cleaned up
            )
        except FileNotFoundError as error:
            raise TargetError(
                f"there is no {line.program} here to reach {line.place} with; install {line.package}"
            ) from error
        assert self._keeper.stdout is not None  # noqa: S101 (a pipe)
        self.folder = next((said[len(_MARK) :].strip() for said in self._keeper.stdout if said.startswith(_MARK)), "")
        """The work folder on the device."""
        if not self.folder:
            out, complaint = self._keeper.communicate()
            done = line.ended(CompletedProcess([], self._keeper.returncode, out, complaint))
            if done is None:
                raise _refusal(line, complaint)
            raise TargetError(
                f"could not make a folder below {folder} on {line.place}: {last_line(done.stderr)}; name another "
                f"folder in runner.folder"
            )

    @property
    def place(self) -> str:
        """The device's name in messages."""
        return self._line.place

    def run(self, script: str, source: IO[bytes] | int) -> CompletedProcess[str]:
        """Run a line of POSIX shell on the device, in a session of its own.

        Args:
            script: The line.
            source: The line's standard input: a file, or subprocess.DEVNULL.

        Raises:
            ConnectionLostError: The connection was cut before the line ended.
        """
        done = subprocess.run(  # noqa: S603 (what is in the script is quoted where it is made)
            self._line.command(script, first=False),
            stdin=source,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            start_new_session=True,
        )
        ended = self._line.ended(done)
        if ended is None:
            raise ConnectionLostError(
                f"the connection to {self.place} was cut; see that the device stays on and in the network"
            )
        return ended

    def close(self) -> None:
        """Let the device clean up, and log out."""
        try:
            self._keeper.communicate(timeout=_CLOSING_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.communicate()


def _refusal(line: Line, complaint: str) -> TargetError:
    """Make the error that says why there is no connection."""
    last = last_line(complaint)
    for pattern, sentence in line.refusals.items():
        if re.search(pattern, complaint):
            return TargetError(sentence.format(place=line.place, last=last))
    return ConnectionLostError(line.unanswered.format(place=line.place, last=last))
