"""Name what a signature is checked against: a public key, certificates that are trusted, or an identity.

key = read_key(Path("release.pub"))
require_signature(Path("dist/my-model-1-here"), key)
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgeprune.base.errors import EdgepruneError, UsageError
from edgeprune.base.wording import first_line

__all__ = ["Certificates", "Identity", "Key", "PublicKey", "read_key", "read_pem", "usable_key"]

_MOST_BYTES = 1 << 20
"""No key is as large as this, nor are the certificates of all authorities of a system."""


@dataclass(frozen=True)
class PublicKey:
    """Trust whoever has the private key that belongs to this one."""

    path: Path
    """A key of the curve P-256, P-384 or P-521, in PEM."""

    kind: ClassVar[str] = "a key"

    def configure(self, config: Any) -> None:
        """Tell model-signing to check a signature against this key.

        Raises:
            UsageError: The file is no such key.
        """
        with usable_key(self.path, "give a public key of the curve P-256, P-384 or P-521 in PEM"):
            config.use_elliptic_key_verifier(public_key=self.path)


@dataclass(frozen=True)
class Certificates:
    """Trust whoever has a certificate that one of these authorities issued."""

    path: Path
    """The authorities' own certificates in PEM, one after the other."""

    kind: ClassVar[str] = "a certificate"

    def configure(self, config: Any) -> None:
        """Tell model-signing to check a signature against these certificates.

        Raises:
            UsageError: The file holds no certificates.
        """
        with usable_key(self.path, "give the certificates of the authorities that you trust, in PEM"):
            config.use_certificate_verifier(certificate_chain=[self.path])


@dataclass(frozen=True)
class Identity:
    """Trust a person or a workflow that signed without a key of its own, through Sigstore."""

    name: str
    """An e-mail address, or the address of a workflow."""
    issuer: str
    """The address of the service that vouches for the name."""

    kind: ClassVar[str] = "an identity"

    def configure(self, config: Any) -> None:
        """Tell model-signing to check a signature against this identity.

        Raises:
            UsageError: Sigstore's own keys, which come from the network, can't be had.
        """
        try:
            config.use_sigstore_verifier(identity=self.name, oidc_issuer=self.issuer)
        except Exception as error:  # what the network and each layer above it raise
            raise UsageError(
                f"the identity {self.name} can't be checked without Sigstore's own keys, which come from the network: "
                f"{first_line(error)}"
            ) from error


Key = PublicKey | Certificates | Identity
"""What a signature is checked against."""


def read_key(path: Path) -> PublicKey | Certificates:
    """Tell by a file's content whether it is a public key or certificates.

    Raises:
        UsageError: The file can't be read, or is neither.
    """
    content = read_pem(path)
    if b"-----BEGIN CERTIFICATE-----" in content:
        return Certificates(path)
    if b"PRIVATE KEY-----" in content:
        raise UsageError(
            f"{path} is a private key, which nobody but its owner should have; give the public key: openssl pkey -in {path} "
            f"-pubout"
        )
    if b"-----BEGIN PUBLIC KEY-----" not in content:
        raise UsageError(f"{path} is no key; give a public key, or the certificates of authorities, in PEM")
    return PublicKey(path)


def read_pem(path: Path) -> bytes:
    """Read a file that should hold a key or certificates.

    Raises:
        UsageError: It can't be read, or is too large for that.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the key {path} can't be read: {error.strerror or error}; check its path") from error
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{path} is no key: it is larger than any; give a key or certificates in PEM")
    return content


@contextlib.contextmanager
def usable_key(path: Path, remedy: str) -> Iterator[None]:
    """Turn what libraries raise when they are given a key into a UsageError.

    Args:
        path: The key's file.
        remedy: What the message ends with: what to give instead.
    """
    try:
        yield
    except EdgepruneError:
        raise
    except AttributeError as error:  # model-signing asks every key for its curve
        raise UsageError(f"{path} can't be used: it is no key of an elliptic curve; {remedy}") from error
    except Exception as error:  # cryptography has errors of its own beside Python's
        raise UsageError(f"{path} can't be used: {first_line(error).rstrip('.')}; {remedy}") from error
