"""edgeprune/devices/fake.py: it answers as the real runners do, and can be asked what it was asked."""

from pathlib import Path

import pytest

from edgeprune.base.errors import TargetError
from edgeprune.devices import Runner
from edgeprune.devices.fake import CREATE_MS, FAKE_DEVICE, PEAK_BYTES, FakeRunner
from edgeprune.devices.local import LocalRunner
from edgeprune.devices.protocol import (
    LatencyRequest,
    Loaded,
    ModelTimes,
    OfModel,
    PackageTimes,
    ParallelRuns,
    PeakMemory,
    SessionStart,
    of_type,
)
from tests.devices.test_ssh import write_graph
from tests.support.agent_requests import asked


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    return {name: write_graph(tmp_path / name / "model.onnx") for name in ("final", "dense")}


@pytest.mark.parametrize("mode", ["probe", "load", "latency", "throughput", "memory"])
def test_it_says_the_lines_that_a_real_runner_says_in_their_order(models: dict[str, Path], mode: str) -> None:
    def lines(runner: Runner) -> list[tuple[str, str | None, set[str]]]:
        given = {} if mode == "probe" else models if mode != "memory" else {"final": models["final"]}
        answers = runner.run(asked(mode), given)
        return [(one.kind, one.name if isinstance(one, OfModel) else None, set(one.record())) for one in answers]

    assert lines(FakeRunner()) == lines(LocalRunner())


def test_models_take_what_is_said_of_them_and_of_the_process(models: dict[str, Path]) -> None:
    runner = FakeRunner(lambda name, process: (2.0 if name == "final" else 1.0) + 10 * process)
    for expected in (2.0, 12.0):
        answers = runner.run(asked(), models)
        final, dense = of_type(answers, ModelTimes)
        assert (final.name, final.ms, dense.ms) == ("final", [expected] * 3, [expected - 1] * 3)
    runner.run(asked("memory"), models)
    (start, *_), (peak, *_) = (of_type(runner.run(asked("memory"), models), one) for one in (SessionStart, PeakMemory))
    assert (start.create_ns / 1e6, start.first_run_ns / 1e6, peak.peak_bytes) == (CREATE_MS, 12.0, PEAK_BYTES)


def test_packages_and_parallel_sessions_take_as_long(models: dict[str, Path], tmp_path: Path) -> None:
    runner = FakeRunner(lambda *_: 4.0)
    answered = runner.run(asked("answers", batches={"final": ["good", "bad"]}), {"final": tmp_path})
    assert [one.ms for one in of_type(answered, PackageTimes)] == [[4.0, 4.0]]
    together = runner.run(asked("throughput", parallel=3, seconds=2), models)
    assert [one.per_s for one in of_type(together, ParallelRuns)] == [750, 750]


def test_it_refuses_what_it_is_told_to(models: dict[str, Path]) -> None:
    runner = FakeRunner(refuses=lambda name: "no such operator" if name == "dense" else None)
    loaded = of_type(runner.run(asked("load"), models), Loaded)
    assert [(one.name, one.error) for one in loaded] == [("final", None), ("dense", "no such operator")]


def test_what_it_was_asked_is_kept(models: dict[str, Path]) -> None:
    runner = FakeRunner()
    runner.run(asked("load"), models)
    runner.run(asked(), dict(reversed(models.items())))
    assert runner.asked(LatencyRequest) == [asked()]
    assert [list(found) for _, found in runner.runs] == [["final", "dense"], ["dense", "final"]]
    assert not runner.closed
    runner.close()
    assert runner.closed


def test_a_script_comes_first(models: dict[str, Path]) -> None:
    lost = TargetError("the board went away")
    runner = FakeRunner(script=[[FAKE_DEVICE], lost])
    assert runner.run(asked("outputs"), models) == [FAKE_DEVICE]
    with pytest.raises(TargetError, match="the board went away"):
        runner.run(asked(), models)
    assert len(of_type(runner.run(asked(), models), ModelTimes)) == 2


def test_it_computes_nothing_and_opens_only_what_is_there(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give it the outputs as a script"):
        FakeRunner().run(asked("outputs"), models)
    with pytest.raises(TargetError, match="there is no"):
        FakeRunner().run(asked(), {"final": tmp_path / "nowhere.onnx"})
    with pytest.raises(TargetError, match="there is no"):
        FakeRunner().run(asked("answers"), models)
