"""Speak to an OCI registry: the parts of the distribution API that packages need.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md

Whatever a registry sends is checked against the digest and the size that were announced, before anybody reads it.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self
from urllib.parse import urljoin, urlsplit

from edgeprune.base.errors import IntegrityError, PlaceError, UsageError
from edgeprune.base.wording import cut, first_line, quoted
from edgeprune.release.places.reference import OciReference
from edgeprune.release.places.registry_login import Login

if TYPE_CHECKING:
    from requests import Response

__all__ = ["INDEX", "MANIFEST", "Registry", "digest_of"]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"

_ENDPOINTS = {"docker.io": "registry-1.docker.io"}
_MOST_MANIFEST_BYTES = 4 << 20
"""What the standard has registries take."""
_MOST_PAGES = 20
_PAUSES_S = (0.1, 0.5, 1)
"""How long a request waits before it is sent again."""
_BUSY = (400, 500, 502, 503, 504)
"""What docker-registry 2.8 answers for a moment, where somebody else uploads the same bytes: it reads half of them."""
_PIECE_BYTES = 1 << 20
_LEAST_RATE = 1 << 10
"""Bytes per second below which a transfer that lasts long is given up."""


def digest_of(content: bytes) -> str:
    """Compute a digest as registries write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Registry:
    """Hold a connection to one repository of a registry.

    Args:
        reference: The repository.
        plain_http: Whether to do without encryption. A registry on this machine always does.
        timeout_s: How long the registry may be silent.
    """

    def __init__(self, reference: OciReference, *, plain_http: bool, timeout_s: float) -> None:
        import requests

        scheme = "http" if plain_http or reference.is_local else "https"
        self._host, self._timeout_s = reference.host, timeout_s
        self._root = f"{scheme}://{_ENDPOINTS.get(reference.host, reference.host)}/v2/{reference.name}/"
        self._session = requests.Session()
        self._login = Login(reference.host, self._root, self._session, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def has_blob(self, digest: str) -> bool:
        """Tell whether the repository has a blob."""
        answer = self._ask("HEAD", f"blobs/{digest}", taken=(200, 404))
        self._read(answer, "nothing")
        return bool(answer.status_code == 200)

    def upload(self, digest: str, content: bytes | Path) -> None:
        """Upload a blob in one piece.

        Raises:
            IntegrityError: The registry has something else afterwards.
        """
        for pause_s in (*_PAUSES_S, None):
            begun = self._ask("POST", "blobs/uploads/", taken=(202,))
            self._read(begun, "the beginning of an upload")
            place = urljoin(begun.url, begun.headers.get("Location", ""))
            answer = self._ask(
                "PUT",
                f"{place}{'&' if urlsplit(place).query else '?'}digest={digest}",
                taken=(201,) if pause_s is None else (201, *_BUSY),
                content=content,
                headers={"Content-Type": "application/octet-stream"},
            )
            self._check_stored(answer, digest)
            if pause_s is None or not _is_busy(answer):
                return
            time.sleep(pause_s)
            if self.has_blob(digest):  # somebody else has uploaded it meanwhile
                return

    def manifest(self, which: str) -> bytes | None:
        """Download a manifest or an index. None: there is none.

        Args:
            which: A tag or a digest.

        Raises:
            IntegrityError: It isn't what its digest says.
        """
        answer = self._ask("GET", f"manifests/{which}", taken=(200, 404), headers={"Accept": f"{MANIFEST}, {INDEX}"})
        content = self._read(answer, f"the manifest {which}")
        if answer.status_code == 404:
            return None
        told = which if which.startswith("sha256:") else answer.headers.get("Docker-Content-Digest")
        if told is not None and told != digest_of(content):
            raise IntegrityError(
                f"{self._host} sent a manifest of {which} whose digest is {digest_of(content)}, not {cut(told)}; try again, "
                f"or ask whoever runs the registry"
            )
        return content

    def put_manifest(self, which: str, content: bytes, kind: str = MANIFEST) -> Mapping[str, str]:
        """Upload a manifest or an index, and return the headers of the answer.

        Raises:
            IntegrityError: The registry has something else afterwards.
        """
        answer = self._ask("PUT", f"manifests/{which}", taken=(201,), content=content, headers={"Content-Type": kind})
        self._check_stored(answer, digest_of(content))
        return answer.headers

    def download(self, digest: str, size: int, file: IO[bytes]) -> None:
        """Download a blob of a known size into a file.

        Raises:
            IntegrityError: The registry sends other bytes, or more or fewer.
        """
        answer = self._ask("GET", f"blobs/{digest}")
        found, count = hashlib.sha256(), 0
        for piece in self._pieces(answer, digest):
            count += len(piece)
            if count > size:
                break
            found.update(piece)
            file.write(piece)
        if count != size or f"sha256:{found.hexdigest()}" != digest:
            sent = f"{count:,} bytes, and not {size:,}," if count != size else "other bytes than announced"
            raise IntegrityError(
                f"{self._host} sent {sent} for the blob {digest}; try again, or ask whoever runs the registry"
            )

    def referrers(self, digest: str) -> list[dict[str, Any]] | None:
        """List what refers to a manifest. None: the registry has no list of such."""
        found: list[dict[str, Any]] = []
        place = f"referrers/{digest}"
        for _ in range(_MOST_PAGES):
            answer = self._ask("GET", place, taken=(200, 400, 404, 405))
            content = self._read(answer, "the list of referrers")
            if answer.status_code != 200:
                return None
            found += self.listed(content)
            if "next" not in answer.links:
                break
            place = urljoin(answer.url, answer.links["next"]["url"])
        return found

    def listed(self, index: bytes) -> list[dict[str, Any]]:
        """Read the descriptors in an index.

        Raises:
            IntegrityError: It is no index.
        """
        try:
            return [dict(one) for one in json.loads(index)["manifests"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise IntegrityError(f"{self._host} sent no index where one belongs; is it a registry?") from error

    def _ask(
        self,
        method: str,
        place: str,
        *,
        taken: tuple[int, ...] = (200,),
        content: bytes | Path | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> "Response":
        """Send a request, once more with credentials if the registry asks for them, and refuse other answers than `taken`."""
        url = urljoin(self._root, place)
        if url.startswith("http:") and self._root.startswith("https:"):
            raise IntegrityError(f"{self._host} leads to a place without encryption; nothing was sent there")
        answer, said = self._send(method, url, content, headers), b""
        for pause_s in _PAUSES_S if method in ("GET", "HEAD") or place.startswith("manifests/") else ():
            if not _is_busy(answer):
                break
            self._read(answer, "a refusal")
            time.sleep(pause_s)
            answer = self._send(method, url, content, headers)
        if answer.status_code == 401:
            said = self._read(answer, "a refusal")
            if self._login.answers(answer):
                answer, said = self._send(method, url, content, headers), b""
        if answer.status_code not in taken:
            raise self._refusal(answer.status_code, said or self._read(answer, "a refusal"))
        return answer

    def _send(
        self, method: str, url: str, content: bytes | Path | None, headers: Mapping[str, str] | None
    ) -> "Response":
        with self._login.reachable():
            plain = {"Accept-Encoding": "identity", **(headers or {})}
            keep = {"headers": plain, "auth": self._login, "timeout": self._timeout_s, "stream": True}
            if isinstance(content, Path):
                with content.open("rb") as file:
                    return self._session.request(method, url, data=file, **keep)  # type: ignore[arg-type]
            return self._session.request(method, url, data=content, **keep)  # type: ignore[arg-type]

    def _pieces(self, answer: "Response", what: str) -> Any:
        """Yield a body's bytes as they come, and give up on a registry that sends next to nothing."""
        began, count = time.monotonic(), 0
        with self._login.reachable(), answer:
            while piece := answer.raw.read1(_PIECE_BYTES):
                yield piece
                count += len(piece)
                took_s = time.monotonic() - began
                if took_s > self._timeout_s and count < _LEAST_RATE * took_s:
                    raise PlaceError(
                        f"{self._host} sent {count:,} bytes of {cut(what)} in {took_s:.0f} s, which is too slow; try again later"
                    )

    def _read(self, answer: "Response", what: str) -> bytes:
        content = b""
        for piece in self._pieces(answer, what):
            content += piece
            if len(content) > _MOST_MANIFEST_BYTES:
                raise IntegrityError(f"{self._host} sent more than {_MOST_MANIFEST_BYTES:,} bytes for {what}")
        return content

    def _check_stored(self, answer: "Response", digest: str) -> None:
        self._read(answer, "an empty answer")
        told = answer.headers.get("Docker-Content-Digest")
        if told is not None and told != digest:
            raise IntegrityError(
                f"{self._host} answered that it has {quoted(told)}, but was sent {digest}; nothing is published; try again, or "
                f"ask whoever runs the registry"
            )

    def _refusal(self, code: int, content: bytes) -> Exception:
        try:
            error = json.loads(content)["errors"][0]
            said = f": {cut(first_line(' '.join(str(error.get(name, '')) for name in ('code', 'message'))))}"
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            said = ""
        if code in (401, 403):
            return UsageError(
                f"{self._host} refuses this ({code}{said}); log in with an account that has the right to it: docker login "
                f"{self._host}"
            )
        if code == 429 or code >= 500:
            return PlaceError(f"{self._host} can't do this now ({code}{said}); try again later")
        return UsageError(
            f"{self._host} refuses this ({code}{said}); check the reference, and that the host is a registry"
        )


def _is_busy(answer: "Response") -> bool:
    return answer.status_code in _BUSY and (answer.status_code != 400 or answer.request.method == "PUT")
