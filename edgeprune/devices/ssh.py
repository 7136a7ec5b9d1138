"""Reach devices with the system's ssh: any Linux board or phone that has an SSH server.

The first ssh process is the master. The later processes share its connection.
"""

import secrets
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess

from edgeprune.profiles.runners import SshConfig

__all__ = ["SshLine"]

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
"""Options of an ssh that nobody watches. It never asks, accepts no unknown host key, and notices a dead line within 15
s."""

_REFUSALS = {
    r"REMOTE HOST IDENTIFICATION HAS CHANGED": (
        "{place} has another host key than the one that is known here: it was installed anew, or another machine answers in its "
        "place; if it is yours, remove the old key with ssh-keygen -R, then log in once with: ssh {place}"
    ),
    r"Host key verification failed": (
        "the host key of {place} isn't known here; log in once with: ssh {place}, and compare the fingerprint with the device's"
    ),
    r"Permission denied|Too many authentication failures": (
        "{place} refuses the login without a password ({last}); put your public key there with: ssh-copy-id {place}"
    ),
    r"Could not resolve hostname": (
        "no machine with the name {place} is known; correct runner.host, or give the machine's address there"
    ),
}
"""Complaints of ssh that a second attempt would not change, as patterns, and the sentence that explains each one."""


class SshLine:
    """Run scripts on a device with ssh. See `Line`.

    Args:
        config: The profile's `runner`.
    """

    program, package = "ssh", "OpenSSH's client"
    refusals: Mapping[str, str] = _REFUSALS
    unanswered = "{place} doesn't answer ({last}); see that it is on, in the network, and runs an SSH server"

    def __init__(self, config: SshConfig) -> None:
        self.place = config.host
        self._socket = Path(tempfile.gettempdir()) / f"edgeprune-{secrets.token_hex(8)}"

    def command(self, script: str, *, first: bool) -> list[str]:
        """Give the ssh command that runs a script. See `Line.command`."""
        options = {**_OPTIONS, "ControlMaster": "yes" if first else "no", "ControlPath": str(self._socket)}
        if not first:
            # If the master is gone, the work folder is gone too, so ssh must not log in anew.
            options["ProxyCommand"] = "false"
        return [
            "ssh",
            *(f"-o{name}={value}" for name, value in options.items()),
            "--",
            self.place,
            f"sh -c {shlex.quote(script)}",
        ]

    def ended(self, done: CompletedProcess[str]) -> CompletedProcess[str] | None:
        """Tell how a script ended. See `Line.ended`; the exit code 255 is ssh's own, not the script's."""
        return None if done.returncode == 255 else done
