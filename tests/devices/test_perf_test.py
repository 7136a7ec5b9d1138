"""edgeprune/devices/perf_test.py: ONNX Runtime's own benchmark on a device, through adb and ssh; a stand-in for its binary."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeprune.base.errors import ProfileError
from edgeprune.devices.protocol import (
    Conditions,
    DeviceFacts,
    Loaded,
    ModelTimes,
    PeakMemory,
    Request,
    SessionStart,
    of_type,
)
from edgeprune.devices.remote import RemoteRunner
from edgeprune.ondevice.agent import conditions, device_info
from edgeprune.profiles.shipped import load_target
from tests.devices import test_adb
from tests.devices.test_adb import assert_clean
from tests.devices.test_ssh import fault_of, write_graph
from tests.support import android
from tests.support.agent_requests import asked
from tests.support.android import Phone
from tests.support.e2e import Built, call, target_text
from tests.support.perftest import write_stand_in
from tests.support.sshd import Board, wait

pytestmark = pytest.mark.skipif(android.ADB is None, reason="needs adb: apt-get install adb")

BATCHES = [{"input_ids": [[number, 2]] * rows, "unused": [[1]]} for number, rows in enumerate((1, 3, 1, 3, 1))]
GIVEN: dict[str, Any] = {"batches": {"final": BATCHES, "dense": BATCHES}, "warmup": 2}
ASKED = asked(**GIVEN)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "a" / "model.onnx", external=True)


def runner_of(phone: Phone, **changes: Any) -> RemoteRunner:
    return test_adb.runner_of(phone, **(program(phone) | changes))


def program(phone: Phone) -> dict[str, str]:
    """Of a runner: the stand-in."""
    return {"python": "python3", "perf_test": str(write_stand_in(phone.root))}


STARTED = 'echo "Session creation time cost: 0.5 s"; echo "First inference time cost: 12 ms"'


def program_of(phone: Phone, body: str) -> str:
    """A benchmark of a line of shell; `$result` is the file that it should write."""
    path = phone.root / "program"
    path.write_text(f"#!/bin/sh\n[ $# = 0 ] && exit 255\nfor result; do :; done\n{body}\n")
    path.chmod(0o755)
    return str(path)


def calls(folder: Path) -> list[dict[str, Any]]:
    """What the benchmark was called with, and the data sets that it found."""
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def refusal(phone: Phone, graph: Path, request: Request = ASKED, **changes: Any) -> str:
    return test_adb.refusal(phone, graph, request, **(program(phone) | changes))


def test_models_take_turns_shape_by_shape_and_samples_stand_where_their_batches_do(phone: Phone, graph: Path) -> None:
    runner = runner_of(phone)
    answers = runner.run(ASKED, {"final": graph, "dense": graph})
    kinds = [one.kind for one in answers]
    assert kinds == ["device", "conditions", "samples", "samples", "conditions"]
    times = of_type(answers, ModelTimes)
    assert [one.name for one in times] == ["final", "dense"]
    assert all(len(one.ns) == len(BATCHES) for one in times)
    assert all(one.record()["in_order"] is False for one in times)
    found = calls(phone.root)
    repeats = [call["arguments"][call["arguments"].index("-r") + 1] for call in found]
    assert repeats == ["5", "5", "4", "4"], "two warm-up runs in each, and a run a batch"
    given = [[feed["input_ids"] for feed in call["sets"]] for call in found]
    of_one, of_three = ([batch["input_ids"] for batch in BATCHES[start::2]] for start in (0, 1))
    assert [sorted(each) for each in given] == [of_one, of_one, of_three, of_three]
    assert all(set(feed) == {"input_ids"} for call in found for feed in call["sets"])
    runner.close()
    assert_clean(phone)


def test_samples_are_the_benchmarks_own_without_the_warm_up(phone: Phone, graph: Path) -> None:
    rows = "m,0.1,7,1,0\\nm,0.2,7,1,1\\nm,0.3,7,1,2\\nm,3e-3,7,1,3\\nm,4,7,1,4\\n"
    fewer = "m,1,7,1,0\\nm,2,7,1,1\\nm,5e-3,7,1,2\\nm,6,7,1,3\\n"
    body = f'{STARTED}; case "$*" in *"-r 5 "*) printf "{rows}" ;; *) printf "{fewer}" ;; esac >"$result"'
    runner = runner_of(phone, perf_test=program_of(phone, body))
    (times,) = of_type(runner.run(ASKED, {"final": graph}), ModelTimes)
    runner.close()
    assert times.ns == [300_000_000, 5_000_000, 3_000_000, 6_000_000_000, 4_000_000_000]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            f'{STARTED}; printf "m,1,7,1,0\\nm,2,7,1,1\\n" >"$result"',
            "wrote 2 of 5 times, and also how long the start took",
        ),
        (f'{STARTED}; printf "m,1,7,1,0\\nm,2," >"$result"', "wrote 1 of 5 times"),
        ("exit 0", "wrote 0 of 5 times, and not how long the start took"),
        (
            'for n in 1 2 3 4 5; do echo "m,1,7,1,$n"; done >"$result"',
            "wrote 5 of 5 times, and not how long the start took",
        ),
        ("printf unfinished; exit 3", "onnxruntime_perf_test failed on {serial}: unfinished"),
        ("echo warned >&2; echo Run failed:odd shape; exit 255", "failed on {serial}: Run failed:odd shape"),
        ("echo no test data; echo Run failed:failed to initialize.; exit 255", "failed on {serial}: no test data"),
        ("kill -ILL $$", "was ended by SIGILL on"),
    ],
)
def test_an_odd_answer_is_one_sentence(phone: Phone, graph: Path, body: str, message: str) -> None:
    assert message.format(serial=phone.serial) in refusal(phone, graph, perf_test=program_of(phone, body))


def test_a_last_line_without_an_end_is_read_all_the_same(phone: Phone, graph: Path) -> None:
    body = f'{STARTED}; printf unfinished; for n in 1 2 3 4 5; do echo "m,1,7,1,$n"; done >"$result"'
    runner = runner_of(phone, perf_test=program_of(phone, body))
    request = asked(**GIVEN | {"batches": {"final": BATCHES[:1] * 3}})
    (times,) = of_type(runner.run(request, {"final": graph}), ModelTimes)
    runner.close()
    assert times.ns == [10**9] * 3


def test_a_session_is_made_as_the_request_says(phone: Phone, graph: Path) -> None:
    config = {"session.intra_op.allow_spinning": "0", "optimization.disable_specified_optimizers": "A;B"}
    session = {"threads": 2, "level": "extended", "arena": False, "config": config}
    runner = runner_of(phone)
    runner.run(asked(**GIVEN, sessions={"final": session}), {"final": graph})
    runner.close()
    arguments = calls(phone.root)[0]["arguments"]
    assert arguments[:8] == ["-m", "times", "-r", "5", "-e", "cpu", "-x", "2"]
    assert arguments[8:13] == ["-y", "1", "-o", "2", "-A"]
    assert arguments[13:15] == ["-C", "session.intra_op.allow_spinning|0 optimization.disable_specified_optimizers|A;B"]


def test_start_memory_and_the_device_are_told(phone: Phone, graph: Path) -> None:
    runner = runner_of(phone)
    device, before, session, memory, _ = runner.run(asked("memory", **GIVEN), {"final": graph})
    runner.close()
    assert isinstance(device, DeviceFacts)
    assert isinstance(before, Conditions)
    assert isinstance(session, SessionStart)
    assert isinstance(memory, PeakMemory)
    here = device_info()
    assert (device.arch, device.isa, device.cpu) == (here["arch"], here["isa"], here["cpu"])
    assert (device.system, device.python, device.onnxruntime) == ("Linux", None, "1.21")
    assert before.load_1min is not None
    assert set(conditions()) <= set(before.record())
    assert session.create_ns > 0
    assert memory.peak_bytes is not None
    assert 1e7 < memory.peak_bytes < 1e9


def test_a_model_that_the_device_refuses_is_told_by_name(phone: Phone, graph: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad" / "model.onnx"
    bad.parent.mkdir()
    bad.write_bytes(graph.read_bytes())
    graph.with_name("model.onnx.data").rename(graph.with_name("gone"))  # the copy lacks its weights
    runner = runner_of(phone)
    answers = runner.run(asked("load", **GIVEN), {"final": bad, "dense": graph})
    runner.close()
    errors = [one.error for one in of_type(answers, Loaded)]
    assert len(errors) == 2
    assert all("model.onnx.data" in str(error) for error in errors)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"perf_test": "no-such-program"}, "there is no no-such-program on"),
        ({"folder": "/nowhere"}, "could not make a folder below /nowhere on"),
    ],
)
def test_what_is_wrong_is_one_sentence(phone: Phone, graph: Path, changes: dict[str, str], message: str) -> None:
    assert message in refusal(phone, graph, **changes)


def test_a_runtime_that_is_too_old_says_so(phone: Phone, tmp_path: Path) -> None:
    new = write_graph(tmp_path / "new" / "model.onnx", opset=99)
    message = refusal(phone, new)
    assert "is too old for the model: " in message
    assert message.endswith("lower stages.export.opset")


def test_a_benchmark_for_another_machine_is_not_taken_for_one(phone: Phone, graph: Path) -> None:
    other = phone.root / "other"
    other.write_bytes(b"\x7fELF" + bytes(64))
    for mode, mask in (("load", 0o755), ("probe", 0o755), ("latency", 0o644)):
        other.chmod(mask)
        message = refusal(phone, graph, asked(mode, **GIVEN), perf_test=str(other))
        assert message.startswith(f"there is no {other} on {phone.serial} that can be run (")
        assert "copy one that was built for it there" in message


def test_a_path_begins_where_the_devices_shell_does(phone: Phone, graph: Path) -> None:
    write_stand_in(phone.root)
    runner = runner_of(phone, perf_test="../onnxruntime_perf_test")
    assert runner.run(ASKED, {"final": graph})
    runner.close()
    assert_clean(phone)


def test_a_device_without_space_is_told(phone: Phone, graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tar = phone.root / "bin" / "tar"
    tar.parent.mkdir()
    tar.write_text('#!/bin/sh\necho "tar: write error: No space left on device" >&2\nexit 2\n')
    tar.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tar.parent}:{os.environ['PATH']}")
    assert f"found no space left in {phone.folder}; free some space, or name another folder" in refusal(phone, graph)


def test_leaving_is_quick_after_many_processes(phone: Phone, graph: Path) -> None:
    runner = runner_of(phone)
    runner.run(ASKED, {"final": graph})
    (folder,) = phone.folder.iterdir()
    with (folder / "pid").open("a") as file:
        file.writelines(f"{2**22 + number}\n" for number in range(20_000))  # above what Linux gives to processes
    began = time.monotonic()
    runner.close()
    assert time.monotonic() - began < 5
    assert_clean(phone)


def test_nothing_runs_on_when_the_cable_is_pulled(phone: Phone, graph: Path) -> None:
    serial = phone.serial

    def unplug() -> None:
        wait(lambda: any("onnxruntime_perf_test -m" in line for line in phone.running()))
        phone.unplug()

    going = threading.Thread(target=unplug)
    going.start()
    message = refusal(phone, graph, asked(**GIVEN | {"warmup": 10**9}), serial=serial)
    going.join()
    assert message.startswith(f"adb doesn't reach {serial} (error: ")


def test_a_board_is_timed_by_its_profile(board: Board, built: Built, tmp_path: Path) -> None:
    program = write_stand_in(board.root)
    runner = {"type": "ssh", "host": "board", "folder": str(board.folder), "perf_test": str(program)}
    path = tmp_path / "board.yaml"
    path.write_text(target_text("board", runner=runner), encoding="utf-8")
    done = call("benchmark", built.package, "--target", path, "--processes", 7, "--samples", 16, "--json")
    assert done.code == 0, done.err
    (row,) = done.document["latency"]
    assert row["p50_ms"] > 0
    assert row["p50_interval_ms"]
    assert row["peak_memory_mb"] > 10
    assert row["cold_start_ms"] > 0
    assert row["converged"] is None
    assert done.document["device"]["python"] is None
    board.assert_clean()
    done = call("targets", "probe", "ssh://board", "--perf-test", program, "--folder", board.folder)
    assert done.code == 0, done.err
    assert yaml.safe_load(done.out)["runner"]["perf_test"] == str(program)
    board.assert_clean()


@pytest.mark.parametrize(
    ("runner", "line"),
    [
        ({"perf_test": "a b"}, "runner.perf_test: 'a b' should be a command or a path"),
        ({"perf_test": "a", "python": "b"}, "runner: python and perf_test are two ways to run models there"),
    ],
)
def test_a_faulty_runner_is_refused_with_the_path_of_its_fault(tmp_path: Path, runner: Any, line: str) -> None:
    assert fault_of({"type": "adb", "serial": "a", **runner}, tmp_path).startswith(line)


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("target.workload.text=true", "workload.text"),
        ("target.workload.sessions=2", "workload.sessions"),
        ("target.budget.latency_text_p90_ms=5", "budget.latency_text_p90_ms"),
    ],
)
def test_what_it_cannot_tell_is_refused_before_anything_runs(tmp_path: Path, override: str, name: str) -> None:
    path = tmp_path / "there.yaml"
    runner = {"type": "ssh", "host": "board", "perf_test": "a"}
    path.write_text(target_text("there", runner=runner), encoding="utf-8")
    with pytest.raises(ProfileError, match=f"is not what {name} asks for"):
        load_target(str(path), [override])
