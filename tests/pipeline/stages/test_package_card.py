import dataclasses
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from edgeprune.models.record import PruningRecord, write_pruning
from edgeprune.models.reference import ModelSource
from edgeprune.pipeline.stages.base import Work
from edgeprune.pipeline.stages.package_card import licence_of, model_card
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.variant import read_variant
from edgeprune.store.records import Artifact
from edgeprune.tasks.prepared import open_prepared
from edgeprune.tasks.registry import task_for
from tests.support.e2e import Built, work_of

HOSTILE = "a|b\n---\n<img src=x> [link](y) {{ 7 * 7 }} `code` *bold* __init__ a: - &b"
SHOWN = r"a\|b --- \<img src=x\> \[link\](y) {{ 7 \* 7 }} \`code\` \*bold\* \_\_init\_\_ a: - \&b"


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


def card_of(work: Work, *labels: str, checkpoint: Path | None = None) -> str:
    prepared = open_prepared(work.parents["dense"], work.data, splits=("test",))
    prepared = dataclasses.replace(prepared, task=task_for(prepared.task.spec.model_copy(update={"labels": labels})))
    variant = read_variant(work.parents["model"])
    assert variant is not None
    return model_card(
        work, prepared, variant, checkpoint=checkpoint or work.parents["dense"].file("checkpoint"), name="tiny", release="1.0", target="here", session=SessionOptions(threads=1),
        oldest={"onnxruntime": "1.18", "tokenizers": "0.20"}, goldens=8,
    )  # fmt: skip


def test_the_hub_reads_what_was_made_and_how_good_it_is(built: Built) -> None:
    card = ModelCard.load(built.package / "README.md")
    assert (card.data.pipeline_tag, card.data.library_name, card.data.license) == ("text-classification", "onnx", None)
    metric = built.artifact("quantize", 1).manifest.metrics.metric
    assert metric is not None
    assert card.data.model_name == built.package.name.partition("-1.4.0")[0]
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == {
        name: round(value, 4) for name, value in {metric.name: metric.value, **metric.others}.items()
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
    assert card.data.eval_results[-1].metric_type == HOSTILE
    assert card.text.startswith("\n# tiny 1.0 for here\n")


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
    ("card", "licence"),
    [
        (None, None),
        ("# A model\n", None),
        ("---\nlanguage: en\n---\n", None),
        ("---\nlicense: apache-2.0  # or later\n---\n# A model\n", "apache-2.0"),
        ('---\nlanguage: en\nlicense: "mit"\n---\n', "mit"),
        ("---\nlicense:\n- mit\n- apache-2.0\n---\n", "mit, apache-2.0"),
        ("---\nlicense: [mit\n---\n", None),
        ("---\n- license\n---\n", None),
        ("\ufeff---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlicense: 2.0\nvalue: .nan\n---\n", "2.0"),
        ("---\nlicense: {name: mit}\n---\n", None),
        ("---\nlicense: [[mit], mit]\n---\n", "mit"),
        ('---\nlicense: "a\\e[31m\\u202eb\\n---\\n# c"\n---\n', r"a\x1b[31m\u202eb\n---\n# c"),
        ("---\nlicense: !!bool maybe\n---\n", None),
        ("---\nlicense: " + "[" * 5_000 + "\n---\n", None),
        (
            "---\na: &a [x]\n"
            + "".join(f"b{n}: &b{n} [*{'a' if n == 0 else f'b{n - 1}'}, *a]\n" for n in range(30))
            + "c: &c [*b29, *b29, *b29, *b29]\nd: &d [*c, *c, *c, *c]\nlicense: [*d, *d]\n---\n",
            None,
        ),
        ("---\nlicense: " + "m" * 5_000 + "\n---\n", "…"),
    ],
)
def test_the_licence_is_what_the_models_own_card_names(tmp_path: Path, card: str | None, licence: str | None) -> None:
    assert licence_of(source(tmp_path / "m", card)) == licence


def test_a_card_that_is_a_folder_or_no_text_names_no_licence(tmp_path: Path) -> None:
    (tmp_path / "m" / "README.md").mkdir(parents=True)
    assert licence_of(ModelSource(tmp_path / "m", "m", "m")) is None
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "README.md").write_bytes(b"---\nlicense: \xff\n---\n")
    assert licence_of(ModelSource(tmp_path / "n", "n", "n")) is None


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
