"""Name who signs a package: a private key in a file, one in a security module, or the identity of a CI job.

signer = KeyFile(Path("release.key"), password=None)
sign(Path("dist/my-model-1-here"), signer)
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.base.errors import UsageError
from edgeprune.base.extras import from_extra
from edgeprune.base.wording import first_line
from edgeprune.release.keys import read_pem, usable_key

__all__ = ["PASSWORD", "CiIdentity", "KeyFile", "Signer", "Token"]

PASSWORD = "EDGEPRUNE_KEY_PASSWORD"  # noqa: S105 (the name of a variable)
"""The environment variable with the password of an encrypted private key."""


@dataclass(frozen=True)
class KeyFile:
    """Sign with a private key in a file, and with a certificate if there is one."""

    path: Path
    """A private key of the curve P-256, P-384 or P-521, in PEM."""
    password: str | None
    """The key's password; None: the key isn't encrypted."""
    certificate: Path | None = None
    """The certificate of the key, in PEM. None: whoever checks the signature needs the public key itself."""
    chain: Path | None = None
    """Certificates between that one and an authority's, in PEM."""

    def configure(self, config: Any) -> None:
        """Tell model-signing to sign with this key.

        Raises:
            UsageError: A file is no such key or certificate, they don't belong together, or the certificate isn't valid.
        """
        for path in (self.path, self.certificate, self.chain):
            if path is not None:
                read_pem(path)
        if self.certificate is None:
            with usable_key(
                self.path,
                f"give a private key of the curve P-256, P-384 or P-521 in PEM, and the password of an encrypted one in {PASSWORD}",
            ):
                # Its annotation says str, but it passes the password on to what takes bytes.
                password = None if self.password is None else self.password.encode()
                config.use_elliptic_key_signer(private_key=self.path, password=password)
            return
        if self.password is not None:
            raise UsageError(
                f"a key with a certificate can't be encrypted; give a plain {self.path}, and unset {PASSWORD}"
            )
        with usable_key(self.certificate, "give the certificate of this very key, and the chain above it, in PEM"):
            _check_dates(self.certificate)
            config.use_certificate_signer(
                private_key=self.path,
                signing_certificate=self.certificate,
                # It can't be empty; a certificate twice harms nobody.
                certificate_chain=[self.chain or self.certificate],
            )


@dataclass(frozen=True)
class Token:
    """Sign with a private key that never leaves a security module."""

    uri: str
    """Where the key is: `pkcs11:token=…;object=…?module-path=…&pin-source=…`, as RFC 7512 writes it."""

    def configure(self, config: Any) -> None:
        """Tell model-signing to sign with this key.

        Raises:
            UsageError: The key's module can't be reached, or has no such key.
        """
        from_extra("PyKCS11", "pkcs11", "a key in a security module")
        try:
            config.use_pkcs11_signer(pkcs11_uri=self.uri)
        except Exception as error:  # PyKCS11 has errors of its own for each fault of a module
            place = self.uri.partition("?")[0]  # behind it may be the PIN
            raise UsageError(
                f"{place} can't be used: {first_line(error) or 'there is no such module'}; give "
                f"pkcs11:token=…;object=…?module-path=/…/module.so&pin-source=file:/…"
            ) from error


@dataclass(frozen=True)
class CiIdentity:
    """Sign without a key, as the CI job that this process runs in: Sigstore vouches for the job's identity."""

    def configure(self, config: Any) -> None:
        """Tell model-signing to sign as this job.

        Raises:
            UsageError: The job may not say who it is, or Sigstore can't be reached.
        """
        # Without an identity, model-signing would open a browser and wait for somebody to log in.
        oidc = from_extra("sigstore.oidc", "sign", "signing a package")
        try:
            token = oidc.detect_credential()
            if token is not None:
                config.use_sigstore_signer(identity_token=token)
                return
        except Exception as error:  # what the network and each layer above it raise
            raise UsageError(
                f"signing without a key needs Sigstore, which gave an error: {first_line(error)}; sign with --key instead"
            ) from error
        raise UsageError(
            "signing without a key needs a CI job that may say who it is; in GitHub Actions, give the job the permission "
            "id-token: write; elsewhere, sign with --key"
        )


Signer = KeyFile | Token | CiIdentity
"""Who signs a package."""


def _check_dates(path: Path) -> None:
    x509 = from_extra("cryptography.x509", "sign", "signing a package")
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    if not certificate.not_valid_before_utc <= dt.datetime.now(dt.UTC) <= certificate.not_valid_after_utc:
        raise UsageError(
            f"{path} is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC only; get a new certificate for the key"
        )
