"""Publish packages and fetch them: `edgeprune push | pull`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli.console import out
from edgeprune.cli.options import Json
from edgeprune.cli.packages import key_of

__all__ = ["pull", "push"]

PlainHttp = Annotated[
    bool,
    typer.Option(
        "--plain-http",
        help="Speak to a registry without encryption. A registry on this machine is spoken to so anyway.",
    ),
]


def push(
    package: Annotated[Path, typer.Argument(help="A package's folder or .tar.gz.")],
    reference: Annotated[
        str,
        typer.Argument(
            help="Where to publish it: oci://host/name:tag, hf://org/name, hf://org/name@branch, or file:///folder/name."
        ),
    ],
    plain_http: PlainHttp = False,
    as_json: Json = False,
) -> int:
    """Publish a package in a registry, on the Hugging Face hub or in a folder.

    Its signature, its bill of materials and its provenance are published with it. What is there already isn't uploaded
    again. In a registry and on the hub, others see all of a push or nothing.
    """
    from edgeprune.release.publishing import push as publish

    pushed = publish(package, reference, plain_http=plain_http)
    if as_json:
        document = {"schema_version": 1, "exit_code": 0, **pushed.model_dump(mode="json")}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        how = f"{pushed.uploaded_files} files, {pushed.uploaded_bytes / 1e6:.1f} MB uploaded"
        said = how if pushed.uploaded_files else "already there, nothing uploaded"
        out.print(f"{pushed.reference}: {said}", markup=False, soft_wrap=True)
    return 0


def pull(
    reference: Annotated[
        str,
        typer.Argument(
            help="Where the package is: oci://host/name:tag, oci://host/name@sha256:…, hf://org/name, "
            "hf://org/name@revision, or file:///folder/name."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder in which the package's folder is made.")] = Path("dist"),
    key: Annotated[
        Path | None,
        typer.Option(
            help="Refuse the package unless it is signed by the owner of this public key, or of a certificate of these "
            "authorities. A file in PEM."
        ),
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option(
            help="Refuse the package unless it was signed without a key by this e-mail address or workflow. Give --issuer too."
        ),
    ] = None,
    issuer: Annotated[
        str | None, typer.Option(help="With --identity: the address of the service that vouches for it.")
    ] = None,
    plain_http: PlainHttp = False,
    as_json: Json = False,
) -> int:
    """Fetch a package from a registry, the Hugging Face hub or a folder.

    All of it is checked before anything is written: digests always, the signature if you give a key or an identity.
    """
    from edgeprune.release.publishing import pull as fetch

    arrived = fetch(reference, output, key=key_of(key, identity, issuer), plain_http=plain_http)
    if as_json:
        document = {
            "schema_version": 1,
            "exit_code": 0,
            "package": str(arrived.package),
            "reference": arrived.reference,
            "documents": [str(path) for path in arrived.documents],
            "signature": arrived.signature,
            "signed_by": arrived.signed_by,
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        said = {
            "verified": f"signed by {arrived.signed_by}",
            "not checked": "its signature was not checked: give --key",
            "none": "not signed",
        }
        out.print(f"{arrived.package}: {said[arrived.signature]}", markup=False, soft_wrap=True)
        out.print(f"from {arrived.reference}", markup=False, soft_wrap=True)
    return 0
