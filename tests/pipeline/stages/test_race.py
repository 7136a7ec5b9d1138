"""edgeprune/pipeline/stages/race.py on an export of the shared build, with runners that say what the test wants."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir
import onnxruntime
import pytest

from edgeprune.base.errors import ParityError, TargetError
from edgeprune.benchmark.race import RaceRow
from edgeprune.devices.fake import FakeRunner
from edgeprune.devices.protocol import LatencyRequest
from edgeprune.graph.references import REFERENCES, load_references
from edgeprune.graph.rewrite import rewrite
from edgeprune.graph.rewrites import REWRITES
from edgeprune.graph.rewrites.base import Rewrite
from edgeprune.ondevice.agent import device_info
from edgeprune.ondevice.run import Model
from edgeprune.pipeline.stages.benchmark import Benchmark
from edgeprune.pipeline.stages.card_data import HubNames
from edgeprune.pipeline.stages.package import Package, PackageName
from edgeprune.pipeline.stages.quantize import Quantize
from edgeprune.pipeline.stages.race import Race
from edgeprune.profiles.pipeline import BenchmarkConfig, PackageConfig, RaceConfig
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.target import Budget, Runtime, Workload
from edgeprune.profiles.variant import CHOICE, DEFAULT_REWRITES, Layout, RewriteRules, Variant, read_variant
from edgeprune.store.files import file_records
from edgeprune.store.manifests import read_manifest, write_manifest
from edgeprune.store.records import Artifact, Manifest
from edgeprune.tasks.prepared import open_prepared
from tests.support.e2e import Built, call, target_text, work_of
from tests.support.targets import target_of

INT8 = PrecisionSettings(
    mode="int8-dynamic", weight_type="int8", reduce_range=False, per_channel=True, embeddings="int8"
)
SKIP = "without SkipLayerNormFusion"
TOLERANCE = 1e-4
GRAPH = {"dense": ("prepare", 0), "checkpoint": ("finetune", 1), "onnx": ("export", 1)}
"""What is given to the stage that quantizes the pruned graph of the shared build."""


def raced(
    built: Built,
    folder: Path,
    time_ms: Callable[[str], float],
    refuses: Callable[[str], str | None] = lambda _name: None,
    tolerance: float = TOLERANCE,
    layout: Layout = "bare",
    **changes: object,
) -> tuple[Variant, list[RaceRow], FakeRunner]:
    """The verdict on the pruned export of the shared build, and its rows, on a target that has the fields of `changes`."""
    runner, target = FakeRunner(lambda name, _process: time_ms(name), refuses=refuses), target_of(**changes)
    rules = RewriteRules.of(layout, provider=target.runtime.provider, batch_size=target.workload.batch_size)
    stage = Race(
        RaceConfig(), target=target, rules=rules, tolerance=tolerance, runner=runner, place="here", round_number=1
    )
    stage(work_of(built, folder, dense=("prepare", 0), onnx=("export", 1)))
    rows = [RaceRow.model_validate(row) for row in json.loads((folder / "race.json").read_text(encoding="utf-8"))]
    assert {path.name for path in folder.iterdir()} == {CHOICE, "race.json", "samples.jsonl"}
    return Variant.model_validate_json((folder / CHOICE).read_bytes()), rows, runner


def test_the_fastest_wins_and_every_variant_has_a_row(built: Built, tmp_path: Path) -> None:
    wanted = f"int8-dynamic, narrow-reads, unpadded, fused-attention, {SKIP}, 1 thread"
    winner, rows, _ = raced(built, tmp_path, lambda name: 1.0 if name == wanted else 2.0)
    assert winner == Variant(
        rewrites=("narrow-reads", "unpadded", "fused-attention"), precision=INT8,
        session=SessionOptions(
            threads=1, config={"optimization.disable_specified_optimizers": "SkipLayerNormFusion"}
        ),
    )  # fmt: skip
    assert winner.words == wanted
    names = [row.variant for row in rows]
    assert len(names) == len(set(names))
    assert sum(name.startswith("int8-dynamic, ") for name in names) == 8 * 2 + 3 + 2
    # Sets of rewrites, with ONNX Runtime's fusion and without; then the winner's sessions, and two of it without a rewrite.
    assert sum(name.startswith("fp32") for name in names) == 1
    assert {row.variant.partition(",")[0] for row in rows} == {
        "fp32", "int8-dynamic", "int8-dynamic (a scale a tensor)", "int8-static", "int8-weights",
    }  # fmt: skip
    assert [row.why for row in rows if row.variant == wanted] == ["won"]
    timed = [row for row in rows if row.p50_ms is not None]
    assert all(row.max_error is not None and row.max_error < TOLERANCE for row in timed)
    assert all("% slower than int8-dynamic, " in row.why for row in timed if row.variant != wanted)
    assert all(row.why.startswith("not timed: its outputs are ") for row in rows if row not in timed)


def test_every_graph_of_a_portable_package_checks_its_mask(built: Built, tmp_path: Path) -> None:
    winner, rows, _ = raced(
        built, tmp_path, lambda name: 1.0 if "narrow" in name and "1 thread" in name else 2.0, layout="portable"
    )
    assert winner.rewrites == ("narrow-reads", "right-padding")
    timed = [row.variant for row in rows if row.p50_ms is not None]
    assert all("right-padding" in name for name in timed)
    assert not any("unpadded" in name for name in timed)


@pytest.mark.parametrize(
    ("layout", "provider", "batch_size", "rules"),
    [
        ("portable", "CPUExecutionProvider", 1, RewriteRules(required=("right-padding",), unpadded=False)),
        ("portable", "CUDAExecutionProvider", 1, RewriteRules(required=(), unpadded=False)),
        ("bare", "CPUExecutionProvider", 1, RewriteRules(required=("pooled-only",), unpadded=True)),
        ("bare", "CPUExecutionProvider", 4, RewriteRules(required=("pooled-only",), unpadded=False)),
    ],
)
def test_what_a_layout_asks_of_graphs(layout: Layout, provider: str, batch_size: int, rules: RewriteRules) -> None:
    assert RewriteRules.of(layout, provider=provider, batch_size=batch_size) == rules


def without(lacking: str) -> Callable[[str], str | None]:
    """What a runtime says of a variant that needs what it lacks."""
    return lambda name: "Attention(23) is not implemented" if lacking in name else None


def test_what_the_targets_runtime_refuses_loses_and_says_so(built: Built, tmp_path: Path) -> None:
    winner, rows, _ = raced(
        built, tmp_path, lambda name: 1.0 if "standard" in name else 2.0, refuses=without("standard-attention")
    )
    assert "standard-attention" not in winner.rewrites
    refused = [row for row in rows if row.why == "the target refuses it: Attention(23) is not implemented"]
    assert refused
    assert all(row.p50_ms is None for row in refused)
    assert [row for row in rows if "standard-attention" in row.variant] == refused


def test_a_target_that_refuses_everything_is_no_winner(built: Built, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="the target refuses every graph: Attention"):
        raced(built, tmp_path, lambda _name: 1.0, refuses=without("int8"))


def test_where_all_are_equal_the_plain_export_wins(built: Built, tmp_path: Path) -> None:
    winner, rows, _ = raced(built, tmp_path, lambda _name: 1.0)
    assert winner == Variant(rewrites=(), precision=INT8, session=SessionOptions(threads=1))
    assert sum(row.why.startswith("won") for row in rows) == 1


def test_fp32_that_is_faster_is_shipped_unless_size_decides(built: Built, tmp_path: Path) -> None:
    def fp32_first(name: str) -> float:
        return 1.0 if name.startswith("fp32") else 2.0

    graph_alone = built.artifact("export", 1).file("model.onnx").stat().st_size / 1e6 + 0.05
    for limit, mode in ((None, "fp32"), (1e3, "fp32"), (graph_alone, "int8-dynamic"), (0.001, "int8-dynamic")):
        folder = tmp_path / str(limit)
        folder.mkdir()
        winner, rows, _ = raced(built, folder, fp32_first, budget=Budget(size_mb=limit))
        assert winner.precision.mode == mode
        in_fp32 = [row for row in rows if row.variant.startswith("fp32")]
        assert in_fp32
        for row in in_fp32:
            too_large = re.fullmatch(
                r"not timed: a package of \d+\.\d MB would be above the budget of \d+\.\d MB", row.why
            )
            assert (row.p50_ms is None) == bool(too_large) == (mode != "fp32")


@pytest.mark.parametrize("nearer", [True, False])
def test_another_int8_races_only_if_it_is_as_near_to_fp32(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nearer: bool
) -> None:
    distances = iter([1.0, *([0.9] * 3 if nearer else [1.1] * 3)])  # the profile's own precision comes first
    monkeypatch.setattr("edgeprune.graph.variants.mean_distance", lambda *_: next(distances))
    winner, rows, _ = raced(built, tmp_path, lambda name: 1.0 if name.startswith("int8-static") else 2.0)
    others = {row.variant.split(",")[0] for row in rows if row.p50_ms is not None}
    assert others == {"int8-dynamic", "fp32"} | (
        {"int8-static", "int8-weights", "int8-dynamic (a scale a tensor)"} if nearer else set()
    )
    assert winner.precision == (INT8.model_copy(update={"mode": "int8-static"}) if nearer else INT8)


def test_weights_alone_are_small_for_their_size_not_for_speed(built: Built, tmp_path: Path) -> None:
    _, rows, _ = raced(
        built, tmp_path, lambda _name: 1.0, precision=PrecisionSettings(mode="int4-weights", embeddings="int4")
    )
    assert {row.variant.split(",")[0] for row in rows} == {"int4-weights"}


def test_another_place_or_batch_size_races_for_itself() -> None:
    def key(place: str, **workload: Any) -> str:
        stage = Race(
            RaceConfig(), target=target_of(workload=Workload(**workload)), rules=RewriteRules(),
            tolerance=TOLERANCE, runner=FakeRunner(), place=place, round_number=1,
        )  # fmt: skip
        return stage.key({"dense": "d", "onnx": "o"}, 0)

    assert key("here") == key("here") != key("there")
    assert key("here") != key("here", batch_size=4)
    assert key("here") == key("here", text=True, sessions=2), "what else is timed doesn't change which graph is fastest"


def test_another_cpu_is_another_place(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    def key() -> str:
        planned = call(*built.arguments, "--set", "stages.race={}", "--store", built.store, "--plan", "--json")
        (found,) = (row["key"] for row in planned.document["stages"] if row["stage"] == "race")
        return str(found)

    here = key()
    monkeypatch.setattr("edgeprune.devices.match.device_info", lambda: {**device_info(), "cpu": "another"})
    assert key() != here


def timed_ids(runner: FakeRunner) -> list[list[list[int]]]:
    """The token ids of the first variant's batches, in the first process that was timed."""
    (batches, *_) = runner.asked(LatencyRequest)[0].batches.values()
    ids = [batch["input_ids"] for batch in batches]
    return [one for one in ids if isinstance(one, list)]


def test_texts_in_batches_may_be_padded(built: Built, tmp_path: Path) -> None:
    winner, rows, runner = raced(
        built, tmp_path, lambda name: 1.0 if "packed" in name else 2.0, workload=Workload(batch_size=4)
    )
    assert winner.rewrites == ("packed-projections",), "what buys nothing isn't shipped"
    assert not any("unpadded" in row.variant for row in rows)
    (ids, *_) = timed_ids(runner)
    assert len(ids) == 4


def test_the_choice_reads_selection_and_not_what_is_reported(built: Built, tmp_path: Path) -> None:
    _, _, runner = raced(built, tmp_path, lambda _name: 1.0)
    timed = {tuple(ids[0]) for ids in timed_ids(runner)}
    work = work_of(built, tmp_path / "other", dense=("prepare", 0), onnx=("export", 1))
    prepared = open_prepared(
        work.parents["dense"], work.data, splits=("selection", "test"), reader=work.parents["onnx"].file("reader")
    )
    rows = {name: {tuple(row["input_ids"]) for row in split.inputs} for name, split in prepared.splits.items()}
    assert timed <= rows["selection"]
    assert not timed <= rows["test"]


def test_more_threads_are_raced_against_fewer(built: Built, tmp_path: Path) -> None:
    winner, rows, _ = raced(
        built, tmp_path, lambda name: 1.0 if "2 threads" in name else 2.0, runtime=Runtime(threads=3)
    )
    assert winner.session.threads == 2
    assert any("allow_spinning 0" in row.variant for row in rows)


def test_what_gains_twice_is_found_by_racing_the_winner_again(built: Built, tmp_path: Path) -> None:
    def time_ms(name: str) -> float:
        return 4.0 - ("2 threads" in name) - ("allow_spinning 0" in name) - ("BiasGeluFusion" in name)

    winner, rows, _ = raced(built, tmp_path, time_ms, runtime=Runtime(threads=3))
    assert winner.rewrites == ()
    assert winner.session == SessionOptions(threads=2, config={"session.intra_op.allow_spinning": "0"}).toggled(
        "BiasGeluFusion"
    )
    assert winner.session.disabled_fusions == ("BiasGeluFusion",), "the other fusion bought nothing and stays"
    assert len({row.variant for row in rows}) == len(rows)
    assert sum(row.why.startswith("won") for row in rows) == 1


class Given(Rewrite):
    """A rewrite that a test makes up."""

    def __init__(self, change: Callable[[onnx_ir.Model], int]) -> None:
        self._change = change

    def change(self, model: onnx_ir.Model) -> int:
        return self._change(model)


def test_a_rewrite_that_is_not_exact_is_dropped_with_a_note(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: onnx_ir.Model) -> int:
        bias = next(value for name, value in model.graph.initializers.items() if name == "classifier.bias")
        bias.const_value = onnx_ir.tensor(bias.const_value.numpy() + 0.5, name=bias.name)  # type: ignore[union-attr]
        return 1

    monkeypatch.setitem(REWRITES, "fused-attention", Given(wrong))
    winner, rows, _ = raced(built, tmp_path, lambda name: 1.0 if "fused" in name else 2.0)
    assert "fused-attention" not in winner.rewrites
    assert not any("fused-attention" in row.variant for row in rows)

    folder = tmp_path / "quantized"
    folder.mkdir()
    variant = Variant(
        rewrites=(*DEFAULT_REWRITES, "fused-attention"), precision=INT8, session=SessionOptions(threads=1)
    )
    work = work_of(built, folder, **GRAPH)
    metrics = Quantize(variant, tolerance=TOLERANCE, drop_limit=None, round_number=1)(work)
    (note,) = metrics.notes
    assert note.startswith("the rewrite fused-attention was left out: outputs differ from PyTorch's by ")
    assert note.endswith(", but at most 1e-04 is allowed")
    made = read_variant(Artifact(folder, Manifest.model_construct()))
    assert made is not None
    assert made.rewrites == DEFAULT_REWRITES


def test_a_rewrite_that_onnxruntime_refuses_is_dropped(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: onnx_ir.Model) -> int:
        model.graph[-1].op_type = "NoSuchOperator"
        return 1

    monkeypatch.setitem(REWRITES, "packed-projections", Given(broken))
    winner, rows, _ = raced(built, tmp_path, lambda name: 1.0 if "packed" in name or "fused-" in name else 2.0)
    assert winner.rewrites == ("fused-attention",), "those after it are none the worse for it"
    assert not any("packed-projections" in row.variant for row in rows)


@pytest.mark.parametrize("fault", ["wrong", "raises"])
def test_only_the_rewrite_at_fault_is_left_out(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
):
    def faulty(model: onnx_ir.Model) -> int:
        if fault == "raises":
            raise AssertionError
        model.graph.initializers["classifier.bias"].const_value = onnx_ir.tensor([9.0, -9.0], name="classifier.bias")
        return 1

    monkeypatch.setitem(REWRITES, "narrow-reads", Given(faulty))
    export = built.artifact("export", 1)
    references = load_references(export.file(REFERENCES))
    found = rewrite(
        export.file("model.onnx"), tmp_path / "model.onnx", tuple(REWRITES), references, tolerance=TOLERANCE
    )
    assert found.applied == ("unpadded", "packed-projections", "standard-attention")
    (sentence,) = found.dropped
    assert sentence.startswith("the rewrite narrow-reads was left out: ")
    assert sentence.endswith({"wrong": "at most 1e-04 is allowed", "raises": "AssertionError: AssertionError"}[fault])
    assert found.agreement.relative_error < TOLERANCE


def test_a_quantized_graph_that_rounding_does_not_explain_is_not_shipped(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeprune.graph import quantization

    def with_a_broken_scale(source: Path, destination: Path, *others: Any) -> None:
        whole(source, destination, *others)
        model = onnx_ir.load(destination)
        scale = model.graph.initializers["classifier.weight_scale"]
        scale.const_value = onnx_ir.tensor(-5 * scale.const_value.numpy(), name=scale.name)  # type: ignore[union-attr]
        onnx_ir.save(model, destination)

    whole = quantization.convert
    monkeypatch.setattr(quantization, "convert", with_a_broken_scale)
    variant = Variant(rewrites=(), precision=INT8, session=SessionOptions(threads=1))
    work = work_of(built, tmp_path, **GRAPH)
    with pytest.raises(
        ParityError, match=r"int8-dynamic: outputs differ .* by \d+% of their own size, .* at most 50%;"
    ):
        Quantize(variant, tolerance=TOLERANCE, drop_limit=None, round_number=1)(work)


def test_a_build_races_once_ships_the_verdict_and_refuses_a_mask(built: Built, tmp_path: Path) -> None:
    store = built.copied_store(tmp_path)
    target = tmp_path / "here.yaml"
    target.write_text(target_text("here"), encoding="utf-8")
    race = ["--set", "stages.race={processes: 1, samples: 60}", "--target", target, "--store", store, "--json"]
    planned = call(*built.arguments, *race, "--plan").document["stages"]
    assert [row["key"] is None for row in planned if row["stage"] in ("race", "quantize", "package")] == [
        False, True, True, True,
    ]  # fmt: skip
    done = call(*built.arguments, *race, "--output", tmp_path / "dist")
    assert done.code == 0, done.err
    report = done.document
    (key,) = (row["key"] for row in report["stages"] if row["stage"] == "race")
    choice = Variant.model_validate_json((store / "race" / key / CHOICE).read_bytes())
    shipped = Variant.model_validate(report["variant"])
    assert (shipped.precision, shipped.session) == (choice.precision, choice.session)
    assert len(report["race"]) >= 10
    package = tmp_path / "dist" / built.package.name
    config = json.loads((package / "edgeprune.json").read_text(encoding="utf-8"))
    assert config["session"] == choice.session.model_dump(mode="json")
    assert tuple(config["rewrites"]) == shipped.rewrites
    lineage = json.loads((package / "lineage.json").read_text(encoding="utf-8"))
    assert any(stage["stage"] == "race" and CHOICE in stage["files"] for stage in lineage["stages"])
    assert "the fastest of those that were timed" in (package / "README.md").read_text(encoding="utf-8")
    # A second build takes the verdict from the store, and with it everything that was made by it.
    again = call(*built.arguments, *race, "--output", tmp_path / "dist")
    assert all(row["cached"] for row in again.document["stages"] if row["stage"] != "benchmark")
    assert again.document["package"]["sha256"] == report["package"]["sha256"]
    assert all(row["key"] for row in call(*built.arguments, *race, "--plan").document["stages"])


def test_another_verdict_makes_another_model(built: Built, tmp_path: Path) -> None:
    """The keys of what is made by a race follow its verdict, not its own key."""
    store = built.copied_store(tmp_path)
    race = ["--set", "stages.race={processes: 1, samples: 60}", "--store", store, "--json"]
    report = call(*built.arguments, *race, "--output", tmp_path / "dist").document
    (key,) = (row["key"] for row in report["stages"] if row["stage"] == "race")
    race_folder = store / "race" / key
    manifest = read_manifest(race_folder)
    files = tuple(
        file.model_copy(update={"sha256": "0" * 64}) if file.path == CHOICE else file for file in manifest.files
    )
    write_manifest(manifest.model_copy(update={"files": files}), race_folder)
    keys = {row["stage"]: row["key"] for row in call(*built.arguments, *race, "--plan").document["stages"]}
    before = {row["stage"]: row["key"] for row in report["stages"]}
    assert keys["race"] == before["race"]
    assert keys["quantize"] != before["quantize"]
    assert keys["package"] != before["package"]


def test_the_metrics_budget_is_in_the_key_only_where_it_can_shape_the_model() -> None:
    def key(precision: PrecisionSettings, limit: float) -> str:
        stage = Quantize(Variant(rewrites=(), precision=precision), tolerance=1e-4, drop_limit=limit, round_number=1)
        return stage.key({"dense": "d", "onnx": "o"}, 0)

    fp32 = PrecisionSettings(mode="fp32")
    assert key(fp32, 0.01) == key(fp32, 0.02)
    assert key(INT8, 0.01) != key(INT8, 0.02)


def test_a_graph_without_a_mask_refuses_one(built: Built, tmp_path: Path) -> None:
    variant = Variant(rewrites=("narrow-reads", "unpadded"), precision=INT8, session=SessionOptions(threads=1))
    work = work_of(built, tmp_path, **GRAPH)
    metrics = Quantize(variant, tolerance=TOLERANCE, drop_limit=None, round_number=1)(work)
    assert metrics.scores["rewritten_max_error"] < TOLERANCE
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    feed = {value.name: [[1, 0, 1]] for value in session.get_inputs()}
    assert "attention_mask" not in feed
    session.run(None, feed)
    with pytest.raises(RuntimeError, match="attention_mask"):
        session.run(None, {**feed, "attention_mask": [[1, 1, 0]]})


BASIC = Variant(
    rewrites=("narrow-reads", "unpadded", "fused-attention"), precision=INT8,
    session=SessionOptions(threads=2, level="basic", arena=False, config={"session.intra_op.allow_spinning": "0"}),
)  # fmt: skip


def made_by(built: Built, folder: Path, variant: Variant) -> Artifact:
    """The pruned graph of the shared build as this verdict makes it."""
    folder.mkdir(exist_ok=True)
    (folder / "race").mkdir()
    (folder / "race" / CHOICE).write_text(variant.model_dump_json(), encoding="utf-8")
    work = work_of(built, folder / "made", **GRAPH)
    work.folder.mkdir()
    race = Artifact(folder / "race", built.artifact("export").manifest)
    plain = Variant(rewrites=DEFAULT_REWRITES, precision=PrecisionSettings(mode="fp32"))
    stage = Quantize(plain, tolerance=TOLERANCE, drop_limit=None, round_number=1)
    metrics = stage(replace(work, parents={**work.parents, "race": race}))
    assert metrics.scores["raced"] == 1
    found = built.artifact("quantize").manifest
    return Artifact(work.folder, found.model_copy(update={"files": file_records(work.folder), "metrics": metrics}))


def test_a_model_is_a_function_of_the_export_and_the_verdict(built: Built, tmp_path: Path) -> None:
    first, second = (made_by(built, tmp_path / name, BASIC) for name in "ab")
    assert first.digest("model.onnx") == second.digest("model.onnx")
    assert read_variant(first) == BASIC
    other = made_by(built, tmp_path / "c", BASIC.model_copy(update={"rewrites": ()}))
    assert other.digest("model.onnx") != first.digest("model.onnx")


def test_what_is_timed_and_what_is_shipped_have_the_winners_session(built: Built, tmp_path: Path) -> None:
    model = made_by(built, tmp_path / "model", BASIC)
    runner = FakeRunner()
    names = ("dense-fp32", "final")
    benchmark = Benchmark(
        BenchmarkConfig(processes=1, samples=16, warmup=1), names=names, target=target_of(), runner=runner,
        place="here", round_number=1,
    )  # fmt: skip
    work = work_of(built, tmp_path / "benchmark", baseline=("prepare", 0))
    work.folder.mkdir()
    benchmark.run(replace(work, parents={**work.parents, "dense-fp32": built.artifact("export", 0), "final": model}))
    assert runner.asked(LatencyRequest)[0].sessions == {
        "dense-fp32": SessionOptions(threads=1), "final": BASIC.session
    }  # fmt: skip

    name = PackageName(name="n", release="1", target="t")
    work = work_of(built, tmp_path / "package", dense=("prepare", 0))
    work.folder.mkdir()
    Package(
        PackageConfig(), name=name, hub=HubNames(), runtime=Runtime(threads=1), lineage=("dense",), round_number=1
    ).run(replace(work, parents={**work.parents, "model": model}))
    options = Model(work.folder / name.folder).session.get_session_options()
    assert (options.intra_op_num_threads, options.enable_cpu_mem_arena) == (2, False)
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize(("limit_ms", "looks"), [(2.0, 3), (4.0, 1), (0.5, 1), (None, 1)])
def test_a_build_asks_again_only_while_a_latency_budget_lies_within_the_interval(
    built: Built, tmp_path: Path, limit_ms: float | None, looks: int
) -> None:
    runner = FakeRunner(lambda _name, process: 1.0 if process % 2 else 3.0)
    benchmark = Benchmark(
        BenchmarkConfig(processes=7, samples=16, warmup=1), names=("final",),
        target=target_of(budget=Budget(latency_p50_ms=limit_ms)), runner=runner, place="here", round_number=1,
    )  # fmt: skip
    work = work_of(built, tmp_path / "benchmark", baseline=("prepare", 0))
    work.folder.mkdir()
    benchmark.run(replace(work, parents={**work.parents, "final": built.artifact("quantize")}))
    assert len(runner.asked(LatencyRequest)) == looks * 7
