"""edgeprune/release/: signers, keys, and what a signature finds; with real keys, and without a network."""

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from edgeprune.base.errors import EdgepruneError, IntegrityError, UsageError
from edgeprune.release.keys import Identity, read_key
from edgeprune.release.signers import CiIdentity, KeyFile, Token
from edgeprune.release.signing import require_signature, sign
from edgeprune.store.archive import archive
from edgeprune.store.package import package_digest, write_digests
from tests.support.e2e import call
from tests.support.keys import Authority, Pair, private_pem
from tests.support.packages import handmade


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return handmade(tmp_path / "dist" / "reviews-1-here")


@pytest.fixture
def owner(tmp_path: Path) -> Pair:
    return Pair(tmp_path, "owner")


def by(pair: Pair) -> KeyFile:
    return KeyFile(pair.private, None)


def complaint(kind: type[EdgepruneError], work: Callable[[], object]) -> str:
    with pytest.raises(EdgepruneError) as caught:
        work()
    assert type(caught.value) is kind, caught.value
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_package_is_signed_with_a_key_and_checked_against_its_public_key(package: Path, owner: Pair) -> None:
    before = package_digest(package)
    assert sign(package, by(owner)) == [package / "model.sig"]
    assert require_signature(package, read_key(owner.public)) == f"the owner of {owner.public}"
    assert package_digest(package) == before, "a signature is no part of what it signs"


def test_the_signature_is_an_oms_bundle_that_its_own_tool_verifies(package: Path, owner: Pair) -> None:
    sign(package, by(owner))
    done = subprocess.run(
        [
            sys.executable, "-m", "model_signing", "verify", "key", package,
            "--signature", package / "model.sig", "--public_key", owner.public,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "Verification succeeded\n"), done.stderr


def test_a_signature_of_the_oms_tool_is_accepted(package: Path, owner: Pair) -> None:
    import model_signing

    hashing = model_signing.hashing.Config().set_ignored_paths(paths=["model.sig"])
    config = model_signing.signing.Config().set_hashing_config(hashing)
    config.use_elliptic_key_signer(private_key=owner.private).sign(package, package / "model.sig")
    require_signature(package, read_key(owner.public))
    hashing.set_ignored_paths(paths=["model.sig", "SHA256SUMS"])
    config.sign(package, package / "model.sig")
    said = complaint(IntegrityError, lambda: require_signature(package, read_key(owner.public)))
    assert "its signature leaves out SHA256SUMS" in said


def test_a_signature_holds_for_the_archive_beside_the_folder(package: Path, owner: Pair) -> None:
    packed, key = package.with_name(f"{package.name}.tar.gz"), read_key(owner.public)
    archive(package, packed)
    digest = package_digest(packed)
    beside = package.with_name(f"{package.name}.model.sig")
    assert sign(package, by(owner)) == [package / "model.sig", beside]
    require_signature(packed, key)
    assert package_digest(packed) == digest, "the archive is not written again"
    beside.unlink()
    assert "is not signed" in complaint(IntegrityError, lambda: require_signature(packed, key))
    assert sign(packed, by(owner)) == [beside]
    require_signature(packed, key)


def test_a_signature_survives_that_the_folder_is_packed_and_unpacked(
    package: Path, owner: Pair, tmp_path: Path
) -> None:
    sign(package, by(owner))
    packed = tmp_path / "sent.tar.gz"
    with tarfile.open(packed, "w:gz") as file:
        file.add(package, package.name)
    require_signature(packed, read_key(owner.public))
    with tarfile.open(packed) as file:
        file.extractall(tmp_path / "received", filter="data")
    require_signature(tmp_path / "received" / package.name, read_key(owner.public))


def test_an_archive_of_another_package_is_not_signed_with_the_folder(package: Path, owner: Pair) -> None:
    packed = package.with_name(f"{package.name}.tar.gz")
    archive(package, packed)
    (package / "README.md").write_text("newer", encoding="utf-8")
    (package / "SHA256SUMS").unlink()
    write_digests(package)
    assert sign(package, by(owner)) == [package / "model.sig"]


def test_what_is_not_whole_is_not_signed(package: Path, owner: Pair) -> None:
    (package / "run.py").write_text("changed", encoding="utf-8")
    assert "run.py was changed" in complaint(IntegrityError, lambda: sign(package, by(owner)))
    assert not (package / "model.sig").exists()


def _changed(package: Path) -> None:
    (package / "run.py").write_text("changed", encoding="utf-8")


def _added(package: Path) -> None:
    (package / "LICENSE").write_text("added", encoding="utf-8")


def _removed(package: Path) -> None:
    (package / "lineage.json").write_text("{}", encoding="utf-8")
    (package / "LICENSE").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [(_changed, "Hash mismatch for"), (_added, "Extra files found"), (_removed, "Missing files")],
)
def test_an_attacker_who_writes_new_digests_is_found(
    package: Path, owner: Pair, change: Callable[[Path], None], said: str
) -> None:
    if change is _removed:
        (package / "LICENSE").write_text("licence", encoding="utf-8")
        (package / "SHA256SUMS").unlink()
        write_digests(package)
    sign(package, by(owner))
    signature = (package / "model.sig").read_bytes()
    change(package)
    complaint(IntegrityError, lambda: require_signature(package, read_key(owner.public)))
    for name in ("SHA256SUMS", "model.sig"):
        (package / name).unlink()
    write_digests(package)
    (package / "model.sig").write_bytes(signature)
    message = complaint(IntegrityError, lambda: require_signature(package, read_key(owner.public)))
    assert f"{package} was changed after it was signed: " in message
    assert said in message


def test_another_key_and_no_signature_are_refused(package: Path, owner: Pair, tmp_path: Path) -> None:
    other = Pair(tmp_path, "other")
    assert f"{package} is not signed" in complaint(
        IntegrityError, lambda: require_signature(package, read_key(owner.public))
    )
    sign(package, by(other))
    message = complaint(IntegrityError, lambda: require_signature(package, read_key(owner.public)))
    assert message.startswith(f"{package} was signed with another key than {owner.public}")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xfe", b"nothing", b"[]", b"{}", b'{"verificationMaterial": 3}', b'{"verificationMaterial": {}}',
        b'{"verificationMaterial": {"publicKey": {}}, "dsseEnvelope": {}}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_signature_is_refused(package: Path, owner: Pair, content: bytes) -> None:
    (package / "model.sig").write_bytes(content)
    assert str(package) in complaint(IntegrityError, lambda: require_signature(package, read_key(owner.public)))


def test_a_signature_with_another_payload_is_refused(package: Path, owner: Pair) -> None:
    sign(package, by(owner))
    bundle = json.loads((package / "model.sig").read_bytes())
    bundle["dsseEnvelope"]["payload"] = "e30="
    (package / "model.sig").write_text(json.dumps(bundle), encoding="utf-8")
    message = complaint(IntegrityError, lambda: require_signature(package, read_key(owner.public)))
    assert f"its signature was changed, or is not by {owner.public}" in message


def test_a_link_or_a_folder_is_no_signature(package: Path, owner: Pair) -> None:
    sign(package, by(owner))
    (package / "model.sig").rename(package.parent / "kept")
    (package / "model.sig").symlink_to(package.parent / "kept")
    said = complaint(IntegrityError, lambda: require_signature(package, read_key(owner.public)))
    assert "model.sig doesn't belong to the package" in said
    (package / "model.sig").unlink()
    (package / "model.sig").mkdir()
    complaint(IntegrityError, lambda: require_signature(package, read_key(owner.public)))


# Certificates


def test_a_package_is_signed_with_a_certificate_and_checked_against_its_authority(
    package: Path, owner: Pair, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    sign(package, KeyFile(owner.private, None, authority.issue(owner, "release team")))
    assert require_signature(package, read_key(authority.certificate)) == "CN=release team"
    stranger = read_key(Authority(tmp_path, "stranger").certificate)
    said = complaint(IntegrityError, lambda: require_signature(package, stranger))
    assert "the certificate of CN=release team is not accepted by" in said
    said = complaint(IntegrityError, lambda: require_signature(package, read_key(owner.public)))
    assert f"{package} was signed with a certificate, but is to be checked against a key" in said
    sign(package, by(owner))
    said = complaint(IntegrityError, lambda: require_signature(package, read_key(authority.certificate)))
    assert f"{package} was signed with a key, but is to be checked against a certificate" in said


def test_certificates_between_the_signers_and_the_authoritys_go_with_the_signature(
    package: Path, owner: Pair, tmp_path: Path
) -> None:
    authority, between = Authority(tmp_path), Authority(tmp_path, "between")
    chain = authority.issue(between.pair, "between", is_authority=True)
    certificate, trusted = between.issue(owner, "release team"), read_key(authority.certificate)
    sign(package, KeyFile(owner.private, None, certificate))
    assert "unable to get local issuer" in complaint(IntegrityError, lambda: require_signature(package, trusted))
    sign(package, KeyFile(owner.private, None, certificate, chain))
    assert require_signature(package, trusted) == "CN=release team"


def test_an_expired_certificate_is_refused_when_signing_and_when_checking(
    package: Path, owner: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    expired = authority.issue(owner, "release team", days=(-3, -1))
    said = complaint(UsageError, lambda: sign(package, KeyFile(owner.private, None, expired)))
    assert "UTC only; get a new certificate" in said
    monkeypatch.setattr("edgeprune.release.signers._check_dates", lambda _path: None)  # it was signed in time
    sign(package, KeyFile(owner.private, None, expired))
    said = complaint(IntegrityError, lambda: require_signature(package, read_key(authority.certificate)))
    assert "certificate has expired" in said


def test_a_certificate_that_is_not_for_signing_or_for_another_key_is_refused(
    package: Path, owner: Pair, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    sign(package, KeyFile(owner.private, None, authority.issue(owner, "mail server", signs=False)))
    said = complaint(IntegrityError, lambda: require_signature(package, read_key(authority.certificate)))
    assert "cannot be used for signing" in said
    other = authority.issue(Pair(tmp_path, "other"), "other")
    said = complaint(UsageError, lambda: sign(package, KeyFile(owner.private, None, other)))
    assert "does not match" in said


# Files that are no keys


def test_files_that_are_no_keys_are_refused(package: Path, owner: Pair, tmp_path: Path) -> None:
    nothing, large, other_kind = tmp_path / "nothing", tmp_path / "large", tmp_path / "rsa.key"
    nothing.write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", encoding="utf-8")
    large.write_bytes(b"x" * (1 << 20 | 1))
    other_kind.write_bytes(private_pem(rsa.generate_private_key(65537, 2048)))
    sign(package, by(owner))
    for path, said in (
        (tmp_path / "missing", "can't be read: No such file"),
        (tmp_path, "can't be read: Is a directory"),
        (owner.private, "is a private key, which nobody but its owner should have"),
        (package / "README.md", "is no key; give a public key"),
        (large, "is larger than any"),
        (nothing, "can't be used: "),
    ):
        assert said in complaint(UsageError, lambda path=path: require_signature(package, read_key(path)))
    for path, said in (
        (tmp_path / "missing", "can't be read: No such file"),
        (owner.public, "can't be used: "),
        (package / "README.md", "can't be used: "),
        (other_kind, "it is no key of an elliptic curve"),
    ):
        assert said in complaint(UsageError, lambda path=path: sign(package, KeyFile(path, None)))


def test_an_encrypted_key_needs_its_password(package: Path, tmp_path: Path) -> None:
    locked = Pair(tmp_path, "locked", password="open sesame")
    for password in (None, "wrong"):
        said = complaint(UsageError, lambda password=password: sign(package, KeyFile(locked.private, password)))
        assert "EDGEPRUNE_KEY_PASSWORD" in said
    sign(package, KeyFile(locked.private, "open sesame"))
    require_signature(package, read_key(locked.public))
    certificate = Authority(tmp_path).issue(locked, "release team")
    said = complaint(UsageError, lambda: sign(package, KeyFile(locked.private, "open sesame", certificate)))
    assert "a key with a certificate can't be encrypted" in said


# The command line


def test_sign_and_verify_on_the_command_line(
    package: Path, owner: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = call("sign", package, "--key", owner.private, "--json")
    assert (done.code, done.document["signatures"]) == (0, [str(package / "model.sig")])
    locked = Pair(tmp_path, "locked", password="open sesame")
    monkeypatch.setenv("EDGEPRUNE_KEY_PASSWORD", "open sesame")
    done = call("sign", package, "--key", locked.private)
    assert (done.code, done.out) == (0, f"{package / 'model.sig'}\n")
    require_signature(package, read_key(locked.public))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give --key with a private key, or --keyless"),
        (("--key", "a", "--keyless"), "give --key with a private key, or --keyless"),
        (("--key", "a", "--chain", "b"), "--chain leads from a certificate"),
        (("--keyless", "--certificate", "b"), "--certificate goes with a --key in a file"),
        (("--key", "pkcs11:token=a", "--certificate", "b"), "--certificate goes with a --key in a file"),
    ],
)
def test_options_of_sign_that_do_not_fit_are_refused(package: Path, arguments: tuple[str, ...], said: str) -> None:
    done = call("sign", package, *arguments)
    assert done.code == 2
    assert said in done.complaints[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--identity", "a@b.c"), "--identity and --issuer belong together"),
        (("--issuer", "https://b.c"), "--identity and --issuer belong together"),
        (("--key", "a", "--identity", "a@b.c", "--issuer", "https://b.c"), "give one of them"),
        (("--key", "missing"), "the key missing can't be read"),
    ],
)
def test_options_of_verify_that_do_not_fit_are_refused(package: Path, arguments: tuple[str, ...], said: str) -> None:
    done = call("verify", package, *arguments)
    assert done.code == 2
    assert said in done.complaints[0]


def test_a_missing_extra_is_named(package: Path, owner: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    done = call("sign", package, "--key", owner.private)
    assert done.code == 2
    assert "signing a package needs model_signing; install it with: pip install 'edgeprune[sign]'" in done.complaints[0]
    monkeypatch.setitem(sys.modules, "PyKCS11", None)
    said = complaint(UsageError, lambda: Token("pkcs11:token=a").configure(None))
    assert "a key in a security module needs PyKCS11; install it with: pip install 'edgeprune[pkcs11]'" in said


# Without a key, and with a key in a security module


def test_signing_without_a_key_needs_a_job_that_may_say_who_it_is(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GITHUB_ACTIONS", "CI", "GITLAB_CI", "CIRCLECI", "BUILDKITE"):
        monkeypatch.delenv(name, raising=False)
    assert "id-token: write" in complaint(UsageError, lambda: sign(package, CiIdentity()))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", raising=False)
    assert "which gave an error" in complaint(UsageError, lambda: sign(package, CiIdentity()))


def test_a_signature_of_an_identity_is_checked_against_one_alone(package: Path, owner: Pair) -> None:
    sign(package, by(owner))
    bundle = json.loads((package / "model.sig").read_bytes())
    bundle["verificationMaterial"] = {"certificate": {"rawBytes": ""}, "tlogEntries": []}
    (package / "model.sig").write_text(json.dumps(bundle), encoding="utf-8")
    said = complaint(IntegrityError, lambda: require_signature(package, read_key(owner.public)))
    assert "was signed with an identity, but is to be checked against a key" in said
    sign(package, by(owner))
    job = Identity("release.yml", "https://issuer.example")
    said = complaint(IntegrityError, lambda: require_signature(package, job))
    assert "was signed with a key, but is to be checked against an identity" in said


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SoftHSM's PKCS #11 module, with an empty folder for its tokens."""
    pytest.importorskip("PyKCS11")
    tool = shutil.which("softhsm2-util")
    places = [] if tool is None else sorted(Path(tool).parents[1].glob("lib/**/libsofthsm2.so"))
    if not places:
        pytest.skip("softhsm2 is not installed")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n", encoding="utf-8")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    return places[0]


def test_a_key_in_a_security_module_signs(package: Path, owner: Pair, module: Path, tmp_path: Path) -> None:
    for command in (
        ["--init-token", "--free", "--label", "releases", "--so-pin", "1234", "--pin", "5678"],
        ["--import", owner.private, "--token", "releases", "--label", "edge", "--id", "01", "--pin", "5678"],
    ):
        subprocess.run(["softhsm2-util", "--module", module, *command], check=True, capture_output=True)
    (tmp_path / "pin").write_text("5678", encoding="utf-8")
    uri = f"pkcs11:token=releases;object=edge?module-path={module}&pin-source=file:{tmp_path / 'pin'}"
    assert call("sign", package, "--key", uri).code == 0
    require_signature(package, read_key(owner.public))
    for wrong in (uri.replace("edge", "nothing"), uri.replace(str(module), "/nowhere.so"), "pkcs11:"):
        said = complaint(UsageError, lambda wrong=wrong: sign(package, Token(wrong)))
        assert "can't be used: " in said
        assert "5678" not in said
