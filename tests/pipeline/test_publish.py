import json
import os
import signal
import stat
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from edgeprune.base.errors import StorageError, UsageError
from edgeprune.pipeline.publish import check_output, publish
from edgeprune.pipeline.run import Done
from edgeprune.store.files import file_records
from edgeprune.store.store import Store
from tests.support.artifacts import KEY, manifest_of

NAME = "tiny-0-here"


def forked(work: Callable[[], None]) -> int:
    """Do this in a process of its own, which has everything imported; give its id."""
    number = os.fork()
    if number == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return number


def ended(number: int) -> int:
    """How the process ended: its exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


class Report:
    """All that is asked of a report."""

    def __init__(self, text: str) -> None:
        self._text = text

    def model_dump_json(self, indent: int) -> str:
        return json.dumps({"made": self._text}, indent=indent)


class Has:
    """A thing with these attributes."""

    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)


def package(store: Store, content: str) -> Done:
    draft = store.draft("package", KEY)
    folder = draft / NAME
    (folder / "below").mkdir(parents=True)
    for number in range(20):
        (folder / "below" / f"{number}").write_text(content)
    (folder / "SHA256SUMS").write_text(content)
    (draft / f"{NAME}.tar.gz").write_text(content)
    return Done(store.commit(draft, store.folder("package", KEY), manifest_of(draft, "package")), cached=False)


def put(store: Path, output: Path, *, page: str | None = None, card: str | None = None, **more: Done) -> None:
    """Publish a package whose every file says the name of its store."""
    place = Store(store)
    found = place.find("package", KEY)
    made = package(place, store.name) if found is None else Done(found, cached=True)
    publish(
        Report(store.name),
        Has(output=output, store=store),
        Has(name=Has(folder=NAME)),
        {"package": made, **more},
        described={},
        page=page,
        card=card,
    )  # type: ignore[arg-type]


def visible(output: Path) -> list[str]:
    return sorted(path.name for path in output.iterdir() if path.name != ".edgeprune.lock")


def test_a_package_its_archive_and_its_report_are_published(tmp_path: Path) -> None:
    output = tmp_path / "dist"
    put(tmp_path / "one", output)
    assert visible(output) == [NAME, f"{NAME}.build.json", f"{NAME}.tar.gz"]
    assert (output / NAME / "below" / "3").read_text() == "one"
    assert json.loads((output / f"{NAME}.build.json").read_text()) == {"made": "one"}


def test_what_an_older_build_left_is_replaced_or_removed(tmp_path: Path) -> None:
    output = tmp_path / "dist"
    store = Store(tmp_path / "other")
    draft = store.draft("benchmark", KEY)
    (draft / "samples.jsonl").write_text("{}")
    measured = Done(store.commit(draft, store.folder("benchmark", KEY), manifest_of(draft, "benchmark")), cached=False)
    put(tmp_path / "one", output, page="<!doctype html>", card="# A model", benchmark=measured)
    assert visible(output) == [
        NAME, *(f"{NAME}.{suffix}" for suffix in ("benchmark.jsonl", "build.json", "card.md", "report.html", "tar.gz"))
    ]  # fmt: skip
    assert (output / f"{NAME}.card.md").read_text() == "# A model"
    assert (output / f"{NAME}.report.html").read_text() == "<!doctype html>"
    (output / NAME / "extra").write_text("")
    put(tmp_path / "two", output)
    assert visible(output) == [NAME, f"{NAME}.build.json", f"{NAME}.tar.gz"]
    assert {(output / NAME / record.path).read_text() for record in file_records(output / NAME)} == {"two"}


def test_builds_of_several_stores_publish_to_one_folder_one_after_the_other(tmp_path: Path) -> None:
    output, stores = tmp_path / "dist", [tmp_path / f"store-{number}" for number in range(4)]

    def publish_often(store: Path) -> None:
        for _ in range(10):
            put(store, output)

    assert [ended(number) for number in [forked(partial(publish_often, store)) for store in stores]] == [0] * 4
    assert visible(output) == [NAME, f"{NAME}.build.json", f"{NAME}.tar.gz"]
    said = {(output / NAME / record.path).read_text() for record in file_records(output / NAME)}
    said |= {(output / f"{NAME}.tar.gz").read_text(), json.loads((output / f"{NAME}.build.json").read_text())["made"]}
    assert len(said) == 1
    assert len(file_records(output / NAME)) == 21


@pytest.mark.parametrize("moment", [0, 1, 2, 3, 10, *range(24, 38)])
def test_nothing_of_a_killed_build_stays(tmp_path: Path, moment: int) -> None:
    output = tmp_path / "dist"
    put(tmp_path / "one", output)
    put(tmp_path / "two", tmp_path / "elsewhere")
    left = [moment]

    def killed(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir") and str(output) in str(arguments[0]):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def publish_until_killed() -> None:
        sys.addaudithook(killed)
        put(tmp_path / "two", output)

    assert ended(forked(publish_until_killed)) == -signal.SIGKILL
    put(tmp_path / "two", output)
    assert visible(output) == [NAME, f"{NAME}.build.json", f"{NAME}.tar.gz"]
    assert {(output / NAME / record.path).read_text() for record in file_records(output / NAME)} == {"two"}


def test_names_that_can_be_guessed_are_not_written_through(tmp_path: Path) -> None:
    output, secret = tmp_path / "dist", tmp_path / "secret"
    output.mkdir()
    secret.write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").write_text("mine")
    for name in (
        f"{NAME}.tar.gz",
        f"{NAME}.build.json",
        f".{NAME}.tar.gz.new",
        f".{NAME}.build.json.{os.getpid()}.tmp",
    ):
        (output / name).symlink_to(secret)
    (output / ".edgeprune-ready-x").symlink_to(tmp_path / "folder")
    put(tmp_path / "one", output)
    assert secret.read_text() == "mine"
    assert (tmp_path / "folder" / "kept").read_text() == "mine"
    assert not (output / f"{NAME}.tar.gz").is_symlink()


def test_modes_are_the_umasks_whatever_the_store_has(tmp_path: Path) -> None:
    made = package(Store(tmp_path / "one"), "one").artifact
    for path in made.path.rglob("*.tar.gz"):
        path.chmod(0o600)
    made.file(f"{NAME}/SHA256SUMS").chmod(0o600)
    before = os.umask(0o022)
    try:
        put(tmp_path / "one", tmp_path / "dist")
    finally:
        os.umask(before)
    files = [tmp_path / "dist" / NAME / "SHA256SUMS", tmp_path / "dist" / f"{NAME}.tar.gz"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o644}


def test_an_empty_folder_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "dist" / NAME).mkdir(parents=True)
    check_output(tmp_path / "dist", NAME)
    put(tmp_path / "one", tmp_path / "dist")
    assert (tmp_path / "dist" / NAME / "SHA256SUMS").is_file()


@pytest.mark.parametrize(
    "name", [NAME, f"{NAME}.tar.gz", f"{NAME}.build.json", f"{NAME}.report.html", f"{NAME}.benchmark.jsonl"]
)
def test_what_is_not_edgeprunes_is_neither_replaced_nor_half_replaced(tmp_path: Path, name: str) -> None:
    output = tmp_path / "dist"
    put(tmp_path / "one", output)
    path = output / name
    if path.is_dir():
        (path / "SHA256SUMS").unlink()
    else:
        path.unlink(missing_ok=True)
        path.mkdir()
    (path / "mine").write_text("mine")
    for refused in (lambda: check_output(output, NAME), lambda: put(tmp_path / "two", output)):
        with pytest.raises(UsageError, match="move it, or choose another --output"):
            refused()
    assert (path / "mine").read_text() == "mine"
    assert (output / NAME / "below" / "3").read_text() == "one"


def test_a_package_that_cannot_be_put_in_place_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "dist"
    put(tmp_path / "one", output)
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if target == output / NAME and ".edgeprune-ready-" in str(path) and path.name == NAME:
            raise OSError(5, "Input/output error", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(StorageError, match="the device reports an input or output error"):
        put(tmp_path / "two", output)
    assert (output / NAME / "below" / "3").read_text() == "one"
    assert visible(output) == [NAME, f"{NAME}.build.json", f"{NAME}.tar.gz"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a /proc, where nobody can make files")
def test_a_folder_that_takes_no_files_is_found_before_anything_is_trained() -> None:
    with pytest.raises(StorageError, match="/proc is not a writable folder; choose another --output"):
        check_output(Path("/proc/dist"), NAME)
