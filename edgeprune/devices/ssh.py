"""Devices that are reached by the system's ssh: any Linux board or phone that can be logged in to.

The first ssh process is the master whose connection the later ones share.
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
"""For a program that nobody watches: it never asks, takes no unknown host key, and notices within 15 s that a line is dead."""

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
        "no machine is known by the name of {place}; correct runner.host, or give its address"
    ),
}
"""What ssh says that no second attempt would change, to a sentence."""


class SshLine:
    """See `Line`.

    Args:
        config: Of the profile.
    """

    program, package = "ssh", "OpenSSH's client"
    refusals: Mapping[str, str] = _REFUSALS
    unanswered = "{place} doesn't answer ({last}); see that it is on, in the network, and runs an SSH server"

    def __init__(self, config: SshConfig) -> None:
        self.place = config.host
        self._socket = Path(tempfile.gettempdir()) / f"edgeprune-{secrets.token_hex(8)}"

    def command(self, script: str, *, first: bool) -> list[str]:
        """See `Line.command`."""
        options = {**_OPTIONS, "ControlMaster": "yes" if first else "no", "ControlPath": str(self._socket)}
        if not first:
            options["ProxyCommand"] = "false"  # without the master ssh would log in anew, where there is no work folder
        return [
            "ssh",
            *(f"-o{name}={value}" for name, value in options.items()),
            "--",
            self.place,
            f"sh -c {shlex.quote(script)}",
        ]

    def ended(self, done: CompletedProcess[str]) -> CompletedProcess[str] | None:
        """See `Line.ended`: 255 is what ssh itself ends with."""
        return None if done.returncode == 255 else done
