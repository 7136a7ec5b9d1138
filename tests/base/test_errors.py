import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import save_file

from edgeprune.base import errors
from edgeprune.base.errors import EXIT_PRECEDENCE, EdgepruneError, StorageError, first_exit_code, storage_error


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("EdgepruneError", 1),
        ("UsageError", 2),
        ("ProfileError", 2),
        ("ModelError", 2),
        ("DataError", 2),
        ("SchemaVersionError", 2),
        ("IntegrityError", 5),
        ("ParityError", 5),
        ("TargetError", 6),
        ("PlaceError", 6),
        ("UnreachableBudgetError", 3),
        ("StorageError", 8),
    ],
)
def test_every_error_carries_its_exit_code(name: str, code: int):
    error = getattr(errors, name)
    assert issubclass(error, EdgepruneError)
    assert error.exit_code == code
    assert code in EXIT_PRECEDENCE


def test_all_names_everything_public():
    public = {
        name
        for name, value in vars(errors).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == errors.__name__
    }
    assert public | {"EXIT_PRECEDENCE"} == set(errors.__all__)


@pytest.mark.parametrize(
    ("codes", "winner"),
    [
        (set(), 0),
        ({3}, 3),
        ({3, 4}, 4),
        ({4, 5}, 5),
        ({7, 3}, 3),
        ({8, 2}, 2),
        ({1, 130}, 130),
        ({6, 5, 8}, 8),
        ({99}, 1),
        ({-1, 3}, 3),
        ({0}, 0),
    ],
)
def test_the_gravest_exit_code_wins(codes: set[int], winner: int):
    assert first_exit_code(codes) == winner


@given(st.sets(st.sampled_from(EXIT_PRECEDENCE), min_size=1))
def test_no_other_exit_code_comes_before_the_winner(codes: set[int]):
    winner = first_exit_code(codes)
    assert winner in codes
    assert all(EXIT_PRECEDENCE.index(winner) <= EXIT_PRECEDENCE.index(code) for code in codes)


def test_a_full_disk_is_a_storage_error_that_names_the_file():
    with pytest.raises(OSError, match="No space left") as caught, Path("/dev/full").open("w") as file:
        file.write("x")
    found = storage_error(caught.value, "/somewhere")
    assert isinstance(found, StorageError)
    assert "could not write /somewhere: no space left" in str(found)


def test_a_file_in_the_place_of_a_folder_is_a_storage_error(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError) as caught:
        (tmp_path / "file" / "below").mkdir()
    found = storage_error(caught.value, "/somewhere")
    assert f"could not write {tmp_path / 'file' / 'below'}: a file stands where a folder is needed" in str(found)


def test_a_write_error_that_a_library_reports_as_text_is_found(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SafetensorError) as caught:
        save_file({"x": np.zeros(3)}, tmp_path / "file" / "model.safetensors")
    assert "os error" in str(caught.value)
    assert "a file stands where a folder is needed" in str(storage_error(caught.value, tmp_path))


def test_a_write_error_is_found_behind_those_it_caused():
    cause = OSError(errno.EDQUOT, "quota")
    middle = ValueError("half written")
    middle.__context__ = cause
    error = RuntimeError("the library gave up")
    error.__cause__ = middle
    assert "the quota is used up" in str(storage_error(error, "here"))


@pytest.mark.parametrize("error", [ValueError("no"), FileNotFoundError(errno.ENOENT, "no"), KeyError("os error")])
def test_other_errors_are_no_storage_errors(error: Exception):
    assert storage_error(error, "here") is None


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "could not write /x/y: no space left; free some space there"),
        (errno.EIO, "could not read or write /x/y: the device reports an input or output error; check that disk"),
        (errno.EEXIST, "could not write /x/y: something else stands there; move it away"),
        (errno.EISDIR, "could not read or write /x/y: a folder stands where a file is needed; move it away"),
        (errno.ENOTEMPTY, "could not write /x/y: a folder that isn't empty stands there"),
        (errno.EACCES, "could not write /x/y: no permission; give this user the right to it"),
        (errno.EROFS, "could not write /x/y: the file system is read-only; choose another place"),
        (errno.ENAMETOOLONG, "could not write /x/y: the name is too long"),
        (errno.EMFILE, "could not read or write /x/y: too many files are open; close other programs"),
        (errno.ESTALE, "could not read or write /x/y: the network folder has lost it"),
    ],
)
def test_what_is_wrong_with_the_storage_and_what_to_do_is_told(number: int, words: str):
    assert words in str(storage_error(OSError(number, "", "/x/y"), "/somewhere"))


def test_a_file_that_may_not_be_read_is_not_told_as_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"x")
    denied = PermissionError(errno.EACCES, "no", str(path))
    assert f"could not write {path}: no permission" in str(storage_error(denied, tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, who may read everything
    found = str(storage_error(denied, tmp_path))
    assert f"could not read {path}: no permission; give this user the right to it" in found
    assert "space" not in found
