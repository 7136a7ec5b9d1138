"""edgeprune/store/archive.py"""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeprune.base.errors import EdgepruneError, IntegrityError, UsageError
from edgeprune.store.archive import _copy, archive, unpack
from edgeprune.store.files import file_records

Change = Callable[[tarfile.TarFile], None]


def member(name: str, content: bytes = b"x", **fields: object) -> Change:
    """Add a file, or what `fields` make of it."""

    def add(packed: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = 0 if "type" in fields else len(content)
        for field, value in fields.items():
            setattr(info, field, value)
        packed.addfile(info, io.BytesIO(content))

    return add


def packed(path: Path, *changes: Change, top: str = "package-0-here") -> Path:
    """An archive of a SHA256SUMS and a file in a folder, and what `changes` add."""
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as made:
        for change in (member(f"{top}/SHA256SUMS"), member(f"{top}/run.py", b"pass\n"), *changes):
            change(made)
    return path


def complaint(path: Path) -> str:
    with pytest.raises(EdgepruneError) as caught, unpack(path, inside=["onnx"]):
        pass
    assert isinstance(caught.value, IntegrityError | UsageError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_was_archived_is_unpacked_and_taken_away(tmp_path: Path) -> None:
    folder = tmp_path / "package-0-here"
    folder.mkdir()
    (folder / "onnx").mkdir()
    for name in ("SHA256SUMS", "onnx/model.onnx"):
        (folder / name).write_bytes(name.encode() * 1000)
    archive(folder, tmp_path / "package-0-here.tar.gz")
    with unpack(tmp_path / "package-0-here.tar.gz", inside=["onnx"]) as found:
        assert found.name == folder.name
        assert file_records(found) == file_records(folder)
    assert not found.exists()


@pytest.mark.parametrize(
    "change",
    [
        member("package-0-here", type=tarfile.DIRTYPE),
        member("./package-0-here/README.md"),
        member(".", type=tarfile.DIRTYPE),
        member("package-0-here/onnx", type=tarfile.DIRTYPE),
    ],
    ids=["its folder", "from here", "here", "a folder in it"],
)
def test_what_other_programs_write_of_the_same_folder(tmp_path: Path, change: Change) -> None:
    with unpack(packed(tmp_path / "a.tar.gz", change), inside=["onnx"]) as folder:
        assert (folder / "run.py").read_bytes() == b"pass\n"


@pytest.mark.parametrize(
    "name",
    [
        "package-0-here/../x",
        "package-0-here/onnx/../../x",
        "package-0-here/a/b/c",
        "../x/y",
        "package-0-here/onnx/..",
        "/x/y",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    assert f"holds {name!r}, which is no file of the package's folder" in complaint(
        packed(tmp_path / "a.tar.gz", member(name))
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz"]


def test_a_file_that_is_no_archive_by_name_or_content_is_no_package(tmp_path: Path) -> None:
    (tmp_path / "model.text.onnx").write_bytes(b"\x08\x0b graph")
    message = complaint(tmp_path / "model.text.onnx")
    assert message.endswith("model.text.onnx is not a package; give a folder or .tar.gz that edgeprune build wrote")


def test_a_file_below_a_file_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.tar.gz", member("package-0-here/onnx"), member("package-0-here/onnx/model.onnx"))
    assert "holds 'package-0-here/onnx/model.onnx' below a file; it is not unpacked" in complaint(path)


@pytest.mark.parametrize("mtime", ["nan", "inf", "-inf", "1e20", "-1", "99999999999999999999"])
def test_times_are_not_read(tmp_path: Path, mtime: str) -> None:
    with unpack(
        packed(tmp_path / "a.tar.gz", member("package-0-here/README.md", pax_headers={"mtime": mtime}))
    ) as folder:
        assert (folder / "README.md").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("package-0-here/link", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
        ("package-0-here/link", {"type": tarfile.SYMTYPE, "linkname": "run.py"}),
        ("package-0-here/link", {"type": tarfile.LNKTYPE, "linkname": "package-0-here/nothing"}),
        ("package-0-here/link", {"type": tarfile.LNKTYPE, "linkname": "package-0-here/run.py"}),
        ("package-0-here/pipe", {"type": tarfile.FIFOTYPE}),
        ("package-0-here/device", {"type": tarfile.CHRTYPE}),
        ("package-0-here/empty", {"type": tarfile.DIRTYPE}),
        ("package-0-here/__pycache__/run.pyc", {}),
        ("package-0-here/../../run.py", {}),
        ("package-0-here/a\nb", {}),
        ("package-0-here\\run.py", {}),
        ("/package-0-here/run.py", {}),
        ("another/run.py", {}),
        ("run.py", {}),
        ("another", {"type": tarfile.DIRTYPE}),
    ],
)
def test_anything_but_the_files_of_one_folder_is_refused(tmp_path: Path, name: str, fields: dict[str, object]) -> None:
    said = complaint(packed(tmp_path / "a.tar.gz", member(name, **fields)))
    assert "which is no file of the package's folder; it is not unpacked" in said


def test_a_file_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    assert "twice" in complaint(packed(tmp_path / "a.tar.gz", member("package-0-here/run.py", b"import this\n")))


def test_two_packages_in_one_archive_are_none(tmp_path: Path) -> None:
    assert "holds no package" in complaint(packed(tmp_path / "a.tar.gz", member("another/SHA256SUMS")))


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with gzip.open(path, "wb", compresslevel=9) as whole:
        for _ in range(300):
            whole.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    assert "unpacks to more than 100 times its size" in complaint(path)


def test_a_file_that_is_told_larger_than_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    header = tarfile.TarInfo("package-0-here/model.onnx")
    header.size = 1 << 50
    with gzip.open(path, "wb") as whole:
        whole.write(header.tobuf())
    complaint(path)


def test_a_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"model\.onnx is cut short in the archive"):
        _copy(io.BytesIO(b"x"), tmp_path / "model.onnx", 2)


def test_many_files_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.tar.gz", *(member(f"package-0-here/{number}") for number in range(1200)))
    assert "holds more than any package" in complaint(path)


@pytest.mark.parametrize("headers", [{"size": "-1"}, {"GNU.sparse.map": "a,b"}, {"path": "\0"}])
def test_headers_that_make_no_sense_are_refused(tmp_path: Path, headers: dict[str, str]) -> None:
    assert complaint(packed(tmp_path / "a.tar.gz", member("package-0-here/README.md", pax_headers=headers)))


@pytest.mark.parametrize(
    ("headers", "content"), [({"size": "many"}, b""), ({"uid": "x"}, b"x"), ({"mtime": "x"}, b"x")]
)
def test_headers_that_tarfile_passes_over(tmp_path: Path, headers: dict[str, str], content: bytes) -> None:
    path = packed(tmp_path / "a.tar.gz", member("package-0-here/README.md", pax_headers=headers))
    with unpack(path) as folder:
        assert (folder / "README.md").read_bytes() == content


def test_an_archive_without_a_name(tmp_path: Path) -> None:
    with unpack(packed(tmp_path / ".tar.gz")) as folder:
        assert (folder / "run.py").is_file()
