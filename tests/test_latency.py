import numpy as np
import pytest

from edgeprune.latency import MINIMUM_SAMPLES, percentile, percentile_interval, ratio_interval


def processes(count: int, samples: int, *, seed: int = 0, spread: float = 0.0) -> list[list[float]]:
    generator = np.random.default_rng(seed)
    return [list(10 + spread * process + generator.exponential(size=samples)) for process in range(count)]


@pytest.mark.parametrize(("q", "fewest"), [(50, 16), (90, 64), (95, 130), (99, 662)])
def test_a_percentile_is_claimed_only_from_enough_samples(q: int, fewest: int):
    assert MINIMUM_SAMPLES[q] == fewest
    values = list(np.linspace(1, 2, fewest))
    assert percentile([values[1:]], q) is None
    assert percentile([values], q) == pytest.approx(np.percentile(values, q))


def test_samples_of_all_processes_count_together():
    samples = processes(4, 25)
    assert percentile(samples, 90) == pytest.approx(np.percentile(np.concatenate(samples), 90))
    assert percentile([*samples, []], 90) == percentile(samples, 90)


@pytest.mark.parametrize("samples", [processes(1, 200), processes(4, 3)], ids=["one process", "too few samples"])
def test_no_interval_without_processes_and_samples(samples: list[list[float]]):
    assert percentile_interval(samples, 50) is None


@pytest.mark.parametrize("q", [50, 90])
def test_the_interval_holds_the_percentile_and_repeats(q: int):
    samples = processes(5, 100, spread=0.1)
    interval = percentile_interval(samples, q)
    value = percentile(samples, q)
    assert interval is not None
    assert value is not None
    assert interval[0] < value < interval[1]
    assert percentile_interval(samples, q) == interval
    assert percentile_interval(samples, q, seed=1) != interval


def test_the_interval_is_over_processes_not_over_runs():
    same = [list(np.linspace(1, 2, 100))] * 5
    value = percentile(same, 50)
    assert percentile_interval(same, 50) == (value, value)
    apart = processes(5, 100, spread=10.0)
    interval = percentile_interval(apart, 50)
    assert interval is not None
    assert interval[1] - interval[0] > 10


def test_a_ratio_is_of_turns_that_met_the_same_disturbance():
    disturbed = np.repeat(np.random.default_rng(0).uniform(1, 5, 12), 10)
    a = [list(1.1 * disturbed), list(1.1 * disturbed[::-1])]
    b = [list(disturbed), list(disturbed[::-1])]
    ratio, interval = ratio_interval(a, b, block=10)
    assert (ratio, *(interval or ())) == pytest.approx((1.1, 1.1, 1.1))
    assert ratio_interval(b, b, block=10) == (1, (1, 1))


@pytest.mark.parametrize(("turns", "ranks"), [(5, None), (6, (1, 6)), (9, (2, 8)), (20, (6, 15))])
def test_the_interval_lies_between_the_order_statistics_of_the_sign_test(turns: int, ranks: tuple[int, int] | None):
    ratio, interval = ratio_interval([[float(turn) for turn in range(1, turns + 1)]], [[1.0] * turns], block=1)
    assert ratio == (turns + 1) / 2
    assert interval == ranks


def test_a_ratio_of_equals_holds_one_19_times_in_20():
    inside = 0
    for seed in range(200):
        a, b = processes(3, 50, seed=2 * seed), processes(3, 50, seed=2 * seed + 1)
        _, interval = ratio_interval(a, b, block=10)
        assert interval is not None
        inside += interval[0] <= 1 <= interval[1]
    assert inside >= 184  # 190 expected of a 95% interval; 184 or more with a probability of 97%
