"""Read the latency samples that a benchmark wrote: `samples.jsonl` in the store, `<package>.benchmark.jsonl` beside a package."""

import json
from pathlib import Path

__all__ = ["read_samples"]


def read_samples(path: Path) -> dict[str, list[list[float]]]:
    """Read the times of a benchmark's runs in ms, by model, one list for each process in which models took turns.

    Raises:
        ValueError: The file isn't what a benchmark writes.
        OSError: The file can't be read.
    """
    taken: dict[str, list[list[float]]] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["kind"] == "samples":
                taken.setdefault(record["name"], []).append([ns / 1e6 for ns in record["ns"]])
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} doesn't hold a benchmark's samples") from error
    return taken
