import pytest

from edgeprune.cli import main as command_line
from tests.support.e2e import call


class Panic(BaseException):
    """What Rust code raises through pyo3 when it panics."""


@pytest.mark.parametrize("error", [Panic("index out of bounds"), RuntimeError("boom"), RecursionError("too deep")])
def test_a_fault_of_edgeprunes_ends_with_a_sentence_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fails(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(command_line, "app", fails)
    done = call("targets", "list", "--json")
    assert done.code == 1
    assert done.document["exit_code"] == 1
    assert len(done.complaints) == 1
    assert str(error) in done.complaints[0]
    assert "please report it" in done.complaints[0]


@pytest.mark.parametrize("days", ["nan", "inf", "-1"])
def test_store_gc_takes_a_number_of_days(days: str, tmp_path: object) -> None:
    done = call("store", "gc", "--store", tmp_path, f"--older-than={days}")
    assert done.code == 2
    assert "--older-than" in done.complaints[0]
