import dataclasses
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from edgeprune.data.source import DataSource
from edgeprune.models.own_card import read_own_card
from edgeprune.models.record import PruningRecord, write_pruning
from edgeprune.models.reference import ModelSource, resolve_model
from edgeprune.pipeline.options import BuildOptions
from edgeprune.pipeline.plan import make_plan
from edgeprune.pipeline.request import read_request
from edgeprune.pipeline.stages.base import Work
from edgeprune.pipeline.stages.card_data import HubNames
from edgeprune.pipeline.stages.package_card import model_card
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.variant import read_variant
from edgeprune.store.records import Artifact
from edgeprune.tasks.prepared import open_prepared
from edgeprune.tasks.registry import task_for
from tests.support.e2e import Built, work_of

HOSTILE = "a|b\n---\n<img src=x> [link](y) {{ 7 * 7 }} `code` *bold* __init__ a: - &b"
SHOWN = r"a\|b --- \<img src=x\> \[link\](y) {{ 7 \* 7 }} \`code\` \*bold\* \_\_init\_\_ a: - \&b"

NOWHERE = HubNames()


def source(folder: Path, card: str | None) -> ModelSource:
    folder.mkdir(exist_ok=True)
    if card is not None:
        (folder / "README.md").write_text(card, encoding="utf-8")
    return ModelSource(folder, HOSTILE, "m")


def renamed(artifact: Artifact, label: str) -> Artifact:
    """Its metrics tell of this label too."""
    metrics = artifact.manifest.metrics
    assert metrics.metric is not None
    metric = metrics.metric.model_copy(update={"others": {**metrics.metric.others, label: 0.12345}})
    changed = metrics.model_copy(update={"metric": metric, "notes": (label,)})
    return dataclasses.replace(artifact, manifest=artifact.manifest.model_copy(update={"metrics": changed}))


def card_of(work: Work, *labels: str, checkpoint: Path | None = None, hub: HubNames = NOWHERE) -> str:
    prepared = open_prepared(work.parents["dense"], work.data, splits=("test",))
    prepared = dataclasses.replace(prepared, task=task_for(prepared.task.spec.model_copy(update={"labels": labels})))
    variant = read_variant(work.parents["model"])
    assert variant is not None
    return model_card(
        work, prepared, variant, checkpoint=checkpoint or work.parents["dense"].file("checkpoint"), name="tiny", release="1.0", target="here", session=SessionOptions(threads=1),
        oldest={"onnxruntime": "1.18", "tokenizers": "0.20"}, goldens=8, own=read_own_card(work.model), hub=hub, layout="portable",
    )  # fmt: skip


def test_the_hub_reads_what_was_made_and_how_good_it_is(built: Built) -> None:
    card = ModelCard.load(built.package / "README.md")
    assert (card.data.pipeline_tag, card.data.library_name) == ("text-classification", "transformers.js")
    assert (card.data.license, card.data.base_model, card.data.datasets) == (None, None, None)
    made = built.artifact("quantize", 1).manifest.metrics
    metric = made.metric
    assert metric is not None
    assert card.data.model_name == built.package.name.partition("-1.4.0")[0]
    assert made.model_bytes is not None
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == {
        **{name: round(value, 4) for name, value in {metric.name: metric.value, **metric.others}.items()},
        "model_size_mb": round(made.model_bytes / 1e6, 4),
    }
    assert metric.drop is not None
    assert metric.drop_interval is not None
    assert card.data.eval_results[0].metric_args == {
        "samples": metric.samples,
        "drop_from_dense": round(metric.drop, 4),
        "drop_interval_95": [round(end, 4) for end in metric.drop_interval],
    }
    assert f"| {metric.name} on {metric.samples} test texts | " in card.text


@pytest.fixture
def hostile(built: Built, tmp_path: Path) -> Work:
    work = work_of(built, tmp_path, dense=("prepare", 0), model=("quantize", 1))
    parents = {role: renamed(artifact, HOSTILE) for role, artifact in work.parents.items()}
    return dataclasses.replace(work, model=source(tmp_path / "m", "---\nlicense: mit\n---\n"), parents=parents)


def test_names_and_labels_are_shown_as_they_are(hostile: Work) -> None:
    text = card_of(hostile, HOSTILE, "plain_label")
    assert f"\n- Labels: {SHOWN}, plain_label\n" in text
    assert f"\n| {SHOWN} | 0.1235 | 0.1235 |\n" in text
    assert f"\nMade from {SHOWN} by edgeprune: " in text
    assert text.count(f"\n- Note: {SHOWN}\n") == 1
    assert HOSTILE not in text


def test_the_front_matter_holds_names_and_labels_as_they_are(hostile: Work) -> None:
    card = ModelCard(card_of(hostile, HOSTILE))
    assert card.data.license == "mit"
    assert card.data.eval_results[-2].metric_type == HOSTILE
    assert card.text.startswith("\n# tiny 1.0 for here\n")


OWN = f"""---
license: mit
base_model: [distilbert/distilbert-base-uncased, {HOSTILE!r}]
datasets: [imdb, {HOSTILE!r}]
---
"""


def test_a_plan_tells_the_card_what_is_on_the_hub(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DataSource, "repository", "org/texts")
    monkeypatch.setattr(
        "edgeprune.pipeline.subject.resolve_model",
        lambda *given, **options: dataclasses.replace(resolve_model(*given, **options), repository="org/reviews"),
    )
    options = {"pipeline": str(built.pipeline), "target": str(built.target), "store": built.store}
    request = read_request(BuildOptions(str(built.model), data=str(built.data), set_=["stages.race=null"], **options))
    (package,) = [node for node in make_plan(request).nodes if node.stage.name == "package"]
    assert package.stage.fingerprint()["hub"] == {"model": "org/reviews", "dataset": "org/texts"}


def test_what_it_was_made_from_is_what_the_hub_knows(hostile: Work, tmp_path: Path) -> None:
    hostile = dataclasses.replace(hostile, model=source(tmp_path / "fine-tuned", OWN))
    local = ModelCard(card_of(hostile, "a")).data.to_dict()
    assert (local["base_model"], local["datasets"]) == (["distilbert/distilbert-base-uncased"], ["imdb"])
    assert local["base_model_relation"] == "finetune"
    named = ModelCard(card_of(hostile, "a", hub=HubNames(model="org/reviews", dataset="org/texts"))).data.to_dict()
    assert (named["base_model"], named["datasets"]) == (["org/reviews"], ["imdb", "org/texts"])
    assert named["base_model_relation"] == "quantized"


def test_a_smaller_hidden_size_and_a_factored_embedding_are_told(hostile: Work, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(hostile.parents["dense"].file("checkpoint"), tmp_path / "narrow"))
    record = PruningRecord(base_digest="", head_dim=8, layers=(), hidden=tuple(range(16)), embedding_rank=8)
    card = card_of(hostile, "a", "b")
    assert "hidden size" not in card
    assert "token embedding" not in card
    write_pruning(record, folder)
    card = card_of(hostile, "a", "b", checkpoint=folder)
    assert "\n| hidden size | 32 | 16 |\n| rank of the token embedding | not factored | 8 |\n" in card


def test_a_card_is_the_same_each_time_and_ends_in_one_line_break(hostile: Work) -> None:
    text = card_of(hostile, "a", "b")
    assert text == card_of(hostile, "a", "b")
    assert text.endswith("came from.\n")


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("\x1b[31mred\x07", r"\\x1b\[31mred\\x07"),
        ("a\u202eb\u2066c", r"a\\u202eb\\u2066c"),
        ("a\ud800b", r"a\\ud800b"),
        ("a\u2028b\x85c\x0bd", "a b c d"),
        ("https://x.org WWW.x.org me@x.org", r"https\://x.org WWW\.x.org me\@x.org"),
        ("time: 12:30, v1.2", "time: 12:30, v1.2"),
        ("می\u200cخواهم 👩\u200d🚀", "می\u200cخواهم 👩\u200d🚀"),
    ],
)
def test_what_prints_nothing_or_makes_links_is_shown_too(hostile: Work, label: str, shown: str) -> None:
    text = card_of(hostile, label)
    assert f"\n- Labels: {shown}\n" in text
    text.encode()
