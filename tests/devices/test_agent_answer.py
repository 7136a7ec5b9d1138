"""edgeprune/devices/agent_answer.py"""

import json
import subprocess

import pytest

from edgeprune.base.errors import TargetError
from edgeprune.devices.agent_answer import read_answer
from edgeprune.devices.fake import FAKE_DEVICE
from edgeprune.devices.protocol import Answer, ModelTimes, Request
from tests.support.agent_requests import asked

DEVICE = json.dumps(FAKE_DEVICE.record()) + "\n"
TIMES = '{"kind": "samples", "name": "final", "ns": [1, 2, 3]}\n'


def answer(code: int, out: str = "", err: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.CompletedProcess([], code, out, err)


def read(done: "subprocess.CompletedProcess[str]", request: Request | None = None) -> list[Answer]:
    return read_answer(done, request or asked(), ["final"], place="board", python="python3")


def complaint(done: "subprocess.CompletedProcess[str]", request: Request | None = None) -> str:
    with pytest.raises(TargetError) as caught:
        read(done, request)
    assert caught.value.exit_code == 6
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_lines_are_answers_and_what_a_login_shell_says_is_none() -> None:
    found = read(answer(0, f"Welcome!\n{DEVICE}{TIMES}Bye!\n"))
    assert found == [FAKE_DEVICE, ModelTimes(name="final", ns=[1, 2, 3])]


@pytest.mark.parametrize(
    ("done", "message"),
    [
        (answer(-9), "ended by SIGKILL on board: most likely the device is out of memory"),
        (answer(139, err="Segmentation fault\n"), "ended by SIGSEGV on board: Segmentation fault"),
        (answer(2, err="a\nlast\n"), "ended with 2 on board: last"),
        (answer(200), "ended with 200 on board: no message"),
        (answer(127), "there is no python3 on board that can be run"),
        (answer(-9, '{"kind": "dev'), "ended by SIGKILL on board"),
        (answer(1, '{"kind": "error", "type": "ImportError", "message": "numpy"}'), "board can't import what"),
        (answer(1, '{"kind": "error", "type": "Fail", "message": "no\\nmore"}'), "the benchmark failed on board: no"),
        (
            answer(1, DEVICE + '{"kind": "error", "type": "Fail", "message": "opset 99"}'),
            "onnxruntime 1.0 on board is too old for the model: opset 99",
        ),
    ],
)
def test_an_agent_that_failed_is_a_sentence(done: "subprocess.CompletedProcess[str]", message: str) -> None:
    assert message in complaint(done)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("", "nothing instead of JSON"),
        ("hello", "'hello' instead of JSON"),
        (DEVICE + '{"kind": ', "'{\"kind\": ' instead of JSON"),
        (DEVICE + '{"type": "x"}', '\'{"type": "x"}\' instead of a line with its kind'),
        (DEVICE + '{"kind": "magic"}', "a line of kind 'magic', which no agent of this version of edgeprune says"),
        (DEVICE + '{"kind": ["samples"]}', "a line of kind "),
        (DEVICE + '{"kind": "samples", "name": "final"}', "a line of kind 'samples' that lacks ns"),
        ('{"kind": "device", "arch": "x86_64"}', "a line of kind 'device' that lacks isa"),
        (
            DEVICE + '{"kind": "samples", "name": "final", "ns": [1, "2"]}',
            "a line of kind 'samples' whose ns.1 should be a valid integer, not '2'",
        ),
        (
            DEVICE + '{"kind": "samples", "name": 7, "ns": [1]}',
            "a line of kind 'samples' whose name should be a valid string, not 7",
        ),
        (
            DEVICE + '{"kind": "conditions", "moment": "now"}',
            "a line of kind 'conditions' whose moment should be 'before' or 'after', not 'now'",
        ),
        (
            DEVICE + '{"kind": "samples", "name": "final", "ns": [1], "unit": "ns"}',
            "a line of kind 'samples' with the unknown key unit",
        ),
        (DEVICE + '{"kind": "error", "message": "x"}', "a line of kind 'error' that lacks type"),
        (
            DEVICE + TIMES + '{"kind": "memory", "name": "final", "peak_bytes": 1}',
            "a line of kind 'memory' to a request of mode 'latency'",
        ),
        (TIMES, "no line of kind 'device'"),
        (DEVICE + '{"kind": null}', "a line of kind 'None', which"),
        (DEVICE + '{"kind": {"kind": "samples"}}', "a line of kind "),
        (DEVICE + '{"kind": ' + "[" * 100_000 + "]" * 100_000 + "}", '\'{"kind": [[[['),
        (DEVICE + '{"a":' * 100_000 + "1" + "}" * 100_000, '\'{"a":{"a":'),
        (
            DEVICE + TIMES.replace("[1, 2, 3]", "[[[[1]]]]"),
            "a line of kind 'samples' whose ns.0 should be a valid integer",
        ),
        (DEVICE.replace('"arch": "x86_64", ', ""), "a line of kind 'device' that lacks arch"),
        (
            DEVICE.replace('"cores": 2', '"cores": 0'),
            "a line of kind 'device' whose cores should be greater than or equal",
        ),
        (DEVICE.replace('"cores": 2', f'"cores": {10**30}'), "a line of kind 'device' whose cores should be less than"),
        (
            DEVICE + TIMES.replace("[1, 2, 3]", "[1, 0, 3]"),
            "a line of kind 'samples' whose ns.1 should be greater than",
        ),
        (
            DEVICE + TIMES.replace("[1, 2, 3]", "[1, -2, 3]"),
            "a line of kind 'samples' whose ns.1 should be greater than",
        ),
        (DEVICE + TIMES.replace("[1, 2, 3]", "[NaN]"), "a line of kind 'samples' whose ns.0 should be a valid integer"),
        (DEVICE + TIMES.replace("[1, 2, 3]", "[]"), "a line of kind 'samples' that tells of 0 where 3 were asked"),
        (DEVICE + TIMES + TIMES, "2 lines of kind 'samples' where one belongs"),
        (DEVICE + DEVICE + TIMES, "2 lines of kind 'device' where one belongs"),
        (
            DEVICE + TIMES + TIMES.replace("final", "other"),
            "a line of kind 'samples' for 'other', which it wasn't asked",
        ),
        (DEVICE, "no line of kind 'samples' for 'final'"),
        (DEVICE + TIMES.replace("final", "dense"), "no line of kind 'samples' for 'final'"),
    ],
)
def test_a_malformed_answer_is_one_sentence_with_the_place_the_kind_and_the_fault(out: str, message: str) -> None:
    said = complaint(answer(0, out))
    assert said.startswith(f"the benchmark on board answered {message}")
    assert said.endswith("; check that runner.python names a Python itself, not a script around one")


def test_a_long_line_is_not_shown_whole() -> None:
    long = "x" * 10_000
    for out in (
        f'{{"kind": "{long}"}}',
        f'{{"kind": "error", "{long}": 1}}',
        f'{{"a": "{long}"}}',
        f'{{"kind": "samples", "name": "a", "ns": "{long}"}}',
        long,
    ):
        assert len(complaint(answer(0, out))) < 300


@pytest.mark.parametrize(
    ("mode", "line"),
    [
        ("load", {"kind": "loaded", "name": "final", "error": None}),
        ("outputs", {"kind": "outputs", "name": "final", "values": [[1.5]], "shapes": [[1]], "sha256": ""}),
        ("answers", {"kind": "answers", "name": "final", "ns": [1]}),
        ("throughput", {"kind": "throughput", "name": "final", "runs": [1, 0], "ns": [1, 2]}),
        ("memory", {"kind": "memory", "name": "final", "peak_bytes": None}),
    ],
)
def test_each_mode_has_its_own_kind_of_line(mode: str, line: dict[str, object]) -> None:
    request = asked(mode, batches={"final": [{"input_ids": [[1]]}]})
    assert read(answer(0, DEVICE + json.dumps(line)), request)[1].record() == line
    assert f"no line of kind '{line['kind']}' for 'final'" in complaint(answer(0, DEVICE), request)
    assert "'samples' to a request" in complaint(answer(0, DEVICE + TIMES), request)


def test_what_no_number_tells_is_an_output_all_the_same() -> None:
    line = '{"kind": "outputs", "name": "final", "values": [[NaN, -Infinity]], "shapes": [[2]], "sha256": ""}'
    found = read(answer(0, DEVICE + line), asked("outputs", batches={"final": [{"input_ids": [[1]]}]}))[1].record()
    assert str(found["values"]) == "[[nan, -inf]]"


@pytest.mark.parametrize(
    ("mode", "line", "message"),
    [
        ("throughput", '"runs": [1], "ns": [1]', "tells of 1 where 2 were asked"),
        ("throughput", '"runs": [1, 1], "ns": [1]', "tells of 1 where 2 were asked"),
        ("throughput", '"runs": [1, 1], "ns": [1, 0]', "whose ns.1 should be greater than"),
        ("outputs", '"values": [[1.0]], "shapes": [[1], [1], [1]], "sha256": ""', "tells of 1 where 3 were asked"),
        (
            "outputs",
            '"values": [[1.0], [1.0], [1.0]], "shapes": [[1], [2], [1]], "sha256": ""',
            "whose values don't have its shapes",
        ),
        ("memory", '"peak_bytes": -1', "whose peak_bytes should be greater than or equal to 0"),
    ],
)
def test_a_line_that_tells_of_more_or_less_than_was_asked(mode: str, line: str, message: str) -> None:
    said = complaint(answer(0, f'{DEVICE}{{"kind": "{mode}", "name": "final", {line}}}'), asked(mode))
    assert message in said


def test_what_a_terminal_would_take_as_a_command_is_not_shown() -> None:
    for done in (
        answer(2, err="\x1b[2Jgone\n"),
        answer(1, '{"kind": "error", "type": "Fail", "message": "\\u001b[2Jgone"}'),
        answer(0, DEVICE + '{"kind": "error", "message": "x", "\\u001b[2J": 1, "type": "x"}'),
    ):
        assert "\x1b" not in complaint(done)


def test_a_fact_that_is_no_number_is_refused() -> None:
    facts = dict.fromkeys(("governor", "temperature_c", "throttle_events", "load_1min", "quota_cores", "affinity"))
    line = json.dumps({"kind": "conditions", "moment": "before", **facts, "frequency_mhz": float("nan"), "reasons": {}})
    assert "frequency_mhz should be a finite number" in complaint(answer(0, DEVICE + line + "\n" + TIMES))
