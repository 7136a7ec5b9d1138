"""Sign a package: `edgeprune sign`."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.base.errors import UsageError
from edgeprune.cli.console import out
from edgeprune.cli.options import Json

if TYPE_CHECKING:
    from edgeprune.release.signers import Signer

__all__ = ["sign"]

_TOKEN = "pkcs11:"  # noqa: S105 (the scheme of an address)


def sign(
    package: Annotated[Path, typer.Argument(help="A package's folder or .tar.gz.")],
    key: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|pkcs11:…",
            help="Private key in PEM, or the PKCS #11 address of a key in a security module. The password of an encrypted "
            "key is read from the variable EDGEPRUNE_KEY_PASSWORD.",
        ),
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="The key's certificate, in PEM.")] = None,
    chain: Annotated[
        Path | None,
        typer.Option(help="With --certificate: the certificates between it and the authority's own, in PEM."),
    ] = None,
    keyless: Annotated[
        bool, typer.Option("--keyless", help="Sign as the CI job that runs this, through Sigstore, without a key.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Sign a package.

    The signature is the file model.sig in the package's folder. If the package's .tar.gz lies beside, the signature is
    written beside that too.
    """
    from edgeprune.release.signing import sign as write_signature

    files = write_signature(package, _signer(key, certificate, chain, keyless=keyless))
    if as_json:
        document = {"schema_version": 1, "exit_code": 0, "signatures": [str(path) for path in files]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        for path in files:
            out.print(str(path), markup=False, soft_wrap=True)
    return 0


def _signer(key: str | None, certificate: Path | None, chain: Path | None, *, keyless: bool) -> "Signer":
    from edgeprune.release.signers import PASSWORD, CiIdentity, KeyFile, Token

    if (key is None) != keyless:
        raise UsageError("give --key with a private key, or --keyless in a CI job")
    if certificate is not None and (key is None or key.startswith(_TOKEN)):
        raise UsageError("--certificate goes with a --key in a file")
    if chain is not None and certificate is None:
        raise UsageError("--chain leads from a certificate to its authority; give --certificate")
    if key is None:
        return CiIdentity()
    if key.startswith(_TOKEN):
        return Token(key)
    return KeyFile(Path(key), os.environ.get(PASSWORD), certificate, chain)
