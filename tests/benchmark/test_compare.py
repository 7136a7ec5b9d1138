"""edgeprune/benchmark/compare.py and `edgeprune benchmark`: packages timed, alone and by turns."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.base.errors import IntegrityError, TargetError, UsageError
from edgeprune.base.events import Event, Progress, StageFinished, StageStarted
from edgeprune.benchmark import package_workload as package_loads
from edgeprune.benchmark.compare import BenchmarkReport, benchmark, compare
from edgeprune.benchmark.fleet import _Together, fleet
from edgeprune.devices.fake import FakeRunner
from edgeprune.devices.protocol import (
    Answer,
    AnswersRequest,
    Batch,
    LatencyRequest,
    MemoryRequest,
    Request,
    ThroughputRequest,
)
from edgeprune.profiles.pipeline import BenchmarkConfig
from edgeprune.profiles.runners import LocalConfig
from edgeprune.profiles.shipped import load_target
from edgeprune.profiles.target import Target, Workload
from edgeprune.store.files import file_digest
from tests.support.e2e import Built, call, target_text

CONFIG = BenchmarkConfig(processes=8, samples=20, warmup=1)


@pytest.fixture
def target(tmp_path: Path) -> Target:
    path = tmp_path / "here.yaml"
    path.write_text(target_text("here", budget={"latency_p50_ms": 2.0, "metric_drop": 0.001}), encoding="utf-8")
    return load_target(str(path))


@pytest.fixture
def packages(built: Built, tmp_path: Path) -> list[Path]:
    return [Path(shutil.copytree(built.package, tmp_path / name)) for name in ("new", "old")]


def told(packages: list[Path], target: Target, ratio: Callable[[int], float], **options: Any) -> BenchmarkReport:
    runner = FakeRunner(lambda name, process: ratio(process) if name.endswith("new") else 1.0)
    return benchmark(packages, target, runner, config=CONFIG, **options)


@pytest.mark.parametrize(
    ("interval", "word"),
    [((0.8, 0.99), "faster"), ((1.01, 1.1), "slower"), ((0.9, 1.1), "can't tell"), ((1.0, 1.1), "can't tell"), (None, "can't tell")],
)  # fmt: skip
def test_the_whole_interval_decides(interval: tuple[float, float] | None, word: str) -> None:
    assert compare(interval) == word


def test_two_packages_have_a_ratio(packages: list[Path], target: Target) -> None:
    report = told(packages, target, lambda process: 1.1 + 0.001 * process)
    assert report.ratio == pytest.approx(1.1035)
    assert report.ratio_interval == pytest.approx((1.1, 1.107))
    assert (report.comparison, report.budget, report.verdict, report.exit_code) == ("slower", [], "pass", 0)
    new, old = report.latency
    assert (new.artifact, new.p50_ms, new.processes, new.samples) == (str(packages[0]), pytest.approx(1.1035), 8, 160)
    assert (old.cold_start_ms, old.peak_memory_mb, old.converged) == (11, 100, True)


@pytest.mark.parametrize(
    ("ratio", "verdict", "code", "processes"),
    [
        (lambda process: 1.03 + 0.001 * (process % 8), "pass", 0, 8),
        (lambda process: 1.06 + 0.001 * (process % 8), "fail", 3, 8),
        (lambda process: 1.0 + 0.1 * (process % 2), "inconclusive", 7, 24),
    ],
)
def test_a_regression_is_gated(
    packages: list[Path], target: Target, ratio: Callable[[int], float], verdict: str, code: int, processes: int
) -> None:
    report = told(packages, target, ratio, max_regression=0.05)
    (row,) = report.budget
    assert (row.name, row.limit, row.verdict, report.exit_code) == ("regression", 1.05, verdict, code)
    assert report.latency[0].processes == processes, "asked again only where it isn't decided"


def test_more_processes_decide_what_eight_cannot(packages: list[Path], target: Target) -> None:
    report = told(packages, target, lambda process: 1.2 if process == 3 else 1.0, max_regression=0.05)
    assert (report.verdict, report.latency[0].processes) == ("pass", 16)


def test_one_package_is_judged_by_the_targets_latency(packages: list[Path], target: Target) -> None:
    report = told(packages[:1], target, lambda _process: 2.5)
    assert [(row.name, row.verdict) for row in report.budget] == [("latency_p50_ms", "fail")], "no metric is measured"
    assert (report.ratio, report.comparison, report.exit_code) == (None, None, 3)


def width(batch: Batch) -> int:
    """How many tokens a batch's texts have."""
    ids = batch["input_ids"]
    assert isinstance(ids, list)
    return len(ids[0])


def test_each_package_reads_texts_with_its_own_tokenizer(packages: list[Path], target: Target) -> None:
    runner = FakeRunner()
    benchmark(packages, target, runner, config=CONFIG, inputs=["good", "very very good ."])
    batches = runner.asked(LatencyRequest)[0].batches
    lengths = [list(map(width, each)) for each in batches.values()]
    assert lengths[0] == lengths[1]
    assert set(lengths[0]) == {3, 6}
    ((longest,),) = runner.asked(MemoryRequest)[-1].batches.values()
    assert width(longest) == 6
    assert runner.asked(LatencyRequest)[1].batches == {name: each[::-1] for name, each in batches.items()}


def test_of_many_batches_of_images_few_differ() -> None:
    pixels = {"pixel_values": np.zeros((2, 3, 4, 4), np.float32)}
    drawn = [package_loads._as_json(pixels, number) for number in range(40)]
    assert len({str(one) for one in drawn}) == 8
    assert drawn[0] == {"pixel_values": {"seed": 0, "shape": [2, 3, 4, 4]}}


def with_workload(target: Target, **workload: Any) -> Target:
    return target.model_copy(update={"workload": Workload(**workload)})


def test_texts_are_cut_or_repeated_and_put_together_as_the_workload_says(packages: list[Path], target: Target) -> None:
    runner = FakeRunner()
    texts = ["good", "very very good ."]
    asked = with_workload(target, lengths=5, batch_size=3, sessions=2)
    report = benchmark(packages[:1], asked, runner, config=CONFIG, inputs=texts)
    batches = runner.asked(LatencyRequest)[0].batches[str(packages[0])]
    assert {np.shape(values) for batch in batches for values in batch.values()} == {(3, 5)}
    (row,) = report.latency
    assert (row.batch_size, row.lengths, row.sessions, row.throughput_per_s) == (3, "5", 2, 6000)
    assert {one.parallel for one in runner.asked(ThroughputRequest)} == {2}
    with pytest.raises(UsageError, match=r"workload.lengths is 500 tokens, but the package cuts texts to"):
        benchmark(packages[:1], with_workload(target, lengths=500), runner, config=CONFIG, inputs=texts)


def test_what_takes_no_padding_takes_no_batch_of_several_lengths(packages: list[Path], target: Target) -> None:
    described = json.loads((packages[0] / "edgeprune.json").read_text(encoding="utf-8"))
    runner, several = FakeRunner(), with_workload(target, batch_size=2)
    _rewritten(packages[0], inputs=[*dict.fromkeys([*described["inputs"], "attention_mask"])])
    texts = ["good", "very very good ."]
    benchmark(packages[:1], several, runner, config=CONFIG, inputs=texts)
    (batch,) = runner.asked(MemoryRequest)[-1].batches[str(packages[0])]
    assert batch["attention_mask"] == [[1] * 6, [1, 1, 1, 0, 0, 0]]
    _rewritten(packages[0], inputs=["input_ids"])
    with pytest.raises(UsageError, match="takes no padding"):
        benchmark(packages[:1], several, runner, config=CONFIG, inputs=texts)
    (together,) = benchmark(packages[:1], several, runner, config=CONFIG, inputs=["good", "bad"]).latency
    assert together.batch_size == 2


def test_answers_are_timed_with_whole_packages_and_what_run_py_is_given(packages: list[Path], target: Target) -> None:
    runner = FakeRunner(lambda name, _process: 2.0 if name.endswith("new") else 1.0)
    report = benchmark(packages, with_workload(target, text=True), runner, config=CONFIG, inputs=["good", "bad ."])
    asked = runner.asked(AnswersRequest)
    assert len(asked) == CONFIG.processes
    assert set(map(str, asked[0].batches[str(packages[1])])) == {"good", "bad ."}
    assert [row.text_p50_ms for row in report.latency] == [2, 1]
    assert benchmark(packages, target, runner, config=CONFIG).latency[0].text_p50_ms is None


def test_lines_are_paired_where_a_package_takes_two_texts(packages: list[Path], target: Target) -> None:
    _rewritten(packages[0], pair=True)
    runner = FakeRunner()
    benchmark(packages[:1], target, runner, config=CONFIG, inputs=["good", "very bad .", "bad", "good ."])
    assert set(map(width, runner.asked(LatencyRequest)[0].batches[str(packages[0])])) == {7, 6}
    with pytest.raises(UsageError, match="takes two texts at a time"):
        benchmark(packages[:1], target, runner, config=CONFIG, inputs=["good", "very bad .", "bad"])


def test_every_sample_is_kept_where_it_is_asked_for(packages: list[Path], target: Target, tmp_path: Path) -> None:
    told(packages, target, lambda _: 1.0, samples=tmp_path / "samples.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sum(line["kind"] == "samples" for line in lines) == 2 * 8


def _rewritten(package: Path, **changes: Any) -> None:
    """A package whose edgeprune.json says something else, whole again."""
    config, sums = package / "edgeprune.json", package / "SHA256SUMS"
    before = file_digest(config)
    content = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**content, **changes}), encoding="utf-8")
    sums.write_text(sums.read_text(encoding="utf-8").replace(before, file_digest(config)), encoding="utf-8")


def test_packages_must_be_whole_and_of_one_task(packages: list[Path], target: Target) -> None:
    with pytest.raises(UsageError, match="given twice"):
        told([packages[0]] * 2, target, lambda _: 1.0)
    config = packages[1] / "edgeprune.json"
    before = config.read_text(encoding="utf-8")
    config.write_text(before.replace("text-classification", "fill-mask"), encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"edgeprune.json was changed"):
        told(packages, target, lambda _: 1.0)
    config.write_text(before, encoding="utf-8")
    _rewritten(packages[1], task="fill-mask")
    with pytest.raises(UsageError, match="compare packages of the same task"):
        told(packages, target, lambda _: 1.0)


def test_devices_are_timed_at_once_and_one_devices_jobs_one_after_the_other(
    packages: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2, timeout=60)
    running: dict[str, int] = {}

    class Device(FakeRunner):
        """Waits in its first run for the other device, and counts who else is there."""

        def __init__(self, target: Target) -> None:
            super().__init__()
            self.place = "here" if isinstance(target.runner, LocalConfig) else "board"
            self.target = target

        def run(self, request: Request, models: Mapping[str, Path]) -> list[Answer]:
            running[self.place] = running.get(self.place, 0) + 1
            assert running[self.place] == 1
            if not self.runs and self.target.name in ("a", "c"):
                both.wait()
            if self.target.name == "c" and len(self.runs) > 2:
                running[self.place] -= 1
                raise TargetError("the board went away")
            time.sleep(0.02)  # so that another one of the same device would be met
            found = super().run(request, models)
            running[self.place] -= 1
            return found

    monkeypatch.setattr("edgeprune.benchmark.fleet.runner_of", Device)
    targets = []
    for name, runner in (("a", {"type": "local"}), ("b", {"type": "local"}), ("c", {"type": "ssh", "host": "board"})):
        path = tmp_path / f"{name}.yaml"
        path.write_text(target_text(name, runner=runner), encoding="utf-8")
        targets.append(load_target(str(path)))
    told: list[Event] = []
    first, second, third = fleet(packages[:1], targets, config=CONFIG, emit=told.append)
    assert isinstance(first, BenchmarkReport)
    assert isinstance(second, BenchmarkReport)
    assert (first.target, second.target) == ("a", "b")
    assert isinstance(third, TargetError)
    # One stage, whose progress is of all three together; the board went away long before its end.
    begun, *between, ended = told
    assert isinstance(begun, StageStarted)
    assert isinstance(ended, StageFinished)
    progress = [event for event in between if isinstance(event, Progress)]
    assert len(progress) == len(between)
    assert [event.done for event in progress] == sorted(event.done for event in progress)
    assert all(event.done <= event.total for event in progress)
    assert progress[-1].done == progress[-1].total
    assert progress[0].total == 3 * (CONFIG.processes + 3), (
        "those that haven't begun are taken for as long as the first"
    )
    # The command says both, and exits with the failure's code.
    done = call(
        "benchmark", packages[0], "--targets", ",".join(str(tmp_path / f"{name}.yaml") for name in "ac"), "--json"
    )
    assert done.code == 6
    assert [one["target"] for one in done.document] == ["a", "c"]
    assert done.document[1]["error"] == "the board went away"
    assert "c: the board went away" in done.err


def test_the_command_times_for_real(built: Built, tmp_path: Path) -> None:
    other = shutil.copytree(built.package, tmp_path / "other")
    done = call("benchmark", built.package, "--against", other, "--processes", 7, "--samples", 16, "--json")
    assert done.code == 0, done.err
    report = BenchmarkReport.model_validate(done.document)
    assert report.ratio is not None
    assert 0.5 < report.ratio < 2
    assert report.ratio_interval is not None
    assert all(row.p50_ms and row.peak_memory_mb and row.cold_start_ms for row in report.latency)
    both = ["--set", "target.workload={text: true, sessions: 2}"]
    shown = call("benchmark", built.package, "--processes", 7, "--samples", 16, *both)
    assert shown.code == 0, shown.err
    assert str(built.package) in shown.out
    assert "from input to answer: p50 " in shown.out
    assert "2 sessions in parallel: " in shown.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--max-regression", "5%"], 2, "give --against"),
        (["--against", "PACKAGE", "--max-regression", "much"], 2, "such as 5% or 0.05"),
        (["--against", "nowhere"], 2, "there is no folder or file nowhere"),
        (["--inputs", "nowhere.txt"], 2, "nowhere.txt can't be read"),
        (["--inputs", "EMPTY"], 2, "has no lines"),
        (["--target", "raspberry-pi-4", "--set", "target.runner=null"], 6, "raspberry-pi-4 can't be timed from here"),
        (["--set", "stages.benchmark.processes=3"], 2, "takes only overrides of the target"),
        (["--target", "host,host", "--output", "x.jsonl"], 2, "--output is one file"),
        (["--processes", "0"], 2, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_timed_is_said(
    built: Built, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n", encoding="utf-8")
    places = {"PACKAGE": str(built.package), "EMPTY": str(empty)}
    done = call("benchmark", built.package, *(places.get(one, one) for one in arguments))
    assert done.code == code
    assert message in done.err
    assert "Traceback" not in done.err


def test_targets_that_fail_leave_the_others_progress_whole() -> None:
    told: list[Event] = []
    together = _Together(told.append, 3)
    second, third = together.of(1), together.of(2)
    together.ended(0)  # never reached
    second(0, 16, "processes")
    third(4, 16, "processes")
    second(16, 16, "processes")
    together.ended(1)
    together.ended(2)  # in the middle
    assert [(event.done, event.total) for event in told if isinstance(event, Progress)] == [
        (0, 32), (4, 32), (20, 32), (20, 20)
    ]  # fmt: skip
    assert len(told) == 4
