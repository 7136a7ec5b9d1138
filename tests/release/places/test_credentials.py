"""edgeprune/release/places/credentials.py."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from edgeprune.base.errors import UsageError
from edgeprune.release.places.credentials import Credentials, find_credentials

AUTH = base64.b64encode(b"ali:open:sesame").decode()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`write(content)` → writes what `docker login` would write."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))

    def written(content: object) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "config.json").write_text(text)

    return written


def helper(folder: Path, script: str) -> None:
    (folder / "docker-credential-vault").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "docker-credential-vault").chmod(0o755)


@pytest.mark.usefixtures("write")
def test_without_a_file_there_are_none() -> None:
    assert find_credentials("registry.example.com") is None


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("registry.example.com", Credentials("ali", "open:sesame")),
        ("docker.io", Credentials("ali", "open:sesame")),
        ("azure.io", Credentials("", "", "a token")),
        ("empty.io", None),
        ("other.io", None),
    ],
)
def test_a_file_names_them_by_host(write: Any, host: str, found: Credentials | None) -> None:
    auths = {"registry.example.com": {"auth": AUTH}, "https://index.docker.io/v1/": {"auth": AUTH}, "empty.io": {}}
    write({"auths": {**auths, "azure.io": {"identitytoken": "a token"}}})
    assert find_credentials(host) == found


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ('echo \'{"Username": "ali", "Secret": "sesame"}\'', Credentials("ali", "sesame")),
        ('echo \'{"Username": "<token>", "Secret": "a token"}\'', Credentials("", "", "a token")),
        ("echo credentials not found in native keychain; exit 1", None),
    ],
)
@pytest.mark.parametrize("config", [{"credsStore": "vault"}, {"credHelpers": {"registry.example.com": "vault"}}])
def test_a_helper_is_asked(
    write: Any, tmp_path: Path, script: str, found: Credentials | None, config: dict[str, Any]
) -> None:
    write(config)
    helper(tmp_path, script)
    assert find_credentials("registry.example.com") == found


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[1]",
        {"auths": {"registry.example.com": {"auth": "x"}}},
        {"credsStore": "missing"},
        {"credsStore": "../vault"},
    ],
)
def test_what_cant_be_read_is_said(write: Any, content: object) -> None:
    write(content)
    with pytest.raises(UsageError, match=r"config\.json"):
        find_credentials("registry.example.com")


def test_a_helpers_secret_is_not_repeated(write: Any, tmp_path: Path) -> None:
    write({"credsStore": "vault"})
    helper(tmp_path, "echo sesame; echo sesame >&2; exit 1")
    with pytest.raises(UsageError, match="gives no credentials") as caught:
        find_credentials("registry.example.com")
    assert "sesame" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "sesame" not in repr(Credentials("sesame", "sesame", "sesame"))
