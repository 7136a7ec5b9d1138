import numpy as np
import pytest

from edgeprune.benchmark.statistics import (
    FEWEST_PROCESSES,
    LEVEL,
    MINIMUM_SAMPLES,
    STEADY,
    drift,
    mean,
    mean_interval,
    order_interval,
    percentile,
    percentile_interval,
    process_ratio,
    ratio_interval,
)


def processes(count: int, samples: int, *, seed: int = 0, spread: float = 0.0) -> list[list[float]]:
    generator = np.random.default_rng(seed)
    return [list(10 + spread * process + generator.exponential(size=samples)) for process in range(count)]


@pytest.mark.parametrize(("q", "fewest"), [(50, 16), (90, 64), (95, 130), (99, 662)])
def test_a_percentile_is_claimed_only_from_enough_samples(q: int, fewest: int):
    assert MINIMUM_SAMPLES[q] == fewest
    values = list(np.linspace(1, 2, fewest))
    assert percentile([values[1:]], q) is None
    assert percentile([values], q) == pytest.approx(np.percentile(values, q, method="median_unbiased"))


def test_a_mean_is_the_median_over_processes_of_each_ones_own():
    samples = [[1.0] * 15 + [17.0], [3.0] * 16, [100.0] * 16]
    assert mean(samples) == 3.0
    assert mean([[1.0] * 15]) is None
    assert mean_interval(samples) is None
    low, high = mean_interval(processes(FEWEST_PROCESSES, 40, spread=1.0)) or (0, 0)
    assert 10.5 < low < high < 18


@pytest.mark.parametrize(("q", "each"), [(90, 7), (95, 14), (99, 70)])
def test_a_process_must_be_long_enough_to_hold_a_percentile(q: int, each: int):
    assert percentile(processes(100, each), q) is not None
    assert percentile(processes(100, each - 1), q) is None


def test_a_percentile_is_the_median_over_processes_of_each_ones_own():
    samples = [[float(start + step) for step in range(100)] for start in (0, 1000, 10)]
    assert percentile(samples, 90) == pytest.approx(10 + np.percentile(range(100), 90, method="median_unbiased"))
    assert percentile([*samples, []], 90) == percentile(samples, 90)


@pytest.mark.parametrize("samples", [processes(6, 200), processes(7, 2)], ids=["few processes", "few samples"])
def test_no_interval_without_processes_and_samples(samples: list[list[float]]):
    assert percentile_interval(samples, 50) is None


def test_seven_processes_are_the_fewest_with_an_interval():
    assert FEWEST_PROCESSES == 7
    values = [3.0, 1.0, 2.0, 7.0, 5.0, 6.0, 4.0]
    assert order_interval(values, LEVEL) == (1, 7)
    assert order_interval(values[1:], LEVEL) is None
    assert order_interval([*values, 8.0, 9.0], 0.95) == (2, 8)


def test_the_interval_is_over_processes_not_over_runs():
    same = [list(np.linspace(1, 2, 100))] * 8
    value = percentile(same, 50)
    assert percentile_interval(same, 50) == (value, value)
    apart = percentile_interval(processes(8, 100, spread=10.0), 50)
    assert apart is not None
    assert apart[1] - apart[0] > 10


def simulated(kind: str, generator: np.random.Generator) -> list[list[float]]:
    """Eight processes whose own speeds differ, of which each one's times hang together or not."""
    found = []
    for speed in generator.lognormal(0, 0.03, 8):
        noise = generator.gamma(2, 0.05, 40)
        if kind == "autocorrelated":
            for step in range(1, len(noise)):
                noise[step] = 0.9 * noise[step - 1] + 0.1 * noise[step]
        found.append(list(speed * (1 + noise)))
    return found


@pytest.mark.parametrize("kind", ["independent", "autocorrelated"])
def test_an_interval_holds_the_median_whatever_times_inside_a_process_do(kind: str):
    truth = float(
        np.median(
            [np.median(process) for seed in range(400) for process in simulated(kind, np.random.default_rng(seed))]
        )
    )
    inside = 0
    for seed in range(1000, 1300):
        interval = percentile_interval(simulated(kind, np.random.default_rng(seed)), 50)
        assert interval is not None
        inside += interval[0] <= truth <= interval[1]
    assert inside >= 288  # 298 are expected of 99.2%, which the smallest and largest of eight hold


@pytest.mark.parametrize(("q", "samples"), [(90, 16), (90, 40), (95, 40), (99, 100)])
def test_a_tail_is_neither_too_low_nor_too_high(q: int, samples: int):
    """Of equal processes: the interval holds the distribution's own percentile, and misses it on both sides alike."""
    truth, below, above = -float(np.log(1 - q / 100)), 0, 0
    for seed in range(400):
        generator = np.random.default_rng(seed)
        interval = percentile_interval([list(generator.exponential(size=samples)) for _ in range(24)], q)
        assert interval is not None
        below += interval[1] < truth
        above += interval[0] > truth
    assert below <= 14  # of 400; a level of 98.3% allows 3.3 on each side
    assert above <= 14


def test_a_drift_is_seen_and_what_inputs_do_is_not():
    generator = np.random.default_rng(0)
    inputs = np.linspace(1, 3, 40)
    steady = [inputs[:: -1 if number % 2 else 1] * generator.uniform(0.99, 1.01, 40) for number in range(8)]
    assert abs(drift([list(process) for process in steady]) or 0) < 0.02
    rising = [list(process * np.linspace(1, 1.3, 40)) for process in steady]
    assert (drift(rising) or 0) > STEADY
    speeds = [list(factor * np.asarray(process)) for factor, process in zip([1, 2] * 4, steady, strict=True)]
    assert abs(drift(speeds) or 0) < 0.02
    assert drift([list(inputs)]) is None


@pytest.mark.parametrize(("work", "fewest", "most"), [(1.0, 0, 8), (1.05, 290, 300)])
def test_a_ratio_over_processes_tells_more_work_and_not_luck(work: float, fewest: int, most: int):
    told = 0
    for seed in range(300):
        generator = np.random.default_rng(seed)
        a, b = [], []
        for _ in range(8):
            disturbance = np.repeat(generator.uniform(1, 1.5, 4), 10)
            luck = generator.normal(1, 0.01, 2)
            a.append(list(work * luck[0] * disturbance * generator.uniform(0.97, 1.03, 40)))
            b.append(list(luck[1] * disturbance * generator.uniform(0.97, 1.03, 40)))
        ratio, interval = process_ratio(a, b, block=10)
        assert interval is not None
        assert interval[0] <= ratio <= interval[1]
        told += interval[0] > 1 or interval[1] < 1
    assert fewest <= told <= most


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
