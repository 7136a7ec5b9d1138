from pathlib import Path

import pytest

from edgeprune.base.errors import DataError
from edgeprune.data.delimited import read_delimited


def read(path: Path, text: str) -> dict[str, list[str]]:
    path.write_text(text, encoding="utf-8", newline="")
    found = read_delimited(path)
    return {column: found.read(column) for column in found.columns}


def test_cells_are_texts(tmp_path: Path):
    found = read(tmp_path / "data.csv", "text,label\n1.50,007\nNA,042\nnull,1e3\n")
    assert found == {"text": ["1.50", "NA", "null"], "label": ["007", "042", "1e3"]}


@pytest.mark.parametrize("name", ["data.csv", "data.tsv"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_first_line_says_what_separates_cells(tmp_path: Path, name: str, separator: str):
    text = f"text{separator}label\r\none word{separator}a\r\n\r\nanother{separator}b\r\n"
    assert read(tmp_path / name, text) == {"text": ["one word", "another"], "label": ["a", "b"]}


def test_the_comma_goes_first_in_a_csv_and_the_tab_in_a_tsv(tmp_path: Path):
    assert list(read(tmp_path / "data.csv", "a,b;c\n1,2;3\n")) == ["a", "b;c"]
    assert list(read(tmp_path / "data.tsv", "a,b\tc\n1,2\t3\n")) == ["a,b", "c"]


def test_one_column_needs_no_separator(tmp_path: Path):
    assert read(tmp_path / "data.csv", "text\na\nb\n") == {"text": ["a", "b"]}


def test_a_long_cell_is_read(tmp_path: Path):
    assert read(tmp_path / "data.csv", f"text,label\n{'x' * 200_000},a\n")["text"] == ["x" * 200_000]


def test_a_text_of_several_lines_and_commas_is_one(tmp_path: Path):
    text = "Dear Ann,\nthanks, all is well\n\nyours, Bob"
    assert read(tmp_path / "data.csv", f'text,label\n"{text}",good\nshort,bad\n')["text"] == [text, "short"]


LINES = [f"text {number}\tpos" for number in range(6)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('"a film\tpos', '"a plot\tpos'),  # two open, none closes
        ('"a film\tpos', 'he said "so"\tpos'),
        ('"a film\tpos', 'he said so"\tpos'),  # together they are one good cell, of whole rows
        ('"a film\tpos', "a plot\tpos"),  # open to the end
    ],
)
@pytest.mark.parametrize("between", [0, 3])
def test_a_quotation_mark_that_swallows_rows(tmp_path: Path, first: str, second: str, between: int):
    rows = [LINES[0], first, *LINES[1 : 1 + between], second, *LINES[4:]]
    text = "\n".join(["text\tlabel", *rows, ""])
    assert read(tmp_path / "data.tsv", text)["text"] == [row.split("\t")[0] for row in rows]
    (note,) = read_delimited(tmp_path / "data.tsv").notes
    assert "data.tsv line 3: a cell begins with a quotation mark and does not end with one" in note
    with pytest.raises(DataError, match=r"data\.csv line 3: a cell begins with a quotation mark"):
        read(tmp_path / "data.csv", text.replace("\t", ","))


@pytest.mark.parametrize("cells", ["a", "a,b,c", "a,b,"])
def test_a_row_of_more_or_fewer_cells_is_refused_with_its_line(tmp_path: Path, cells: str):
    with pytest.raises(
        DataError, match=rf"line 5 has {cells.count(',') + 1} cells, but the first line names 2 columns"
    ):
        read(tmp_path / "data.csv", f'text,label\n"x\ny",b\n\n{cells}\n')


def test_the_lines_of_cells_of_several_lines_are_no_rows(tmp_path: Path):
    (tmp_path / "a.csv").write_text('text,label\n"one\n,\ntwo",pos\nthree,\n', encoding="utf-8")
    assert read_delimited(tmp_path / "a.csv").count == 2


def test_a_quote_that_swallows_the_rest_is_refused_where_the_header_is_quoted_too(tmp_path: Path):
    (tmp_path / "a.tsv").write_text('"text"\t"label"\n"good\tpos\nbad\tneg\n', encoding="utf-8")
    with pytest.raises(DataError, match="does not end with one"):
        read_delimited(tmp_path / "a.tsv")
