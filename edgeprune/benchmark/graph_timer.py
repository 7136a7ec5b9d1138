"""Time many graphs by turns, each as often as the others, with no more of them in one process than memory holds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from edgeprune.benchmark.turns import time_by_turns
from edgeprune.devices import Runner
from edgeprune.devices.protocol import LatencyRequest, ModelTimes
from edgeprune.profiles.pipeline import BLOCK
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.store.files import graph_files, total_bytes

__all__ = ["time_graphs"]

_WARMUP_RUNS = 3
_MOST_BYTES = 256 * 10**6
"""The most bytes of graphs whose sessions are open at once. A session takes up to three times its graph's size."""


def time_graphs(
    runner: Runner,
    graphs: Mapping[str, Path],
    *,
    provider: str,
    session: SessionOptions,
    batches: Sequence[JsonValue],
    processes: int,
    seed: int,
    samples_file: Path,
    progress: Callable[[int], None],
) -> dict[str, list[list[float]]]:
    """Time graphs, one run for each batch in each process.

    Args:
        runner: How the target is reached.
        graphs: The file of each graph by name.
        provider: ONNX Runtime's execution provider.
        session: The options of every graph's session.
        batches: The inputs, which every graph is given.
        processes: In how many fresh processes each graph is timed, each time beside other graphs.
        seed: The seed of the order.
        samples_file: The file to which every line of the agent is added.
        progress: A function that is called with the number of processes in which every graph was timed.

    Returns:
        Samples in ms by graph, one list for each process.
    """
    taken: dict[str, list[list[float]]] = {name: [] for name in graphs}
    generator = np.random.default_rng(seed)
    with samples_file.open("a", encoding="utf-8") as file:
        for process in range(processes):
            order = [list(graphs)[position] for position in generator.permutation(len(graphs))]
            for names in _together(order, graphs):
                request = LatencyRequest(
                    provider=provider,
                    sessions=dict.fromkeys(names, session),
                    batches={name: list(batches) for name in names},
                    warmup=_WARMUP_RUNS,
                    block=BLOCK,
                )
                together, this = {name: graphs[name] for name in names}, range(process, process + 1)
                for said in time_by_turns(runner, request, together, processes=this):
                    file.write(said.line)
                    if isinstance(said.answer, ModelTimes):
                        taken[said.answer.name].append(said.answer.ms)
            progress(process + 1)
    return taken


def _together(names: Sequence[str], graphs: Mapping[str, Path]) -> Iterator[list[str]]:
    """Divide graphs into groups that fit into memory."""
    group: list[str] = []
    size = 0
    for name in names:
        its_size = total_bytes(graph_files(graphs[name]))
        if group and size + its_size > _MOST_BYTES:
            yield group
            group, size = [], 0
        group.append(name)
        size += its_size
    yield group
