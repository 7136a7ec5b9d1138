"""Define the options that commands share, once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.base.errors import UsageError

if TYPE_CHECKING:
    from edgeprune.data.table import DataSpec

__all__ = [
    "Data",
    "Events",
    "Json",
    "LabelColumn",
    "MaxRows",
    "Name",
    "Offline",
    "OptionalData",
    "Output",
    "PairColumn",
    "PipelineOption",
    "ProblemTypeOption",
    "Release",
    "SelectionData",
    "Set",
    "StoreOption",
    "Task",
    "TestData",
    "TextColumn",
    "data_spec",
    "group",
    "share_of",
    "store_folder",
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
StoreOption = Annotated[
    Path | None, typer.Option("--store", help="Where artifacts are kept.  [default: $EDGEPRUNE_STORE or .edgeprune]")
]


def group(help_text: str) -> typer.Typer:
    """A group of commands; without one it shows its help."""
    return typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


def store_folder(asked: Path | None) -> Path:
    """The store asked for, or the default one."""
    from edgeprune.store.store import default_store

    return asked or default_store()


Set = Annotated[
    list[str] | None, typer.Option("--set", help="Override, e.g. stages.finetune.epochs=1 or target.budget.size_mb=30.")
]


def share_of(text: str) -> float:
    """The share that `5%` or `0.05` is."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise UsageError(f"--max-regression is {text}; give a share below 1, such as 5% or 0.05")
    return value


Data = Annotated[
    str,
    typer.Option("--data", help="JSONL, CSV, TSV or Parquet file, or a dataset name or folder: training rows, or all."),
]
OptionalData = Annotated[
    str | None, typer.Option("--data", help="As for build; not needed to compare build.json files.")
]
SelectionData = Annotated[str | None, typer.Option(help="File for every choice.  [default: a tenth of --data]")]
TestData = Annotated[str | None, typer.Option(help="File for reported figures and the gate.  [default: 15% of --data]")]
TextColumn = Annotated[
    str | None,
    typer.Option("--text-column", "--image-column", help="Column with the text, the words, the question or the image."),
]
PairColumn = Annotated[
    str | None, typer.Option(help="Column with the second text of a row; the context of question answering.")
]
LabelColumn = Annotated[str | None, typer.Option(help="Column with the label, the labels of the words or the answers.")]
MaxRows = Annotated[int | None, typer.Option(help="Use a seeded subset of at most this many rows.", min=20)]
PipelineOption = Annotated[str, typer.Option("--pipeline", help="Shipped pipeline, or a path ending in .yaml.")]
Task = Annotated[
    str | None,
    typer.Option(
        help="text-classification, token-classification, question-answering, fill-mask, feature-extraction, "
        "image-classification or image-feature-extraction.  [default: from the checkpoint]"
    ),
]
ProblemTypeOption = Annotated[
    str | None,
    typer.Option("--problem-type", help="single_label_classification, multi_label_classification or regression."),
]
Name = Annotated[str | None, typer.Option(help="Name of the package.  [default: the model's]")]
Release = Annotated[str, typer.Option(help="Version of the package.")]
Output = Annotated[Path, typer.Option(help="Folder that packages are written to.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never ask the network for model or data.")]
Events = Annotated[Path | None, typer.Option("--events", help="Append every event to this file, as JSON lines.")]


def data_spec(
    data: str,
    selection: str | None,
    test: str | None,
    text_column: str | None,
    pair_column: str | None,
    label_column: str | None,
    max_rows: int | None,
) -> "DataSpec":
    from edgeprune.data.table import DataSpec

    return DataSpec(
        train=data,
        selection=selection,
        test=test,
        text_column=text_column,
        pair_column=pair_column,
        label_column=label_column,
        max_rows=max_rows,
    )
