"""edgeprune/pipeline/stages/table.py on a tiny model, with runners that say what the test wants."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeprune.base.events import ignore
from edgeprune.base.quiet_libraries import quiet_libraries
from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec
from edgeprune.devices.fake import FakeRunner
from edgeprune.devices.protocol import LatencyRequest
from edgeprune.models.reference import resolve_model
from edgeprune.pipeline.stages.base import Work
from edgeprune.pipeline.stages.given import read_given
from edgeprune.pipeline.stages.table import Table
from edgeprune.profiles.pipeline import ExportConfig, RaceConfig
from edgeprune.profiles.target import Workload
from edgeprune.profiles.variant import RewriteRules
from edgeprune.search.costs import COSTS, LayerSize, read_costs, top_flags
from edgeprune.tasks.registry import COLUMNS
from tests.conftest import DataFactory, ModelFactory
from tests.support.targets import target_of

RULES = RewriteRules.of("portable", provider="CPUExecutionProvider", batch_size=1)
HEADS, WIDTH, LAYERS = 4, 128, 3


def time_of(layers: list[LayerSize]) -> float:
    """A device on which a layer costs less if nothing above it has heads."""
    return 1 + sum(
        (0.25 if top else 1) * (0.5 + heads + neurons / 32)
        for (heads, neurons), top in zip(layers, top_flags(layers), strict=True)
    )


def time_ms(name: str, _process: int) -> float:
    """The time of a model by its layers, or that of a variant in the race: the one with packed projections wins."""
    if re.match(r"\d+x\d+", name):
        return time_of([(int(heads), int(neurons)) for heads, neurons in re.findall(r"(\d+)x(\d+)", name)])
    return 1.0 if "packed-projections" in name and "Skip" not in name and "attention" not in name else 2.0


def table_for(runner: FakeRunner, *, race: RaceConfig | None = None, place: str = "here", **changes: Any) -> Table:
    arguments: dict[str, Any] = {
        "model_digest": "m",
        "data_digest": "d",
        "max_length": 16,
        "align": 16,
        "selection_share": 0.1,
        "pair": False,
    }
    workload = changes.pop("workload", Workload())
    return Table(
        race,
        export=ExportConfig(),
        task="text-classification",
        problem_type=None,
        target=target_of(workload=workload),
        rules=RULES,
        runner=runner,
        place=place,
        **(arguments | changes),
    )


@pytest.fixture
def work(tiny_model_folder: ModelFactory, tiny_data: DataFactory, tmp_path: Path) -> Work:
    """What the stage is given: a model of three layers."""
    (tmp_path / "table").mkdir()
    source = DataSource(DataSpec(train=str(tiny_data())), columns=COLUMNS["text-classification"], offline=True)
    return Work(
        model=resolve_model(str(tiny_model_folder(layers=LAYERS))),
        data=source,
        parents={},
        folder=tmp_path / "table",
        partial=tmp_path / "partial",
        seed=0,
        emit=ignore,
        progress=lambda *_: None,
    )


def test_costs_are_those_of_the_device(work: Work) -> None:
    runner, steps = FakeRunner(time_ms), list[tuple[int, int, str]]()
    with quiet_libraries():
        metrics = table_for(runner, race=RaceConfig())(replace(work, progress=lambda *step: steps.append(step)))
    assert {path.name for path in work.folder.iterdir()} == {COSTS, "samples.jsonl"}
    table = read_costs(work.folder / COSTS, layers=LAYERS, heads=HEADS, width=WIDTH)
    for costs in (table.p50, table.p90):
        assert costs.widths == tuple(range(0, WIDTH + 1, 16))
        for layers in ([(4, 128)] * 3, [(1, 16), (3, 96)], [(2, 48), (0, 0), (0, 80)], [(1, 112)], [(1, 0)]):
            assert costs.of(layers) == pytest.approx(time_of(layers), rel=0.01), layers
    assert table.p50.least == pytest.approx(time_of([(1, 0)]), rel=0.01)
    assert metrics.scores == {"prediction_error": table.prediction_error, "least_ms": table.p50.least}
    assert table.validation
    assert table.prediction_error < 0.01
    assert steps == [(done, 8, "steps") for done in range(1, 9)]

    # The form is that of the race's winner, and rows are those that prepare selects by.
    assert table.variant.rewrites == ("narrow-reads", "packed-projections", "right-padding")
    timed = [request for request in runner.asked(LatencyRequest) if re.match(r"\d+x", next(iter(request.batches)))]
    assert {session.threads for request in timed for session in request.sessions.values()} == {1}
    given = read_given(work, "text-classification", problem_type=None, max_length=16, selection_share=0.1)
    source, rows = given.rows["selection"]
    selected = {
        tuple(example.inputs["input_ids"])
        for example in given.task.encode(given.reader, [given.tables[source].contents[row] for row in rows])
    }
    ids = {tuple(batch["input_ids"][0]) for request in timed for batch in next(iter(request.batches.values()))}
    assert ids <= selected


def test_smaller_hidden_sizes_take_turns_with_the_dense_one_and_have_their_own_costs(work: Work) -> None:
    def narrow_ms(name: str, process: int) -> float:
        layers, _, hidden = name.partition(" of ")
        return time_ms(layers, process) * (0.4 if hidden == "16" else 1)

    runner, steps = FakeRunner(narrow_ms), list[tuple[int, int, str]]()
    with quiet_libraries():
        table_for(runner, keep_hidden=(1, 0.5))(replace(work, progress=lambda *step: steps.append(step)))
    assert {path.name for path in work.folder.iterdir()} == {COSTS, "samples.jsonl"}
    table = read_costs(work.folder / COSTS, layers=LAYERS, heads=HEADS, width=WIDTH, narrower=(16,))
    (narrow,) = table.narrower
    for layers in ([(4, 128)] * 3, [(1, 16), (3, 96)], [(2, 48), (1, 0)]):
        assert table.p50.of(layers) == pytest.approx(time_of(layers), rel=0.01), layers
        assert narrow.p50.of(layers) == pytest.approx(0.4 * time_of(layers), rel=0.01), layers
    assert narrow.validation
    assert table.prediction_error < 0.01
    assert steps == [(done, 10, "steps") for done in range(1, 11)]
    timed = [set(request.batches) for request in runner.asked(LatencyRequest)]
    assert any(len({name.endswith(" of 16") for name in names}) == 2 for names in timed), "in the same turns"


def test_a_table_holds_for_one_place_and_workload() -> None:
    def key(**changes: Any) -> str:
        return table_for(FakeRunner(), **changes).key({}, 0)

    assert key() == key()
    assert (
        len(
            {
                key(),
                key(place="there"),
                key(model_digest="n"),
                key(data_digest="e"),
                key(align=32),
                key(selection_share=0.2),
            }
        )
        == 6
    )
    assert key(workload=Workload(batch_size=2)) != key()
    assert key(keep_hidden=(1.0,)) == key() != key(keep_hidden=(1.0, 0.5))
    assert "keep_hidden" not in table_for(FakeRunner()).fingerprint()
    assert key(workload=Workload(text=True, sessions=2)) == key(), "what else is timed doesn't change what layers cost"
    fixed = Workload(lengths=32)
    assert key(workload=fixed, pair=True) != key(workload=fixed), "pairs have token types"
    assert key(workload=fixed, data_digest="e", selection_share=0.2) == key(workload=fixed) != key()


def test_weights_are_no_part_of_a_models_structure(tiny_model_folder: ModelFactory) -> None:
    one, other, larger = (
        resolve_model(str(tiny_model_folder(layers=layers, seed=seed))) for layers, seed in ((2, 0), (2, 1), (3, 0))
    )
    assert one.structure_digest == other.structure_digest != larger.structure_digest
    assert one.digest != other.digest
