"""edgeprune/devices/emulated.py and stages/emulate.py, for real where `make arm` was run."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from edgeprune.base.errors import ParityError, TargetError
from edgeprune.devices.emulated import EmulatedRunner
from edgeprune.devices.local import LocalRunner
from edgeprune.devices.protocol import (
    Answer,
    Conditions,
    DeviceFacts,
    Outputs,
    OutputsRequest,
    ProbeRequest,
    Request,
    of_type,
)
from edgeprune.pipeline.stages.emulate import Emulate
from edgeprune.profiles.runners import ArmCore, EmulatedConfig
from edgeprune.profiles.session_options import SessionOptions
from tests.conftest import IMAGE_TASKS, ModelFactory
from tests.support.agent_requests import asked
from tests.support.e2e import Built, Ran, call, image_rows, read_events, target_text, task_rows, work_of, write_rows

PROBE = ProbeRequest(provider="CPUExecutionProvider")
OUTPUTS = OutputsRequest(
    provider="CPUExecutionProvider",
    sessions={"final": SessionOptions(threads=1)},
    batches={"final": [{"input_ids": [[1, 7, 9, 2]], "attention_mask": [[1] * 4]}]},
)
CORES: tuple[ArmCore, ...] = ("cortex-a53", "cortex-a72", "cortex-a76", "neoverse-n1")
WITHOUT_METRIC = ["--set", "target.budget.metric_drop=1"]


def config(core: ArmCore = "cortex-a72", root: object = None) -> EmulatedConfig:
    return EmulatedConfig(type="emulated", core=core, root=None if root is None else str(root))


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that `make arm` made is where edgeprune looks for it."""
    root = Path(os.environ["EDGEPRUNE_TESTS_ARM_ROOT"]).absolute()
    lacking = EmulatedRunner(config(root=root)).lacking
    if lacking is not None:
        pytest.skip(lacking)
    monkeypatch.setenv("EDGEPRUNE_ARM_ROOT", str(root))


def outputs_of(answers: list[Answer]) -> np.ndarray:
    (found,) = of_type(answers, Outputs)
    return np.array(found.values)


def int8_model(built: Built) -> dict[str, Path]:
    return {"final": built.artifact("quantize").file("model.onnx")}


# The runner


@pytest.mark.usefixtures("arm")
@pytest.mark.parametrize("core", CORES)
def test_the_agent_sees_the_emulated_core_not_this_machine(core: ArmCore) -> None:
    answers = EmulatedRunner(config(core)).run(PROBE, {})
    (device,) = of_type(answers, DeviceFacts)
    assert [one.moment for one in of_type(answers, Conditions)] == ["before", "after"]
    dotprod = ["asimddp"] if core in ("cortex-a76", "neoverse-n1") else []
    assert (device.arch, device.cpu, device.isa) == ("aarch64", core, ["asimd", *dotprod])
    assert device.onnxruntime == EmulatedRunner(config(core)).versions["onnxruntime"]


@pytest.mark.usefixtures("arm")
@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a76"])
def test_an_int8_model_computes_there_what_it_computes_here(built: Built, core: ArmCore) -> None:
    here = outputs_of(LocalRunner().run(OUTPUTS, int8_model(built)))
    there = outputs_of(EmulatedRunner(config(core)).run(OUTPUTS, int8_model(built)))
    np.testing.assert_allclose(there, here, atol=2e-2)


class Mistaken(EmulatedRunner):
    """A core that claims to be a cortex-a76."""

    def _cpuinfo(self) -> str:
        return EmulatedRunner(config("cortex-a76"))._cpuinfo()


@pytest.mark.usefixtures("arm")
def test_an_instruction_that_the_core_lacks_is_told(built: Built) -> None:
    with pytest.raises(ParityError, match="the model uses an instruction that a cortex-a53 lacks") as caught:
        Mistaken(config("cortex-a53")).run(OUTPUTS, int8_model(built))
    assert caught.value.exit_code == 5


@pytest.mark.usefixtures("arm")
def test_what_fails_under_emulation_is_said_with_its_reason() -> None:
    with pytest.raises(TargetError, match=r"on an emulated cortex-a72: .*nowhere\.onnx"):
        EmulatedRunner(config()).run(OUTPUTS, {"final": Path("nowhere.onnx")})


@pytest.mark.parametrize("mode", ["latency", "memory"])
def test_an_emulator_never_times_or_weighs(mode: str) -> None:
    with pytest.raises(ValueError, match="has no meaning under emulation"):
        EmulatedRunner(config()).run(asked(mode), {})


def test_without_its_root_the_runner_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TargetError, match="no qemu-aarch64-static here; run make arm") as caught:
        EmulatedRunner(config()).run(PROBE, {})
    assert caught.value.exit_code == 6
    qemu = tmp_path / "qemu-aarch64-static"
    qemu.write_text("#!/bin/sh\n")
    qemu.chmod(0o755)
    with pytest.raises(TargetError, match=rf"no ARM64 Python at {tmp_path}/root; run make arm"):
        EmulatedRunner(config(root=tmp_path / "root")).run(PROBE, {})


# The stage


class Answering(EmulatedRunner):
    """This machine in the emulator's place, its outputs changed."""

    def __init__(self, factor: float) -> None:
        super().__init__(config())
        self._factor = factor

    def run(self, request: Request, models: Mapping[str, Path]) -> list[Answer]:
        return [self._changed(one) if isinstance(one, Outputs) else one for one in LocalRunner().run(request, models)]

    def _changed(self, outputs: Outputs) -> Outputs:
        values = [[self._factor * value for value in row] for row in outputs.values]
        return outputs.model_copy(update={"values": values})


def test_the_stage_compares_as_many_rows_as_there_are_goldens(built: Built, tmp_path: Path) -> None:
    work = work_of(built, tmp_path, dense=("prepare", 0), model=("quantize", 1))
    Emulate("cortex-a72", Answering(1.0), rows=5, round_number=1)(work)
    found = (tmp_path / "emulation.json").read_text(encoding="utf-8")
    assert '"rows": 5' in found
    assert '"max_error": 0.0' in found
    assert '"same_answers": 1.0' in found


@pytest.mark.parametrize(("factor", "same"), [(-1.0, 0), (50.0, 5), (float("nan"), None)])
def test_another_answer_or_a_distant_output_ends_the_build(
    built: Built, tmp_path: Path, factor: float, same: int | None
) -> None:
    work = work_of(built, tmp_path, dense=("prepare", 0), model=("quantize", 1))
    with pytest.raises(
        ParityError, match=r"under emulation \(cortex-a72\) the model computes something else"
    ) as caught:
        Emulate("cortex-a72", Answering(factor), rows=5, round_number=1)(work)
    assert same is None or f"{same} answers are the same" in str(caught.value)
    assert not (tmp_path / "emulation.json").exists()


def test_each_core_has_a_key_of_its_own() -> None:
    keys = {
        Emulate(core, EmulatedRunner(config(core)), rows=8, round_number=1).key({"dense": "a", "model": "b"}, 0)
        for core in CORES
    }
    assert len(keys) == len(CORES)


# A build


def arm_build(built: Built, output: Path, *flags: object) -> Ran:
    return built.again("--target", "raspberry-pi-4", *WITHOUT_METRIC, *flags, output=output)


@pytest.mark.usefixtures("arm")
def test_a_build_for_a_board_is_verified_under_emulation_and_not_timed(built: Built, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    done = arm_build(built, tmp_path, "--json", "--events", events)
    assert done.code == 7, done.err
    assert done.complaints == ["edgeprune: latency_p90_ms was not measured; the budget of raspberry-pi-4 is 40 ms"]
    report = done.document
    assert (report["latency"], report["device"], report["race"]) == ([], None, [])
    found = report["emulation"]
    assert (found["core"], found["rows"], found["same_answers"]) == ("cortex-a72", 8, 1)
    assert found["max_error"] < 2e-2
    assert [row["stage"] for row in report["stages"]][-1] == "emulate"
    (note,) = (event["message"] for event in read_events(events) if event["event"] == "Note")
    said, _, command = note.partition("; on the device: ")
    assert said == "verified under emulation (cortex-a72), not timed"
    assert "this machine is not a raspberry-pi-4" in call(*shlex.split(command)[1:], "--plan").out

    again = arm_build(built, tmp_path)
    assert "emulated cortex-a72: 100% of 8 answers the same, largest difference" in again.out
    without_budget = arm_build(built, tmp_path, "--json", "--set", "target.budget.latency_p90_ms=null")
    assert without_budget.code == 0
    assert without_budget.document["stages"][-1]["cached"]


@pytest.mark.usefixtures("arm")
@pytest.mark.parametrize("task", ["question-answering", "fill-mask", "image-classification"])
def test_outputs_of_every_kind_are_compared(tiny_model_folder: ModelFactory, tmp_path: Path, task: str) -> None:
    images = task in IMAGE_TASKS
    rows = image_rows(tmp_path, 30) if images else task_rows(task, 60)
    target = tmp_path / "board.yaml"
    runner = {"type": "emulated", "core": "cortex-a53"}
    target.write_text(target_text("board", runner=runner), encoding="utf-8")
    done = call(
        "build", tiny_model_folder("vit" if images else "bert", "Model"), "--task", task, "--offline", "--data",
        write_rows(tmp_path / "data.jsonl", rows), "--target", target, "--store", tmp_path / "store", "--output", tmp_path,
        "--json", "--set", "stages.prune=null", "--set", "stages.finetune=null", "--set", "stages.prepare.epochs=1",
        *([] if images else ["--set", "stages.prepare.max_length=24"]),
    )  # fmt: skip
    assert done.code == 0, done.err
    found = done.document["emulation"]
    assert (found["core"], found["same_answers"]) == ("cortex-a53", 1)
    assert found["rows"] > 1


def test_where_the_emulation_is_not_set_up_the_build_goes_on_and_says_so(built: Built, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    done = arm_build(built, tmp_path, "--json", "--events", events, "--set", "target.budget.latency_p90_ms=null")
    assert done.code == 0, done.err
    assert done.document["emulation"] is None
    (note,) = (event["message"] for event in read_events(events) if event["event"] == "Note")
    assert note.startswith("not measured: raspberry-pi-4 is emulated here (cortex-a72), but there is no ")
    assert "run make arm" in note


def test_the_package_is_the_same_with_and_without_emulation(
    built: Built, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    without = arm_build(built, tmp_path, "--json").document["package"]
    request.getfixturevalue("arm")
    assert arm_build(built, tmp_path, "--json").document["package"] == without
