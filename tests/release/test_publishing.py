"""edgeprune/release/publishing.py with folders as places, the commands `push` and `pull`, and a baseline by a reference."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeprune.base.errors import EdgepruneError, IntegrityError, UsageError
from edgeprune.cli.main import app
from edgeprune.pipeline.baseline import remove_fetched
from edgeprune.pipeline.options import BuildOptions
from edgeprune.pipeline.request import read_request
from edgeprune.release.publishing import pull, push
from edgeprune.release.signers import KeyFile
from edgeprune.release.signing import sign
from tests.support.keys import Pair
from tests.support.packages import contents, described

NAME = "reviews-1-here"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = described(tmp_path / "made" / NAME)
    folder.with_name(f"{NAME}.cdx.json").write_text('{"about": "it"}')
    return folder


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A folder whose name is not the package's."""
    return (tmp_path / "releases" / "re views").as_uri()


def test_a_folder_gives_back_the_same_package(package: Path, place: str, tmp_path: Path) -> None:
    owner = Pair(tmp_path, "owner")
    sign(package, KeyFile(owner.private, None))
    pushed = push(package, place)
    assert pushed.uploaded_files == len(contents(package)) + 1
    assert (push(package, place).uploaded_files, push(package, place).uploaded_bytes) == (0, 0)
    arrived = pull(place, tmp_path / "pulled")
    assert contents(arrived.package) == contents(package)
    assert [path.read_text() for path in arrived.documents] == ['{"about": "it"}']
    assert (arrived.signature, arrived.signed_by) == ("not checked", None)


def test_another_package_takes_the_place_and_nothing_of_the_old_one_stays(
    package: Path, place: str, tmp_path: Path
) -> None:
    push(package, place)
    new = described(tmp_path / "new" / NAME, content="new weights")
    (new / "LICENSE").rename(new / "LICENSE.txt")
    assert "is missing" in str(refused(IntegrityError, package=new, place=place))
    new = described(tmp_path / "newer" / NAME, content="new weights")
    assert push(new, place).uploaded_files == 3  # the graph, the digests, and the bill of materials that went
    assert contents(pull(place, tmp_path / "pulled").package) == contents(new)
    assert not list((tmp_path / "releases").glob("*.json"))


def refused(kind: type[EdgepruneError], *, package: Path, place: str) -> EdgepruneError:
    with pytest.raises(kind) as caught:
        push(package, place)
    return caught.value


def test_what_else_stands_in_a_place_is_kept(package: Path, place: str, tmp_path: Path) -> None:
    taken = tmp_path / "releases" / "re views"
    taken.mkdir(parents=True)
    (taken / "thesis.md").touch()
    assert "is no package" in str(refused(UsageError, package=package, place=place))
    output = tmp_path / "pulled"
    (output / NAME).mkdir(parents=True)
    (output / NAME / "thesis.md").touch()
    with pytest.raises(UsageError, match="is not this package"):
        pull(package.as_uri(), output)
    assert sorted(path.name for path in output.iterdir()) == [".edgeprune.lock", NAME]


def test_a_link_in_a_place_is_not_followed(package: Path, place: str, tmp_path: Path) -> None:
    push(package, place)
    script = tmp_path / "releases" / "re views" / "run.py"
    script.unlink()
    script.symlink_to("/etc/passwd")
    with pytest.raises(IntegrityError, match="is a link"):
        pull(place, tmp_path / "pulled")


def test_the_commands_say_what_they_did(package: Path, place: str, tmp_path: Path) -> None:
    owner, output = Pair(tmp_path, "owner"), tmp_path / "pulled"
    sign(package, KeyFile(owner.private, None))
    said = CliRunner().invoke(app, ["push", str(package), place, "--json"])
    assert json.loads(said.stdout)["uploaded_files"] == len(contents(package)) + 1
    assert "already there" in CliRunner().invoke(app, ["push", str(package), place]).stdout
    said = CliRunner().invoke(app, ["pull", place, "--output", str(output), "--key", str(owner.public)])
    assert f"signed by the owner of {owner.public}" in said.stdout
    said = CliRunner().invoke(app, ["pull", place, "--output", str(output), "--json"])
    document = json.loads(said.stdout)
    assert (document["package"], document["signature"], document["exit_code"]) == (str(output / NAME), "not checked", 0)
    plain = CliRunner().invoke(app, ["push", str(package), place, "--plain-http"]).exception
    assert "--plain-http is for registries" in str(plain)


def test_a_baseline_may_be_a_reference(package: Path, place: str, tmp_path: Path) -> None:
    owner = Pair(tmp_path, "owner")
    push(package, place)
    options = {"data": "reviews.jsonl", "baseline": place, "baseline_key": owner.public}
    with pytest.raises(IntegrityError, match="not signed"):
        read_request(BuildOptions("./model", **options))
    sign(package, KeyFile(owner.private, None))
    push(package, place)
    found = read_request(BuildOptions("./model", **options)).baseline
    assert found is not None
    assert contents(found) == contents(package)
    assert read_request(BuildOptions("./model", **options)).baseline == found, "fetched once for all targets"
    remove_fetched()
    assert not found.exists()
    with pytest.raises(UsageError, match="--offline"):
        read_request(BuildOptions("./model", data="x", baseline="hf://team/reviews", offline=True))
