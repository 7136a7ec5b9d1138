"""edgeprune/devices/agent_answer.py"""

import subprocess

import pytest

from edgeprune.base.errors import TargetError
from edgeprune.devices.agent_answer import read_answer


def answer(code: int, out: str = "", err: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.CompletedProcess([], code, out, err)


def test_lines_are_records_and_what_a_login_shell_says_is_none() -> None:
    records = read_answer(answer(0, 'Welcome!\n{"kind": "device"}\n{"kind": "samples"}\n'), "board", "python3")
    assert [record["kind"] for record in records] == ["device", "samples"]


@pytest.mark.parametrize(
    ("done", "message"),
    [
        (answer(-9), "ended by SIGKILL on board: most likely it is out of memory"),
        (answer(139, err="Segmentation fault\n"), "ended by SIGSEGV on board: Segmentation fault"),
        (answer(2, err="a\nlast\n"), "ended with 2 on board: last"),
        (answer(200), "ended with 200 on board: no message"),
        (answer(127), "there is no python3 on board that can be run"),
        (answer(0), "answered nothing"),
        (answer(0, '{"type": "x"}'), "instead of JSON"),
        (answer(1, '{"kind": "error", "type": "ImportError", "message": "numpy"}'), "board can't import what"),
        (answer(1, '{"kind": "error", "type": "Fail", "message": "no\\nmore"}'), "the benchmark failed on board: no"),
    ],
)
def test_what_is_no_answer_is_a_sentence(done: "subprocess.CompletedProcess[str]", message: str) -> None:
    with pytest.raises(TargetError) as caught:
        read_answer(done, "board", "python3")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
