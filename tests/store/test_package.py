"""edgeprune/store/package.py"""

import os
import shutil
from pathlib import Path

import pytest

from edgeprune.base.errors import EdgepruneError, IntegrityError
from edgeprune.store.files import file_digest
from edgeprune.store.package import check_digests, is_licence, opened, usable

FILES = (
    "README.md", "edgeprune.json", "goldens.json", "lineage.json", "onnx/model.onnx", "package_files.py",
    "postprocess.py", "preprocess.py", "run.py", "tokenizer.json",
)  # fmt: skip


def resum(folder: Path) -> None:
    """Write SHA256SUMS as someone would who changed a file and wants it to look right."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    sums = [f"{file_digest(folder / name)}  {name}\n" for name in names if name != "SHA256SUMS"]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "package-0-here"
    made.mkdir()
    for name in FILES:
        (made / name).parent.mkdir(exist_ok=True)
        (made / name).write_text(name, encoding="utf-8")
    resum(made)
    return made


def complaint(folder: Path) -> str:
    with pytest.raises(IntegrityError) as caught:
        check_digests(folder, "it")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_package_is_what_it_must_be(folder: Path) -> None:
    assert check_digests(folder, "it") == len(FILES)
    (folder / "1_Pooling").mkdir()
    more = (
        "LICENSE",
        "LICENSE.txt",
        "LICENSE-MODEL (2)",
        "onnx/model.onnx_data",
        "modules.json",
        "1_Pooling/config.json",
    )
    for name in more:
        (folder / name).write_text("x", encoding="utf-8")
    resum(folder)
    assert check_digests(folder, "it") == len(FILES) + len(more)


def test_a_graph_may_have_the_name_that_no_loader_looks_for(folder: Path) -> None:
    (folder / "onnx/model.onnx").rename(folder / "edgeprune.onnx")
    (folder / "onnx").rmdir()
    resum(folder)
    assert check_digests(folder, "it") == len(FILES)


@pytest.mark.parametrize("name", FILES)
def test_every_file_has_to_be_there_whatever_the_digests_say(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"it: {name} is missing" in complaint(folder)
    resum(folder)
    either = {
        "tokenizer.json": "preprocessor_config.json or tokenizer.json",
        "onnx/model.onnx": "edgeprune.onnx or onnx/model.onnx",
    }
    assert f"it: it has no {either.get(name, name)}, which every package has" in complaint(folder)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        "numpy.py",
        "run.pyc",
        ".hidden",
        "sitecustomize.py",
        "licence",
        "model.onnx.py/x",
        "__pycache__/run.pyc",
        "model.onnx",
        "onnx/run.py",
        "1_Pooling/run.py",
    ],
)
def test_no_other_file_may_be_there_whatever_the_digests_say(folder: Path, name: str, *, listed: bool) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("x", encoding="utf-8")
    if listed:
        resum(folder)
    shown = name if Path(name).parts[0] in ("onnx", "1_Pooling") else Path(name).parts[0]
    assert f"it: {shown} doesn't belong to the package" in complaint(folder)


def test_a_name_of_two_lines_is_refused(folder: Path) -> None:
    (folder / "a\nb").write_text("x", encoding="utf-8")
    assert r"it: 'a\nb' doesn't belong to the package" in complaint(folder)
    resum(folder)
    assert "the line 'b', which is not a digest" in complaint(folder)


def test_what_python_wrote_is_named_with_its_remedy(folder: Path) -> None:
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "run.cpython-311.pyc").write_bytes(b"x")
    assert "remove it, and import with python -B" in complaint(folder)


def test_an_empty_folder_is_refused(folder: Path) -> None:
    (folder / "empty").mkdir()
    assert "empty doesn't belong to the package" in complaint(folder)


def test_a_folder_in_a_files_place_is_refused(folder: Path) -> None:
    (folder / "run.py").unlink()
    (folder / "run.py").mkdir()
    assert "run.py is not a file of its own" in complaint(folder)


@pytest.mark.parametrize("name", ["run.py", "onnx/model.onnx", "onnx", "SHA256SUMS"])
def test_a_link_is_refused_wherever_it_leads(folder: Path, tmp_path: Path, name: str) -> None:
    shutil.move(folder / name, tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    assert name in complaint(folder)


def test_a_pipe_is_refused_and_not_waited_for(folder: Path) -> None:
    (folder / "run.py").unlink()
    os.mkfifo(folder / "run.py")
    assert "run.py is not a file of its own" in complaint(folder)


@pytest.mark.parametrize(
    "sums", ["", "\n", "x\n", f"{'0' * 64}  run.py\n" * 2, f"{'0' * 64}  \n", f"{'0' * 64} *run.py\n", "\0"]
)
def test_digests_that_are_none_are_refused(folder: Path, sums: str) -> None:
    (folder / "SHA256SUMS").write_text(sums, encoding="utf-8")
    assert "SHA256SUMS has the line" in complaint(folder)


def test_digests_without_end_are_not_read(folder: Path) -> None:
    (folder / "SHA256SUMS").write_bytes(b"0" * (2 << 20))
    assert "SHA256SUMS is no list of a package's files" in complaint(folder)


@pytest.mark.parametrize(
    ("name", "may"),
    [
        ("LICENSE", True), ("LICENSE.md", True), ("LICENSE-Apache 2.0", True), ("LICENSES", True), ("LICENCE", False),
        ("LICENSE\n", False), ("LICENSE\x1b[2J", False), ("LICENSE:a", False), ("LICENSE.", False), ("LICENSE/a", False),
        ("LICENSE\\a", False), ("LICENSE\u2028", False), ("license", False),
    ],
)  # fmt: skip
def test_a_licences_name_is_one_that_every_system_takes(name: str, *, may: bool) -> None:
    assert is_licence(name) is may


def test_what_a_library_raises_is_one_sentence() -> None:
    class PanicException(BaseException):
        """As the one of Rust's libraries."""

    for error in (PanicException("a\nb"), KeyError("key"), RuntimeError(""), ValueError("x" * 10_000)):
        with pytest.raises(IntegrityError) as caught, usable("it"):
            raise error
        assert str(caught.value).startswith("it: ")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
    with pytest.raises(KeyboardInterrupt), usable("it"):
        raise KeyboardInterrupt
    with pytest.raises(EdgepruneError, match=r"^as it was$"), usable("it"):
        raise EdgepruneError("as it was")


def test_a_folder_is_opened_where_it_lies(folder: Path) -> None:
    with opened(folder) as found:
        assert found == folder
