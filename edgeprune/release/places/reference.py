"""Read a reference: where a package is published, and under which name.

    oci://host/name:tag         a tag in an OCI registry
    oci://host/name@sha256:…    one manifest there, whatever tags are moved to
    hf://org/name@revision      a model repository on the Hugging Face hub; without a revision: main
    file:///folder/name         a package's folder

There is no default tag: `latest` would say nothing about which release it is.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from edgeprune.base.errors import UsageError
from edgeprune.base.wording import quoted

__all__ = ["FolderReference", "HubReference", "OciReference", "Reference", "is_reference", "read_reference"]

_SCHEMES = ("oci://", "hf://", "file://")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_OCI = re.compile(
    r"oci://(?P<host>(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?)"
    rf"/(?P<name>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))"
)
_HUB = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_LOOPBACK = re.compile(r"localhost|127\.[0-9.]+|\[::1\]")


@dataclass(frozen=True)
class OciReference:
    """Name a package in an OCI registry."""

    host: str
    """The registry's host, with its port if it isn't the usual one."""
    name: str
    """The repository, such as `team/reviews`."""
    tag: str | None
    digest: str | None
    """The digest of a manifest, which is given in place of a tag."""

    def __str__(self) -> str:
        return f"oci://{self.host}/{self.name}{f':{self.tag}' if self.tag else f'@{self.digest}'}"

    @property
    def is_local(self) -> bool:
        """Whether the registry runs on this machine, where nobody listens on the way to it."""
        return _LOOPBACK.fullmatch(re.sub(r":[0-9]+$", "", self.host)) is not None


@dataclass(frozen=True)
class HubReference:
    """Name a package in a model repository on the Hugging Face hub."""

    repository: str
    revision: str | None
    """A branch, a tag or a commit; None: the branch main."""

    def __str__(self) -> str:
        return f"hf://{self.repository}{f'@{self.revision}' if self.revision else ''}"


@dataclass(frozen=True)
class FolderReference:
    """Name a package by its folder, beside which the documents about it lie."""

    path: Path

    def __str__(self) -> str:
        return f"file://{self.path.as_posix()}"


Reference = OciReference | HubReference | FolderReference


def is_reference(text: str) -> bool:
    """Tell whether a text is meant as a reference, and not as a path."""
    return text.startswith(_SCHEMES)


def read_reference(text: str) -> Reference:
    """Read a reference.

    Raises:
        UsageError: It is none.
    """
    if match := _OCI.fullmatch(text):
        return OciReference(match["host"], match["name"], match["tag"], match["digest"])
    if match := _HUB.fullmatch(text):
        return HubReference(match["repository"], match["revision"])
    if text.startswith("file:///") and len(text) > len("file:///") and "\0" not in (path := unquote(text[7:])):
        return FolderReference(Path(path))
    if "@" in text.partition("://")[2].partition("/")[0]:  # it may hold a password, which no message repeats
        raise UsageError("a reference has no user name and no password; log in with docker login, and leave them out")
    raise UsageError(
        f"{quoted(text)} is no reference; give oci://host/name:tag, in small letters and with a tag, or "
        f"hf://org/name@revision, or file:///folder/name"
    )
