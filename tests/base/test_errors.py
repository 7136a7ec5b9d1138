import errno
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
    [(set(), 0), ({3}, 3), ({3, 4}, 4), ({4, 5}, 5), ({7, 3}, 3), ({8, 2}, 2), ({1, 130}, 130), ({6, 5, 8}, 8)],
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
