"""edgeprune/devices/perf_test_answer.py, where what was printed makes no sense; test_perf_test.py has the rest."""

import subprocess
from typing import Any

import pytest

from edgeprune.base.errors import TargetError
from edgeprune.devices.perf_test_answer import CONDITIONS, MARK, Run, read_answer
from tests.support.agent_requests import asked

SECTIONS = {
    "starts": "255\n", "version": "VERS_1.20", "machine": "aarch64", "cpuinfo": "Features: asimd", "cores": "4",
    "system": "Linux", "code 0": "0",
    "run 0": "Session creation time cost: 0.1 s\nFirst inference time cost: 5 ms", "complaints 0": "",
    "result 0": "m,0.001,1000,50,0\nm,0.002,1000,50,1",
    **{f"{name} {moment}": "" for name in CONDITIONS for moment in ("before", "after")}, "end": "",
}  # fmt: skip


def read(sections: dict[str, str]) -> Any:
    text = "".join(f"{MARK}{head}\n{rest}\n" for head, rest in sections.items())
    done = subprocess.CompletedProcess([], 0, text, "")
    return read_answer(done, asked(), [Run("final", [0, 1], 2)], place="board", command="perf_test")


def test_what_makes_sense_is_read() -> None:
    assert read(SECTIONS)


@pytest.mark.parametrize("lacking", sorted(SECTIONS.keys() - {"starts"}))
def test_what_is_missing_is_one_sentence(lacking: str) -> None:
    with pytest.raises(TargetError) as caught:
        read({head: rest for head, rest in SECTIONS.items() if head != lacking})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("head", "rest"),
    [
        ("starts", "x"), ("code 0", "x"), ("code 0", "9" * 5000), ("result 0", "m,inf,1,1,1\nm,1,1,1,1"),
        ("result 0", "m,0,1,1,1\nm,0,1,1,1"), ("result 0", "m,-1,1,1,1\nm,1,1,1,1"), ("result 0", "m,1,-1,1,1\nm,nan,1,1,1"),
        ("run 0", "Session creation time cost: 1.2.3 s\nFirst inference time cost: 1 s"),
        ("run 0", "Session creation time cost: 1e999 s\nFirst inference time cost: 1 s"), ("cores", "0"), ("cores", "9" * 40),
        ("machine", "x" * 5000),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_sentence(head: str, rest: str) -> None:
    with pytest.raises(TargetError) as caught:
        read({**SECTIONS, head: rest})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["9" * 400, "x", "0-", "nan", "inf", "-1", "x 0-99999999999"])
def test_conditions_that_make_no_sense_are_not_told(text: str) -> None:
    conditions = {f"{name} {moment}": text for name in CONDITIONS for moment in ("before", "after")}
    *_, after = read({**SECTIONS, **conditions})
    assert after.load_1min is None
    assert "load_1min" in after.reasons
