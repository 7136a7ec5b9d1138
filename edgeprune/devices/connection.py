"""One connection to a device, and a work folder there that lives no longer than the connection.

A line (the system's ssh or adb) runs shell scripts on the device. The first one, the keeper, makes the folder and reads its
standard input to the end, which comes with `close`, with the end of this process, however it ends, and when the line is cut.
Then it kills what `killable` started and removes the folder.
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
"""How long the device may take to clean up."""

_MARK = "edgeprune-folder "

# A process is told from a later one of the same number by the folder in its command line; mktemp puts letters in the place of
# each X. What writes its number after `alive` is gone does not go on; what wrote it before is killed.
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
    """A line of POSIX shell that ends with the connection; its exit code tells which signal ended it, which ssh hides.

    Args:
        folder: The work folder.
        command: A line of its own, with `exec` before what it becomes; the folder is among that one's words.
        words: `$0`, `$1`, … of that line, each quoted where it needs it.
    """
    place = shlex.quote(folder)
    inner = f"echo $$ >>{place}/pid && [ -e {place}/alive ] && {command}"
    return f"{{ sh -c {shlex.quote(inner)} {words}; }}"  # a shell would become a lone command


class ConnectionLostError(TargetError):
    """The device doesn't answer, or no longer does; it may do so again in a moment."""


class Line(Protocol):
    """How shell scripts get to a device, while one connection lasts."""

    place: str
    """What messages call the device."""
    program: str
    """What is run here."""
    package: str
    """What has that program."""
    refusals: Mapping[str, str]
    """What the program says that no second attempt would change, as a pattern, to a sentence; {place} and {last}, its last
    line, are filled in."""
    unanswered: str
    """A sentence for everything else that it says, likewise."""

    def command(self, script: str, *, first: bool) -> list[str]:
        """What to run here to have a line of POSIX shell run there; the first one opens the connection."""
        ...

    def ended(self, done: CompletedProcess[str]) -> CompletedProcess[str] | None:
        """How a script ended, by how the program did; None: it didn't, but the connection."""
        ...


class Connection:
    """A device that is logged in to.

    Args:
        line: How it is reached.
        folder: Where the work folder is made.
        before: The folder of a connection that was lost: a device may not have noticed yet that it was.

    Raises:
        ConnectionLostError: The device doesn't answer.
        TargetError: It refuses, or has no place for a folder.
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
                f"could not make a folder below {folder} on {line.place}: {last_line(done.stderr)}; name another one in "
                f"runner.folder"
            )

    @property
    def place(self) -> str:
        """What messages call the device."""
        return self._line.place

    def run(self, script: str, source: IO[bytes] | int) -> CompletedProcess[str]:
        """Run a line of POSIX shell on the device, in a session of its own.

        Args:
            script: The line.
            source: A file, or subprocess.DEVNULL: its standard input.

        Raises:
            ConnectionLostError: The connection was cut before it ended.
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
        """Have the device clean up, and log out."""
        try:
            self._keeper.communicate(timeout=_CLOSING_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.communicate()


def _refusal(line: Line, complaint: str) -> TargetError:
    """Why there was no connection."""
    last = last_line(complaint)
    for pattern, sentence in line.refusals.items():
        if re.search(pattern, complaint):
            return TargetError(sentence.format(place=line.place, last=last))
    return ConnectionLostError(line.unanswered.format(place=line.place, last=last))
