"""Sign packages, and insist on the signature of a package, after the OpenSSF Model Signing specification.

A signature is a Sigstore bundle over the digest of every file. It lies in the package's folder, and is no part of what
it signs. It holds for the package's archive too: beside an archive that was made before, it is a file of its own.

    dist/my-model-1-here/model.sig     the signature
    dist/my-model-1-here.model.sig     the same, for my-model-1-here.tar.gz

    sign(Path("dist/my-model-1-here"), KeyFile(Path("release.key"), password=None))
    require_signature(Path("dist/my-model-1-here.tar.gz"), read_key(Path("release.pub")))
"""

import base64
import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeprune.base.errors import IntegrityError, UsageError, storage_errors
from edgeprune.base.extras import from_extra
from edgeprune.base.wording import cut, first_line
from edgeprune.release.keys import Certificates, Identity, Key, PublicKey
from edgeprune.release.signers import Signer
from edgeprune.store.files import file_digest, write_text
from edgeprune.store.package import DIGESTS, SIGNATURE, check_digests, opened

__all__ = ["check_signature", "find_signature", "require_signature", "sign"]

_ARCHIVE = ".tar.gz"
_MOST_BYTES = 1 << 20


def sign(package: Path, signer: Signer) -> list[Path]:
    """Sign a package: its folder, and the archive of it that lies beside, or its .tar.gz alone.

    Args:
        package: The package's folder or .tar.gz.
        signer: Who signs it.

    Returns:
        The files that the signature was written to.

    Raises:
        UsageError: There is no package at `package`, or its signer can't sign.
        IntegrityError: The package's files are not what they were when it was made.
        StorageError: The signature can't be written.
    """
    with opened(package) as folder:
        check_digests(folder, str(package))
        text = _signed(folder, signer)
        places = [_beside(package)] if package.is_file() else [package / SIGNATURE]
        archive = Path(f"{package.absolute()}{_ARCHIVE}")
        if package.is_dir() and archive.is_file() and _holds(archive, folder):
            places.append(_beside(archive))
    with storage_errors(package):
        for place in places:
            write_text(place, text)
    return places


def require_signature(package: Path, key: Key) -> str:
    """Refuse a package that isn't exactly what the owner of a key signed.

    Args:
        package: The package's folder or .tar.gz.
        key: What the signature is checked against.

    Returns:
        Who signed the package.

    Raises:
        UsageError: There is no package at `package`, or the key can't be used.
        IntegrityError: The package is not signed by the key, or was changed since.
    """
    with opened(package) as folder:
        check_digests(folder, str(package))
        return check_signature(folder, find_signature(package, folder), key, shown=str(package))


def find_signature(package: Path, folder: Path) -> Path | None:
    """Find a package's signature: in its folder, or else beside its archive. None: it has none.

    Args:
        package: The package's folder or .tar.gz.
        folder: The folder of the package, which may be that of the unpacked archive.
    """
    places = [folder / SIGNATURE, *([_beside(package)] if package.is_file() else [])]
    return next((place for place in places if place.is_file()), None)


def check_signature(folder: Path, signature: Path | None, key: Key, *, shown: str) -> str:
    """Check the signature of an opened package whose digests were checked.

    Args:
        folder: The package's folder.
        signature: The signature's file; None: there is none.
        key: What the signature is checked against.
        shown: What messages call the package.

    Returns:
        Who signed the package.

    Raises:
        UsageError: The key can't be used.
        IntegrityError: The package is not signed by the key, or was changed since.
    """
    if signature is None:
        raise IntegrityError(
            f"{shown} is not signed; get a signed package, or sign it yourself: edgeprune sign {shown} --key …"
        )
    library = from_extra("model_signing", "sign", "checking a signature")
    bundle = _read_bundle(signature, shown)
    if (kind := _kind(bundle)) != key.kind:
        raise IntegrityError(f"{shown} was signed with {kind}, but is to be checked against {key.kind}; give what fits")
    config = library.verifying.Config()
    key.configure(config)
    if isinstance(key, Certificates):
        _check_chain(bundle, key, shown)
    try:
        with _quiet():
            config.verify(folder, signature)
        payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        signed = {str(one["name"]).partition(":")[0] for one in payload["predicate"]["resources"]}
        owner = _owner(bundle, key)
    except Exception as error:  # cryptography, pydantic and others, each with its own
        raise IntegrityError(_complaint(error, key, shown)) from error
    if DIGESTS not in signed:
        raise IntegrityError(
            f"{shown}: its signature leaves out {DIGESTS}, so that it says nothing about the files; sign it again"
        )
    return owner


def _signed(folder: Path, signer: Signer) -> str:
    library = from_extra("model_signing", "sign", "signing a package")
    hashing = library.hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
    config = library.signing.Config().set_hashing_config(hashing)
    signer.configure(config)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / SIGNATURE
        try:
            config.sign(folder, path)
        except Exception as error:  # a module or a service that refuses, each with its own
            raise UsageError(f"{folder.name} could not be signed: {first_line(error)}") from error
        return path.read_text(encoding="utf-8")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence model-signing, which remarks on old bundles and odd certificates on standard output and in its log."""
    logger = logging.getLogger("model_signing")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)


def _beside(archive: Path) -> Path:
    return archive.with_name(f"{archive.name.removesuffix(_ARCHIVE)}.{SIGNATURE}")


def _holds(archive: Path, folder: Path) -> bool:
    """Tell whether an archive holds the same package as a folder."""
    with opened(archive) as unpacked:
        return file_digest(unpacked / DIGESTS) == file_digest(folder / DIGESTS)


def _read_bundle(signature: Path, shown: str) -> dict[str, Any]:
    try:
        with signature.open("rb") as file:
            bundle = dict(json.loads(file.read(_MOST_BYTES)))
        return bundle | {"verificationMaterial": dict(bundle["verificationMaterial"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError(
            f"{shown}: {signature.name} is no signature; get the package again, or sign it again"
        ) from error


def _kind(bundle: dict[str, Any]) -> str:
    """Tell what a bundle was signed with, in the words of the keys that it can be checked against."""
    material = bundle["verificationMaterial"]
    if "certificate" in material or material.get("tlogEntries"):
        return Identity.kind
    return Certificates.kind if "x509CertificateChain" in material else PublicKey.kind


def _owner(bundle: dict[str, Any], key: Key) -> str:
    if isinstance(key, Identity):
        return key.name
    if isinstance(key, Certificates):
        return str(_chain(bundle)[0].subject.rfc4514_string())
    return f"the owner of {key.path}"


def _chain(bundle: dict[str, Any]) -> list[Any]:
    x509 = from_extra("cryptography.x509", "sign", "checking a signature")
    certificates = bundle["verificationMaterial"]["x509CertificateChain"]["certificates"]
    return [x509.load_der_x509_certificate(base64.b64decode(one["rawBytes"])) for one in certificates]


def _check_chain(bundle: dict[str, Any], key: Certificates, shown: str) -> None:
    """Refuse certificates that don't lead to a trusted one, or aren't valid now.

    model-signing checks the same as of the day on which the certificate was issued, so that none ever expires. Nothing
    but a trusted clock could tell that a signature is older than the end of its certificate.
    """
    x509, crypto = (
        from_extra(name, "sign", "checking a signature") for name in ("cryptography.x509", "OpenSSL.crypto")
    )
    try:
        own, *between = map(crypto.X509.from_cryptography, _chain(bundle))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{shown}: its signature has damaged certificates; get the package again, or sign it again"
        ) from error
    store = crypto.X509Store()
    for trusted in x509.load_pem_x509_certificates(key.path.read_bytes()):
        store.add_cert(crypto.X509.from_cryptography(trusted))
    try:
        crypto.X509StoreContext(store, own, between).verify_certificate()
    except crypto.X509StoreContextError as error:
        name = error.certificate.to_cryptography().subject.rfc4514_string()
        raise IntegrityError(
            f"{shown}: the certificate of {cut(name)} is not accepted by {key.path}: {first_line(error)}; have the package "
            f"signed again"
        ) from error


def _complaint(error: Exception, key: Key, shown: str) -> str:
    reason = first_line(error)
    named = key.name if isinstance(key, Identity) else key.path
    if reason.startswith("Signature mismatch"):
        return f"{shown} was changed after it was signed: {cut(reason.partition(': ')[2], 300)}; get it again"
    if reason.startswith("Key mismatch"):
        return f"{shown} was signed with another key than {named}; give the signer's key, or get the package from its owner"
    if type(error).__name__ == "InvalidSignature":
        return f"{shown}: its signature was changed, or is not by {named}; get the package again"
    return f"{shown}: its signature doesn't hold for {named}: {cut(reason, 300)}; get the package again"
