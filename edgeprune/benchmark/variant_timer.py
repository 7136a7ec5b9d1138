"""Time variants of a graph by turns in fresh processes on a target, and keep every sample.

The target knows a variant by a name only. This module translates requests and answers; no other part of the race does
so.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import JsonValue

from edgeprune.benchmark.turns import time_by_turns
from edgeprune.devices import Runner
from edgeprune.devices.protocol import LatencyRequest, Loaded, LoadRequest, ModelTimes, of_type
from edgeprune.profiles.pipeline import BLOCK
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.variant import Variant

__all__ = ["VariantTimer"]

_WARMUP_RUNS = 3


class VariantTimer:
    """Ask a target which variants it can run, and how long each one takes.

    Args:
        runner: How the target is reached.
        provider: ONNX Runtime's execution provider.
        batches: Batches that every variant is given, one after another.
        path: Gives the file of a variant's graph.
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
        """Name the variants that the target can't open, or can't run on the provider, and say why for each one."""
        named = _named(variants)
        request = LoadRequest(provider=self._provider, sessions=_sessions(named), batches=self._given(named, runs=1))
        answers = self._runner.run(request, self._paths(named))
        return {named[one.name]: one.error for one in of_type(answers, Loaded) if one.error is not None}

    def measure(self, variants: Sequence[Variant], processes: int, samples: int) -> dict[Variant, list[list[float]]]:
        """Time variants by turns on the same batches.

        Args:
            variants: Variants that the target can run.
            processes: How many fresh processes are run.
            samples: How many samples of each variant are taken in each process.

        Returns:
            Samples in ms by variant, one list for each process.
        """
        named = _named(variants)
        request = LatencyRequest(
            provider=self._provider,
            sessions=_sessions(named),
            batches=self._given(named, runs=samples),
            warmup=_WARMUP_RUNS,
            block=BLOCK,
        )
        taken: dict[Variant, list[list[float]]] = {one: [] for one in variants}
        with self._samples_file.open("a", encoding="utf-8") as file:
            for said in time_by_turns(self._runner, request, self._paths(named), processes=range(processes)):
                file.write(said.line)
                if isinstance(said.answer, ModelTimes):
                    taken[named[said.answer.name]].append(said.answer.ms)
        return taken

    def _given(self, named: dict[str, Variant], *, runs: int) -> dict[str, list[JsonValue]]:
        """Give every variant the same batches, one for each run."""
        given = [self._batches[run % len(self._batches)] for run in range(runs)]
        return dict.fromkeys(named, given)

    def _paths(self, named: dict[str, Variant]) -> dict[str, Path]:
        return {name: self._path(one) for name, one in named.items()}


def _sessions(named: dict[str, Variant]) -> dict[str, SessionOptions]:
    return {name: one.raced_session for name, one in named.items()}


def _named(variants: Sequence[Variant]) -> dict[str, Variant]:
    """Name each variant for the agent by its words.

    Raises:
        ValueError: Two variants have the same words, so that their answers would be mixed up.
    """
    named: dict[str, Variant] = {}
    for one in variants:
        if named.setdefault(one.words, one) != one:
            raise ValueError(
                f"each variant that is timed needs words of its own, but {named[one.words]!r} and {one!r} are both "
                f"{one.words!r}; add what differs to Variant.words"
            )
    return named
