import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from edgeprune.base.errors import DataError
from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec, Table
from edgeprune.tasks.registry import COLUMNS, TaskName
from tests.conftest import Hub
from tests.support.e2e import without_network

ROWS: list[dict[str, Any]] = [
    {"text": 'He said "no", twice\tand left', "label": "neg"},
    {"text": "NA", "label": "null"},
    {"text": "größer, 日本語 🎬", "label": "pos"},
    {"text": "two\nlines", "label": "neg"},
]
TABLE = Table([row["text"] for row in ROWS], [row["label"] for row in ROWS])


def source(
    train: Path | str, *, task: TaskName = "text-classification", offline: bool = True, **spec: Any
) -> DataSource:
    return DataSource(DataSpec(train=str(train), **spec), columns=COLUMNS[task], offline=offline)


def test_a_dataset_on_the_hub_has_its_name_and_local_data_has_none(tmp_path: Path):
    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    assert source("org/texts:english").repository == "org/texts"
    assert source("org/texts").repository == "org/texts"
    assert source(tmp_path / "rows.jsonl").repository is None
    assert source(tmp_path).repository is None


def write_jsonl(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_json(path: Path, rows: list[Any]) -> None:
    path.write_text(json.dumps(rows), encoding="utf-8")


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pd.DataFrame(rows).to_parquet(path)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], None]] = {
    ".jsonl": write_jsonl,
    ".json": write_json,
    ".csv": write_csv,
    ".tsv": write_csv,
    ".parquet": write_parquet,
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str):
    WRITERS[suffix](tmp_path / f"data{suffix}", ROWS)
    assert source(tmp_path / f"data{suffix}").load() == {"train": TABLE}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("labels", [[3, 10], [0.5, -2.0]])
def test_numbers_stay_numbers_where_a_format_has_some(tmp_path: Path, suffix: str, labels: list[Any]):
    WRITERS[suffix](tmp_path / f"data{suffix}", [{"text": "a", "score": one} for one in labels])
    expected = list(map(str, labels)) if suffix in (".csv", ".tsv") else labels
    assert source(tmp_path / f"data{suffix}").load()["train"].labels == expected


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".CSV", ".JSONL"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_mark_at_the_beginning_says_the_encoding(tmp_path: Path, suffix: str, encoding: str):
    WRITERS[suffix.lower()](tmp_path / "plain", ROWS)
    path = tmp_path / f"data{suffix}"
    separated = (tmp_path / "plain").read_bytes().decode()
    if suffix == ".tsv":  # `write_csv` asks the file's own suffix
        write_csv(tmp_path / "plain.tsv", ROWS)
        separated = (tmp_path / "plain.tsv").read_bytes().decode()
    path.write_bytes(separated.encode(encoding))
    assert source(path).load() == {"train": TABLE}


def test_the_type_of_json_labels_may_change_late(tmp_path: Path):
    write_jsonl(tmp_path / "data.jsonl", [{"text": "a", "label": 1}] * 3 + [{"text": "b", "label": "other"}])
    assert source(tmp_path / "data.jsonl").load()["train"].labels == [1, 1, 1, "other"]


def test_categories_of_pandas_are_their_names(tmp_path: Path):
    frame = pd.DataFrame({"text": ["a", "b"], "label": pd.Categorical(["pos", "neg"])})
    frame.to_parquet(tmp_path / "data.parquet")
    assert source(tmp_path / "data.parquet").load()["train"].labels == ["pos", "neg"]


def test_lists_in_the_cells_of_a_csv_are_lists(tmp_path: Path):
    rows = [{"text": "a", "labels": "['x', 'y']"}, {"text": "b", "labels": '["z"]'}, {"text": "c", "labels": "[]"}]
    write_csv(tmp_path / "data.csv", rows)
    assert source(tmp_path / "data.csv").load()["train"].labels == [["x", "y"], ["z"], []]
    write_csv(tmp_path / "words.csv", [{"tokens": "['Old', 'Paris']", "tags": "['O', 'B-LOC']"}])
    found = source(tmp_path / "words.csv", task="token-classification").load()["train"]
    assert found == Table(["Old Paris"], [["O", "B-LOC"]])


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_a_row_may_have_several_labels(tmp_path: Path, suffix: str):
    WRITERS[suffix](tmp_path / f"data{suffix}", [{"text": "a", "labels": ["x", "y"]}, {"text": "b", "labels": []}])
    assert source(tmp_path / f"data{suffix}").load()["train"].labels == [["x", "y"], []]


def test_given_splits_are_kept_apart(tmp_path: Path):
    for number, name in enumerate(["train", "selection", "test"]):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"text": f"{name} {row}", "label": number} for row in range(3)])
    found = source(
        tmp_path / "train.jsonl", selection=str(tmp_path / "selection.jsonl"), test=str(tmp_path / "test.jsonl")
    ).load()
    assert {name: (table.texts[0], table.labels) for name, table in found.items()} == {
        "train": ("train 0", [0, 0, 0]),
        "selection": ("selection 0", [1, 1, 1]),
        "test": ("test 0", [2, 2, 2]),
    }


@pytest.mark.parametrize(
    ("columns", "spec", "chosen"),
    [
        (["text", "label"], {}, ("text", "label")),
        (["id", "Sentence", "Target"], {}, ("Sentence", "Target")),
        (["review", "rating", "date"], {}, ("review", "rating")),
        (["text", "title", "label"], {"text_column": "title"}, ("title", "label")),
        (["text", "label", "score"], {"label_column": "score"}, ("text", "score")),
        (["words", "kind"], {"text_column": "words", "label_column": "kind"}, ("words", "kind")),
    ],
)
def test_columns_are_those_named_or_the_only_likely_ones(
    tmp_path: Path, columns: list[str], spec: dict[str, str], chosen: tuple[str, str]
):
    write_jsonl(tmp_path / "data.jsonl", [{column: f"in {column}" for column in columns}])
    found = source(tmp_path / "data.jsonl", **spec).load()["train"]
    assert found == Table([f"in {chosen[0]}"], [f"in {chosen[1]}"])


@pytest.mark.parametrize(
    ("columns", "spec", "message"),
    [
        (["words", "label"], {}, "has the columns words, label: none called 'text' or the like; name it with --text"),
        (["text", "kind"], {}, "has the columns text, kind: none called 'label' or the like; name it with --label"),
        (["text", "title", "label"], {}, "several that could hold the text (text, title); name it with --text-column"),
        (["text", "label", "score"], {}, "several that could hold the label (label, score); name it with --label"),
        (["text", "label"], {"text_column": "words"}, "has no column 'words' (--text-column); it has text, label"),
        (["text", "label"], {"label_column": "kind"}, "has no column 'kind' (--label-column); it has text, label"),
    ],
)
def test_a_column_that_is_not_clear_is_refused(tmp_path: Path, columns: list[str], spec: dict[str, str], message: str):
    write_jsonl(tmp_path / "data.jsonl", [dict.fromkeys(columns, "x")])
    with pytest.raises(DataError) as caught:
        source(tmp_path / "data.jsonl", **spec).load()
    assert message in str(caught.value)
    assert str(tmp_path / "data.jsonl") in str(caught.value)


def test_words_and_their_tags_come_as_lists(tmp_path: Path):
    write_jsonl(tmp_path / "data.jsonl", [{"tokens": ["Old", "Paris", "."], "ner_tags": ["O", "B-LOC", "O"]}])
    found = source(tmp_path / "data.jsonl", task="token-classification").load()["train"]
    assert found == Table(["Old Paris ."], [["O", "B-LOC", "O"]])


def test_the_tags_of_a_dataset_are_named(tmp_path: Path):
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["O", "B-LOC"]))})
    rows = [{"tokens": ["in", "Paris"], "ner_tags": [0, 1]}]
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "data.parquet")
    found = source(tmp_path / "data.parquet", task="token-classification").load()["train"]
    assert found == Table(["in Paris"], [["O", "B-LOC"]])


@pytest.mark.parametrize(
    ("tags", "message"), [([0, -100], "the label is [0, -100]; data sets"), ([0, None], "has no label")]
)
def test_tags_that_are_not_there_are_refused(tmp_path: Path, tags: list[Any], message: str):
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["O", "B-LOC"]))})
    table = pa.table({"tokens": [["in", "Paris"]], "ner_tags": pa.array([tags], pa.list_(pa.int64()))})
    Dataset(table.cast(pa.schema(features.arrow_schema, metadata=features.arrow_schema.metadata))).to_parquet(
        tmp_path / "data.parquet"
    )
    with pytest.raises(DataError) as caught:
        source(tmp_path / "data.parquet", task="token-classification").load()
    assert "row 1" in str(caught.value)
    assert message in str(caught.value)


def test_two_columns_are_pairs(tmp_path: Path):
    write_jsonl(tmp_path / "data.jsonl", [{"premise": "a", "hypothesis": "b", "label": "yes"}])
    spec = {"text_column": "premise", "pair_column": "hypothesis"}
    assert source(tmp_path / "data.jsonl", **spec).load()["train"] == Table([("a", "b")], ["yes"])


def test_a_question_comes_with_its_context_and_answers(tmp_path: Path):
    answers = {"text": ["b"], "answer_start": [2]}
    write_jsonl(tmp_path / "data.jsonl", [{"id": "1", "question": "q", "context": "a b", "answers": answers}])
    found = source(tmp_path / "data.jsonl", task="question-answering").load()["train"]
    assert found == Table([("q", "a b")], [answers])


@pytest.mark.parametrize(
    ("task", "row", "spec", "message"),
    [
        ("token-classification", {"tokens": "a b", "tags": ["O"]}, {}, "should hold a list of words, got 'a b'"),
        ("token-classification", {"tokens": [], "tags": []}, {}, "should hold a list of words, got []"),
        ("token-classification", {"tokens": ["New York"], "tags": ["O"]}, {}, "'New York' in the column 'tokens' holds a space"),
        ("question-answering", {"question": "q", "answers": "a"}, {}, "none called 'context' or the like; name it with --pair"),
        ("question-answering", {"question": "q", "context": "", "answers": "a"}, {}, "'context' should hold a text, got ''"),
        ("fill-mask", {"text": "a"}, {"label_column": "text"}, "--label-column names labels, but this task has none"),
        ("text-classification", {"text": "a", "label": "b"}, {"pair_column": "text"}, "should be two columns, got 'text' for both"),
        ("fill-mask", {"text": "a"}, {"pair_column": "text"}, "--pair-column names a second text, but this task's rows have one"),
    ],
)  # fmt: skip
def test_what_a_task_cannot_read_is_refused(
    tmp_path: Path, task: TaskName, row: dict[str, Any], spec: dict[str, str], message: str
):
    write_jsonl(tmp_path / "data.jsonl", [row])
    with pytest.raises(DataError) as caught:
        source(tmp_path / "data.jsonl", task=task, **spec).load()
    assert message in str(caught.value)


def test_a_task_without_labels_needs_no_label_column(tmp_path: Path):
    write_jsonl(tmp_path / "data.jsonl", [{"text": "a"}, {"text": "b"}])
    assert source(tmp_path / "data.jsonl", task="feature-extraction").load()["train"] == Table(["a", "b"], None)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a", "label": 1}, {"text": "", "label": 1}], "row 2: the column 'text' should hold a text, got ''"),
        ([{"text": " \n", "label": 1}], "row 1: the column 'text' should hold a text, got ' \\n'"),
        ([{"text": 12, "label": 1}], "row 1: the column 'text' should hold a text, got 12"),
        (
            [{"text": "a", "label": 1}, {"text": None, "label": 1}],
            "row 2: the column 'text' should hold a text, got None",
        ),
        ([{"text": "a", "label": 1}, {"label": 1}], "row 2: the column 'text' should hold a text, got None"),
        ([{"text": "a", "label": 1}, {"text": "b", "label": None}], "row 2: the column 'label' has no label"),
        ([{"text": "a", "label": "x"}, {"text": "b", "label": ""}], "row 2: the column 'label' has no label"),
        ([{"text": "a", "label": 1}, {"text": "b"}], "row 2: the column 'label' has no label"),
    ],
)
def test_a_row_without_text_or_label_is_refused_with_its_number(
    tmp_path: Path, rows: list[dict[str, Any]], message: str
):
    write_jsonl(tmp_path / "data.jsonl", rows)
    with pytest.raises(DataError) as caught:
        source(tmp_path / "data.jsonl").load()
    assert str(caught.value) == f"{tmp_path / 'data.jsonl'} {message}"


def test_a_missing_label_in_a_csv_is_refused(tmp_path: Path):
    (tmp_path / "data.csv").write_text("text,label\na,1\nb,\n", encoding="utf-8")
    with pytest.raises(DataError, match="row 2: the column 'label' has no label"):
        source(tmp_path / "data.csv").load()


def test_a_label_that_is_no_number_is_no_label(tmp_path: Path):
    Dataset.from_dict({"text": ["a", "b"], "label": [0.5, float("nan")]}).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(DataError, match="row 2: the column 'label' has no label"):
        source(tmp_path / "data.parquet").load()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.jsonl", b"", "has no rows: the file is empty"),
        ("data.csv", b"text,label\n", "has no rows"),
        ("data.jsonl", b'{"text": "a", "label": 1}\n{"text": "b"', "line 2 is not valid JSON"),
        ("data.jsonl", b'{"text": "a", "label": 1}\n\n{"text: 1}\n', "line 3 is not valid JSON"),
        ("data.jsonl", b'{"text": "a", "label": 1}\n["b", 2]\n', "line 2 should be an object with a value a column"),
        ("data.jsonl", b'{"text": "a", "label": 1}\n{"text": "\xff", "label": 1}\n', "line 2 is not UTF-8"),
        ("data.csv", b"text,label\na,1\nb,2,3,4\n", "line 3 has 4 cells, but the first line names 2 columns"),
        ("data.csv", b"text,label\na,1\n\xff,2\n", "line 3 is not UTF-8"),
        ("data.csv", "text,label\na,1\n".encode("utf-16-le"), "begins with a zero byte, as UTF-16 without a mark does"),
        ("data.csv", b"\xff\xfet\0e", "is not UTF-16"),
        ("data.jsonl", b'{"text": "a", "label": 1}\n\n{"text": "b \\ud83d", "label": 1}\n', "line 3 holds half a character (\\ud83d"),
        ("data.jsonl", b'{"text": "a", "label": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "line 1 is nested too deeply"),
        ("data.json", b"[" * 1_100 + b"]" * 1_100, "is nested too deeply"),
        ("data.jsonl", b'{"text": "a", "label": ' + b"1" * 5_000 + b"}\n", "line 1 is not valid JSON: Exceeds the limit"),
        ("data.json", b"null", "should hold a list of objects, one a row, got null"),
        ("data.json", b"[null]", "row 1 should be an object with a value a column, got null"),
        ("data.json", b'{"rows": [], "kind": 1}', "holds one object with the keys rows, kind, and lists inside of it"),
        ("data.parquet", b"PAR1 but not really", "can't be read as parquet"),
        ("data.json", b"{", "is not valid JSON"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        source(tmp_path / name).load()
    assert f"{tmp_path / name} {message}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["nowhere.jsonl", "nowhere/data.csv", "~nobody-of-this-name/data.csv"])
def test_a_file_that_is_not_there_is_refused_before_anything_is_read(name: str):
    with pytest.raises(DataError, match=f"no data file {name}"):
        source(name)


def test_a_file_of_another_format_is_refused(tmp_path: Path):
    (tmp_path / "data.xlsx").write_text("x")
    with pytest.raises(
        DataError, match=r"should be a file that ends in \.jsonl, \.json, \.csv, \.tsv, \.parquet, or a dataset"
    ):
        source(tmp_path / "data.xlsx")


def test_a_split_that_is_not_there_is_refused(tmp_path: Path):
    write_jsonl(tmp_path / "data.jsonl", ROWS)
    with pytest.raises(DataError, match=r"no data file .*test\.jsonl"):
        source(tmp_path / "data.jsonl", test=str(tmp_path / "test.jsonl"))


def test_split_files_do_not_go_with_a_dataset_name(tmp_path: Path):
    write_jsonl(tmp_path / "test.jsonl", ROWS)
    with pytest.raises(DataError, match="go with a training file, but 'ag_news' is a dataset name"):
        source("ag_news", test=str(tmp_path / "test.jsonl"))


@pytest.mark.parametrize("name", ["nobody/no-such-dataset", "no-such-dataset", "nobody/data-1.0"])
def test_a_dataset_that_is_not_in_the_cache_is_refused_offline(name: str):
    with pytest.raises(DataError, match=f"'{name}' is neither a data file nor a dataset that loads"):
        source(name).load()


@pytest.mark.parametrize(("modes", "asks"), [("offline", False), ("offline online", True)])
def test_the_hub_is_asked_for_a_dataset_unless_offline(hub: Hub, modes: str, asks: bool):
    code = (
        "import sys; from edgeprune.data.source import DataSource, DataSpec; from edgeprune.base.errors import DataError\n"
        "from edgeprune.tasks.registry import COLUMNS\n"
        "for mode in sys.argv[1].split():\n"
        "    columns = COLUMNS['text-classification']\n"
        "    try: DataSource(DataSpec(train='org/words'), columns=columns, offline=mode == 'offline').load()\n"
        "    except DataError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, modes], env=hub.env, capture_output=True, text=True, check=True)
    assert done.stdout.count("'org/words' is neither a data file nor a dataset that loads") == len(modes.split())
    assert any("/datasets/org/words" in path for path in hub.requests) is asks


@pytest.mark.parametrize("offline", [True, False])
def test_nothing_of_local_data_is_told_to_a_network(tmp_path: Path, dataset_folder: Path, offline: bool):
    for suffix, write in WRITERS.items():
        write(tmp_path / f"data{suffix}", ROWS)
    names = [dataset_folder, f"{dataset_folder}:default", *(tmp_path / f"data{suffix}" for suffix in WRITERS)]
    code = (
        "import sys, edgeprune; from edgeprune.data.source import DataSource, DataSpec\n"
        "from edgeprune.tasks.registry import COLUMNS\n"
        "for name in sys.argv[2:]:\n"
        "    columns = COLUMNS['text-classification']\n"
        "    DataSource(DataSpec(train=name), columns=columns, offline=sys.argv[1] == 'True').load()\n"
        "from huggingface_hub import constants; assert constants.HF_HUB_DISABLE_TELEMETRY\n"
    )
    env = {**os.environ, **without_network(tmp_path / "asked"), "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", code, str(offline), *map(str, names)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, (tmp_path / "asked").read_text()) == (0, "", "")


@pytest.mark.parametrize("content", ["null", '{"text": "a", "label": ' + "[" * 100_000 + "]" * 100_000 + "}"])
def test_a_file_that_ends_the_parser_of_datasets_is_refused(tmp_path: Path, content: str):
    (tmp_path / "train.jsonl").write_text(content)
    with pytest.raises(DataError, match="can't be read: a file of it ends the process that parses it"):
        source(tmp_path).load()


@pytest.fixture
def dataset_folder(tmp_path: Path) -> Path:
    """A dataset as the hub has them: a folder with a file a split."""
    folder = tmp_path / "reviews"
    folder.mkdir()
    for split, count in {"train": 4, "validation": 2, "test": 3}.items():
        write_jsonl(folder / f"{split}.jsonl", [{"text": f"{split} {row}", "label": row % 2} for row in range(count)])
    return folder


@pytest.mark.parametrize("suffix", ["", ":default"])
def test_a_folder_with_a_dataset_gives_its_splits(dataset_folder: Path, suffix: str):
    found = source(f"{dataset_folder}{suffix}").load()
    assert {name: len(table.texts) for name, table in found.items()} == {"train": 4, "selection": 2, "test": 3}
    assert found["selection"] == Table(["validation 0", "validation 1"], [0, 1])


def test_what_save_to_disk_wrote_is_opened(tmp_path: Path, dataset_folder: Path):
    """huggingface/datasets#3700, axolotl#1430."""
    splits = datasets.load_dataset(str(dataset_folder))
    splits.save_to_disk(str(tmp_path / "splits"))
    splits["test"].save_to_disk(str(tmp_path / "one"))
    found = source(tmp_path / "splits").load()
    assert {name: len(table.texts) for name, table in found.items()} == {"train": 4, "selection": 2, "test": 3}
    found = source(tmp_path / "one").load()
    assert list(found) == ["train"]
    assert found["train"] == Table(["test 0", "test 1", "test 2"], [0, 1, 0])


def test_what_save_to_disk_wrote_in_part_is_refused(tmp_path: Path, dataset_folder: Path):
    datasets.load_dataset(str(dataset_folder))["test"].save_to_disk(str(tmp_path / "one"))
    (arrow,) = (tmp_path / "one").glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:100])
    with pytest.raises(DataError, match="neither a data file nor a dataset that loads: "):
        source(tmp_path / "one").load()


def test_a_dataset_without_train_is_refused(dataset_folder: Path):
    (dataset_folder / "train.jsonl").unlink()
    with pytest.raises(DataError, match="has the splits validation, test, but no split train"):
        source(f"{dataset_folder}:default").load()


def test_a_datasets_digest_is_of_its_rows(dataset_folder: Path):
    name = f"{dataset_folder}:default"
    before = source(name).digest
    assert source(name).digest == before
    write_jsonl(dataset_folder / "test.jsonl", [{"text": "other", "label": 0}])
    assert source(name).digest != before


def test_class_labels_are_their_names(tmp_path: Path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features).to_parquet(tmp_path / "data.parquet")
    assert source(tmp_path / "data.parquet").load()["train"].labels == ["pos", "neg"]


@pytest.mark.parametrize("number", [2, 7])
def test_the_number_of_no_class_is_refused(tmp_path: Path, number: int):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    table = pa.table({"text": ["a", "b"], "label": [1, number]})
    metadata = features.arrow_schema.metadata
    Dataset(table.cast(pa.schema(features.arrow_schema, metadata=metadata))).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(DataError, match=rf"row 2: the label is {number}, but the file names 2 classes, from 0 to 1"):
        source(tmp_path / "data.parquet").load()


@pytest.mark.parametrize("column", ["text", "label"])
def test_a_byte_that_is_not_utf_8_is_refused_with_its_row(tmp_path: Path, column: str):
    columns = {"text": [b"a", b"b"], "label": [b"x", b"y"]}
    columns[column][1] = b"\xff"
    table = pa.table({name: pa.array(values).view(pa.string()) for name, values in columns.items()})
    pq.write_table(table, tmp_path / "data.parquet")
    with pytest.raises(DataError, match=rf"data\.parquet row 2: the column '{column}' holds a byte that is not UTF-8"):
        source(tmp_path / "data.parquet").load()


@pytest.mark.parametrize(
    "row",
    [
        {"k" * 200_000: 1},
        {f"column {number}": 1 for number in range(5_000)},
        {"text": ["x" * 200_000] * 10, "label": "a"},
        {"text": "x" * 1_000_001, "label": "a"},
        {"text": json.loads("[" * 500 + "]" * 500), "label": "a"},
    ],
)
def test_what_is_quoted_in_a_message_is_cut(tmp_path: Path, row: dict[str, Any]):
    write_jsonl(tmp_path / "data.jsonl", [row])
    with pytest.raises(DataError) as caught:
        source(tmp_path / "data.jsonl").load()
    assert len(str(caught.value)) < 2_500


def test_a_label_that_a_data_set_keeps_secret(tmp_path: Path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    Dataset.from_dict({"text": ["a", "b"], "label": [1, -1]}, features=features).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(
        DataError, match="row 2: the label is -1; data sets publish numbers below 0 where they keep the labels secret"
    ):
        source(tmp_path / "data.parquet").load()


def test_a_digest_is_of_the_content_not_of_the_place(tmp_path: Path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_jsonl(tmp_path / folder / f"{folder}.jsonl", ROWS)
    first, second = source(tmp_path / "a" / "a.jsonl"), source(tmp_path / "b" / "b.jsonl")
    assert first.digest == second.digest
    write_jsonl(tmp_path / "b" / "b.jsonl", ROWS[:3])
    assert source(tmp_path / "b" / "b.jsonl").digest != first.digest


@pytest.mark.parametrize(
    "change", [{"text_column": "label"}, {"label_column": "text"}, {"max_rows": 20}, {"test": "x"}]
)
def test_what_is_read_of_the_data_is_in_its_digest(tmp_path: Path, change: dict[str, Any]):
    write_jsonl(tmp_path / "data.jsonl", ROWS)
    if "test" in change:
        write_jsonl(tmp_path / "test.jsonl", ROWS[:1])
        change = {"test": str(tmp_path / "test.jsonl")}
    assert source(tmp_path / "data.jsonl", **change).digest != source(tmp_path / "data.jsonl").digest


def test_max_rows_takes_a_seeded_subset_in_the_order_of_the_data(tmp_path: Path):
    rows = [{"text": f"text {row}", "label": row} for row in range(100)]
    write_jsonl(tmp_path / "data.jsonl", rows)
    found = source(tmp_path / "data.jsonl", max_rows=30).load()["train"]
    assert found == source(tmp_path / "data.jsonl", max_rows=30).load()["train"]
    assert found.labels is not None
    assert len(found.labels) == 30
    assert found.labels == sorted(set(found.labels))  # type: ignore[type-var]
    assert found.texts == [f"text {label}" for label in found.labels]
    assert found.labels != list(range(30))
    assert len(source(tmp_path / "data.jsonl", max_rows=1000).load()["train"].texts) == 100


def test_max_rows_are_shared_among_the_splits_by_their_size(tmp_path: Path):
    for name, count in {"train": 80, "test": 20}.items():
        write_jsonl(tmp_path / f"{name}.jsonl", [{"text": f"{name} {row}", "label": 0} for row in range(count)])
    found = source(tmp_path / "train.jsonl", test=str(tmp_path / "test.jsonl"), max_rows=50).load()
    assert {name: len(table.texts) for name, table in found.items()} == {"train": 40, "test": 10}
