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
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgeprune.base.errors import DataError
from edgeprune.base.wording import cut, listed, quoted
from edgeprune.data.delimited import read_delimited
from edgeprune.data.images import ImageFile, read_images
from edgeprune.data.json_files import read_json
from edgeprune.data.lists import as_lists
from edgeprune.data.named import load_named
from edgeprune.data.parquet_files import read_parquet
from edgeprune.data.records import Records, records_of
from edgeprune.data.table import Columns, Content, DataSpec, Label, SplitName, Table, pick
from edgeprune.store.files import canonical_json, file_digest

if TYPE_CHECKING:
    from pydantic import JsonValue

__all__ = ["DATA_SUFFIXES", "DataSource"]


_LONGEST_TEXT = 1_000_000
"""The most characters of one text. Texts are cut to some hundred tokens, so a longer text is a mistake that takes minutes
and gigabytes."""


class DataSource:
    """Load the data that a `DataSpec` names.

    Args:
        spec: Where the data is.
        columns: The columns of the task's data.
        offline: Whether a dataset name may only come from the local cache.
        splits: The splits of a dataset that are read.

    Raises:
        DataError: A file is missing or has a format that isn't read, or there is no training file for
            the other files.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        columns: Columns,
        offline: bool,
        splits: tuple[SplitName, ...] = ("train", "selection", "test"),
    ) -> None:
        self.spec = spec
        self._splits = splits
        self._columns = columns
        self._offline = offline
        self.notes: tuple[str, ...] = ()
        """Sentences on what was assumed when the data was last loaded."""
        self._train_roles: dict[str, str] | None = None
        """The columns of the training data; None: nothing was read yet."""
        self._files: dict[SplitName, Path] = {}
        named: dict[SplitName, str | None] = {"train": spec.train, "selection": spec.selection, "test": spec.test}
        for split, name in named.items():
            if name is not None and (not name.strip() or "\0" in name):
                raise DataError(f"data is a file, or a dataset's name or folder, got {quoted(name)}")
            if name is not None and (split != "train" or Path(name).suffix.lower() in _READERS or _is_file(name)):
                self._files[split] = _data_file(name)
        if not self._files.get("train") and len(self._files) > 0:
            raise DataError(
                f"--selection-data and --test-data go with a training file, but {quoted(spec.train)} is a dataset name"
            )

    @property
    def repository(self) -> str | None:
        """The dataset's id on the hub; None: the data is files or a folder."""
        name = self.spec.train.partition(":")[0]
        return None if self._files or os.path.exists(name) else name  # noqa: PTH110 (as _is_file)

    @cached_property
    def file_digests(self) -> dict[SplitName, tuple[str, str]]:
        """By split, the name and the SHA-256 of its file; empty: the data is a dataset that is loaded by its name."""
        return {split: (path.name, file_digest(path)) for split, path in self._files.items()}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the data's content, with the bytes of images, and of the columns and number of rows to read."""
        content: dict[str, JsonValue] = {}
        if self._files:
            content = {split: [Path(name).suffix, sha256] for split, (name, sha256) in self.file_digests.items()}
        if self._columns.images or not self._files:
            rows = {split: [_hashable(table.contents), table.labels] for split, table in self.load().items()}
            content["rows"] = hashlib.sha256(json.dumps(rows, sort_keys=True, default=str).encode()).hexdigest()
        reading = self.spec.model_dump(mode="json", exclude={"train", "selection", "test"})
        return hashlib.sha256(canonical_json({"content": content, "reading": reading}).encode()).hexdigest()

    def load(self) -> dict[SplitName, Table]:
        """Load every given split, at most `max_rows` rows in all.

        Raises:
            DataError: The data can't be read or has no rows, a column is missing or ambiguous, or a row has no text,
                no path or bytes of an image, or no label.
        """
        records = self._records()
        self._train_roles = self._roles(records["train"], self._name("train"))
        self.notes = tuple(note for one in records.values() for note in one.notes)
        tables = {split: self._table(one, self._name(split), self._folder(split)) for split, one in records.items()}
        limit, total = self.spec.max_rows, sum(len(table.contents) for table in tables.values())
        if limit is None or total <= limit:
            return tables
        return {split: _subset(table, max(1, len(table.contents) * limit // total)) for split, table in tables.items()}

    def columns(self) -> dict[str, str]:
        """Name the columns of the training data that are read, by role: text or image, pair, and label.

        Raises:
            DataError: The data can't be read, or a column is missing or ambiguous.
        """
        if self._train_roles is None:
            self._train_roles = self._roles(self._records()["train"], self._name("train"))
        return self._train_roles

    def _name(self, split: SplitName) -> str:
        return str(self._files.get(split, f"{self.spec.train} ({split})"))

    def _folder(self, split: SplitName) -> Path:
        """Return the folder that relative paths in the data start from."""
        return self._files[split].parent if self._files else Path()

    def _records(self) -> "Mapping[SplitName, Records]":
        if self._files:
            return {split: _READERS[path.suffix.lower()](path) for split, path in self._files.items()}
        loaded = load_named(self.spec.train, offline=self._offline)
        roles: dict[SplitName, str] = {"train": "train", "selection": "validation", "test": "test"}
        return {
            split: records_of(loaded[role], self._name(split))
            for split, role in roles.items()
            if split in self._splits and role in loaded
        }

    def _table(self, records: Records, name: str, folder: Path) -> Table:
        if records.count == 0:
            raise DataError(f"{name} has no rows")
        roles = self._roles(records, name)
        contents = self._contents(records, roles["image" if self._columns.images else "text"], name, folder)
        if "pair" in roles:
            contents = list(zip(cast("list[str]", contents), _texts(records, roles["pair"], name), strict=True))
        labels = _labels(records, roles["label"], name) if "label" in roles else None
        return Table(contents, labels, range(1, len(contents) + 1))

    def _roles(self, records: Records, name: str) -> dict[str, str]:
        kind = "image" if self._columns.images else "text"
        roles = {kind: _column(self.spec.text_column, self._columns.content, records, name, kind)}
        if self._columns.pair or self.spec.pair_column is not None:
            if self._columns.pair is None:
                raise DataError(f"--pair-column names a second text, but this task's rows have one {kind}")
            roles["pair"] = _column(self.spec.pair_column, self._columns.pair, records, name, "pair")
            if roles["pair"] == roles[kind]:
                raise DataError(f"{name}: the two texts of a row should be two columns, got {roles['pair']!r} for both")
        if self._columns.label:
            roles["label"] = _column(self.spec.label_column, self._columns.label, records, name, "label")
        elif self.spec.label_column is not None:
            raise DataError("--label-column names labels, but this task has none")
        return roles

    def _contents(self, records: Records, column: str, name: str, folder: Path) -> Sequence[Content]:
        if self._columns.images:
            return read_images(records.read(column), column, name, folder)
        return _words(records, column, name) if self._columns.words else _texts(records, column, name)


def _texts(records: Records, column: str, name: str) -> list[str]:
    texts = records.read(column)
    for row, value in enumerate(texts, start=1):
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{name} row {row}: the column {column!r} should hold a text, got {quoted(value)}")
        if len(value) > _LONGEST_TEXT:
            raise DataError(
                f"{name} row {row}: the column {column!r} should hold a text of at most {_LONGEST_TEXT:,} characters, got "
                f"{len(value):,}; cut it, or leave the row out"
            )
    return texts


def _words(records: Records, column: str, name: str) -> list[str]:
    """Join lists of words into texts, with a space between the words."""
    rows = as_lists(records.read(column))
    for row, words in enumerate(rows, start=1):
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or not any(words):
            raise DataError(f"{name} row {row}: the column {column!r} should hold a list of words, got {quoted(words)}")
        spaced = next((word for word in words if " " in word), None)
        if spaced is not None:
            raise DataError(
                f"{name} row {row}: {quoted(spaced)} in the column {column!r} holds a space; give it as several words"
            )
    return [" ".join(words) for words in rows]


def _labels(records: Records, column: str, name: str) -> list[Label]:
    labels: list[Label] = as_lists(records.read(column))
    for row, value in enumerate(labels, start=1):
        for one in value if isinstance(value, list) else [value]:
            blank = isinstance(one, str) and not one.strip()
            if one is None or blank or one != one:  # noqa: PLR0124 (NaN, as pandas reads a missing number)
                raise DataError(f"{name} row {row}: the column {column!r} has no label")
    return labels


_READERS: dict[str, Callable[[Path], Records]] = {
    ".jsonl": read_json,
    ".json": read_json,
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".parquet": read_parquet,
}

DATA_SUFFIXES = tuple(_READERS)
"""Endings of the files that are read."""


def _data_file(name: str) -> Path:
    path = Path(os.path.expanduser(name))  # noqa: PTH111 (Path.expanduser raises for an unknown user)
    if path.suffix.lower() not in _READERS:
        raise DataError(f"{cut(name, 300)} should be a file that ends in {', '.join(_READERS)}, or a dataset name")
    if not _is_file(path):
        raise DataError(f"there is no data file {cut(name, 300)}; check its path")
    if not os.access(path, os.R_OK):
        raise DataError(f"{name} may not be read; check its permissions")
    if path.stat().st_size == 0:
        raise DataError(f"{name} has no rows: the file is empty")
    return path


def _is_file(path: str | Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 (Path.is_file raises for a name that is too long)


def _column(asked: str | None, candidates: Sequence[str], records: Records, name: str, kind: str) -> str:
    flag, columns = f"--{kind}-column", records.columns
    if asked is not None:
        if columns.count(asked) != 1:
            several = "several columns" if asked in columns else "no column"
            raise DataError(f"{name} has {several} {quoted(asked)} ({flag}); it has {listed(columns)}")
        return asked
    found = [column for column in columns if column.lower() in candidates]
    if len(found) != 1:
        several = (
            f"several that could hold the {kind} ({listed(found)})"
            if found
            else f"none called {candidates[0]!r} or the like"
        )
        raise DataError(f"{name} has the columns {listed(columns)}: {several}; name it with {flag}")
    return found[0]


def _subset(table: Table, rows: int) -> Table:
    return pick(table, sorted(np.random.default_rng(0).permutation(len(table.contents))[:rows].tolist()))


def _hashable(contents: Sequence[Content]) -> list[Any]:
    return [content.digest if isinstance(content, ImageFile) else content for content in contents]
