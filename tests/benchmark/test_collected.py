"""edgeprune/benchmark/collected.py: what is collected of answers."""

import pytest

from edgeprune.benchmark.collected import collect_alone, collect_turns
from edgeprune.devices.fake import FAKE_DEVICE
from edgeprune.devices.protocol import (
    Conditions,
    ModelTimes,
    PackageTimes,
    ParallelRuns,
    PeakMemory,
    Placement,
    SessionStart,
)

UNKNOWN = dict.fromkeys(("governor", "frequency_mhz", "temperature_c", "throttle_events", "quota_cores", "affinity"))


def conditions(moment: str, load: float) -> Conditions:
    return Conditions.model_validate({**UNKNOWN, "moment": moment, "load_1min": load, "reasons": {}})


def test_conditions_are_those_before_the_first_and_after_the_last_process() -> None:
    moments = (("before", 1), ("after", 2), ("before", 3), ("after", 4))
    turns = collect_turns([FAKE_DEVICE, *(conditions(moment, load) for moment, load in moments)])
    assert turns.before is not None
    assert turns.after is not None
    assert (turns.before.load_1min, turns.after.load_1min) == (1, 4)
    assert turns.device == FAKE_DEVICE


def test_each_process_adds_its_times_and_rates() -> None:
    turns = collect_turns(
        [
            ModelTimes(name="a", ns=[1_000_000, 2_000_000]),
            PackageTimes(name="a", ns=[3_000_000]),
            ParallelRuns(name="a", runs=[30, 10], ns=[10**9, 2 * 10**9]),
            ModelTimes(name="a", ns=[4_000_000]),
        ]
    )
    assert turns.samples_ms == {"a": [[1, 2], [4]]}
    assert turns.answers_ms == {"a": [[3]]}
    assert turns.rates_per_s == {"a": [35]}


@pytest.mark.parametrize(("told", "wanted"), [([True, True], True), ([True, False], False), ([False, True], False)])
def test_one_process_out_of_order_is_enough(told: list[bool], wanted: bool) -> None:
    times = [ModelTimes(name="a", ns=[1], in_order=one) for one in told]
    assert collect_turns(times).in_order is wanted


def test_a_start_is_one_that_a_model_had_alone() -> None:
    start = SessionStart(name="a", create_ns=3_000_000, first_run_ns=1_000_000)
    assert collect_turns([start]) == collect_turns([])
    assert collect_alone([start, start]).cold_starts_ms == {"a": [4.0, 4.0]}


@pytest.mark.parametrize(
    ("peaks", "wanted"), [([5e6, 7e6, 6e6], 7.0), ([7e6], 7.0), ([None, 7e6], 7.0), ([None, None], None)]
)
def test_memory_is_the_largest_peak(peaks: list[float | None], wanted: float | None) -> None:
    answers = [PeakMemory(name="a", peak_bytes=None if peak is None else int(peak)) for peak in peaks]
    assert collect_alone(answers).memory_mb == {"a": wanted}


def test_nodes_are_kept_by_provider() -> None:
    assert collect_alone([Placement(name="a", nodes={"CPU": 7})]).nodes == {"a": {"CPU": 7}}
