import time

import pytest
import yaml

from edgeprune.base.bounded_yaml import LONGEST_TEXT, load_yaml


def problem_of(text: str) -> str:
    with pytest.raises(yaml.YAMLError) as caught:
        load_yaml(text)
    return str(caught.value)


def nested_aliases(levels: int) -> str:
    """Ten aliases a level: 10^levels values."""
    return "a0: &a0 [x]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, levels + 1)
    )


def test_what_a_profile_holds_is_read():
    text = "a: 1\nb: &b {c: [x, 2.5, null, true]}\nd: *b\n'e': .inf\n"
    shared = {"c": ["x", 2.5, None, True]}
    assert load_yaml(text) == {"a": 1, "b": shared, "d": shared, "e": float("inf")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (nested_aliases(9), "more than 500,000 values, aliases written out"),
        (f"a: &a [{'x, ' * 999}x]\nb: [{'[*a], ' * 600}]", "more than 500,000 values, aliases written out"),
        ("a: &a [*a]\n", "the alias 'a' stands inside what it names"),
        ("a: &a {b: [1, *a]}\n", "the alias 'a' stands inside what it names"),
        ("a: *b\n", "undefined alias"),
        ("a: " + "[" * 100_000, "more than 32 deep"),
        ("a: " + "[" * 400 + "]" * 400, "more than 32 deep"),
        ("a: " + "{b: " * 400 + "1" + "}" * 400, "more than 32 deep"),
        ("".join(f"{' ' * depth}a:\n" for depth in range(400)), "more than 32 deep"),
        (
            "a0: &a0 [x]\n" + "".join(f"a{level}: &a{level} [*a{level - 1}]\n" for level in range(1, 400)),
            "more than 32 deep",
        ),
        ("- - - - " * 100 + "1\n", "more than 32 deep"),
        ("[" + "1," * 600_000 + "]", "more than 500,000 values"),
        ("a" * (LONGEST_TEXT + 1), "more than 4,000,000 characters"),
        ("a: " + "x" * 20_000, "a value of 20,000 characters; expected at most 10,000"),
        ("a: 1" + ":1" * 20_000, "a value of 40,001 characters"),
        ("x" * 20_000 + ": 1", "a value of 20,000 characters"),
        ("a: 0x" + "f" * 5_000, "is too large; expected one below 2^63"),
        ("a: -9223372036854775809", "is too large"),
        ("a: " + "1" * 5_000, "limit"),
    ],
    ids=lambda value: value[:30],
)
def test_what_is_beyond_a_limit_is_refused_soon(text: str, words: str):
    start = time.perf_counter()
    assert words in problem_of(text)
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    "value",
    ["!!bool maybe", "!!int ''", "!!float x", "!!timestamp abc", "!!map [1]", "!!seq {a: 1}", "!!set {a}", "!!omap [1]",
     "!!pairs [1]", "!!binary abc", "!!null x", "!!python/object/apply:os.system [ls]", "!own 1", "! 1"],
)  # fmt: skip
@pytest.mark.parametrize("place", ["a: {}", "- {}", "{}", "{}: 1", "a: &b {}"])
def test_tags_are_refused_wherever_they_stand(value: str, place: str):
    assert "has no meaning here; leave it out" in problem_of(place.format(value))


@pytest.mark.parametrize(
    "text", ["a: 2024-13-45", "a: 1\na: 2", "? [a]\n: 1", "? {a: 1}\n: 1", "a: 1\n--- \nb: 2", "a: 0b_"]
)
def test_what_is_no_single_document_of_values_is_refused(text: str):
    assert problem_of(text)


def test_an_alias_counts_as_often_as_it_is_used():
    row = "&row [" + "1, " * 999 + "1]"
    fine = f"[{row}, {', '.join(['*row'] * 498)}]"
    content = load_yaml(fine)
    assert isinstance(content, list)
    assert len(content) == 499
    assert "more than 500,000" in problem_of(f"[{row}, {', '.join(['*row'] * 499)}]")


@pytest.mark.parametrize(("levels", "fits"), [(32, True), (33, False)])
def test_a_depth_is_counted_the_same_with_and_without_aliases(levels: int, fits: bool):
    plain = "[" * levels + "1" + "]" * levels
    shared = "- &a0 [1]\n" + "".join(f"- &a{level} [*a{level - 1}]\n" for level in range(1, levels - 1))
    for text in (plain, shared):
        if fits:
            assert load_yaml(text)
        else:
            assert "more than 32 deep" in problem_of(text)
