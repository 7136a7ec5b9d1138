"""A device for the tests: the device's side of adb's wire protocol on a port, and a shell of this machine behind it.

It speaks as much as `adb shell -T` needs: the handshake, streams, and the shell protocol 2 with standard input, output, errors
and the exit code. https://android.googlesource.com/platform/packages/modules/adb, protocol.txt and shell_protocol.h
"""

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import IO

from tests.support.sshd import running_below

ADB = shutil.which("adb")
"""None: there is no adb here."""

_MAX = 64 * 1024
_NO_SUMS = 0x01000001
"""The protocol's version, from which on messages have no check sums."""

_PUBLIC_KEY = 3
"""What an AUTH message brings, by its first number."""

_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)


@dataclass
class Phone:
    """A running device, and the adb server that knows it."""

    root: Path
    listener: socket.socket
    trusting: bool = True
    """Whether it takes this machine's key."""
    connections: list[socket.socket] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    """What its shells were asked to run."""
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    @property
    def folder(self) -> Path:
        """Where work folders are made."""
        return self.root / "device"

    def adb(self, *arguments: str) -> str:
        done = subprocess.run(["adb", *arguments], capture_output=True, text=True, check=False, timeout=30)
        return done.stdout + done.stderr

    def unplug(self) -> None:
        """Cut every connection, and take no other."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.cut()

    def cut(self) -> None:
        """Cut every connection; adb's server makes another one."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def work(self, target: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()
        return thread

    def running(self) -> list[str]:
        """Command lines of what runs on the device below its folder."""
        return running_below(self.folder)


class _Connection:
    """One adb server's connection to the device."""

    def __init__(self, phone: Phone, line: socket.socket) -> None:
        self._phone, self._line = phone, line
        self._sending = threading.Lock()
        self._streams: dict[int, _Stream] = {}

    def serve(self) -> None:  # noqa: C901 (a branch a kind of message)
        with self._line, contextlib.suppress(OSError, EOFError):
            while True:
                command, first, second, data = self._receive()
                if (command, first) == (b"AUTH", _PUBLIC_KEY):
                    continue  # somebody would have to accept it
                if command in (b"CNXN", b"AUTH") and not self._phone.trusting:
                    self.send(b"AUTH", 1, 0, bytes(20))  # 1: a token to sign; no signature will do
                elif command == b"CNXN":
                    features = b"device::ro.product.name=test;ro.product.model=test;features=shell_v2,cmd;"
                    self.send(b"CNXN", _NO_SUMS, _MAX, features)
                elif command == b"OPEN":
                    self._open(first, data.rstrip(b"\0").decode())
                elif command == b"WRTE":
                    self.send(b"OKAY", second, first)
                    if second in self._streams:
                        self._streams[second].take(data)
                elif command == b"OKAY" and second in self._streams:
                    self._streams[second].ready.put(None)
                elif command == b"CLSE" and second in self._streams:
                    self._streams.pop(second).close()
        for stream in self._streams.values():
            stream.close()

    def _open(self, remote: int, service: str) -> None:
        name, _, script = service.partition(":")
        if not name.startswith("shell,v2"):
            self.send(b"CLSE", 0, remote)
            return
        self._phone.opened.append(script)
        number = len(self._phone.opened)
        self._streams[number] = _Stream(self, self._phone, number, remote, script)
        self.send(b"OKAY", number, remote)
        self._streams[number].start()

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        (number,) = struct.unpack("<I", command)
        head = struct.pack("<6I", number, first, second, len(data), 0, number ^ 0xFFFFFFFF)
        with self._sending, contextlib.suppress(OSError):
            self._line.sendall(head + data)

    def _receive(self) -> tuple[bytes, int, int, bytes]:
        command, first, second, size, _, _ = struct.unpack("<4s5I", self._exactly(24))
        return command, first, second, self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._line.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data


class _Stream:
    """One shell: packets of an identifier, a length and data, both ways."""

    def __init__(self, connection: _Connection, phone: Phone, number: int, remote: int, script: str) -> None:
        self._connection, self._phone, self._number, self._remote = connection, phone, number, remote
        self.ready: Queue[None] = Queue()
        self._taken = b""
        self._process = subprocess.Popen(
            ["sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=phone.folder,
            start_new_session=True,
        )
        phone.processes.append(self._process)
        self._writing = threading.Lock()
        self._gone = False

    def start(self) -> None:
        self._phone.work(self._end)

    def take(self, data: bytes) -> None:
        """What adb sent; it may hold parts of packets."""
        self._taken += data
        stdin = self._process.stdin
        assert stdin is not None
        while len(self._taken) >= 5:
            kind, size = struct.unpack("<BI", self._taken[:5])
            if len(self._taken) < 5 + size:
                return
            packet, self._taken = self._taken[5 : 5 + size], self._taken[5 + size :]
            with contextlib.suppress(OSError, ValueError):
                if kind == _STDIN:
                    stdin.write(packet)
                    stdin.flush()
                elif kind == _CLOSE_STDIN:
                    stdin.close()

    def close(self) -> None:
        """The other side went away: what reads learns it, as from adb's own daemon."""
        self._gone = True
        self.ready.put(None)
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()  # type: ignore[union-attr]

    def _end(self) -> None:
        with self._process as process:
            pipes = ((process.stdout, _STDOUT), (process.stderr, _STDERR))
            for thread in [self._phone.work(self._pump, *pipe) for pipe in pipes]:
                thread.join()
            code = process.wait()
        self._say(_EXIT, bytes([code if code >= 0 else 128 - code]))
        self._connection.send(b"CLSE", self._number, self._remote)

    def _pump(self, pipe: IO[bytes], kind: int) -> None:
        while data := os.read(pipe.fileno(), _MAX - 5):
            self._say(kind, data)

    def _say(self, kind: int, data: bytes) -> None:
        """A packet; the next one may follow once adb has taken it."""
        with self._writing:
            if self._gone:
                return
            self._connection.send(b"WRTE", self._number, self._remote, struct.pack("<BI", kind, len(data)) + data)
            self.ready.get()


@contextlib.contextmanager
def started(root: Path) -> Iterator[Phone]:
    """A `Phone` that adb is connected to, by the server that ANDROID_ADB_SERVER_PORT names."""
    (root / "device").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        phone = Phone(root, listener)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    line, _ = listener.accept()
                    phone.connections.append(line)
                    phone.work(_Connection(phone, line).serve)

        phone.work(accept)
        try:
            said = phone.adb("connect", phone.serial)
            assert "connected to" in said, said
            yield phone
        finally:
            phone.adb("kill-server")
            with contextlib.suppress(OSError):  # it may have been unplugged
                phone.unplug()
            phone.cut()
            for process in phone.processes:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
            for thread in list(phone.threads):
                thread.join(timeout=10)
