"""Time variants of a graph by turns in fresh processes on a target, and keep every sample.

To the target a variant is a name. Requests and answers are translated here, and nowhere else in the race.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from edgeprune.benchmark.turns import time_by_turns
from edgeprune.devices import Record, Runner
from edgeprune.profiles.variant import Variant

__all__ = ["VariantTimer"]

_WARMUP_RUNS = 3


class VariantTimer:
    """Asks a target which variants it can run, and how long these take.

    Args:
        runner: How the target is reached.
        provider: ONNX Runtime's execution provider.
        batches: What all variants are given, in turn.
        path: The file of a variant's graph.
        samples_file: The file to which every line of the agent is added.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        provider: str,
        batches: Sequence[JsonValue],
        path: Callable[[Variant], Path],
        samples_file: Path,
    ) -> None:
        self._runner = runner
        self._provider = provider
        self._batches = batches
        self._path = path
        self._samples_file = samples_file

    def refused(self, variants: Sequence[Variant]) -> dict[Variant, str]:
        """Say why the target's runtime can't open a variant, or not run it where it should, for each that it refuses."""
        named = _named(variants)
        request = self._request(named, runs=1) | {"mode": "load"}
        lines = self._runner.run(request, self._paths(named))
        return {
            named[str(line["name"])]: str(line["error"])
            for line in lines
            if line["kind"] == "loaded" and line["error"] is not None
        }

    def measure(self, variants: Sequence[Variant], processes: int, samples: int) -> dict[Variant, list[list[float]]]:
        """Time variants by turns on the same batches.

        Args:
            variants: Those that the target can run.
            processes: Fresh processes.
            samples: Of each variant in each process.

        Returns:
            Of each variant its samples, in ms, one list a process.
        """
        named = _named(variants)
        request = self._request(named, runs=samples) | {"warmup": _WARMUP_RUNS}
        taken: dict[Variant, list[list[float]]] = {one: [] for one in variants}
        with self._samples_file.open("a", encoding="utf-8") as file:

            def keep(line: Record) -> None:
                file.write(json.dumps(line) + "\n")
                if line["kind"] == "samples":
                    taken[named[str(line["name"])]].append([ns / 1e6 for ns in cast("list[int]", line["ns"])])

            time_by_turns(self._runner, request, self._paths(named), processes=range(processes), keep=keep)
        return taken

    def _request(self, named: dict[str, Variant], *, runs: int) -> Record:
        """Make what the agent is asked of each variant: its session, and a batch for each run."""
        batches = [self._batches[run % len(self._batches)] for run in range(runs)]
        return {
            "provider": self._provider,
            "sessions": {name: one.raced_session.model_dump(mode="json") for name, one in named.items()},
            "batches": dict.fromkeys(named, batches),
        }

    def _paths(self, named: dict[str, Variant]) -> dict[str, Path]:
        return {name: self._path(one) for name, one in named.items()}


def _named(variants: Sequence[Variant]) -> dict[str, Variant]:
    """Name each variant for the agent, by its words.

    Raises:
        ValueError: Two variants have the same words, so that the agent's answers would mix them up.
    """
    named: dict[str, Variant] = {}
    for one in variants:
        if named.setdefault(one.words, one) != one:
            raise ValueError(
                f"each variant that is timed needs words of its own, but {named[one.words]!r} and {one!r} are both "
                f"{one.words!r}; add what differs to Variant.words"
            )
    return named
