"""Hold what is pushed and what was pulled: a package, its signature, and the documents about it.

Not everything beside a package is published. The report and the samples tell of the machine and quote the data. The
archive holds the same files as the folder.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from edgeprune.base.errors import IntegrityError
from edgeprune.base.strict_yaml import Frozen
from edgeprune.base.wording import quoted
from edgeprune.release.bom import BOM
from edgeprune.release.provenance import PROVENANCE
from edgeprune.release.signing import find_signature
from edgeprune.store.package import DIGESTS, check_digests, description, listed_files, opened

__all__ = [
    "DOCUMENTS",
    "MOST_BYTES",
    "Place",
    "Publication",
    "Pulled",
    "Pushed",
    "check_path",
    "opened_publication",
    "package_name",
]

DOCUMENTS = (BOM, PROVENANCE)
"""The suffixes of the documents that travel with a package."""

MOST_BYTES = 64 << 30
"""No package is larger; a place that claims more isn't believed."""

_PART = r"(?!\.\.?(?:/|$))[^/\\\x00-\x1f\x7f:*?\"<>|]{1,200}"
_PATH = re.compile(rf"(?:{_PART}/)?{_PART}")
"""A file in a package's folder or in a folder of it, by a name that every system can have."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,240}")


@dataclass(frozen=True)
class Publication:
    """Hold a package that is to be pushed. Its digests were checked."""

    folder: Path
    signature: Path | None
    documents: Mapping[str, Path]
    """The documents that lie beside the package, by their suffix."""

    @cached_property
    def name(self) -> str:
        """The name of the package, as `edgeprune build` would name its folder."""
        return package_name(self.folder)

    @cached_property
    def paths(self) -> list[str]:
        """The package's files, without its signature, relative to its folder."""
        return sorted({DIGESTS, *listed_files(self.folder, self.folder.name)})

    @cached_property
    def description(self) -> dict[str, Any]:
        """The package's edgeprune.json."""
        return description(self.folder)


class Pushed(Frozen):
    """Report a push, as the document that `push --json` prints."""

    reference: str
    """Where this very package stays, whatever is pushed later: by a digest or a commit, where the place has them."""
    uploaded_files: int
    """0: everything was there already."""
    uploaded_bytes: int


@dataclass(frozen=True)
class Pulled:
    """Hold what a place gave. Nobody has checked it yet."""

    reference: str
    """Where this very package stays, as in `Pushed`."""
    folder: Path
    signatures: tuple[Path, ...]
    """Several people may have signed the package. They are in the order in which the place lists them."""
    documents: Mapping[str, Path]


class Place(Protocol):
    """Keep packages."""

    def push(self, publication: Publication) -> Pushed:
        """Publish a package. In a registry and on the hub, others see all of it or nothing.

        Raises:
            UsageError: The place doesn't know whoever pushes, or refuses the name.
            PlaceError: The place can't be reached, or fails.
            IntegrityError: The place doesn't have what was sent to it.
        """
        ...

    def pull(self, scratch: Path) -> Pulled:
        """Download a package into an empty folder.

        Raises:
            UsageError: There is no such package, or whoever pulls may not read it.
            PlaceError: The place can't be reached, or fails.
            IntegrityError: The place gives other bytes than it announced, or more than a package has.
        """
        ...


@contextlib.contextmanager
def opened_publication(package: Path) -> Iterator[Publication]:
    """Open a package's folder or .tar.gz, check its digests, and find what lies beside it.

    Raises:
        UsageError: There is no package at `package`.
        IntegrityError: The package's files are not what they were when it was made.
    """
    with opened(package) as folder:
        check_digests(folder, str(package))
        stem = package.absolute().name.removesuffix(".tar.gz") if package.is_file() else package.absolute().name
        beside = {suffix: package.absolute().with_name(f"{stem}.{suffix}") for suffix in DOCUMENTS}
        documents = {suffix: path for suffix, path in beside.items() if path.is_file()}
        yield Publication(folder, find_signature(package, folder), documents)


def check_path(path: str, shown: str) -> None:
    """Refuse a path that leads out of a package's folder, or that no package has.

    Args:
        path: The path as a place gives it, relative to the package's folder.
        shown: What messages call the package.

    Raises:
        IntegrityError: The path is refused.
    """
    if not _PATH.fullmatch(path) or not path.isprintable():
        raise IntegrityError(f"{shown} has a file named {quoted(path)}, as no package has; nothing was written")


def package_name(folder: Path) -> str:
    """Give the name that `edgeprune build` gave a package's folder.

    Raises:
        IntegrityError: The package's edgeprune.json has no name, or one that can't be a folder's.
    """
    found = description(folder)
    name = "-".join(str(found.get(part, "")) for part in ("name", "release", "target"))
    if not _NAME.fullmatch(name):
        raise IntegrityError(f"the package calls itself {quoted(name)}, which can't be a folder's name; get it again")
    return name
