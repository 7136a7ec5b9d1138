"""edgeprune/release/places/oci.py and registry.py, against Debian's docker-registry and against a registry that misbehaves."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3

from edgeprune.base.errors import EdgepruneError, IntegrityError, PlaceError, UsageError
from edgeprune.release.keys import read_key
from edgeprune.release.places import oci
from edgeprune.release.places.oci import OciPlace
from edgeprune.release.places.publication import opened_publication
from edgeprune.release.places.reference import OciReference
from edgeprune.release.places.registry import Registry, digest_of
from edgeprune.release.publishing import pull, push
from edgeprune.release.signers import KeyFile
from edgeprune.release.signing import sign
from edgeprune.store.files import file_records
from edgeprune.store.package import SIGNATURE
from tests.support.keys import Pair
from tests.support.packages import complaint_without, contents, described, with_documents
from tests.support.registries import (
    DOCKER_REGISTRY,
    PASSWORD,
    Fault,
    OddRegistry,
    docker_login,
    docker_registry,
    odd_registry,
)

NAME = "reviews-1-here"
complaint = partial(complaint_without, PASSWORD)


@pytest.fixture(autouse=True)
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Docker's credentials would be; there are none."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("edgeprune.release.places.registry._PAUSES_S", (0.02, 0.1, 0.2))
    return tmp_path / "docker"


@pytest.fixture
def real(tmp_path: Path) -> Iterator[str]:
    """The repository and tag of a real registry, as a reference."""
    if DOCKER_REGISTRY is None:
        pytest.skip("docker-registry is not installed")
    with docker_registry(tmp_path) as host:
        yield f"oci://{host}/team/reviews:1"


@pytest.fixture
def odd() -> Iterator[OddRegistry]:
    with odd_registry() as found:
        yield found


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with its documents beside, in a folder that may have another name than the package."""
    return with_documents(tmp_path / "made" / NAME)


def ref(registry: OddRegistry, tag: str = "1") -> str:
    return f"oci://{registry.host}/team/reviews:{tag}"


def push_quickly(package: Path, registry: OddRegistry, timeout_s: float = 0.5) -> None:
    with opened_publication(package) as publication:
        OciPlace(OciReference(registry.host, "team/reviews", "1", None), timeout_s=timeout_s).push(publication)


def test_a_registry_gives_back_the_same_package_with_its_signature_and_its_documents(
    real: str, package: Path, tmp_path: Path
) -> None:
    owner, stranger = Pair(tmp_path, "owner"), Pair(tmp_path, "stranger")
    sign(package, KeyFile(owner.private, None))
    pushed = push(package, real)
    assert pushed.uploaded_files > len(file_records(package))  # a configuration, the empty one and the documents too
    output = tmp_path / "pulled"
    said = complaint(IntegrityError, lambda: pull(real, output, key=read_key(stranger.public)))
    assert "another key" in said
    assert sorted(path.name for path in output.iterdir()) == [".edgeprune.lock"], "nothing is written"
    arrived = pull(real, output, key=read_key(owner.public))
    assert (arrived.package, arrived.signature) == (output / NAME, "verified")
    assert contents(output / NAME) == contents(package)
    assert {path.name: path.read_bytes() for path in arrived.documents} == {
        path.name: path.read_bytes() for path in package.parent.glob("*.json")
    }
    assert arrived.reference == pushed.reference
    assert contents(pull(pushed.reference, tmp_path / "pinned").package) == contents(package)
    again = push(package, real)
    assert (again.uploaded_files, again.uploaded_bytes, again.reference) == (0, 0, pushed.reference)
    assert pull(real, output).signature == "not checked"


def test_a_package_that_is_signed_later_keeps_its_digest(real: str, package: Path, tmp_path: Path) -> None:
    before = push(package, real)
    with pytest.raises(IntegrityError, match="not signed"):
        pull(real, tmp_path / "no", key=read_key(Pair(tmp_path, "other").public))
    owners = [Pair(tmp_path, name) for name in ("first", "second")]
    for owner in owners:
        sign(package, KeyFile(owner.private, None))
        assert push(package, real).uploaded_files == 1
    assert push(package, real).reference == before.reference
    for owner in owners:  # each finds the signature that holds for its key
        output = tmp_path / owner.private.stem
        assert pull(real, output, key=read_key(owner.public)).signature == "verified"


def test_without_a_key_the_last_signature_and_the_last_documents_are_taken(
    odd: OddRegistry, package: Path, tmp_path: Path
) -> None:
    output, bill = tmp_path / "pulled", package.with_name(f"{NAME}.cdx.json")
    for name in ("first", "second"):
        sign(package, KeyFile(Pair(tmp_path, name).private, None))
        bill.write_text(f'{{"about": "{name}"}}', encoding="utf-8")
        push(package, ref(odd))
        arrived = pull(ref(odd), output)
        assert (arrived.package / SIGNATURE).read_bytes() == (package / SIGNATURE).read_bytes()
        assert (output / bill.name).read_bytes() == bill.read_bytes()


def test_what_lies_beside_a_package_changes_nothing_about_its_digest(odd: OddRegistry, package: Path) -> None:
    whole = push(package, ref(odd)).reference
    for path in package.parent.glob("*.json"):
        path.unlink()
    assert push(package, ref(odd, "2")).reference == whole


def test_nothing_is_sent_to_a_place_without_encryption(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(OciReference("registry.example.com", "a/b", "1", None), plain_http=False, timeout_s=1)
    asked: list[str] = []

    def answer(_method: str, url: str, **_: object) -> requests.Response:
        asked.append(url)
        found = requests.Response()
        found.status_code, found.url, found.raw = 202, url, urllib3.HTTPResponse(io.BytesIO(), preload_content=False)
        found.headers["Location"] = "http://registry.example.com/upload"
        return found

    monkeypatch.setattr(registry._session, "request", answer)
    said = complaint(IntegrityError, lambda: registry.upload(digest_of(b"x"), b"x"))
    assert "leads to a place without encryption" in said
    assert [url.partition(":")[0] for url in asked] == ["https"]
    refused = requests.Response()
    refused.status_code, refused.url = 401, "https://registry.example.com/v2/a/b/"
    refused.headers["WWW-Authenticate"] = 'Bearer realm="http://registry.example.com/token"'
    said = complaint(UsageError, lambda: registry._login.answers(refused))
    assert "wants a login without encryption" in said


def test_other_programs_read_what_modelpack_prescribes(real: str, package: Path) -> None:
    oras = pytest.importorskip("oras.client")
    pushed = push(package, real)
    client = oras.OrasClient(insecure=True)
    name = real.removeprefix("oci://")
    manifest = client.get_manifest(name)
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    container = client.get_container(name)
    config = client.get_blob(container, manifest["config"]["digest"]).json()
    assert config["config"] == {
        "architecture": "transformer", "format": "onnx", "precision": "int8", "quantization": "int8-dynamic"
    }  # fmt: skip
    assert config["descriptor"]["name"] == "reviews"
    assert config["modelfs"] == {"type": "layers", "diffIds": [one["digest"] for one in manifest["layers"]]}
    kinds = {}
    for one in manifest["layers"]:
        path = one["annotations"]["org.cncf.model.filepath"]
        kinds[path] = one["mediaType"].removeprefix("application/vnd.cncf.model.").removesuffix(".v1.tar")
        with tarfile.open(fileobj=io.BytesIO(client.get_blob(container, one["digest"]).content)) as layer:
            (member,) = layer
            assert (member.name, member.mtime, member.uid, member.mode) == (path, 0, 0, 0o644)
            assert layer.extractfile(member).read() == (package / path).read_bytes()  # type: ignore[union-attr]
    assert kinds["onnx/model.onnx"] == "weight"
    assert (kinds["README.md"], kinds["LICENSE"], kinds["run.py"]) == ("doc", "doc", "code")
    assert kinds["tokenizer.json"] == kinds["SHA256SUMS"] == "weight.config"
    # docker-registry lists no referrers: they are in an index under a tag.
    digest = pushed.reference.partition("@")[2]
    index = client.get_manifest(f"{name.rpartition(':')[0]}:{digest.replace(':', '-')}")
    assert {one["artifactType"] for one in index["manifests"]} == {
        "application/vnd.cyclonedx+json", "application/vnd.in-toto+json"
    }  # fmt: skip
    for one in index["manifests"]:
        about = client.get_manifest(f"{name.rpartition(':')[0]}@{one['digest']}")
        assert about["subject"]["digest"] == digest
        # `oras pull` writes a document under its own name.
        (layer,) = about["layers"]
        title = layer["annotations"]["org.opencontainers.image.title"]
        assert client.get_blob(container, layer["digest"]).content == (package.parent / title).read_bytes()


def test_two_pushes_at_once_leave_a_whole_tag(real: str, package: Path, tmp_path: Path) -> None:
    other = described(tmp_path / "other" / NAME, content="other weights")
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda one: push(one, real), [package, other] * 4))
    assert pull(real, tmp_path / "pulled").reference in {one.reference for one in done}
    assert contents(tmp_path / "pulled" / NAME) in (contents(package), contents(other))


def test_a_registry_wants_the_password_that_docker_has(package: Path, tmp_path: Path, docker_config: Path) -> None:
    if DOCKER_REGISTRY is None:
        pytest.skip("docker-registry is not installed")
    with docker_registry(tmp_path, with_login=True) as host:
        reference = f"oci://{host}/team/reviews:1"
        assert f"docker login {host}" in complaint(UsageError, lambda: push(package, reference))
        docker_login(docker_config, host, password="guessed")
        assert f"docker login {host}" in complaint(UsageError, lambda: push(package, reference))
        docker_login(docker_config, host)
        assert push(package, reference).uploaded_files
        assert contents(pull(reference, tmp_path / "pulled").package) == contents(package)


def test_a_registry_that_lists_referrers_gets_no_index(odd: OddRegistry, package: Path, tmp_path: Path) -> None:
    push(package, ref(odd))
    assert odd.tags == {"1"}
    arrived = pull(ref(odd), tmp_path / "pulled")
    assert [path.suffixes for path in arrived.documents] == [[".cdx", ".json"], [".provenance", ".json"]]


def test_a_token_is_fetched_with_the_password_and_goes_nowhere_else(
    odd: OddRegistry, package: Path, tmp_path: Path, docker_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd.token = "let me in"
    assert "gives no token (401)" in complaint(UsageError, lambda: push(package, ref(odd)))
    helper = tmp_path / "docker-credential-vault"
    helper.write_text(f'#!/bin/sh\nread host\necho \'{{"Username": "ali", "Secret": "{PASSWORD}"}}\'\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    docker_config.mkdir()
    (docker_config / "config.json").write_text(json.dumps({"credHelpers": {odd.host: "vault"}}))
    push(package, ref(odd))
    assert contents(pull(ref(odd), tmp_path / "pulled").package) == contents(package)
    helper.write_text("#!/bin/sh\necho open sesame; exit 1\n")
    assert "gives no credentials" in complaint(UsageError, lambda: push(package, ref(odd)))


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (Fault("POST", "uploads", 403, b'{"errors": [{"code": "DENIED", "message": "no"}]}'), UsageError, "403: DENIED no"),
        (Fault("POST", "uploads", 404, b'{"errors": [{"code": "NAME_UNKNOWN"}]}'), UsageError, "404: NAME_UNKNOWN"),
        (Fault("PUT", "uploads", 500), PlaceError, "can't do this now (500)"),
        (Fault("PUT", "uploads", 429, b"[]"), PlaceError, "try again later"),
        (Fault("PUT", "uploads", headers={"Docker-Content-Digest": f"sha256:{'0' * 64}"}), IntegrityError, "was sent sha256:"),
        (Fault("PUT", "manifests/1$", 413), UsageError, "413"),
        (Fault("GET", "manifests/1$", 200, b"x" * (5 << 20)), IntegrityError, "sent more than 4,194,304 bytes"),
        (Fault("GET", "manifests/1$", 200, b"x" * 99, pause_s=0.3), PlaceError, "too slow"),
        (Fault("POST", "uploads", 202, headers={"Location": "gopher://elsewhere/"}), PlaceError, "can't be reached"),
        (Fault("GET", "referrers", 200, b"[]"), IntegrityError, "no index"),
    ],
)  # fmt: skip
def test_a_push_that_breaks_says_why_and_leaves_no_tag(
    odd: OddRegistry, package: Path, fault: Fault, kind: type[EdgepruneError], said: str
) -> None:
    odd.faults.append(fault)
    assert said in complaint(kind, lambda: push_quickly(package, odd))
    assert odd.tags == set()


def test_a_silent_registry_is_given_up(package: Path) -> None:
    with odd_registry() as odd:
        odd.faults.append(Fault("GET", "manifests", 200, b"x", pause_s=1))
        assert "didn't answer within 0.2 s" in complaint(PlaceError, lambda: push_quickly(package, odd, timeout_s=0.2))
        odd.faults = [Fault("GET", "manifests", headers={"Content-Length": "9"})]
        assert "broke the connection off" in complaint(PlaceError, lambda: push_quickly(package, odd))
    assert "Connection refused" in complaint(PlaceError, lambda: push_quickly(package, odd))


def layer_of(odd: OddRegistry, path: str) -> dict[str, Any]:
    layers: list[dict[str, Any]] = json.loads(odd.manifests["1"])["layers"]
    return next(one for one in layers if one["annotations"]["org.cncf.model.filepath"] == path)


def retag(odd: OddRegistry, path: str, *, blob: bytes | None = None, **changes: Any) -> None:
    """Change what a manifest says of a layer, and the layer's bytes."""
    manifest = json.loads(odd.manifests["1"])
    (layer,) = [one for one in manifest["layers"] if one["annotations"]["org.cncf.model.filepath"] == path]
    if blob is not None:
        changes |= {"digest": digest_of(blob), "size": len(blob)}
        odd.blobs[digest_of(blob)] = blob
    layer.update(changes)
    odd.manifests["1"] = json.dumps(manifest).encode()


def tar(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"x") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, "/etc/passwd", len(content) if kind == tarfile.REGTYPE else 0
        archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def named(path: str) -> dict[str, Any]:
    return {"annotations": {"org.cncf.model.filepath": path}}


def of_many_files(odd: OddRegistry) -> bytes:
    manifest = json.loads(odd.manifests["1"])
    return json.dumps(manifest | {"layers": manifest["layers"][:1] * 1001}).encode()


def retell(odd: OddRegistry, kind: str, **changes: Any) -> None:
    """Change what the manifest of a document says of its one layer."""
    (digest,) = [name for name, one in odd.manifests.items() if json.loads(one).get("artifactType") == kind]
    manifest = json.loads(odd.manifests.pop(digest))
    manifest["layers"][0].update(changes)
    content = json.dumps(manifest).encode()
    odd.manifests[digest_of(content)] = content


def lie_about_bytes(odd: OddRegistry) -> None:
    digest = layer_of(odd, "run.py")["digest"]
    odd.blobs[digest] = odd.blobs[digest].replace(b"run", b"ran")


def lie_about_length(odd: OddRegistry) -> None:
    odd.blobs[layer_of(odd, "run.py")["digest"]] += b"more"


def lie_about_tag(odd: OddRegistry) -> None:
    odd.faults.append(Fault("GET", "manifests/1$", headers={"Docker-Content-Digest": f"sha256:{'0' * 64}"}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lie_about_bytes, "other bytes than announced"),
        (lie_about_length, "bytes, and not"),
        (lie_about_tag, "whose digest is"),
        (lambda odd: retag(odd, "run.py", size=1 << 50), "announces more than a package has"),
        (lambda odd: retag(odd, "run.py", digest="sha256:../../tags"), "without the digests"),
        (lambda odd: retag(odd, "run.py", size=-1), "announces more than a package has"),
        (lambda odd: retag(odd, "run.py", **named("../run.py"), blob=tar("../run.py")), "has a file named '../run.py'"),
        (lambda odd: retag(odd, "run.py", **named("/tmp/run.py"), blob=tar("/tmp/run.py")), "has a file named"),
        (lambda odd: retag(odd, "run.py", **named("a/b/c"), blob=tar("a/b/c")), "has a file named 'a/b/c'"),
        (lambda odd: retag(odd, "run.py", blob=tar("run.py", tarfile.SYMTYPE)), "no archive of that one file"),
        (lambda odd: retag(odd, "run.py", blob=tar("../../run.py")), "no archive of that one file"),
        (lambda odd: retag(odd, "run.py", blob=b"no tar"), "no archive of that one file"),
        (lambda odd: retag(odd, "run.py", blob=tar("run.py", content=b"evil")), "run.py was changed"),
        (lambda odd: retag(odd, "run.py", **named("README.md"), blob=tar("README.md")), "no archive of that one file"),
        (lambda odd: retag(odd, "SHA256SUMS", **named("SUMS"), blob=tar("SUMS")), "has no SHA256SUMS"),
        (lambda odd: odd.manifests.update({"1": of_many_files(odd)}), "announces more than a package has"),
        (lambda odd: retell(odd, "application/vnd.cyclonedx+json", size=257 << 20), "is no document"),
        (lambda odd: odd.manifests.update({"1": b"[]"}), "no manifest that can be read"),
        (lambda odd: odd.manifests.update({"1": b'{"layers": []}'}), "is None and no package"),
    ],
)  # fmt: skip
def test_what_a_registry_invents_is_not_written(
    odd: OddRegistry, package: Path, tmp_path: Path, spoil: Callable[[OddRegistry], None], said: str
) -> None:
    push(package, ref(odd))
    spoil(odd)
    output = tmp_path / "pulled"
    assert said in complaint(IntegrityError, lambda: pull(ref(odd), output))
    assert [path.name for path in output.iterdir()] == [".edgeprune.lock"]
    assert not (tmp_path / "run.py").exists()


def test_what_is_not_there_is_bad_usage(odd: OddRegistry, package: Path, tmp_path: Path) -> None:
    assert "there is no oci://" in complaint(UsageError, lambda: pull(ref(odd), tmp_path))
    push(package, ref(odd))
    digest = digest_of(odd.manifests["1"])
    pinned = f"oci://{odd.host}/team/reviews@{digest}"
    assert "give a tag" in complaint(UsageError, lambda: push(package, pinned))
    odd.manifests[digest] = b"{}"
    assert "whose digest is" in complaint(IntegrityError, lambda: pull(pinned, tmp_path))


def test_an_index_that_others_keep_writing_is_given_up(
    odd: OddRegistry, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A registry without a list of referrers, in which what is written never lasts.
    odd.faults += [Fault("GET", "referrers", 404), Fault("GET", "manifests/sha256-", 404)]
    odd.faults.append(Fault("PUT", "manifests/sha256:", 201))
    monkeypatch.setattr(oci.time, "sleep", lambda _seconds: None)
    assert "others keep writing" in complaint(PlaceError, lambda: push(package, ref(odd)))
    assert "1" not in odd.tags


def test_a_push_uploads_only_what_is_new(odd: OddRegistry, package: Path, tmp_path: Path) -> None:
    push(package, ref(odd))
    odd.requests.clear()
    changed = described(tmp_path / "new" / NAME, content="new weights")
    assert push(changed, ref(odd, "2")).uploaded_files == 3  # the graph, the digests, the configuration
    assert sum(one.startswith("POST") for one in odd.requests) == 3
    assert odd.requests[-1] == "PUT /v2/team/reviews/manifests/2", "the tag comes last"
