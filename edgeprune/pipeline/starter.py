"""Find in a folder what a project file should say: the model, the data and its columns, the task, this machine.

What can't be told for sure is refused with what to name; nothing is guessed among several.

    found = find_start(Path(), {"data": "reviews.jsonl"})
    found.as_yaml()
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.base.errors import DataError, ProfileError, UsageError
from edgeprune.base.strict_yaml import inline
from edgeprune.base.wording import listed
from edgeprune.data.source import DATA_SUFFIXES, DataSource
from edgeprune.data.table import DataSpec
from edgeprune.devices.match import host_target, this_machine
from edgeprune.pipeline.subject import Subject, find_subject
from edgeprune.profiles.shipped import load_pipeline, load_target
from edgeprune.store.package import DIGESTS
from edgeprune.tasks.registry import COLUMNS, TAUGHT_ONLY

__all__ = ["Start", "find_start"]

_EXAMPLE = "edgeprune init ./my-model --data reviews.jsonl"
_SPLITS = {
    "train": ("train", "training"),
    "selection": ("selection", "validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
    "unlabelled": ("unlabelled", "unlabeled"),
}
"""Words in a file's name that say what its rows are for."""
_NOT_DATA = (".json",)
"""A folder has many of these that aren't data."""


@dataclass(frozen=True)
class Start:
    """Hold what a project file begins with."""

    model: str
    architecture: str
    task: str
    data: dict[str, str]
    """A file or a dataset's name for each split that there is."""
    columns: dict[str, str]
    """By role (text, pair or label)."""
    target: str
    pipeline: str
    release: str
    machine: str
    """What this machine is, in words; empty: `target` is another one."""
    unread: str | None = None
    """A column with labels, which the task doesn't read; None: there is none, or the task was asked for."""

    def as_yaml(self) -> str:
        """Write the project file, with comments on what its keys mean."""
        splits = {
            "train": "JSONL, CSV, TSV or Parquet file, or name or folder of a dataset",
            "selection": "rows for every choice that a build makes; without it, a tenth of train",
            "test": "rows for the reported figures and the budgets; without it, 15% of train",
            "unlabelled": "more rows without labels, to learn the dense model's answers on",
        }
        data = [
            (f"  {split}: {inline(self.data[split])}" if split in self.data else f"  # {split}: {split}.jsonl", words)
            for split, words in splits.items()
        ]
        columns = [(f"  {role}: {inline(name)}", "") for role, name in self.columns.items()]
        lines = [
            ("# What `edgeprune build` builds in this folder. Options of `edgeprune build` win over this file.", ""),
            ("# For completion in an editor: edgeprune init --schema > edgeprune.schema.json, and this first line:", ""),
            ("#   # yaml-language-server: $schema=edgeprune.schema.json", ""),
            ("schema_version: 1", ""),
            ("", ""),
            (f"model: {inline(self.model)}", f"a {self.architecture}: local folder, hub id with @revision, or package:NAME/FOLDER"),
            (f"task: {self.task}", "what the packages answer"),
            ("", ""),
            ("data:", ""),
            *data,
            ("columns:", "of the data"),
            *columns,
            ("", ""),
            (f"pipeline: {inline(self.pipeline)}", "how the model is made smaller: edgeprune pipelines list"),
            ("targets:", "each gets a package: edgeprune targets list"),
            (f"  - {inline(self.target)}", self.machine),
            ("budgets:", "limits that replace those of every target; a miss gives an exit code other than 0"),
            ("  metric_drop: 0.01", "by how much the metric may be worse than the dense model's; 0.01 is one point"),
            ("  # latency_p90_ms: 20", "nine runs of ten take no longer"),
            ("  # size_mb: 25", "all files of the package, in 10^6 bytes"),
            ("", ""),
            (f"release: {_quoted(self.release)}", "version of the packages"),
            ("# name: my-model", "name of the packages; without it, made of the model's name"),
            ("# output: dist", "folder that the packages are written to"),
            ("# baseline: dist/my-model-0-host", "a package of an earlier release, which is timed by turns with the new one"),
        ]  # fmt: skip
        width = max(len(text) for text, words in lines if words and len(text) < 40)
        return "".join(f"{f'{text:<{width}}  # {words}' if words else text}".rstrip() + "\n" for text, words in lines)


def find_start(folder: Path, options: Mapping[str, Any]) -> Start:
    """Find what a project file should say.

    Args:
        folder: The folder that is searched for a model and for data.
        options: Options of a build that were given; what they name isn't searched for.

    Raises:
        UsageError: There is no model or no data, or several, or something that was found can't be used.
    """
    model = options.get("model") or _only("model", list(_models(folder)), "a folder with config.json and *.safetensors")
    data = _given_data(options) or _found_data(folder)
    target, pipeline = options["target"], options["pipeline"]
    if target != "host":
        load_target(target)
    load_pipeline(pipeline)
    subject = find_subject(
        model,
        DataSpec(
            train=data["train"],
            selection=data.get("selection"),
            test=data.get("test"),
            text_column=options["text_column"],
            pair_column=options["pair_column"],
            label_column=options["label_column"],
        ),
        unlabelled=DataSpec(train=data["unlabelled"]) if "unlabelled" in data else None,
        task=options["task"],
        offline=options["offline"],
    )
    columns = {"text" if role == "image" else role: name for role, name in subject.data.columns().items()}
    architecture = str(next(iter(subject.model.config.get("architectures") or ()), subject.model.config["model_type"]))
    machine = _machine() if target == "host" else ""
    unread = None if options["task"] else _unread_labels(subject)
    return Start(
        model, architecture, subject.task, data, columns, target, pipeline, options["release"], machine, unread
    )


def _unread_labels(subject: Subject) -> str | None:
    """Name the column that a classification would read labels from, if the task takes texts alone."""
    if subject.task not in TAUGHT_ONLY | {"fill-mask"}:
        return None
    source = DataSource(subject.data.spec, columns=COLUMNS["text-classification"], offline=True)
    try:
        return source.columns().get("label")
    except DataError:
        return None


def _models(folder: Path) -> Iterator[str]:
    """Yield the folders with a checkpoint: the folder itself, and those up to two below it, but no packages."""
    for config in sorted(path for pattern in ("", "*/", "*/*/") for path in folder.glob(f"{pattern}config.json")):
        place = config.parent
        inside = place.relative_to(folder)
        hidden = any(part.startswith(".") or part == "node_modules" for part in inside.parts)
        if not hidden and any(place.glob("*.safetensors")) and not (place / DIGESTS).exists():
            yield f"./{inside.as_posix()}" if inside.parts else "."


def _given_data(options: Mapping[str, Any]) -> dict[str, str]:
    names = {"train": "data", "selection": "selection_data", "test": "test_data", "unlabelled": "unlabelled"}
    given = {split: options[name] for split, name in names.items() if options.get(name)}
    if given and "train" not in given:
        raise UsageError(f"name the data to train on too, with --data: {_EXAMPLE}")
    return given


def _found_data(folder: Path) -> dict[str, str]:
    """Find the files of data in a folder and its folder data/. Their names say which split they are, if there are several."""
    suffixes = [suffix for suffix in DATA_SUFFIXES if suffix not in _NOT_DATA]
    files = [
        path.relative_to(folder).as_posix()
        for place in (folder, folder / "data")
        for path in sorted(place.glob("*"))
        if path.suffix.lower() in suffixes and path.is_file()
    ]
    if len(files) == 1:
        return {"train": files[0]}
    found: dict[str, list[str]] = {}
    for name in files:
        words = re.split(r"[^a-z]+", Path(name).stem.lower())
        split = next((split for split, known in _SPLITS.items() if set(known) & set(words)), "")
        found.setdefault(split, []).append(name)
    if "" not in found and "train" in found and all(len(names) == 1 for names in found.values()):
        return {split: names[0] for split, names in found.items()}
    kinds = ", ".join(suffixes)
    return {"train": _only("data", files, f"a file that ends in {kinds}")}


def _only(what: str, found: list[str], looks: str) -> str:
    if len(found) == 1:
        return found[0]
    there = f"there are several here ({listed(found)})" if found else f"none was found here ({looks})"
    raise UsageError(f"no {what} is named, and {there}; name it: {_EXAMPLE}")


def _quoted(text: str) -> str:
    """Write a version so that it is read as text whatever it looks like."""
    return "'" + text.replace("'", "''") + "'"


def _machine() -> str:
    device = this_machine()
    try:
        name = host_target(device).name
    except ProfileError as error:
        raise ProfileError(
            "no shipped target fits this machine; write a profile of it with edgeprune targets probe > here.yaml, and name "
            "it: edgeprune init --target here.yaml"
        ) from error
    return f"this machine, which is a {name} ({device.cpu or device.arch}, {device.cores} cores)"
