"""edgeprune/pipeline/stages/shrink.py and losses.py: rungs that are cut one from the other, by budgets."""

import json
from pathlib import Path

import pytest

from edgeprune.base.errors import UnreachableBudgetError
from edgeprune.data.table import DataSpec
from edgeprune.models.architectures import layers_of
from edgeprune.models.checkpoint import load_any
from edgeprune.models.record import read_pruning
from edgeprune.pipeline.plan import Node, plan_checkpoints
from edgeprune.pipeline.run import run_nodes
from edgeprune.pipeline.stages.losses import Losses
from edgeprune.pipeline.stages.shrink import Shrink
from edgeprune.pipeline.subject import find_subject
from edgeprune.profiles.shipped import load_pipeline
from edgeprune.profiles.steps import ReconstructStep
from edgeprune.pruning.loss_table import LossTable
from edgeprune.search.allocation import Allocation
from edgeprune.search.costs import Costs
from edgeprune.search.hidden_costs import HiddenCosts
from edgeprune.store.records import Artifact
from edgeprune.store.store import Store
from tests.support.e2e import Built

WIDTHS = (0, 32, 64, 96, 128)
COSTS = Costs(unit="multiply-adds", base=10, attention=(1, 9, 17, 25, 33), widths=WIDTHS, ffn=(1, 17, 33, 49, 65))
SOLVED = ReconstructStep(method="reconstruct", samples=64)
DENSE = 10 + 2 * (33 + 65)
ONE_SIZE = HiddenCosts({32: COSTS})


def ladder(
    built: Built,
    store: Path,
    budgets: list[float],
    steps: str = "",
    task: str = "text-classification",
    costs: HiddenCosts = ONE_SIZE,
) -> dict[str, Artifact]:
    """Run prepare, the steps, and then losses and shrink for each budget; the artifacts by the node's id."""
    subject = find_subject(str(built.model), DataSpec(train=str(built.data)), task=task, offline=True)
    prune = f"stages.prune.steps=[{steps}]" if steps else "stages.prune=null"
    pipeline = load_pipeline(str(built.pipeline), [prune, "stages.finetune=null"])
    nodes = plan_checkpoints(subject, pipeline, Store(store))
    dense = before = nodes[0]
    before = nodes[-1]
    for number, budget in enumerate(budgets, 1):
        parents = {"dense": dense, "checkpoint": before}
        losses = Node(
            f"losses-{number}",
            Losses(samples=48, align=32, reconstruct=SOLVED, dimensions=costs is not ONE_SIZE, round_number=number),
            parents,
            Store(store),
            0,
        )
        shrink = Shrink(budget, costs=costs, reconstruct=SOLVED, round_number=number)
        before = Node(f"shrink-{number}", shrink, {**parents, "losses": losses}, Store(store), 0)
        nodes += [losses, before]
    return {node.id: done.artifact for node, done in run_nodes(nodes, subject, Store(store))}


def of(artifact: Artifact) -> tuple[LossTable | None, Allocation | None]:
    """What an artifact says of losses, and what of sizes."""
    texts = [artifact.file(name) for name in ("losses.json", "allocation.json")]
    table, sizes = (path.read_text(encoding="utf-8") if path.exists() else None for path in texts)
    return (
        None if table is None else LossTable.model_validate_json(table),
        None if sizes is None else Allocation.model_validate_json(sizes),
    )


@pytest.mark.parametrize("steps", ["", "{method: vocabulary}, {method: layers, drop: [0]}"], ids=["dense", "pruned"])
def test_each_rung_is_cut_from_the_one_before_and_keeps_its_budget(built: Built, tmp_path: Path, steps: str) -> None:
    share = 0.5 if steps else 1.0
    budgets = [share * 120, share * 60]
    found = ladder(built, built.copied_store(tmp_path), budgets, steps)
    before = read_pruning(found["prune-1"].file("checkpoint")) if steps else None
    for number, budget in enumerate(budgets, 1):
        table, _ = of(found[f"losses-{number}"])
        _, allocation = of(found[f"shrink-{number}"])
        assert table is not None
        assert allocation is not None
        record = read_pruning(found[f"shrink-{number}"].file("checkpoint"))
        assert record is not None
        if before is not None:
            assert [layer.index for layer in table.layers] == [layer.index for layer in before.layers]
            assert record.vocabulary == before.vocabulary
        sizes = [(len(layer.heads), len(layer.neurons)) for layer in record.layers]
        assert tuple(sizes) == allocation.sizes
        assert COSTS.of(sizes) == allocation.cost <= budget
        model = load_any(found[f"shrink-{number}"].file("checkpoint"))
        assert [parts.ffn_out.linear.in_features for parts in layers_of(model)] == [width for _, width in sizes]
        before = record


def test_a_rung_says_what_it_is_predicted_to_cost_and_reads_no_test_split(built: Built, tmp_path: Path) -> None:
    found = ladder(built, built.copied_store(tmp_path), [0.7 * DENSE])
    _, allocation = of(found["shrink-1"])
    assert allocation is not None
    metrics = found["shrink-1"].manifest.metrics
    assert metrics.scores == {"predicted_cost": allocation.cost, "loss": allocation.loss}
    assert metrics.metric is None
    assert not found["shrink-1"].file("outputs.safetensors").exists()
    config = json.loads(found["shrink-1"].file("manifest.json").read_text(encoding="utf-8"))["config"]
    assert config["budget"] == 0.7 * DENSE


def test_a_rung_may_be_narrowed_and_stays_so(built: Built, tmp_path: Path) -> None:
    """The second budget is below what any model of 32 dimensions costs."""
    cheap = COSTS.model_copy(
        update={
            "base": 5.0,
            **{name: tuple(cost / 2 for cost in getattr(COSTS, name)) for name in ("attention", "ffn")},
        }
    )
    costs = HiddenCosts({32: COSTS, 16: cheap})
    found = ladder(built, built.copied_store(tmp_path), [0.9 * DENSE, COSTS.least - 1, cheap.least + 0.5], costs=costs)
    tables = [of(found[f"losses-{number}"])[0] for number in (1, 2, 3)]
    first, second, third = (of(found[f"shrink-{number}"])[1] for number in (1, 2, 3))
    assert first is not None
    assert second is not None
    assert third is not None
    assert list(first.distances) == [32, 16]
    assert first.distances[first.hidden or 32] == min(first.distances.values())
    assert (second.distances, third.distances, third.hidden) == ({}, {}, None)
    assert 16 in (first.hidden, second.hidden)
    for number, table, allocation in zip((1, 2, 3), tables, (first, second, third), strict=True):
        record = read_pruning(found[f"shrink-{number}"].file("checkpoint"))
        assert record is not None
        assert table is not None
        assert costs.of(record) == allocation.cost <= allocation.budget
        if allocation.hidden is not None:
            assert record.hidden == tuple(sorted(table.dimensions[:16]))
    assert record.hidden is not None
    model = load_any(found["shrink-3"].file("checkpoint"))
    assert model.get_input_embeddings().weight.shape[1] == len(record.hidden) == 16


def test_embeddings_have_losses_without_labels(built: Built, tmp_path: Path) -> None:
    found = ladder(built, tmp_path / "store", [0.7 * DENSE], task="feature-extraction")
    table, _ = of(found["losses-1"])
    assert table is not None
    for layer in table.layers:
        assert layer.attention[-1] == layer.ffn[-1] == 0 < min(layer.attention[0], layer.ffn[0])


def test_a_budget_below_an_empty_layer_leaves_nothing(built: Built, tmp_path: Path) -> None:
    store = built.copied_store(tmp_path)
    with pytest.raises(UnreachableBudgetError, match="the least that this model can take here is 12 multiply-adds"):
        ladder(built, store, [11])
    assert not (store / "shrink").exists() or not list((store / "shrink").iterdir())


def test_a_key_knows_the_budget_the_costs_and_the_step() -> None:
    parents = {"dense": "a" * 64, "checkpoint": "b" * 64, "losses": "c" * 64}
    dearer = COSTS.model_copy(update={"base": 11.0})
    other, two = HiddenCosts({32: dearer}), HiddenCosts({32: COSTS, 16: dearer})
    weaker = SOLVED.model_copy(update={"ridge": 0.5})
    keys = {
        Shrink(budget, costs=costs, reconstruct=step, round_number=1).key(parents, 0)
        for budget, costs, step in (
            (9, ONE_SIZE, SOLVED), (8, ONE_SIZE, SOLVED), (9, other, SOLVED), (9, ONE_SIZE, weaker), (9, two, SOLVED),
        )
    }  # fmt: skip
    assert len(keys) == 5
    tables = {
        Losses(samples=samples, align=align, reconstruct=step, dimensions=dimensions, round_number=1).key(parents, 0)
        for samples, align, step, dimensions in (
            (8, 32, SOLVED, False), (9, 32, SOLVED, False), (8, 64, SOLVED, False), (8, 32, weaker, False),
            (8, 32, SOLVED, True),
        )
    }  # fmt: skip
    assert len(tables) == 5
    assert "dimensions" not in Losses(samples=8, align=32, reconstruct=SOLVED, round_number=1).fingerprint()
