import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.base.errors import UsageError
from edgeprune.pipeline.naming import checked_name, name_after


@pytest.mark.parametrize("name", ["my-model", "a", "0", "v1.2+3_x-"])
def test_a_name_is_kept(name: str):
    assert checked_name("--name", name) == name
    assert name_after(name) == name


@pytest.mark.parametrize("name", ["", "ab\n", "\nab", "a b", "-a", ".a", "a/b", "é", "a" * 81])
def test_what_cannot_name_a_folder_is_refused(name: str):
    with pytest.raises(UsageError, match=r"--release .* should"):
        checked_name("--release", name)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("Mein Modell (final)", "Mein-Modell-final"),
        ("modèle été", "modele-ete"),
        ("naïve 🎬 model", "naive-model"),
        ("_private", "private"),
        ("ﬁnal", "final"),
    ],
)
def test_spaces_signs_and_accents_go(folder: str, name: str):
    assert name_after(folder) == name


@pytest.mark.parametrize(
    ("folder", "start"),
    [("模型", "model-"), ("модель-v2", "v2-"), ("...", "model-"), ("x" * 200, "xxxxxxxx"), ("größer", "groer-")],
)
def test_what_loses_letters_ends_with_a_digest(folder: str, start: str):
    assert name_after(folder).startswith(start)
    assert name_after(folder) != name_after(folder + folder)
    assert name_after("模型一") != name_after("模型二")


@given(st.text())
def test_every_folder_gives_a_name(folder: str):
    assert checked_name("--name", name_after(folder))
