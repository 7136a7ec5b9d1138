"""Load texts or images with their labels from files (JSONL, CSV, TSV, Parquet) or a dataset name.

A column is named by a flag, or guessed where exactly one of the task's candidates exists. Splits that are given are
kept. A split that isn't given is split off with a seed when the dense baseline is prepared, which records row numbers,
not texts.

    source = DataSource(DataSpec(train="reviews.jsonl"), columns=COLUMNS["text-classification"], offline=False)
    source.digest            # enters the keys
    source.load()["train"]   # Table(contents, labels)
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgeprune.base.errors import DataError, storage_error
from edgeprune.data.images import ImageFile, read_images
from edgeprune.data.table import Columns, Content, DataSpec, Label, SplitName, Table, pick
from edgeprune.store.files import canonical_json, file_digest

if TYPE_CHECKING:
    from datasets import Dataset
    from pydantic import JsonValue

__all__ = ["DataSource"]


_FORMATS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}


class DataSource:
    """Load the data that a `DataSpec` names.

    Args:
        spec: Where the data is.
        columns: The columns of the task's data.
        offline: Whether a dataset name may only come from the local cache.

    Raises:
        DataError: A file is missing or has a format that isn't read, or there is no training file for
            the other files.
    """

    def __init__(self, spec: DataSpec, *, columns: Columns, offline: bool) -> None:
        self.spec = spec
        self._columns = columns
        self._offline = offline
        self._files: dict[SplitName, Path] = {}
        named: dict[SplitName, str | None] = {"train": spec.train, "selection": spec.selection, "test": spec.test}
        for split, name in named.items():
            if name is not None and (split != "train" or Path(name).suffix in _FORMATS or Path(name).is_file()):
                self._files[split] = _data_file(name)
        if not self._files.get("train") and len(self._files) > 0:
            raise DataError(
                f"--selection-data and --test-data go with a training file, but {spec.train!r} is a dataset name"
            )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the data's content, with the bytes of images, and of the columns and number of rows to read."""
        content: dict[str, JsonValue] = {}
        if self._files:
            content = {split: [path.suffix, file_digest(path)] for split, path in self._files.items()}
        if self._columns.images or not self._files:
            rows = {split: [_hashable(table.contents), table.labels] for split, table in self.load().items()}
            content["rows"] = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
        reading = self.spec.model_dump(mode="json", exclude={"train", "selection", "test"})
        return hashlib.sha256(canonical_json({"content": content, "reading": reading}).encode()).hexdigest()

    def load(self) -> dict[SplitName, Table]:
        """Load every given split, at most `max_rows` rows in all.

        Raises:
            DataError: The data can't be read or has no rows, a column is missing or ambiguous, or a row has no text,
                no path or bytes of an image, or no label.
        """
        with tempfile.TemporaryDirectory() as cache:
            tables = {
                split: self._table(dataset, self._name(split), self._folder(split))
                for split, dataset in self._datasets(cache).items()
            }
        limit, total = self.spec.max_rows, sum(len(table.contents) for table in tables.values())
        if limit is None or total <= limit:
            return tables
        return {split: _subset(table, max(1, len(table.contents) * limit // total)) for split, table in tables.items()}

    def _name(self, split: SplitName) -> str:
        return str(self._files.get(split, f"{self.spec.train} ({split})"))

    def _folder(self, split: SplitName) -> Path:
        """Return the folder that relative paths in the data start from."""
        return self._files[split].parent if self._files else Path()

    def _datasets(self, cache: str) -> "Mapping[SplitName, Dataset]":
        import datasets

        datasets.disable_progress_bars()
        datasets.utils.logging.set_verbosity_error()
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        if self._files:
            return {split: self._read_file(path, cache) for split, path in self._files.items()}
        name, _, config = self.spec.train.partition(":")
        configured = datasets.config.HF_HUB_OFFLINE
        try:
            datasets.config.HF_HUB_OFFLINE = self._offline or configured
            loaded = datasets.load_dataset(name, config or None)
        except Exception as error:
            raise DataError(
                f"{self.spec.train!r} is neither a data file nor a dataset that loads: {str(error).splitlines()[0]}"
            ) from error
        finally:
            datasets.config.HF_HUB_OFFLINE = configured
        roles: dict[SplitName, str] = {"train": "train", "selection": "validation", "test": "test"}
        if "train" not in loaded:
            raise DataError(f"the dataset {name!r} has the splits {', '.join(loaded)}, but no split train")
        return {split: loaded[role] for split, role in roles.items() if role in loaded}

    @staticmethod
    def _read_file(path: Path, cache: str) -> "Dataset":
        import datasets

        options: dict[str, Any] = {"sep": "\t"} if path.suffix == ".tsv" else {}
        if path.suffix in (".csv", ".tsv"):
            options |= {"keep_default_na": False}
        try:
            return datasets.load_dataset(
                _FORMATS[path.suffix],
                data_files=str(path),
                split="train",
                cache_dir=cache,
                keep_in_memory=True,
                **options,
            )
        except Exception as error:
            raise storage_error(error, cache) or DataError(_why_unreadable(path, error)) from error

    def _table(self, dataset: "Dataset", name: str, folder: Path) -> Table:
        if len(dataset) == 0:
            raise DataError(f"{name} has no rows")
        columns = list(dataset.column_names)
        kind = "image" if self._columns.images else "text"
        content = _column(self.spec.text_column, self._columns.content, columns, name, kind)
        contents = self._contents(dataset, content, name, folder)
        if self._columns.pair or self.spec.pair_column is not None:
            if self._columns.pair is None:
                raise DataError(f"--pair-column names a second text, but this task's rows have one {kind}")
            pair = _column(self.spec.pair_column, self._columns.pair, columns, name, "pair")
            if pair == content:
                raise DataError(f"{name}: the two texts of a row should be two columns, got {content!r} for both")
            contents = list(zip(cast("list[str]", contents), _texts(dataset, pair, name), strict=True))
        if not self._columns.label:
            if self.spec.label_column is not None:
                raise DataError("--label-column names labels, but this task has none")
            return Table(contents, None, range(1, len(contents) + 1))
        label = _column(self.spec.label_column, self._columns.label, columns, name, "label")
        return Table(contents, _labels(dataset, label, name), range(1, len(contents) + 1))

    def _contents(self, dataset: "Dataset", column: str, name: str, folder: Path) -> Sequence[Content]:
        if self._columns.images:
            return read_images(dataset, column, name, folder)
        return _words(dataset, column, name) if self._columns.words else _texts(dataset, column, name)


def _texts(dataset: "Dataset", column: str, name: str) -> list[str]:
    try:
        texts: list[str] = dataset[column][:]
    except UnicodeDecodeError as error:  # pyarrow reads bytes and decodes them only now
        raise DataError(_why_unreadable(Path(name), error)) from error
    for row, value in enumerate(texts, start=1):
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{name} row {row}: the column {column!r} should hold a text, got {value!r}")
    return texts


def _words(dataset: "Dataset", column: str, name: str) -> list[str]:
    """Join lists of words into texts, with a space between the words."""
    rows = dataset[column][:]
    for row, words in enumerate(rows, start=1):
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or not any(words):
            raise DataError(f"{name} row {row}: the column {column!r} should hold a list of words, got {words!r}")
        spaced = next((word for word in words if " " in word), None)
        if spaced is not None:
            raise DataError(
                f"{name} row {row}: {spaced!r} in the column {column!r} holds a space; give it as several words"
            )
    return [" ".join(words) for words in rows]


def _labels(dataset: "Dataset", column: str, name: str) -> list[Label]:
    labels = dataset[column][:]
    for row, value in enumerate(labels, start=1):
        for one in value if isinstance(value, list) else [value]:
            if one is None or one == "" or one != one:  # noqa: PLR0124 (NaN, as pandas reads a missing number)
                raise DataError(f"{name} row {row}: the column {column!r} has no label")
    feature = dataset.features[column]
    listed = getattr(feature, "feature", None)  # a list of classes a row
    name_of = getattr(listed or feature, "int2str", None)
    if name_of is None:
        return list(labels)
    for row, value in enumerate(labels, start=1):
        if min(value if listed else [value], default=0) < 0:
            raise DataError(
                f"{name} row {row}: the label is {value}; data sets publish numbers below 0 where they keep the labels "
                f"secret; give a split with labels"
            )
    return [[name_of(one) for one in value] if listed else name_of(value) for value in labels]


def _data_file(name: str) -> Path:
    path = Path(os.path.expanduser(name))  # noqa: PTH111 (Path.expanduser raises for an unknown user)
    if path.suffix not in _FORMATS:
        raise DataError(f"{name} should be a file that ends in {', '.join(_FORMATS)}, or a dataset name")
    if not path.is_file():
        raise DataError(f"there is no data file {name}; check its path")
    if not os.access(path, os.R_OK):
        raise DataError(f"{name} may not be read; check its permissions")
    if path.stat().st_size == 0:
        raise DataError(f"{name} has no rows: the file is empty")
    return path


def _column(asked: str | None, candidates: Sequence[str], columns: list[str], name: str, kind: str) -> str:
    flag = f"--{kind}-column"
    if asked is not None:
        if asked not in columns:
            raise DataError(f"{name} has no column {asked!r} ({flag}); it has {', '.join(columns)}")
        return asked
    found = [column for column in columns if column.lower() in candidates]
    if len(found) != 1:
        several = (
            f"several that could hold the {kind} ({', '.join(found)})"
            if found
            else f"none called {candidates[0]!r} or the like"
        )
        raise DataError(f"{name} has the columns {', '.join(columns)}: {several}; name it with {flag}")
    return found[0]


def _why_unreadable(path: Path, error: Exception) -> str:
    """Say why a file can't be read. The reader's own error doesn't name the first bad line of a JSON Lines file."""
    if path.suffix == ".jsonl":
        for number, raw in enumerate(path.read_bytes().splitlines(), start=1):
            try:
                record = json.loads(raw) if raw.strip() else {}
            except ValueError as fault:  # UnicodeDecodeError is one
                return f"{path} line {number} is not valid JSON: {fault}"
            if not isinstance(record, dict):
                return f"{path} line {number} should be an object with a value for each column, got {type(record).__name__}"
    if "corresponds to no data" in str(error):
        return f"{path} has no rows"
    cause = error.__cause__ or error
    return f"{path} can't be read as {path.suffix.lstrip('.')}: {str(cause).splitlines()[0]}"


def _subset(table: Table, rows: int) -> Table:
    return pick(table, sorted(np.random.default_rng(0).permutation(len(table.contents))[:rows].tolist()))


def _hashable(contents: Sequence[Content]) -> list[Any]:
    return [content.digest if isinstance(content, ImageFile) else content for content in contents]
