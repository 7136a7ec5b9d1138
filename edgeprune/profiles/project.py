"""Describe a project: the content of `edgeprune.yaml`, which says what `edgeprune build` builds.

Every key is one that a flag has too. Keys that are about one run, such as the store, are flags alone.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from edgeprune.base.strict_yaml import Frozen
from edgeprune.profiles.target import Budget

__all__ = ["PROJECT_FILE", "Project", "ProjectColumns", "ProjectData"]

PROJECT_FILE = "edgeprune.yaml"
"""The file's name, in the folder that a build is started in."""


class ProjectData(Frozen):
    """Say where the rows are."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    train: str
    """JSONL, CSV, TSV or Parquet file, or name or folder of a dataset."""
    selection: str | None = None
    """File with the rows for every choice that a build makes; null: a share of train."""
    test: str | None = None
    """File with the rows for the reported figures and the budgets; null: 15% of train."""
    unlabelled: str | None = None
    """File, or name or folder of a dataset, with rows that the pruned model learns the dense model's answers on."""
    max_rows: int | None = Field(default=None, ge=20)
    """Use a seeded subset of at most this many rows; null: all."""


class ProjectColumns(Frozen):
    """Name the columns of the data; null: guessed from their names."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    text: str | None = None
    """Column with the text, the words, the question or the image."""
    pair: str | None = None
    """Column with the second text of a row, or with the context of a question."""
    label: str | None = None
    """Column with the label, the labels of the words, or the answers."""


class Project(Frozen):
    """Say what is built: a model, its data, how it is made smaller, for which targets, and within which budgets."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    schema_version: Literal[1]
    """The version of this file's form."""
    model: str = Field(min_length=1)
    """Local folder, hub id with @revision, or package:NAME/FOLDER."""
    task: str | None = None
    """What the model answers; null: what the checkpoint was trained for."""
    problem_type: str | None = None
    """Kind of classification: single_label_classification, multi_label_classification or regression; null: from the
    checkpoint or the labels."""
    data: ProjectData
    """Where the rows are."""
    columns: ProjectColumns = ProjectColumns()
    """The columns of the data."""
    pipeline: str = "structured"
    """Shipped pipeline, or path of a .yaml file."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("host",)
    """Shipped targets, paths of profiles, or host. Each gets a package."""
    budgets: Budget = Budget()
    """Limits that replace those of every target; null: no limit."""
    name: str | None = None
    """Name of the packages; null: made of the model's name."""
    release: str = "0"
    """Version of the packages, in quotation marks."""
    output: str = "dist"
    """Folder that packages are written to."""
    baseline: str | None = None
    """Another package. The new package and this one are timed by turns."""
    baseline_key: str | None = None
    """With a baseline: refuse it unless it is signed by the owner of this public key or certificate, a file in PEM."""
    max_regression: float | None = Field(default=None, ge=0, lt=1)
    """With a baseline: the share by which the new package may be slower."""
