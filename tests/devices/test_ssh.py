"""edgeprune/devices/ssh.py, remote.py and connection.py against a real OpenSSH server on this machine."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.base.errors import ProfileError, TargetError
from edgeprune.devices import ssh
from edgeprune.devices.connection import killable
from edgeprune.devices.protocol import DeviceFacts, ModelTimes, Outputs, PackageTimes, ProbeRequest, Request, of_type
from edgeprune.devices.remote import RemoteRunner
from edgeprune.devices.ssh import SshLine
from edgeprune.profiles.runners import SshConfig
from edgeprune.profiles.shipped import load_target
from tests.support import sshd
from tests.support.agent_requests import asked
from tests.support.e2e import Built, read_events, target_text
from tests.support.sshd import Board, signal_all, wait

pytestmark = pytest.mark.skipif(sshd.SSHD is None, reason="needs sshd: apt-get install openssh-server")

REQUEST = asked()
ENDLESS = asked(warmup=10**9)
PROBE = ProbeRequest(provider="CPUExecutionProvider")


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "a" / "model.onnx")


def write_graph(path: Path, *, opset: int = 20, external: bool = False) -> Path:
    """Adds a row of a weight to every id."""
    weight = numpy_helper.from_array(np.array([[3, 4]]), "w")
    made = helper.make_graph(
        [helper.make_node("Add", ["input_ids", "w"], ["logits"])],
        "g",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", 2])],
        [helper.make_tensor_value_info("logits", TensorProto.INT64, ["batch", 2])],
        [weight],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    path.parent.mkdir()
    onnx.save(model, path, save_as_external_data=external, location=f"{path.name}.data", size_threshold=0)
    return path


def config_of(board: Board, **changes: str) -> SshConfig:
    values = {"type": "ssh", "host": "board", "python": sys.executable, "folder": str(board.folder)}
    return SshConfig.model_validate({**values, **changes})


def runner_of(board: Board, **changes: str) -> RemoteRunner:
    config = config_of(board, **changes)
    return RemoteRunner(config, lambda: SshLine(config))


def fault_of(runner: object, folder: Path) -> str:
    """What is said of a profile with such a runner: one line, without the number of its line in the file."""
    path = folder / "there.yaml"
    path.write_text(target_text("there", runner=runner), encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        load_target(str(path))
    (found,) = str(caught.value).splitlines()[1:]
    number, _, fault = found.strip().partition(", ")
    assert re.fullmatch(r"line \d+", number)
    return fault


def complaint(runner: RemoteRunner, models: dict[str, Path], request: Request) -> str:
    """The one sentence on why a run fails."""
    try:
        with pytest.raises(TargetError) as caught:
            runner.run(request, models)
    finally:
        runner.close()
    assert caught.value.exit_code == 6
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refusal(board: Board, models: dict[str, Path], request: Request = REQUEST, **changes: str) -> str:
    """Likewise; the device is clean afterwards."""
    said = complaint(runner_of(board, **changes), models, request)
    board.assert_clean()
    return said


def test_the_agents_lines_come_back_and_nothing_stays_on_the_device(board: Board, graph: Path) -> None:
    runner = runner_of(board)
    answers = runner.run(REQUEST, {"final": graph, "dense": graph})
    kinds = [one.kind for one in answers if one.kind != "conditions"]
    assert kinds == ["device", "session", "session", "samples", "samples"]
    times = of_type(answers, ModelTimes)
    assert [one.name for one in times] == ["final", "dense"]
    assert all(len(one.ns) == 3 for one in times)
    assert len(list(board.folder.iterdir())) == 1
    runner.close()
    board.assert_clean()
    assert runner.run(PROBE, {})[0].kind == "device"
    runner.close()
    board.assert_clean()


def test_what_begins_after_a_line_was_cut_does_not_go_on(tmp_path: Path) -> None:
    def run(command: str) -> subprocess.CompletedProcess[str]:
        line = ["bash", "-c", killable(str(tmp_path), command)]  # bash becomes a lone command
        return subprocess.run(line, capture_output=True, text=True, check=False)

    assert run("exec echo ran").stdout == ""
    (tmp_path / "alive").touch()
    assert run("exec echo ran").stdout == "ran\n"
    assert len((tmp_path / "pid").read_text().splitlines()) == 2
    assert run("kill -9 $$").returncode == 128 + 9, "ssh would hide a signal"


def test_weights_beside_a_graph_go_with_it(board: Board, tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "external" / "model.onnx", external=True)
    assert graph.with_name("model.onnx.data").is_file()
    runner = runner_of(board)
    answers = runner.run(asked("outputs"), {"final": graph})
    runner.close()
    assert [one.values for one in of_type(answers, Outputs)] == [[[4, 6]] * 3]


def test_temporary_files_of_the_agent_lie_in_the_work_folder(board: Board) -> None:
    facts = dict.fromkeys(("onnxruntime", "cpu", "cores", "python")) | {"arch": "x86_64", "isa": []}
    line = json.dumps({"kind": "device", **facts, "system": "TMPDIR"}).replace('"', '\\"').replace("TMPDIR", "$TMPDIR")
    python = board.python(f'echo "{line}"')
    runner = runner_of(board, python=python)
    (device,) = of_type(runner.run(PROBE, {}), DeviceFacts)
    runner.close()
    assert device.system.startswith(f"{board.folder}/edgeprune.")


def test_answers_are_timed_with_a_packages_own_files(board: Board, built: Built, tmp_path: Path) -> None:
    def copies() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in board.folder.glob("*/*/*.onnx")}

    graph = write_graph(tmp_path / "a" / "model.onnx")
    runner = runner_of(board)
    runner.run(REQUEST, {"final": graph})
    answers = runner.run(asked("answers", batches={"final": ["good", "bad .", "good"]}), {"final": built.package})
    before = copies()
    runner.run(REQUEST, {"final": graph})
    assert copies() == before, "both are needed again and again"
    runner.close()
    (times,) = of_type(answers, PackageTimes)
    assert len(times.ns) == 3
    board.assert_clean()


def test_a_model_is_copied_once_and_removed_when_another_takes_its_place(
    board: Board, graph: Path, tmp_path: Path
) -> None:
    twin, other = tmp_path / "twin" / "model.onnx", write_graph(tmp_path / "other" / "model.onnx", opset=19)
    twin.parent.mkdir()
    twin.write_bytes(graph.read_bytes())

    def copies() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in board.folder.glob("*/*/model.onnx")}

    runner = runner_of(board)
    runner.run(REQUEST, {"dense": graph, "final": other})
    before = copies()
    assert len(before) == 2
    runner.run(asked("memory", batches={"final": [{"input_ids": [[1, 2]]}]}), {"final": twin})
    assert copies() == before
    runner.run(REQUEST, {"dense": twin, "final": write_graph(tmp_path / "third" / "model.onnx", opset=18)})
    after = copies()
    assert len(after) == 2
    assert len(before.items() & after.items()) == 1
    runner.close()
    board.assert_clean()


def test_one_connection_serves_every_run(board: Board, graph: Path) -> None:
    runner = runner_of(board)
    for _ in range(3):
        runner.run(REQUEST, {"final": graph})
    runner.close()
    log = (board.root / "sshd.log").read_text()
    assert log.count("Accepted publickey") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"host": "off"}, "off doesn't answer (ssh: connect to host 127.0.0.1 port"),
        ({"host": "nobody.invalid"}, "no machine with the name nobody.invalid is known; correct runner.host"),
        ({"host": "stranger"}, "stranger refuses the login without a password"),
        ({"python": "no-such-python"}, "there is no no-such-python on board that can be run; install Python 3.9"),
        ({"python": "/etc/hostname"}, "there is no /etc/hostname on board that can be run"),
        ({"folder": "/proc"}, "could not make a folder below /proc on board: mktemp:"),
    ],
)
def test_a_device_that_cannot_be_used_is_a_sentence(
    board: Board, graph: Path, changes: dict[str, str], message: str
) -> None:
    assert message in refusal(board, {"final": graph}, **changes)


def test_a_host_key_that_is_not_known_is_refused_and_not_learnt(board: Board, graph: Path) -> None:
    board.known_hosts.write_text("")
    assert "the host key of board isn't known here; log in once with: ssh board" in refusal(board, {"final": graph})
    assert not board.known_hosts.read_text()


def test_a_host_key_that_has_changed_is_refused(board: Board, graph: Path) -> None:
    board.know("client_key")
    assert "board has another host key than the one that is known here" in refusal(board, {"final": graph})


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (f'exec {sys.executable} -S -I "$@"', "can't import what the benchmark needs: No module named 'onnxruntime'"),
        (
            "kill -ILL $$",
            "was ended by SIGILL on board: its onnxruntime or numpy uses instructions that this CPU lacks",
        ),
        ("kill -KILL $$", "was ended by SIGKILL on board: most likely the device is out of memory"),
        ("echo hello", "answered 'hello' instead of JSON"),
        ("echo '{\"kind\": '", "instead of JSON"),
        ("true", "answered nothing instead of JSON"),
        ("echo broken >&2; exit 3", "the benchmark's process ended with 3 on board: broken"),
    ],
)
def test_a_python_that_cannot_answer_is_a_sentence(board: Board, graph: Path, script: str, message: str) -> None:
    assert message in refusal(board, {"final": graph}, python=board.python(script))


def test_a_provider_that_the_device_lacks_is_refused_by_a_probe_too(board: Board, graph: Path) -> None:
    for mode in ("latency", "probe"):
        request = asked(mode, provider="CUDAExecutionProvider")
        assert "not CUDAExecutionProvider" in refusal(board, {"final": graph}, request)


def test_a_model_that_is_too_new_for_the_device_is_a_sentence(board: Board, tmp_path: Path) -> None:
    newer = write_graph(tmp_path / "newer" / "model.onnx", opset=99)
    message = refusal(board, {"final": newer})
    assert "on board is too old for the model" in message
    assert "stages.export.opset" in message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_device_is_a_sentence(board: Board, tmp_path: Path) -> None:
    large = tmp_path / "large" / "model.onnx"
    large.parent.mkdir()
    large.write_bytes(os.urandom(2_000_000))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", board.folder], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("this root may not mount")
    try:
        message = refusal(board, {"final": large})
    finally:
        subprocess.run(["umount", board.folder], check=True)
    assert "could not copy model.onnx (2.0 MB) to board: the device has no space left" in message


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["cut", "silent"])
def test_a_connection_that_is_lost_is_made_again(
    board: Board, graph: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The first agent sleeps. A server that is stopped doesn't notice that the line is dead, nor does its agent."""
    monkeypatch.setitem(ssh._OPTIONS, "ServerAliveInterval", "1")
    once = board.root / "once"
    sleep = f'{sys.executable} -c "import time; time.sleep(600)"'
    script = board.python(f'if mkdir {once} 2>/dev/null; then exec {sleep} "$@"; fi\nexec {sys.executable} "$@"')
    runner = runner_of(board, python=script)
    losing = threading.Thread(target=lambda: (wait(once.exists), board.signal_sessions(number)))
    losing.start()
    answers = runner.run(REQUEST, {"final": graph})
    losing.join()
    assert of_type(answers, ModelTimes)
    assert len(list(board.folder.iterdir())) == 1
    runner.close()
    board.assert_clean()


def test_a_connection_that_is_cut_between_two_runs_is_made_again(board: Board, graph: Path) -> None:
    runner = runner_of(board)
    runner.run(REQUEST, {"final": graph})
    board.signal_sessions(signal.SIGKILL)
    wait(lambda: not board.sessions)
    answers = runner.run(REQUEST, {"final": graph})
    assert of_type(answers, ModelTimes)
    runner.close()
    board.assert_clean()


def test_a_device_that_goes_away_in_the_middle_is_a_sentence_and_runs_nothing_on(board: Board, graph: Path) -> None:
    def go_away() -> None:
        wait(board.running)
        sessions = board.sessions
        board.server.terminate()
        board.server.wait()
        signal_all(sessions, signal.SIGKILL)

    going = threading.Thread(target=go_away)
    going.start()
    message = refusal(board, {"final": graph}, ENDLESS)
    going.join()
    assert message.startswith("board doesn't answer")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_stays_on_the_device_when_this_side_is_killed(board: Board, graph: Path, number: int) -> None:
    script = (
        "import json, signal, sys\nfrom pathlib import Path\n"
        # Whoever runs the tests in the background may have them ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from edgeprune.profiles.runners import SshConfig\nfrom edgeprune.devices.remote import RemoteRunner\n"
        "from edgeprune.devices.ssh import SshLine\nfrom edgeprune.devices.protocol import LatencyRequest\n"
        "config, request, graph = (json.loads(text) for text in sys.argv[1:])\n"
        "request = LatencyRequest.model_validate(request)\n"
        "config = SshConfig(**config)\n"
        "RemoteRunner(config, lambda: SshLine(config)).run(request, {'final': Path(graph)})\n"
    )
    config = config_of(board).model_dump()
    arguments = [json.dumps(value) for value in (config, ENDLESS.model_dump(), str(graph))]
    with tempfile.TemporaryDirectory() as temporary:  # a socket's path must be short
        command, environment = [sys.executable, "-c", script, *arguments], os.environ | {"TMPDIR": temporary}
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as process:
            wait(lambda: any("agent.py" in line for line in board.running()))
            assert list(Path(temporary).iterdir())
            process.send_signal(number)
        board.assert_clean()
        wait(lambda: not list(Path(temporary).iterdir()))


def profile(board: Board, folder: Path, name: str, **changes: Any) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(target_text(name, **{"runner": config_of(board).model_dump(), **changes}), encoding="utf-8")
    return path


def test_a_build_is_raced_and_measured_on_the_device(board: Board, built: Built, tmp_path: Path) -> None:
    target = profile(board, tmp_path, "there")
    events = tmp_path / "events.jsonl"
    done = built.again(
        "--target", target, "--set", "stages.race={processes: 1, samples: 60}", "--events", events, "--json",
        output=tmp_path / "dist",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert [row["artifact"] for row in done.document["latency"]] == ["dense-fp32", "dense", "final"]
    assert all(row["p50_ms"] > 0 and row["peak_memory_mb"] > 0 for row in done.document["latency"])
    assert done.document["race"]
    board.assert_clean()
    assert (board.root / "sshd.log").read_text().count("Accepted publickey") == 1


def test_a_plan_connects_nowhere(board: Board, built: Built, tmp_path: Path) -> None:
    target = profile(board, tmp_path, "there", runner=config_of(board, host="off").model_dump())
    done = built.again("--target", target, "--plan", "--json", output=tmp_path / "dist")
    assert done.code == 0, done.err
    assert done.document["not_measured"] is None
    assert "benchmark" in [row["stage"] for row in done.document["stages"]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"device": {"arch": "x86_64", "isa": [], "cpu": "No Such CPU"}},
            "board is not a there: the target is a No Such CPU",
        ),
        ({"device": {"arch": "aarch64", "isa": []}}, "board is not a there: the target needs aarch64"),
        (
            {"runtime": {"provider": "CUDAExecutionProvider", "threads": 1}, "precision": {"mode": "fp32"}},
            "not CUDAExecutionProvider",
        ),
    ],
)
def test_a_device_that_is_not_the_target_ends_the_build_before_anything_is_trained(
    board: Board, built: Built, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    events = tmp_path / "events.jsonl"
    done = built.again(
        "--target", profile(board, tmp_path, "there", **changes), "--events", events, output=tmp_path / "dist"
    )
    assert done.code == 6
    (complaint,) = done.complaints
    assert message in done.err.replace("\n", " "), complaint
    assert "--set target.runner=null" in done.err.replace("\n", " ")
    assert not events.exists() or not read_events(events)
    assert not (tmp_path / "dist").exists()
    board.assert_clean()


def test_a_build_that_is_terminated_leaves_nothing_on_the_device(board: Board, built: Built, tmp_path: Path) -> None:
    target = profile(board, tmp_path, "there")
    words = [*built.arguments, "--store", built.store, "--output", tmp_path / "dist", "--target", target]
    words += ["--set", "stages.benchmark.samples=3000"]
    command = [sys.executable, "-c", "from edgeprune.cli.main import main; main()", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait(lambda: any("agent.py" in line for line in board.running()), timeout_s=120)
        wait(lambda: list(board.folder.glob("*/*/model.onnx")), timeout_s=120)
        process.send_signal(signal.SIGTERM)
        _, complaint = process.communicate()
    assert process.returncode == 130, complaint
    board.assert_clean()


def test_a_machine_without_ssh_says_so(board: Board, graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(board.folder))
    assert "there is no ssh here to reach board with" in refusal(board, {"final": graph})


@pytest.mark.parametrize(
    ("runner", "line"),
    [
        ({"type": "ssh"}, "runner.host: required, but missing"),
        ({"host": "pi@board"}, "runner.type: required, but missing"),
        ({"type": "shh", "host": "a"}, "runner.type: 'shh' is not one of 'local', 'ssh', 'adb', 'emulated', 'browser'; did you mean 'ssh'?"),
        ({"type": "ssh", "host": "a", "pyton": "b"}, "runner.pyton: unknown key; did you mean 'python'?"),
        ({"type": "ssh", "host": "-oProxyCommand=x"}, "runner.host: '-oProxyCommand=x' should be user@host, or a host of"),
        ({"type": "ssh", "host": "a b"}, "runner.host: 'a b' should be user@host"),
        ({"type": "ssh", "host": "a", "python": "python3; reboot"}, "runner.python: 'python3; reboot' should be a command"),
        ({"type": "ssh", "host": "a", "folder": "tmp"}, "runner.folder: 'tmp' should be a path that begins with / or ~/"),
        ({"type": "ssh", "host": "a", "folder": "/tmp/$x"}, "runner.folder: '/tmp/$x' should be a path"),
        ({"type": "ssh", "host": 3}, "runner.host: 3 should be a valid string"),
        ("ssh", "runner: 'ssh' should"),
    ],
)  # fmt: skip
def test_a_faulty_profile_is_refused_with_the_path_of_its_fault(tmp_path: Path, runner: object, line: str) -> None:
    assert fault_of(runner, tmp_path).startswith(line)


def test_a_home_folder_may_stand_before_a_path() -> None:
    config = SshConfig(type="ssh", host="pi@board", python="~/venv/bin/python", folder="~/tmp")
    assert (config.python, config.folder) == ("~/venv/bin/python", "~/tmp")
