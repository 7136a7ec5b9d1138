"""What was measured, as JSON and as a Markdown table; pure functions over raw samples.

The mean stands beside the median, because a cascade moves the mean most. The interval of a ratio resamples rounds: fresh processes differ more than runs inside one. Both sides of a ratio are drawn
from the same rounds, since they took turns in them.
"""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from artifacts import Artifact
from inputs import SEED
from turns import Samples

RESAMPLES = 2000
Rounds = list[list[int]]


def p50_ms(rounds: Rounds) -> float:
    """The median of all samples, in ms."""
    return float(np.median(np.concatenate(rounds)) / 1e6)


def p90_ms(rounds: Rounds) -> float:
    """The 90th percentile of all samples, in ms."""
    return float(np.percentile(np.concatenate(rounds), 90) / 1e6)


def mean_ms(rounds: Rounds) -> float:
    """The mean of all samples, in ms. Each text's time is its median over rounds: one long pause would move a plain mean."""
    return float(np.median(np.array(rounds), axis=0).mean() / 1e6)


STATISTICS = {"p50": p50_ms, "mean": mean_ms, "p90": p90_ms}


def ratio_interval(rounds: Rounds, ours: Rounds, statistic: Callable[[Rounds], float]) -> tuple[float, float] | None:
    """95% bootstrap interval of the ratio of two artifacts' statistics, over rounds; None for fewer than two."""
    if len(rounds) < 2:
        return None
    generator = np.random.default_rng(SEED)
    ratios = []
    for _ in range(RESAMPLES):
        drawn = generator.integers(len(rounds), size=len(rounds))
        ratios.append(statistic([rounds[place] for place in drawn]) / statistic([ours[place] for place in drawn]))
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def agreement(logits: np.ndarray, dense: np.ndarray, labels: np.ndarray) -> dict:
    """An artifact's answers beside the labels and beside the dense fp32 model's."""
    answers = logits.argmax(axis=1)
    return {
        "answers": answers.tolist(),
        "accuracy": float((answers == labels).mean()),
        "same_answers_as_dense": float((answers == dense.argmax(axis=1)).mean()),
        "mean_error_to_dense": float(np.abs(logits - dense).mean()),
        "max_error_to_dense": float(np.abs(logits - dense).max()),
    }


def entry(artifact: Artifact, quality: dict, worker: dict, samples: Samples, reference: str) -> dict:
    """Everything that is known of one artifact."""
    latency = {}
    for workload, rounds in samples[artifact.name].items():
        ours = samples[reference][workload]
        latency[workload] = {"samples_ns": rounds}
        for name, statistic in STATISTICS.items():
            latency[workload][name] = {
                "ms": statistic(rounds),
                "ratio": statistic(rounds) / statistic(ours),
                "ratio_interval": ratio_interval(rounds, ours, statistic) if artifact.name != reference else None,
            }
    return {
        "title": artifact.recipe.title,
        "environment": artifact.environment.name,
        "requirements_sha256": artifact.environment.requirements_sha256,
        **worker,
        "session": artifact.session,
        "size_bytes": artifact.size_bytes,
        "build": {
            "seconds": sum(cost.seconds for cost in artifact.costs),
            "cpu_seconds": sum(cost.cpu_seconds for cost in artifact.costs),
            "peak_memory_mb": max((cost.peak_memory_mb for cost in artifact.costs), default=0.0),
            "steps": [asdict(cost) for cost in artifact.costs],
            "cpu_seconds_by_stage": artifact.stages,
        },
        **quality,
        "latency": latency,
    }


def table(artifacts: dict[str, dict], failures: dict[str, str], workloads: list[str], reference: str) -> str:
    """A Markdown row an artifact, the failed ones last."""
    columns = ["artifact", "MB", "accuracy", "as dense"]
    for workload in workloads:
        columns += [f"{name} ms, {workload} (× {reference} [95%])" for name in STATISTICS]
    columns += ["build s", "CPU s", "peak MB"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for one in artifacts.values():
        cells = [one["title"], f"{one['size_bytes'] / 1e6:.1f}", f"{one['accuracy']:.4f}"]
        cells.append(f"{one['same_answers_as_dense']:.4f}")
        for workload in workloads:
            for name in STATISTICS:
                found = one["latency"][workload][name]
                interval = found["ratio_interval"]
                ratio = f"{found['ratio']:.2f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")
                cells.append(f"{found['ms']:.3f} ({ratio})")
        build = one["build"]
        cells += [
            f"{build[name]:.0f}" if build["steps"] else "" for name in ("seconds", "cpu_seconds", "peak_memory_mb")
        ]
        if stages := build["cpu_seconds_by_stage"]:
            cells[-2] += (
                f" (race {stages.get('race', 0.0):.0f}, export and quantize {stages['export'] + stages['quantize']:.0f})"
            )
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"| {name} | failed: {why} |{' |' * (len(columns) - 2)}" for name, why in failures.items()]
    return "\n".join(lines)
