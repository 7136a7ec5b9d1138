"""One connection to a device by the system's ssh, and a work folder there that lives no longer than the connection.

The first ssh process is the master whose connection the later ones share. What it runs on the device, the keeper, makes the
folder and reads its standard input to the end, which comes with `close`, with the end of this process, however it ends, and
when the line is cut. Then it kills the agent and removes the folder.
"""

import re
import secrets
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import IO

from edgeprune.errors import TargetError
from edgeprune.runners.answer import last_line
from edgeprune.runners.config import SshConfig

__all__ = ["Connection", "ConnectionLostError"]

_OPTIONS = {
    "BatchMode": "yes",
    "ClearAllForwardings": "yes",
    "ConnectTimeout": "10",
    "ControlPersist": "no",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "LogLevel": "ERROR",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "ServerAliveCountMax": "3",
    "ServerAliveInterval": "5",
    "StrictHostKeyChecking": "yes",
}
"""For a program that nobody watches: it never asks, takes no unknown host key, and notices within 15 s that a line is dead."""

_CLOSING_S = 10
"""How long the device may take to clean up."""

_MARK = "edgeprune-folder "

# The agent's process is told from a later one of the same number by the folder in its command line; mktemp puts letters in
# the place of each X.
_KEEPER = (
    'end() {{ p=$(cat "$d/pid") && tr "\\000" " " <"/proc/$p/cmdline" | grep -qF "$d/" && kill -9 "$p"; '
    'rm -rf "$d"; }} 2>/dev/null; '
    "export LC_ALL=C; {before}"
    "d=$(mktemp -d {folder}/edgeprune.XXXXXXXX) || exit 1; "
    'trap end EXIT; trap "exit 1" HUP INT TERM PIPE; '
    'echo "{mark}$d"; cat >/dev/null; exit 0'
)


class ConnectionLostError(TargetError):
    """The device doesn't answer, or no longer does; it may do so again in a moment."""


class Connection:
    """A device that is logged in to.

    Args:
        config: Where and how.
        before: The folder of a connection that was lost: a device may not have noticed yet that it was.

    Raises:
        ConnectionLostError: The device doesn't answer.
        TargetError: It refuses, or has no place for a folder.
    """

    def __init__(self, config: SshConfig, *, before: str | None = None) -> None:
        self._host = config.host
        self._socket = Path(tempfile.gettempdir()) / f"edgeprune-{secrets.token_hex(8)}"
        keeper = _KEEPER.format(
            folder=config.folder, mark=_MARK, before=f"d={shlex.quote(before)}; end; " if before else ""
        )
        try:
            self._keeper = subprocess.Popen(  # noqa: S603 (the profile's host, behind --)
                [*self._command(master=True), f"sh -c {shlex.quote(keeper)}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C doesn't cut the line before the device is cleaned up
            )
        except FileNotFoundError as error:
            raise TargetError(f"there is no ssh here to reach {self._host} with; install OpenSSH's client") from error
        assert self._keeper.stdout is not None  # noqa: S101 (a pipe)
        self.folder = next((line[len(_MARK) :].strip() for line in self._keeper.stdout if line.startswith(_MARK)), "")
        """The work folder on the device."""
        if not self.folder:
            _, complaint = self._keeper.communicate()
            if self._keeper.returncode != 255:
                raise TargetError(
                    f"could not make a folder below {config.folder} on {self._host}: {last_line(complaint)}; name another "
                    f"one in runner.folder"
                )
            raise _login_error(complaint, self._host)

    def run(self, script: str, source: IO[bytes] | int) -> subprocess.CompletedProcess[str]:
        """Run a line of POSIX shell on the device, in a session of its own.

        Args:
            script: The line.
            source: A file, or subprocess.DEVNULL: its standard input.

        Raises:
            ConnectionLostError: The connection was cut before it ended.
        """
        done = subprocess.run(  # noqa: S603 (what is in the script is quoted where it is made)
            [*self._command(master=False), f"sh -c {shlex.quote(script)}"],
            stdin=source,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            start_new_session=True,
        )
        if done.returncode == 255:
            raise ConnectionLostError(
                f"the connection to {self._host} was cut; see that the device stays on and in the network"
            )
        return done

    def close(self) -> None:
        """Have the device clean up, and log out."""
        try:
            self._keeper.communicate(timeout=_CLOSING_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.communicate()

    def _command(self, *, master: bool) -> list[str]:
        options = {**_OPTIONS, "ControlMaster": "yes" if master else "no", "ControlPath": str(self._socket)}
        if not master:
            options["ProxyCommand"] = "false"  # without the master ssh would log in anew, where there is no work folder
        return ["ssh", *(f"-o{name}={value}" for name, value in options.items()), "--", self._host]


_REFUSALS = {
    r"REMOTE HOST IDENTIFICATION HAS CHANGED": (
        "{host} has another host key than the one that is known here: it was installed anew, or another machine answers in its "
        "place; if it is yours, remove the old key with ssh-keygen -R, then log in once with: ssh {host}"
    ),
    r"Host key verification failed": (
        "the host key of {host} isn't known here; log in once with: ssh {host}, and compare the fingerprint with the device's"
    ),
    r"Permission denied|Too many authentication failures": (
        "{host} refuses the login without a password ({last}); put your public key there with: ssh-copy-id {host}"
    ),
    r"Could not resolve hostname": (
        "no machine is known by the name of {host}; correct runner.host, or give its address"
    ),
}
"""What ssh says that no second attempt would change, to a sentence."""


def _login_error(complaint: str, host: str) -> TargetError:
    last = last_line(complaint)
    for pattern, sentence in _REFUSALS.items():
        if re.search(pattern, complaint):
            return TargetError(sentence.format(host=host, last=last))
    return ConnectionLostError(
        f"{host} doesn't answer ({last}); see that it is on, in the network, and runs an SSH server"
    )
