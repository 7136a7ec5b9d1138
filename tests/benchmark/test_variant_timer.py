"""edgeprune/benchmark/variant_timer.py with a runner that notes what it is asked."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import JsonValue

from edgeprune.benchmark.variant_timer import VariantTimer
from edgeprune.devices import Record
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.variant import SKIP_FUSION, SessionOptions, Variant

SESSION = SessionOptions(threads=2)
PLAIN, UNFUSED = (
    Variant(rewrites=(), precision=PrecisionSettings(mode="fp32"), session=one)
    for one in (SESSION, SESSION.toggled(SKIP_FUSION))
)
PATHS = {PLAIN: Path("plain.onnx"), UNFUSED: Path("unfused.onnx")}
BATCHES: list[JsonValue] = [{"input_ids": [[1]]}, {"input_ids": [[2]]}]


class Noting:
    """A runner whose device refuses what it is told to, and runs the rest in 1 ms, then 2 ms, and so on."""

    def __init__(self, refuses: Mapping[str, str] | None = None) -> None:
        self._refuses = refuses or {}
        self.asked: list[tuple[Record, dict[str, Path]]] = []

    def run(self, request: Record, models: Mapping[str, Path]) -> list[Record]:
        self.asked.append((request, dict(models)))
        if request["mode"] == "load":
            return [{"kind": "loaded", "name": name, "error": self._refuses.get(name)} for name in models]
        samples: list[Record] = [
            {"kind": "samples", "name": name, "ns": [10**6 * (run + 1) for run in range(len(batches))]}
            for name, batches in request["batches"].items()  # type: ignore[union-attr]
        ]
        return [{"kind": "device", "cpu": "one"}, *samples]

    def close(self) -> None:
        raise AssertionError


def timer_of(runner: Noting, folder: Path) -> VariantTimer:
    return VariantTimer(
        runner, provider="CPU", batches=BATCHES, path=PATHS.__getitem__, samples_file=folder / "samples.jsonl"
    )


def test_what_the_target_refuses_is_told_by_variant(tmp_path: Path) -> None:
    runner = Noting({UNFUSED.words: "no such operator"})
    assert timer_of(runner, tmp_path).refused([PLAIN, UNFUSED]) == {UNFUSED: "no such operator"}
    ((request, models),) = runner.asked
    assert request == {
        "mode": "load",
        "provider": "CPU",
        "sessions": {one.words: one.raced_session.model_dump(mode="json") for one in (PLAIN, UNFUSED)},
        "batches": {one.words: BATCHES[:1] for one in (PLAIN, UNFUSED)},
    }
    assert models == {PLAIN.words: PATHS[PLAIN], UNFUSED.words: PATHS[UNFUSED]}
    assert not list(tmp_path.iterdir()), "nothing was timed"


def test_variants_are_given_the_same_batches_as_often_as_they_are_to_run(tmp_path: Path) -> None:
    runner = Noting()
    found = timer_of(runner, tmp_path).measure([PLAIN, UNFUSED], 2, 3)
    assert found == {PLAIN: [[1.0, 2.0, 3.0]] * 2, UNFUSED: [[1.0, 2.0, 3.0]] * 2}
    forwards = [BATCHES[0], BATCHES[1], BATCHES[0]]
    assert [request["batches"] for request, _ in runner.asked] == [
        dict.fromkeys((PLAIN.words, UNFUSED.words), forwards)
    ] * 2
    assert all(request["warmup"] == 3 for request, _ in runner.asked)
    assert [list(models) for _, models in runner.asked] == [[PLAIN.words, UNFUSED.words], [UNFUSED.words, PLAIN.words]]


def test_every_line_of_the_agent_is_kept(tmp_path: Path) -> None:
    timer = timer_of(Noting(), tmp_path)
    timer.measure([PLAIN], 2, 1)
    timer.measure([UNFUSED], 1, 1)
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["process"], line["kind"], line.get("name")) for line in lines] == [
        (0, "device", None), (0, "samples", PLAIN.words), (1, "device", None), (1, "samples", PLAIN.words),
        (0, "device", None), (0, "samples", UNFUSED.words),
    ]  # fmt: skip


def test_two_variants_with_the_same_words_are_refused_rather_than_mixed_up(tmp_path: Path) -> None:
    int8, uint8 = (
        PLAIN.model_copy(update={"precision": PrecisionSettings(mode="int8-dynamic", weight_type=kind)})
        for kind in ("int8", "uint8")
    )
    runner = Noting()
    with pytest.raises(
        ValueError, match=r"each variant that is timed needs words of its own, but .* are both 'int8-dynamic"
    ):
        timer_of(runner, tmp_path).measure([int8, uint8], 1, 1)
    assert not runner.asked
