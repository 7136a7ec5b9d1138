"""Measure seconds and peak memory of scoring, surgery, saving and loading, for a model of BERT-base's size.

    python benchmarks/surgery.py

The model has random weights. Scoring (mask Fisher, 512 texts of 128 tokens) stands beside one training pass over the
same texts (fp32, AdamW, batches of 32). Cutting half of the heads and neurons away and saving the rest stand beside a
plain `save_pretrained` of the dense model. Loading stands beside `from_pretrained`. The quick measurements take turns,
and the table has medians of --repeats. Peaks are above the process's size before the model was made, and are counted in
fp32 models of the dense size.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from memory import bert_base
from transformers import (
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    PreTrainedModel,
)

from edgeprune.base.memory import peak_memory_mb, reset_peak
from edgeprune.models.checkpoint import count_parameters, load_any, save_checkpoint
from edgeprune.models.reader import Reader
from edgeprune.models.record import PruningRecord
from edgeprune.models.text_reader import load_text_reader
from edgeprune.profiles.steps import StructuredStep
from edgeprune.pruning import importance
from edgeprune.pruning.context import Pruned
from edgeprune.pruning.structured import prune_structured

TOKENS, BATCH = 128, 32


def halve(model: PreTrainedModel, reader: Reader, importance: str) -> Pruned:
    """Prune half of every layer's heads and neurons, by a criterion that reads no text."""
    record = PruningRecord.dense(model, "0" * 64)
    pruned = Pruned(model, record, reader)
    step = StructuredStep(method="structured", keep_heads=0.5, keep_ffn=0.5, importance=importance)
    prune_structured(step, 0, pruned, SimpleNamespace(dense=record, seed=0))
    return pruned


def batches(samples: int, size: int) -> list[importance.Batch]:
    """Make batches of random texts of 128 tokens, with labels."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 30000, (samples, TOKENS), generator=generator)
    labels = torch.randint(0, 2, (samples,), generator=generator)
    return [
        {
            "input_ids": ids[start : start + size],
            "attention_mask": torch.ones(min(size, samples - start), TOKENS, dtype=torch.int64),
            "labels": labels[start : start + size],
        }
        for start in range(0, samples, size)
    ]


def training_pass(folder: Path, samples: int) -> None:
    """Train one epoch with a plain loop."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    for batch in batches(samples, BATCH):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def score(folder: Path, samples: int) -> importance.Scores:
    """Compute mask Fisher scores, in the batches that the prune stage makes from texts of this length."""
    model = load_any(folder)
    head_dim = model.config.hidden_size // model.config.num_attention_heads
    few = batches(samples, 512 // TOKENS)
    return importance.fisher(model, head_dim, few, lambda batch: model(**batch).loss * len(batch["labels"]))


def main() -> None:
    """Measure and print two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    peaks: dict[str, float] = {}

    def timed(name: str, call: Callable[[], object]) -> object:
        reset_peak()
        begin = time.perf_counter()
        result = call()
        seconds.setdefault(name, []).append(time.perf_counter() - begin)
        peaks[name] = max(peaks.get(name, 0.0), peak_memory_mb() - baseline)
        return result

    with tempfile.TemporaryDirectory() as temporary:
        dense, plain, pruned = (Path(temporary) / name for name in ("dense", "plain", "pruned"))
        bert_base(dense)
        reader = load_text_reader(dense, TOKENS)
        torch.ones(64, 64) @ torch.ones(64, 64)  # the math library allocates its buffers at the first product
        baseline = peak_memory_mb()
        for _ in range(arguments.repeats):
            model = timed("load, dense (from_pretrained)", lambda: BertForSequenceClassification.from_pretrained(dense))
            assert isinstance(model, BertForSequenceClassification)
            size = count_parameters(model) * 4 / 1e6
            timed("save, dense (save_pretrained)", lambda model=model: model.save_pretrained(plain))

            def surgery(model: BertForSequenceClassification = model) -> None:
                record = halve(model, reader, "random").record
                save_checkpoint(model, pruned, record=record, reader=reader)

            timed("surgery and save, pruned", surgery)
            del model
            timed("load, pruned", lambda: load_any(pruned))
            shutil.rmtree(pruned)
        # Last: what a training has taken, the allocator doesn't give back.
        timed("scoring", lambda: score(dense, arguments.samples))
        timed("a training pass", lambda: training_pass(dense, arguments.samples))
    print("| what | seconds | peak MB | in fp32 models |")
    print("|---|---|---|---|")
    for name, taken in seconds.items():
        print(f"| {name} | {statistics.median(taken):.2f} | {peaks[name]:.0f} | {peaks[name] / size:.1f} |")


if __name__ == "__main__":
    main()
