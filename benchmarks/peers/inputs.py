"""Texts, and their token ids by a tokenizer: every competitor is calibrated, timed and judged on the same texts.

One text at a time, without padding. Two workloads: `128 tokens`, each text repeated up to that length, and `data`, the
texts as long as they are, both of test texts in a seeded order. A package whose vocabulary was pruned has ids of its own.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

MAX_LENGTH = 128
SEED = 0
CALIBRATION_TEXTS = 300

Ids = list[list[int]]


@dataclass(frozen=True)
class Texts:
    """Texts and what they should give."""

    timed: list[str]
    calibration: list[str]
    """Of training texts."""
    test: list[str]
    labels: list[int]
    """Of the test texts, by the checkpoint's numbers."""


@dataclass(frozen=True)
class Encoder:
    """A tokenizer.json, with the length that texts are cut to."""

    path: Path
    max_length: int

    def ids(self, texts: Sequence[str]) -> Ids:
        """The token ids of texts."""
        tokenizer = Tokenizer.from_file(str(self.path))
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_length)
        return [encoding.ids for encoding in tokenizer.encode_batch(texts)]

    def workloads(self, texts: Sequence[str]) -> dict[str, Ids]:
        """The token ids that are timed, by workload."""
        ids = self.ids(texts)
        return {f"{MAX_LENGTH} tokens": [(one * MAX_LENGTH)[:MAX_LENGTH] for one in ids], "data": ids}


def rows_of(path: Path) -> list[dict]:
    """The rows of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_texts(checkpoint: Path, train: Path, test: Path, *, samples: int, max_rows: int | None) -> Texts:
    """Everything that competitors are fed with.

    Args:
        checkpoint: Has the labels' names in config.json.
        train: Rows with `text`.
        test: Rows with `text` and `label`.
        samples: Texts a workload.
        max_rows: Test texts that are judged; None: all.
    """
    numbers = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["label2id"]
    rows = rows_of(test)
    order = random.Random(SEED)  # noqa: S311 (an order, no secret)
    timed = order.sample(rows, min(samples, len(rows)))
    training = rows_of(train)
    judged = rows if max_rows is None else order.sample(rows, min(max_rows, len(rows)))
    return Texts(
        timed=[row["text"] for row in timed],
        calibration=[row["text"] for row in order.sample(training, min(CALIBRATION_TEXTS, len(training)))],
        test=[row["text"] for row in judged],
        labels=[numbers[str(row["label"])] for row in judged],
    )
