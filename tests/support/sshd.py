"""A device for the tests: OpenSSH's server on a port of this machine, run by whoever runs the tests, with keys of its own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
"""None: there is no OpenSSH server here."""

_SERVER = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {root}/host_key
AuthorizedKeysFile {root}/client_key.pub
PasswordAuthentication no
PidFile none
StrictModes no
UsePAM no
"""
_CLIENT = """\
Host board
  HostName 127.0.0.1
  Port {port}
  IdentityFile {root}/client_key
Host stranger
  HostName 127.0.0.1
  Port {port}
  IdentityFile {root}/host_key
Host off
  HostName 127.0.0.1
  Port {closed}
Host *
  IdentitiesOnly yes
  UserKnownHostsFile {root}/known_hosts
  GlobalKnownHostsFile /dev/null
"""


def signal_all(processes: list[int], number: int) -> None:
    """Kill or stop those that haven't ended by themselves."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


@dataclass
class Board:
    """A running server. Its hosts: `board`; `stranger`, with a key that it doesn't take; `off`, where nothing listens."""

    root: Path
    port: int
    server: "subprocess.Popen[bytes]"

    @property
    def folder(self) -> Path:
        """Where work folders are made."""
        return self.root / "device"

    @property
    def known_hosts(self) -> Path:
        """The client's."""
        return self.root / "known_hosts"

    def know(self, key: str = "host_key") -> None:
        """Have the client know the server by one of the key files."""
        kind, text = (self.root / f"{key}.pub").read_text().split()[:2]
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {text}\n")

    def python(self, text: str) -> str:
        """A shell script on the device that stands in for its Python."""
        path = self.root / "python"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    @property
    def sessions(self) -> list[int]:
        """The server's processes that hold connections."""
        listener = self.server.pid
        return [int(child) for child in Path(f"/proc/{listener}/task/{listener}/children").read_text().split()]

    def signal_sessions(self, number: int) -> None:
        """Kill or stop them."""
        signal_all(self.sessions, number)

    def running(self) -> list[str]:
        """Command lines of what runs on the device below its folder."""
        return running_below(self.folder)

    def assert_clean(self) -> None:
        """Nothing runs there, and nothing lies about; the device has a few seconds to notice."""
        wait(lambda: not self.running() and not list(self.folder.iterdir()))


def running_below(folder: Path) -> list[str]:
    """Command lines of this machine's processes that name something in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            found += [" ".join(words)] if any(word.startswith(f"{folder}/") for word in words) else []
    return found


def wait(happened: Callable[[], object], timeout_s: float = 60) -> None:
    """Until something happened."""
    end = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def started(root: Path) -> Iterator[Board]:
    """A `Board`, and in `root`/bin an ssh that knows its hosts."""
    assert SSHD is not None
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where a server that root starts locks itself in
    for key in ("host_key", "client_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", root / key], check=True)
    port = free_port()
    (root / "sshd_config").write_text(_SERVER.format(port=port, root=root))
    (root / "ssh_config").write_text(_CLIENT.format(port=port, closed=free_port(), root=root))
    (root / "device").mkdir()
    (root / "bin").mkdir()
    ssh = root / "bin" / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {root}/ssh_config "$@"\n')
    ssh.chmod(0o755)
    with (
        (root / "sshd.log").open("wb") as log,
        subprocess.Popen([SSHD, "-D", "-e", "-f", root / "sshd_config"], stderr=log) as server,
    ):
        board = Board(root, port, server)
        try:
            wait(lambda: listens(port))
            yield board
        finally:
            if server.poll() is None:
                board.signal_sessions(signal.SIGKILL)
                server.terminate()
