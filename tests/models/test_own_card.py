from pathlib import Path

import pytest

from edgeprune.models.own_card import OwnCard, read_own_card
from edgeprune.models.reference import ModelSource


def source(folder: Path, card: str) -> ModelSource:
    folder.mkdir()
    (folder / "README.md").write_text(card, encoding="utf-8")
    return ModelSource(folder, "m", "m")


def test_a_model_without_a_card_says_nothing(tmp_path: Path) -> None:
    assert read_own_card(ModelSource(tmp_path, "m", "m")) == OwnCard()


@pytest.mark.parametrize(
    ("card", "licence"),
    [
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
def test_the_licence_is_what_the_models_own_card_names(tmp_path: Path, card: str, licence: str | None) -> None:
    assert read_own_card(source(tmp_path / "m", card)).licence == licence


def test_a_card_that_is_a_folder_or_no_text_names_no_licence(tmp_path: Path) -> None:
    (tmp_path / "m" / "README.md").mkdir(parents=True)
    assert read_own_card(ModelSource(tmp_path / "m", "m", "m")) == OwnCard()
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "README.md").write_bytes(b"---\nlicense: \xff\n---\n")
    assert read_own_card(ModelSource(tmp_path / "n", "n", "n")) == OwnCard()


@pytest.mark.parametrize(
    ("said", "ids"),
    [
        ("distilbert/distilbert-base-uncased", ("distilbert/distilbert-base-uncased",)),
        ("[org/a, org/b, org/a]", ("org/a", "org/b")),
        ("{name: org/a}", ()),
        ("12", ()),
        ("./mine", ()),
        ("org/a/b", ()),
        ('"org/a\\n---\\n<script>"', ()),
        ("[org/a, '../b', null, 3, [org/c]]", ("org/a",)),
        (
            "[" + ", ".join(f"org/m{number}" for number in range(50)) + "]",
            tuple(f"org/m{number}" for number in range(20)),
        ),
    ],
)
def test_models_and_data_sets_are_ids_that_the_hub_could_have(tmp_path: Path, said: str, ids: tuple[str, ...]) -> None:
    card = f"---\nbase_model: {said}\ndatasets: {said}\n---\n"
    assert read_own_card(source(tmp_path / "m", card)) == OwnCard(base_models=ids, datasets=ids)
