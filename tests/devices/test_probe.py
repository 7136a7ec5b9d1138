"""edgeprune targets probe: a profile of a device as it is."""

from pathlib import Path

import pytest
import yaml

from edgeprune.base.errors import TargetError
from edgeprune.devices.fake import FAKE_DEVICE, FakeRunner
from edgeprune.devices.match import mismatches, this_machine
from edgeprune.devices.probe import place_of, probe
from edgeprune.devices.protocol import ProbeRequest
from edgeprune.ondevice.agent import device_info
from edgeprune.profiles.runners import AdbConfig, LocalConfig, SshConfig
from edgeprune.profiles.shipped import load_target
from tests.support.e2e import call


def test_this_machine_has_a_profile_that_it_is(tmp_path: Path) -> None:
    done = call("targets", "probe", "--name", "here")
    assert done.code == 0, done.err
    path = tmp_path / "here.yaml"
    path.write_text(done.out, encoding="utf-8")
    found = load_target(str(path))
    assert (found.name, found.runner) == ("here", LocalConfig(type="local"))
    assert found.runtime.threads == device_info()["cores"]
    assert mismatches(found, this_machine()) == []
    assert yaml.safe_load(done.out) == call("targets", "probe", "--name", "here", "--json").document


@pytest.mark.parametrize(("address", "host"), [("ssh://pi@board", "pi@board"), ("ssh://board", "board")])
def test_a_device_has_an_address(address: str, host: str) -> None:
    assert place_of(address) == SshConfig(type="ssh", host=host)


def test_a_name_that_no_profile_has_is_a_sentence() -> None:
    done = call("targets", "probe", "--name", "My Board")
    assert done.code == 2
    assert "what was probed is not a valid target profile" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["board"], "give ssh://user@host"),
        (["ssh://"], "give ssh://user@host"),
        (["http://board"], "give ssh://user@host"),
        (["ssh://-oProxyCommand=x"], "host: '-oProxyCommand=x' should be user@host"),
        (["ssh://a b"], "host: 'a b' should be user@host"),
        (["adb://_x"], "serial: '_x' should be a serial number"),
        (["ssh://board", "--app", "com.termux"], "app: unknown key"),
        (["ssh://board", "--folder", "tmp"], "folder: 'tmp' should be a path"),
        (["--python", "python3"], "--python is for a device that is reached by ssh or adb"),
    ],
)
def test_what_is_no_device_is_refused(arguments: list[str], message: str) -> None:
    done = call("targets", "probe", *arguments)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err


def test_a_phone_is_reached_as_the_options_say() -> None:
    assert place_of("adb://R58M1234ABC") == AdbConfig(type="adb", serial="R58M1234ABC", folder="/data/local/tmp")
    termux = {"app": "com.termux", "python": "/data/data/com.termux/files/usr/bin/python", "folder": "/data/data/x"}
    assert place_of("adb://R58M1234ABC", **termux) == AdbConfig(type="adb", serial="R58M1234ABC", **termux)


def test_a_board_is_described_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"arch": "aarch64", "isa": ["asimd"], "cpu": "cortex-a72", "cores": 4}
    device = FakeRunner(device=FAKE_DEVICE.model_copy(update=facts))
    monkeypatch.setattr("edgeprune.devices.probe.runner_for", lambda *_: device)
    found = probe(SshConfig(type="ssh", host="pi@board"))
    assert (found.name, found.device.cpu, found.runtime.threads) == ("cortex-a72", "cortex-a72", 4)
    assert found.runner == SshConfig(type="ssh", host="pi@board")
    assert device.asked(ProbeRequest)
    assert device.closed


def test_a_kind_that_no_profile_describes_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeRunner(device=FAKE_DEVICE.model_copy(update={"arch": "riscv64"}))
    monkeypatch.setattr("edgeprune.devices.probe.runner_for", lambda *_: device)
    with pytest.raises(TargetError, match="the device is riscv64"):
        probe(SshConfig(type="ssh", host="board"))
    assert device.closed
