"""Log in to a registry when it asks for that: with a password (Basic), or with a token of another host (Bearer).

https://distribution.github.io/distribution/spec/auth/token/
"""

import base64
import contextlib
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edgeprune.base.errors import PlaceError, UsageError
from edgeprune.base.wording import cut, first_line
from edgeprune.release.places.credentials import find_credentials

if TYPE_CHECKING:
    from requests import PreparedRequest, Response, Session

__all__ = ["Login"]

_CHALLENGE = re.compile(r"(basic|bearer)\s+(.*)", re.IGNORECASE)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_MOST_TOKEN_BYTES = 1 << 20


class Login:
    """Give requests to a registry what it knows the user by. requests calls it for each one.

    Args:
        host: The registry, as Docker's file calls it.
        root: The address below which the credentials are shown.
        session: What asks for tokens.
        timeout_s: How long the host of the tokens may be silent.
    """

    def __init__(self, host: str, root: str, session: "Session", *, timeout_s: float) -> None:
        self._host, self._root, self._session, self._timeout_s = host, root, session, timeout_s
        self._shown: str | None = None
        """What requests carry; None: nothing."""

    def __call__(self, request: "PreparedRequest") -> "PreparedRequest":
        """Add the credentials to a request, if it goes to the registry and not to where the registry keeps its blobs."""
        if self._shown is not None and _origin(str(request.url)) == _origin(self._root):
            request.headers["Authorization"] = self._shown
        return request

    def answers(self, refused: "Response") -> bool:
        """Do what a registry asks for that refused a request, and tell whether the request may be sent again.

        Raises:
            UsageError: Docker's credentials can't be read, or aren't accepted.
            PlaceError: The host of the tokens can't be reached.
        """
        match = _CHALLENGE.match(refused.headers.get("WWW-Authenticate", ""))
        if match is None or _origin(refused.url) != _origin(self._root):
            return False
        if match[1].lower() == "bearer":
            asked = {str(name): str(value) for name, value in _PARAMETER.findall(match[2])}
            self._shown = f"Bearer {self._token(asked)}"
            return True
        credentials, before = find_credentials(self._host), self._shown
        if credentials is not None:
            self._shown = _basic(credentials.user, credentials.password)
        return self._shown != before

    @contextlib.contextmanager
    def reachable(self) -> Iterator[None]:
        """Say in a sentence why a host can't be reached, without the addresses and headers of the request."""
        import requests
        import urllib3

        try:
            yield
        except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
            raise PlaceError(
                f"{self._host} didn't answer within {self._timeout_s:g} s; check the host's name, or try again later"
            ) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise PlaceError(
                f"{self._host} can't be reached: {_reason(error)}; check the host's name and the network"
            ) from error

    def _token(self, asked: dict[str, str]) -> str:
        realm = asked.get("realm", "")
        if not realm.startswith("https:") and self._root.startswith("https:"):
            raise UsageError(
                f"{self._host} wants a login without encryption, which would show the password; it got none"
            )
        query = {name: asked[name] for name in ("service", "scope") if name in asked}
        credentials = find_credentials(self._host)
        with self.reachable():
            if credentials is not None and credentials.identity_token is not None:
                form: dict[str, str] = query | {
                    "grant_type": "refresh_token",
                    "refresh_token": credentials.identity_token,
                    "client_id": "edgeprune",
                }
                answer = self._session.post(realm, data=form, auth=_nobody, timeout=self._timeout_s, stream=True)
            else:
                shown = None if credentials is None else _basic(credentials.user, credentials.password)
                headers = {} if shown is None else {"Authorization": shown}
                answer = self._session.get(
                    realm, params=query, headers=headers, auth=_nobody, timeout=self._timeout_s, stream=True
                )
            with answer:
                content = answer.raw.read(_MOST_TOKEN_BYTES, decode_content=True)
        if answer.status_code != 200:
            raise UsageError(
                f"{self._host} gives no token ({answer.status_code}); log in with an account that has the right to this: docker "
                f"login {self._host}"
            )
        try:
            found: dict[str, object] = dict(json.loads(content))
            token = found.get("token") or found["access_token"]
        except (ValueError, KeyError, TypeError, RecursionError):  # what it sent may hold a secret
            raise PlaceError(f"{self._host} sent no token where one belongs; try again later") from None
        if not isinstance(token, str) or not token.isprintable() or not token.isascii():
            raise PlaceError(f"{self._host} sent no token where one belongs; try again later")
        return token


def _nobody(request: "PreparedRequest") -> "PreparedRequest":
    """Keep requests from looking for a password in ~/.netrc."""
    return request


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _reason(error: BaseException) -> str:
    """Find the system's own words below those of the libraries."""
    if type(error).__name__ == "ProtocolError":
        return "it broke the connection off"
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    return cut(first_line(error))
