"""Drive a headless Chromium through its debugging pipe: open a page, ask it something, and see what its process needed.

    with Chromium("chromium") as browser:
        page = browser.open("http://127.0.0.1:8000/")
        page.evaluate("document.title")

Chromium reads commands of its DevTools protocol from file descriptor 3 and answers on 4, a JSON document each, which a zero byte
ends (https://chromedevtools.github.io/devtools-protocol/). A pipe needs no port that others could connect to, and no library of
web sockets. A browser whose pipe is closed ends, so nothing is left when this process is killed.

Each browser has an empty profile of its own. It finds no host but this machine, and reports to nobody.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Self

from edgeprune.base.errors import TargetError

__all__ = ["Chromium", "Page", "chromium_version"]

_START_S = 60
"""The longest that a browser may take to start, or to answer a command that computes nothing."""

_END_S = 10
"""The longest that a browser may take to end before it is killed."""

_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    # No host but this machine: neither the page nor the browser's own services reach one.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
    # A container's /dev/shm has 64 MB, which a model may not fit in.
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--mute-audio",
    "--password-store=basic",
    # Headless pages are never in front, and would be slowed down.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)


class Chromium:
    """Run one browser. It starts when the context is entered, and has ended when it is left.

    Args:
        command: Chromium's command or path.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        self._stack = contextlib.ExitStack()
        self._unread = b""
        self._asked = 0

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._start(stack)
            self.send("Browser.getVersion")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self, url: str) -> "Page":
        """Open a page in a new tab, and wait until it is loaded.

        Raises:
            TargetError: The page can't be opened.
        """
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        page = Page(self, self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        page.navigate(url)
        return page

    @property
    def renderers(self) -> list[int]:
        """Numbers of the processes in which pages run."""
        found = self.send("SystemInfo.getProcessInfo")["processInfo"]
        return [one["id"] for one in found if one["type"] == "renderer"]

    def send(
        self,
        method: str,
        *,
        session: str | None = None,
        until: str | None = None,
        timeout_s: float | None = _START_S,
        **parameters: Any,
    ) -> dict[str, Any]:
        """Send a command, and wait for its answer.

        Args:
            method: The command's name in the DevTools protocol.
            session: The page's session; None: the command is for the browser.
            until: Also wait for this event of the page.
            timeout_s: The longest time to wait; None: there is no limit.
            parameters: The command's parameters.

        Raises:
            TargetError: The browser refuses the command, has ended, or doesn't answer in time, or the page has crashed.
        """
        self._asked += 1
        number = self._asked
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        self._write(json.dumps(message).encode() + b"\0")
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        answer: dict[str, Any] | None = None
        while answer is None or until is not None:
            said = self._read(deadline)
            if said.get("id") == number:
                if "error" in said:
                    raise TargetError(f"Chromium refused {method}: {said['error'].get('message')}")
                answer = said["result"]
            elif said.get("method") == "Inspector.targetCrashed":
                raise TargetError(
                    "the page crashed in Chromium; most likely it is out of memory: take a smaller model or batch"
                )
            elif until is not None and said.get("method") == until and said.get("sessionId") == session:
                until = None
        return answer

    def _start(self, stack: contextlib.ExitStack) -> None:
        if sys.platform == "win32":
            raise TargetError(
                "runner type browser starts Chromium through a POSIX shell, which Windows lacks; build on Linux or macOS"
            )
        profile = tempfile.mkdtemp(prefix="edgeprune-chromium-")
        stack.callback(shutil.rmtree, profile, ignore_errors=True)
        # A browser that root runs has no sandbox; the page is our own.
        flags = [*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else []), f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(  # noqa: S603 (the user's own browser)
            # The shell puts the pipe where Chromium looks for it.
            ["/bin/sh", "-c", 'exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null', self._command, *flags, "about:blank"],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        stack.callback(self._end)

    def _end(self) -> None:
        """Close the pipe, which ends the browser."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None  # noqa: S101 (both were asked for)
            pipe.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _write(self, message: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 (it was asked for)
        try:
            while message:
                message = message[self._process.stdin.write(message) :]
        except BrokenPipeError:
            raise self._ended() from None

    def _read(self, deadline: float | None) -> dict[str, Any]:
        """Read the next message."""
        assert self._process.stdout is not None  # noqa: S101 (it was asked for)
        while b"\0" not in self._unread:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                raise TargetError(
                    f"{self._command} didn't answer within {_START_S} s; see that it starts with --headless=new"
                )
            if not (part := self._process.stdout.read(1 << 20)):
                raise self._ended()
            self._unread += part
        message, _, self._unread = self._unread.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _ended(self) -> TargetError:
        try:
            happened = f"ended with {self._process.wait(_END_S)}"
        except subprocess.TimeoutExpired:
            happened = "closed its pipe, though it still runs,"
        return TargetError(
            f"{self._command} {happened} before it answered; see that it starts: {self._command} --headless=new --dump-dom about:blank"
        )


def chromium_version(command: str) -> str | None:
    """Ask a Chromium for its name and version, without starting it. None: there is no such program."""
    try:
        done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False, timeout=_START_S)  # noqa: S603 (the user's own browser)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip()


class Page:
    """Hold one tab of a browser.

    Args:
        browser: The browser.
        session: The tab's session in the DevTools protocol.
    """

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session
        self.send("Page.enable")

    def send(
        self, method: str, *, until: str | None = None, timeout_s: float | None = _START_S, **parameters: Any
    ) -> dict[str, Any]:
        """Send a command about this page. See `Chromium.send`."""
        return self._browser.send(method, session=self._session, until=until, timeout_s=timeout_s, **parameters)

    def navigate(self, url: str) -> None:
        """Go to a page, and wait until it is loaded.

        Raises:
            TargetError: The page can't be opened.
        """
        done = self.send("Page.navigate", until="Page.loadEventFired", url=url)
        if "errorText" in done:
            raise TargetError(f"Chromium can't open {url}: {done['errorText']}")

    def evaluate(self, expression: str) -> Any:
        """Compute an expression of JavaScript in the page, and wait for what it promises, however long that takes.

        Returns:
            The value, as JSON has it.

        Raises:
            TargetError: The expression throws, or the page has crashed.
        """
        done = self.send(
            "Runtime.evaluate", timeout_s=None, expression=expression, awaitPromise=True, returnByValue=True
        )
        if fault := done.get("exceptionDetails"):
            said = fault.get("exception", {}).get("description") or fault["text"]
            raise TargetError(f"the page failed in Chromium: {said.partition(chr(10))[0]}")
        return done["result"].get("value")
