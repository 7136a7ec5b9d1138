from typing import Any

import pytest

from edgeprune.base.wording import cut, first_line, listed, quoted


@pytest.mark.parametrize("value", ["a", 12, -0.5, None, ["a", 1], {"a": [1]}, "é日本\n", True])
def test_short_values_are_quoted_as_python_writes_them(value: Any):
    assert quoted(value) == repr(value)


def nest(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    "value", ["x" * 10**6, list(range(10**5)), nest(5_000), {"k" * 10**5: "v" * 10**5}, b"x" * 10**5]
)
def test_long_and_deep_values_are_cut(value: Any):
    assert 3 < len(quoted(value)) <= 100


def test_a_long_texts_length_is_told():
    assert quoted("word " * 1000) == f"{('word ' * 12)!r}… (5,000 characters)"


def test_many_names_are_counted():
    assert listed(["a", "b"]) == "a, b"
    assert listed([f"n{number}" for number in range(5_000)], 2) == "n0, n1 and 4,998 more"
    assert len(listed(["x" * 10**5] * 100)) < 2_000


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("\n one\ntwo"), "one"),
        (ValueError(""), "ValueError"),
        (KeyError(), "KeyError"),
        (ValueError("a\x1b[31mb"), "a?[31mb"),
        (OSError("x" * 1000), "x" * 300),
    ],
)
def test_a_library_s_error_is_one_line(error: Exception, said: str):
    assert first_line(error) == said


def test_cut():
    assert (cut("abc", 3), cut("abcd", 3)) == ("abc", "ab…")
