"""The table of programs in docs/packages.md is what the tests beside this one try."""

from pathlib import Path

from tests.consumers.cases import CONSUMERS, WORDS


def table() -> str:
    """The table; `python -m tests.consumers.test_table` prints it."""
    columns = list(dict.fromkeys(WORDS.values()))
    rows = [["", *columns], ["---"] * (len(columns) + 1)]
    for program, cases in CONSUMERS.items():
        tried = {WORDS[case] for case in cases}
        rows.append([program, *("yes" if column in tried else "" for column in columns)])
    return "".join("|" + "|".join(f" {cell} " if cell else " " for cell in row) + "|\n" for row in rows)


def test_the_documentation_has_the_whole_table() -> None:
    assert table() in Path("docs/packages.md").read_text(encoding="utf-8")


def test_the_readme_names_every_program() -> None:
    lines = Path("README.md").read_text(encoding="utf-8").splitlines()
    (line,) = (one for one in lines if one.startswith("| Packages open elsewhere"))
    names = {name.removesuffix(" in Node").removesuffix(" in a page") for name in CONSUMERS}
    assert [name for name in names if name not in line] == []


if __name__ == "__main__":
    print(table(), end="")
