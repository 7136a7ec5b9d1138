"""Refuse every look-up and connection of a process that has this folder on its PYTHONPATH, and note who asked.

The file that EDGEPRUNE_TESTS_ASKED names gets a line for each.
"""

import os
import socket
import traceback
from pathlib import Path
from typing import Any, NoReturn

_connect = socket.socket.connect


def _refuse(*arguments: Any, **_: Any) -> NoReturn:
    caller = traceback.extract_stack(limit=6)[0]
    with Path(os.environ["EDGEPRUNE_TESTS_ASKED"]).open("a", encoding="utf-8") as file:
        file.write(f"{arguments[:2]} from {caller.filename}:{caller.lineno}\n")
    raise OSError("no network in this test")


def _connect_nearby(self: socket.socket, address: Any) -> None:
    if self.family != socket.AF_UNIX:
        _refuse(address)
    _connect(self, address)


socket.getaddrinfo = socket.gethostbyname = _refuse  # type: ignore[assignment]
socket.socket.connect = _connect_nearby  # type: ignore[method-assign]
