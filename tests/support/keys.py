"""Keys and certificates, made anew for each test."""

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID

NOW = dt.datetime.now(dt.UTC)


class Pair:
    """A private key and its public key, in files."""

    def __init__(self, folder: Path, name: str, *, password: str | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.private, self.public = folder / f"{name}.key", folder / f"{name}.pub"
        self.private.write_bytes(private_pem(self.key, password))
        self.public.write_bytes(public_pem(self.key.public_key()))


class Authority:
    """Who issues certificates, and its own certificate in a file."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._name, self._folder = name, folder
        self.pair = Pair(folder, name)
        self.certificate = self.issue(self.pair, name, is_authority=True)

    def issue(
        self, pair: Pair, name: str, *, days: tuple[int, int] = (-1, 1), is_authority: bool = False, signs: bool = True
    ) -> Path:
        """A certificate for a key, valid between two days as seen from today."""
        path = self._folder / f"{name}.crt"
        usage = x509.KeyUsage(
            digital_signature=signs, key_cert_sign=is_authority, crl_sign=is_authority, content_commitment=False,
            key_encipherment=not signs, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        made = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(self._name))
            .public_key(pair.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + dt.timedelta(days=days[0]))
            .not_valid_after(NOW + dt.timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self.pair.key, hashes.SHA256())
        )
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return path


def private_pem(key: CertificateIssuerPrivateKeyTypes, password: str | None = None) -> bytes:
    how = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
