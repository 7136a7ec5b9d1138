"""Texts to token ids, once for all: every competitor is calibrated, timed and judged on the same numbers.

One text at a time, without padding. Two workloads: `128 tokens`, each text repeated up to that length, and `data`, the
texts as long as they are, both of test texts in a seeded order.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

MAX_LENGTH = 128
SEED = 0
CALIBRATION_TEXTS = 300

Ids = list[list[int]]


@dataclass(frozen=True)
class Inputs:
    """Token ids and what they should give."""

    workloads: dict[str, Ids]
    calibration: Ids
    """Of training texts."""
    test: Ids
    labels: list[int]
    """Of the test texts, by the checkpoint's numbers."""


def rows_of(path: Path) -> list[dict]:
    """The rows of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_inputs(checkpoint: Path, train: Path, test: Path, *, samples: int, max_rows: int | None) -> Inputs:
    """Everything that competitors are fed with.

    Args:
        checkpoint: Has tokenizer.json, and the labels' names in config.json.
        train: Rows with `text`.
        test: Rows with `text` and `label`.
        samples: Texts a workload.
        max_rows: Test texts that are judged; None: all.
    """
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_LENGTH)

    def encode(rows: list[dict]) -> Ids:
        return [encoding.ids for encoding in tokenizer.encode_batch([row["text"] for row in rows])]

    numbers = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["label2id"]
    rows = rows_of(test)
    order = random.Random(SEED)  # noqa: S311 (an order, no secret)
    drawn = encode(order.sample(rows, min(samples, len(rows))))
    training = rows_of(train)
    judged = rows if max_rows is None else order.sample(rows, min(max_rows, len(rows)))
    return Inputs(
        workloads={f"{MAX_LENGTH} tokens": [(ids * MAX_LENGTH)[:MAX_LENGTH] for ids in drawn], "data": drawn},
        calibration=encode(order.sample(training, min(CALIBRATION_TEXTS, len(training)))),
        test=encode(judged),
        labels=[numbers[str(row["label"])] for row in judged],
    )
