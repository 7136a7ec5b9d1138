"""Find the user name and the password for a registry where Docker keeps them: a file, or a helper that the file names.

    ~/.docker/config.json    {"auths": {"host": {"auth": "…"}}, "credHelpers": {"host": "name"}, "credsStore": "name"}

`docker login`, `oras login` and the cloud providers' tools write there. Nothing of it is ever shown.
"""

import base64
import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeprune.base.errors import UsageError

__all__ = ["Credentials", "find_credentials"]

_HELPER_S = 30
_NAMED = {"docker.io": "https://index.docker.io/v1/"}
"""What Docker calls its own registry in its file."""
_TOKEN = "<token>"  # noqa: S105 (a helper's name for a user who has a token in place of a password)


@dataclass(frozen=True)
class Credentials:
    """Hold what a registry knows a user by."""

    user: str = field(repr=False)
    password: str = field(repr=False)
    identity_token: str | None = field(default=None, repr=False)
    """What is exchanged for a token that a registry takes; None: user and password are."""


def find_credentials(host: str) -> Credentials | None:
    """Find the credentials for a registry. None: Docker has none, and the registry is asked without.

    Raises:
        UsageError: Docker's file can't be read, or its helper fails.
    """
    path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    config = _read(path)
    key = _NAMED.get(host, host)
    helper = _mapping(config, "credHelpers").get(key) or config.get("credsStore")
    if isinstance(helper, str) and helper:
        return _ask(helper, key, path)
    entry = _mapping(config, "auths").get(key)
    if not isinstance(entry, dict):
        return None
    try:
        user, _, password = base64.b64decode(entry.get("auth") or "").decode().partition(":")
    except ValueError as error:
        raise UsageError(f"{path}: the entry of {host} is damaged; log in again: docker login {host}") from error
    if not user and not entry.get("identitytoken"):
        return None
    return Credentials(user, password.rstrip("\0"), entry.get("identitytoken"))


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} can't be read, which holds Docker's credentials; repair or remove it") from error


def _mapping(config: dict[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _ask(helper: str, key: str, path: Path) -> Credentials | None:
    """Ask a helper, a program of its own that keeps passwords in the system's store."""
    name = f"docker-credential-{helper}"
    program = shutil.which(name) if "/" not in helper else None
    if program is None:
        raise UsageError(f"{path} names the helper {name!r}, which is not installed; install it, or log in without it")
    try:
        done = subprocess.run(  # noqa: S603 (the user's own file names it, as for docker)
            [program, "get"], input=key, capture_output=True, text=True, check=False, timeout=_HELPER_S
        )
        if done.returncode and "credentials not found" in done.stdout + done.stderr:
            return None
        answer = json.loads(done.stdout)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (
        OSError,
        subprocess.SubprocessError,
        ValueError,
        KeyError,
        TypeError,
    ):  # none is quoted: it may hold a secret
        raise UsageError(f"{name} gives no credentials for {key}; log in again: docker login {key}") from None
    return Credentials("", "", secret) if user == _TOKEN else Credentials(user, secret)
