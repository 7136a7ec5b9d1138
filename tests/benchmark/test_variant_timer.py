"""edgeprune/benchmark/variant_timer.py with a device that isn't there."""

import json
from pathlib import Path

import pytest
from pydantic import JsonValue

from edgeprune.benchmark.variant_timer import VariantTimer
from edgeprune.devices.fake import FakeRunner
from edgeprune.devices.protocol import LatencyRequest, LoadRequest
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.session_options import SKIP_FUSION, SessionOptions
from edgeprune.profiles.variant import Variant

SESSION = SessionOptions(threads=2)
PLAIN, UNFUSED = (
    Variant(rewrites=(), precision=PrecisionSettings(mode="fp32"), session=one)
    for one in (SESSION, SESSION.toggled(SKIP_FUSION))
)
BATCHES: list[JsonValue] = [{"input_ids": [[1]]}, {"input_ids": [[2]]}]


def timer_of(runner: FakeRunner, folder: Path) -> VariantTimer:
    paths = {PLAIN: folder / "plain.onnx", UNFUSED: folder / "unfused.onnx"}
    for path in paths.values():
        path.touch()
    return VariantTimer(
        runner, provider="CPU", batches=BATCHES, path=paths.__getitem__, samples_file=folder / "samples.jsonl"
    )


def test_what_the_target_refuses_is_told_by_variant(tmp_path: Path) -> None:
    runner = FakeRunner(refuses=lambda name: "no such operator" if name == UNFUSED.words else None)
    assert timer_of(runner, tmp_path).refused([PLAIN, UNFUSED]) == {UNFUSED: "no such operator"}
    (request,) = runner.asked(LoadRequest)
    assert request.sessions == {PLAIN.words: PLAIN.session, UNFUSED.words: UNFUSED.session}
    assert request.batches == {PLAIN.words: BATCHES[:1], UNFUSED.words: BATCHES[:1]}
    assert runner.runs[0][1] == {PLAIN.words: tmp_path / "plain.onnx", UNFUSED.words: tmp_path / "unfused.onnx"}
    assert not (tmp_path / "samples.jsonl").exists(), "nothing was timed"


def test_variants_are_given_the_same_batches_as_often_as_they_are_to_run(tmp_path: Path) -> None:
    runner = FakeRunner(lambda name, process: (1.0 if name == PLAIN.words else 2.0) + process)
    found = timer_of(runner, tmp_path).measure([PLAIN, UNFUSED], 2, 3)
    assert found == {PLAIN: [[1.0] * 3, [2.0] * 3], UNFUSED: [[2.0] * 3, [3.0] * 3]}
    requests = runner.asked(LatencyRequest)
    forwards = [BATCHES[0], BATCHES[1], BATCHES[0]]
    assert [one.batches for one in requests] == [{PLAIN.words: forwards, UNFUSED.words: forwards}] * 2
    assert all(one.warmup == 3 for one in requests)
    assert [list(models) for _, models in runner.runs] == [[PLAIN.words, UNFUSED.words], [UNFUSED.words, PLAIN.words]]


def test_every_line_of_the_agent_is_kept(tmp_path: Path) -> None:
    timer = timer_of(FakeRunner(), tmp_path)
    timer.measure([PLAIN], 2, 1)
    timer.measure([UNFUSED], 1, 1)
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = [(line["process"], line["name"]) for line in lines if line["kind"] == "samples"]
    assert kept == [(0, PLAIN.words), (1, PLAIN.words), (0, UNFUSED.words)]
    assert sum(line["kind"] == "device" for line in lines) == 3


def test_two_variants_with_the_same_words_are_refused_rather_than_mixed_up(tmp_path: Path) -> None:
    int8, uint8 = (
        PLAIN.model_copy(update={"precision": PrecisionSettings(mode="int8-dynamic", weight_type=kind)})
        for kind in ("int8", "uint8")
    )
    runner = FakeRunner()
    with pytest.raises(
        ValueError, match=r"each variant that is timed needs words of its own, but .* are both 'int8-dynamic"
    ):
        timer_of(runner, tmp_path).measure([int8, uint8], 1, 1)
    assert not runner.runs
