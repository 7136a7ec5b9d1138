"""edgeprune/devices/adb.py through the real adb, its server, and a device's side that these tests play."""

import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from edgeprune.base.errors import TargetError
from edgeprune.devices.adb import AdbLine
from edgeprune.devices.probe import probe
from edgeprune.devices.protocol import ModelTimes, Outputs, Request, of_type
from edgeprune.devices.remote import RemoteRunner
from edgeprune.profiles.runners import AdbConfig
from tests.devices.test_ssh import ENDLESS, REQUEST, complaint, fault_of, write_graph
from tests.support import android
from tests.support.agent_requests import asked
from tests.support.android import Phone
from tests.support.e2e import Built, call, target_text
from tests.support.sshd import wait

pytestmark = pytest.mark.skipif(android.ADB is None, reason="needs adb: apt-get install adb")


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "a" / "model.onnx", external=True)


def config_of(phone: Phone, **changes: Any) -> AdbConfig:
    values = {"type": "adb", "serial": phone.serial, "python": sys.executable, "folder": str(phone.folder)}
    return AdbConfig.model_validate({**values, **changes})


def runner_of(phone: Phone, **changes: Any) -> RemoteRunner:
    config = config_of(phone, **changes)
    return RemoteRunner(config, lambda: AdbLine(config))


def assert_clean(phone: Phone) -> None:
    wait(lambda: not phone.running() and not list(phone.folder.iterdir()))


def refusal(phone: Phone, graph: Path, request: Request = REQUEST, **changes: Any) -> str:
    said = complaint(runner_of(phone, **changes), {"final": graph}, request)
    assert_clean(phone)
    return said


def test_the_agents_lines_come_back_and_nothing_stays_on_the_device(phone: Phone, graph: Path) -> None:
    runner = runner_of(phone)
    answers = runner.run(REQUEST, {"final": graph, "dense": graph})
    assert [one.name for one in of_type(answers, ModelTimes)] == ["final", "dense"]
    assert len(list(phone.folder.iterdir())) == 1
    outputs = runner.run(asked("outputs"), {"final": graph})
    assert [one.values for one in of_type(outputs, Outputs)] == [[[4, 6]] * 3]
    runner.close()
    assert_clean(phone)


def test_a_model_of_many_packets_arrives_whole(phone: Phone, tmp_path: Path) -> None:
    big = tmp_path / "big" / "model.onnx"
    big.parent.mkdir()
    big.write_bytes(os.urandom(3_000_001))
    runner = runner_of(phone)
    with pytest.raises(TargetError):  # no graph, but a file all the same
        runner.run(REQUEST, {"final": big})
    (copy,) = phone.folder.glob("*/*/model.onnx")
    assert copy.read_bytes() == big.read_bytes()
    runner.close()
    assert_clean(phone)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"serial": "nobody"}, "adb doesn't reach nobody (error: device 'nobody' not found); see that it is on"),
        ({"python": "no-such-python"}, "there is no no-such-python on"),
        ({"folder": "/nowhere"}, "could not make a folder below /nowhere on"),
    ],
)
def test_what_is_wrong_is_one_sentence(phone: Phone, graph: Path, changes: dict[str, str], message: str) -> None:
    assert message in refusal(phone, graph, **changes)


def test_a_phone_that_does_not_trust_this_machine_is_told_apart(phone: Phone, graph: Path) -> None:
    phone.trusting = False
    phone.adb("disconnect", phone.serial)
    phone.adb("connect", phone.serial)
    wait(lambda: "unauthorized" in phone.adb("devices"))
    assert f"{phone.serial} doesn't trust this machine yet; unlock it" in refusal(phone, graph)


def test_a_machine_without_adb_says_so(phone: Phone, graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(phone.folder))
    said = refusal(phone, graph)
    monkeypatch.setenv("PATH", path)
    assert said == f"there is no adb here to reach {phone.serial} with; install Android's platform tools"


def test_everything_runs_as_an_apps_user_where_one_is_named(
    phone: Phone, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = phone.root / "bin" / "run-as"
    tool.parent.mkdir()
    tool.write_text(
        '#!/bin/sh\n[ "$1" = com.termux ] || { echo "run-as: unknown package: $1" >&2; exit 1; }\nshift\nexec "$@"\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    runner = runner_of(phone, app="com.termux")
    assert runner.run(REQUEST, {"final": graph})
    runner.close()
    assert_clean(phone)
    assert phone.opened
    assert all(script.startswith("run-as com.termux sh -c ") for script in phone.opened)
    message = refusal(phone, graph, app="com.other")
    assert (
        "runs nothing as runner.app's user (run-as: unknown package: com.other); install a debuggable build" in message
    )


def test_a_device_that_is_unplugged_is_told(phone: Phone, graph: Path) -> None:
    serial = phone.serial

    def unplug() -> None:
        wait(lambda: any("agent.py" in line for line in phone.running()))
        phone.unplug()

    going = threading.Thread(target=unplug)
    going.start()
    message = refusal(phone, graph, ENDLESS, serial=serial)
    going.join()
    assert message.startswith(f"adb doesn't reach {serial} (error: ")


def test_what_a_short_cut_interrupted_runs_again(phone: Phone, graph: Path) -> None:
    script, met = phone.root / "python", phone.root / "met"
    script.write_text(f'#!/bin/sh\n[ -e {met} ] || {{ touch {met}; exec sleep 60; }}\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)

    def cut() -> None:
        wait(met.exists)
        phone.cut()

    going = threading.Thread(target=cut)
    going.start()
    runner = runner_of(phone, python=str(script))
    answers = runner.run(REQUEST, {"final": graph})
    going.join()
    runner.close()
    assert of_type(answers, ModelTimes)
    assert_clean(phone)


def test_a_package_is_timed_on_the_device_by_its_profile(phone: Phone, built: Built, tmp_path: Path) -> None:
    path = tmp_path / "phone.yaml"
    path.write_text(target_text("phone", runner=config_of(phone).model_dump(mode="json")), encoding="utf-8")
    settings = ["--processes", 7, "--samples", 16, "--set", "target.workload.text=true"]
    done = call("benchmark", built.package, "--target", path, *settings, "--json")
    assert done.code == 0, done.err
    (row,) = done.document["latency"]
    assert row["p50_ms"] > 0
    assert row["text_p50_ms"] > 0
    assert_clean(phone)
    assert probe(config_of(phone)).runner == config_of(phone)
    assert_clean(phone)


@pytest.mark.parametrize(
    ("runner", "line"),
    [
        ({"type": "adb"}, "runner.serial: required, but missing"),
        ({"type": "adb", "serial": "-d"}, "runner.serial: '-d' should be a serial number as adb devices lists it"),
        ({"type": "adb", "serial": "a", "app": "com.termux; reboot"}, "runner.app: 'com.termux; reboot' should be the name"),
    ],
)  # fmt: skip
def test_a_faulty_profile_is_refused_with_the_path_of_its_fault(tmp_path: Path, runner: object, line: str) -> None:
    assert fault_of(runner, tmp_path).startswith(line)
