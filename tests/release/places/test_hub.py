"""edgeprune/release/places/hub.py, against a hub on this machine that speaks the parts of the API that are used."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from edgeprune.base.errors import EdgepruneError, IntegrityError, PlaceError, UsageError
from edgeprune.release.keys import read_key
from edgeprune.release.publishing import pull, push
from edgeprune.release.signers import KeyFile
from edgeprune.release.signing import sign
from edgeprune.store.files import file_records
from tests.support.keys import Pair
from tests.support.model_hubs import REPOSITORY, TOKEN, ModelHub, model_hub
from tests.support.packages import complaint_without, contents, described, with_documents

NAME = "reviews-1-here"
REFERENCE = f"hf://{REPOSITORY}"
complaint = partial(complaint_without, TOKEN)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    """A hub that huggingface_hub takes for the hub: it reads its variables once, when it is imported."""
    with model_hub() as found:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the stand-in speaks LFS
        monkeypatch.setattr(constants, "ENDPOINT", found.endpoint)
        template = found.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield found
        huggingface_hub.close_session()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return with_documents(tmp_path / "made" / NAME)


def test_the_hub_gives_back_the_same_package_with_its_signature_and_its_documents(
    hub: ModelHub, package: Path, tmp_path: Path
) -> None:
    owner = Pair(tmp_path, "owner")
    sign(package, KeyFile(owner.private, None))
    pushed = push(package, REFERENCE)
    assert len(hub.branches["main"]) == 2, "one commit, after that of the new repository"
    assert pushed.uploaded_files == len(file_records(package)) + 2
    assert set(hub.files()) == {
        ".gitattributes", *(path for path, _ in contents(package)), f"{NAME}.cdx.json", f"{NAME}.provenance.json"
    }  # fmt: skip
    arrived = pull(REFERENCE, tmp_path / "pulled", key=read_key(owner.public))
    assert (arrived.package, arrived.signature, arrived.reference) == (
        tmp_path / "pulled" / NAME,
        "verified",
        pushed.reference,
    )
    assert contents(arrived.package) == contents(package)
    assert {path.name: path.read_bytes() for path in arrived.documents} == {
        path.name: path.read_bytes() for path in package.parent.glob("*.json")
    }
    again = push(package, REFERENCE)
    assert (again.uploaded_files, again.reference, len(hub.branches["main"])) == (0, pushed.reference, 2)


def test_a_new_package_takes_the_place_of_the_old_one_and_leaves_other_files_alone(
    hub: ModelHub, package: Path, tmp_path: Path
) -> None:
    sign(package, KeyFile(Pair(tmp_path, "owner").private, None))
    old = push(package, REFERENCE)
    hub.files()["picture.png"] = b"by hand"
    new = described(tmp_path / "new" / "other-1-here", name="other", content="new weights")
    assert push(new, REFERENCE).uploaded_files == 3  # the graph, what describes it, the digests
    assert "picture.png" in hub.files()
    assert not [name for name in hub.files() if name.startswith(NAME) or name == "model.sig"]
    assert contents(pull(REFERENCE, tmp_path / "pulled").package) == contents(new)
    assert old.reference.startswith(f"{REFERENCE}@")


def test_a_revision_is_a_branch_that_is_made(hub: ModelHub, package: Path, tmp_path: Path) -> None:
    push(package, f"{REFERENCE}@release/1")
    assert set(hub.branches) == {"main", "release/1"}
    assert contents(pull(f"{REFERENCE}@release/1", tmp_path / "pulled").package) == contents(package)
    assert "holds no package" in complaint(UsageError, lambda: pull(REFERENCE, tmp_path / "none"))
    assert "there is no hf://" in complaint(UsageError, lambda: pull(f"{REFERENCE}@other", tmp_path / "none"))


def test_the_hub_wants_a_token(hub: ModelHub, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert "(401: Invalid username" in complaint(UsageError, lambda: push(package, REFERENCE))
    assert hub.branches == {}


@pytest.mark.parametrize(
    ("refused", "status", "message", "kind", "said"),
    [
        ("repos/create", 400, "You cannot use this name", UsageError, "400: You cannot use this name"),
        ("repos/create|GET /api/models", 403, "You don't have the rights", UsageError, "hf auth login"),
        ("/commit/", 409, "conflict", PlaceError, "push again"),
        ("/commit/", 500, "oops", PlaceError, "try again later"),
        ("validate-yaml", 400, "bad front matter", UsageError, "400"),
        ("lfs-put", 403, "quota", UsageError, "403"),
    ],
)
def test_what_the_hub_refuses_is_said_and_nothing_is_published(
    hub: ModelHub, package: Path, refused: str, status: int, message: str, kind: type[EdgepruneError], said: str
) -> None:
    hub.refused[refused] = (status, message)
    assert said in complaint(kind, lambda: push(package, REFERENCE))
    assert [set(one) for one in hub.branches.get("main", [])] in ([], [{".gitattributes"}])


def test_a_name_that_no_repository_can_have_is_refused(hub: ModelHub, package: Path) -> None:
    assert "takes no such name" in complaint(UsageError, lambda: push(package, "hf://team/re--views"))
    assert hub.requests == []


def test_of_two_pushes_at_once_the_second_is_told(hub: ModelHub, package: Path) -> None:
    hub.meanwhile = {"README.md": b"another package"}
    assert "somebody else changed it" in complaint(PlaceError, lambda: push(package, REFERENCE))
    assert hub.files()["README.md"] == b"another package"
    assert push(package, REFERENCE).uploaded_files


def test_bytes_that_the_hub_changes_are_not_written(hub: ModelHub, package: Path, tmp_path: Path) -> None:
    push(package, REFERENCE)
    hub.files()["run.py"] = b"evil"
    assert "run.py was changed" in complaint(IntegrityError, lambda: pull(REFERENCE, tmp_path / "pulled"))
    hub.files()["SHA256SUMS"] += f"{'0' * 64}  ../evil.py\n".encode()
    hub.files()["../evil.py"] = b"evil"
    assert "has a file named" in complaint(IntegrityError, lambda: pull(REFERENCE, tmp_path / "pulled"))
    assert [path.name for path in (tmp_path / "pulled").iterdir()] == [".edgeprune.lock"]


@pytest.mark.usefixtures("hub")
def test_a_hub_that_is_not_there_is_said(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "the hub can't be used" in complaint(PlaceError, lambda: push(package, REFERENCE))
