"""Define everything that a build can be asked for, in one place.

Each field of `BuildOptions` is a flag of `edgeprune build` and a keyword of `edgeprune.build`: its name, its type, its
default and its sentence of help come from here. Light: no torch.

    options = BuildOptions("./my-model", data="reviews.jsonl", target="raspberry-pi-4",
    set_=["stages.finetune.epochs=1"])
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from typing_extensions import Doc

from edgeprune.base.errors import UsageError
from edgeprune.search.choice import Asked

__all__ = [
    "MAX_REGRESSION",
    "BuildOptions",
    "Flag",
    "OptionField",
    "Panel",
    "drop_of",
    "option_fields",
    "rung_of",
    "share_of",
]

MAX_REGRESSION = 0.05
"""The share by which a package may be slower than its baseline if the user names no other share."""


class Panel(StrEnum):
    """Name the parts of a build's help, in their order."""

    INPUT = "Input"
    WHAT = "What to build"
    BUDGETS = "Budgets"
    OUTPUT = "Output"


@dataclass(frozen=True)
class Flag:
    """Describe a flag of the command line where the field's name and type alone don't describe it."""

    names: tuple[str, ...] = ()
    """The flag's names; empty: the field's name with hyphens. A switch that is on may be `--name/--no-name`."""
    parse: Callable[[str], object] | None = None
    """Makes the value from the typed text; None: the type makes it."""
    metavar: str | None = None
    """What the help shows in the value's place; None: a word for its type."""
    minimum: int | None = None
    """The smallest number that is allowed; None: there is no limit."""


def share_of(text: str) -> float:
    """Read a share: `5%` and `0.05` are the same.

    Raises:
        UsageError: The text is no share from 0 to below 1.
    """
    return _share(text, "--max-regression", least=0)


def drop_of(text: str) -> float:
    """Read how much a metric may drop: `0.5%` and `0.005` are the same. A model may also be better, by `-1%`.

    Raises:
        UsageError: The text is no share from above -1 to below 1.
    """
    return _share(text, "--at-drop", least=-1)


def rung_of(text: str) -> Asked:
    """Read which model of a search is wanted: `6ms`, or `8x` for 8 times as fast as the dense model.

    Raises:
        UsageError: The text is neither.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(ms|x)", text.strip())
    if match is None or float(match.group(1)) == 0:
        raise UsageError(
            f"--at is {text}; give milliseconds such as 6ms, or times as fast as the dense model such as 8x"
        )
    return Asked(kind="ms" if match.group(2) == "ms" else "times", value=float(match.group(1)))


def _share(text: str, flag: str, *, least: float) -> float:
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not least <= value < 1:
        raise UsageError(f"{flag} is {text}; give a share below 1, such as 5% or 0.05")
    return value


@dataclass(frozen=True)
class BuildOptions:
    """Hold what a build is asked for, as it was typed or passed: names and paths. Nothing is read yet."""

    model: Annotated[str, Doc("Local folder, hub id with @revision, or package:NAME/FOLDER."), Panel.INPUT]
    _: KW_ONLY
    data: Annotated[
        str,
        Doc(
            "JSONL, CSV, TSV or Parquet file, or name or folder of a dataset. Without --test-data and --selection-data, "
            "their rows are split off."
        ),
        Panel.INPUT,
        Flag(metavar="FILE"),
    ]
    target: Annotated[
        str,
        Doc("Shipped target, path of a profile, or host, which is the best shipped match for this machine."),
        Panel.WHAT,
        Flag(metavar="NAME"),
    ] = "host"
    pipeline: Annotated[str, Doc("Shipped pipeline, or path of a .yaml file."), Panel.WHAT, Flag(metavar="NAME")] = (
        "structured"
    )
    selection_data: Annotated[
        str | None,
        Doc(
            "File with the rows for every choice that the build makes.  [default: stages.prepare.selection_share of --data, after the test rows]"
        ),
        Panel.INPUT,
        Flag(metavar="FILE"),
    ] = None
    test_data: Annotated[
        str | None,
        Doc("File with the rows for the reported figures and the budgets.  [default: 15% of --data]"),
        Panel.INPUT,
        Flag(metavar="FILE"),
    ] = None
    unlabelled: Annotated[
        str | None,
        Doc(
            "File, or name or folder of a dataset, with rows in the columns of --data; labels are not read. "
            "The pruned model learns the dense model's answers on them."
        ),
        Panel.INPUT,
        Flag(metavar="FILE"),
    ] = None
    text_column: Annotated[
        str | None,
        Doc("Column with the text, the words, the question or the image."),
        Flag(names=("--text-column", "--image-column"), metavar="NAME"),
        Panel.INPUT,
    ] = None
    pair_column: Annotated[
        str | None,
        Doc("Column with the second text of a row, or with the context of a question."),
        Panel.INPUT,
        Flag(metavar="NAME"),
    ] = None
    label_column: Annotated[
        str | None,
        Doc("Column with the label, the labels of the words, or the answers."),
        Panel.INPUT,
        Flag(metavar="NAME"),
    ] = None
    max_rows: Annotated[
        int | None,
        Doc("Use a seeded subset of at most this many rows; of --unlabelled, too."),
        Flag(minimum=20),
        Panel.INPUT,
    ] = None
    task: Annotated[
        str | None,
        Doc(
            "text-classification, token-classification, question-answering, fill-mask, feature-extraction, "
            "image-classification or image-feature-extraction.  [default: from the checkpoint]"
        ),
        Panel.INPUT,
        Flag(metavar="TASK"),
    ] = None
    problem_type: Annotated[
        str | None,
        Doc(
            "Kind of classification: single_label_classification, multi_label_classification or regression.  [default: "
            "from the checkpoint or the labels]"
        ),
        Panel.INPUT,
        Flag(metavar="KIND"),
    ] = None
    name: Annotated[
        str | None, Doc("Name of the package.  [default: made of the model's name]"), Panel.OUTPUT, Flag(metavar="NAME")
    ] = None
    release: Annotated[str, Doc("Version of the package."), Panel.OUTPUT, Flag(metavar="VERSION")] = "0"
    output: Annotated[str | Path, Doc("Folder that packages are written to."), Panel.OUTPUT] = Path("dist")
    store: Annotated[
        str | Path | None,
        Doc("Folder that artifacts are kept in.  [default: $EDGEPRUNE_STORE or .edgeprune]"),
        Panel.OUTPUT,
    ] = None
    set_: Annotated[
        Sequence[str],
        Doc(
            "Override one value of the pipeline or the target, e.g. stages.finetune.epochs=1 or "
            "target.budget.size_mb=30. May be given several times."
        ),
        Flag(names=("--set",), metavar="KEY=VALUE"),
        Panel.WHAT,
    ] = ()
    offline: Annotated[
        bool, Doc("Never ask the network for the model or the data."), Flag(names=("--offline",)), Panel.INPUT
    ] = False
    baseline: Annotated[
        str | Path | None,
        Doc(
            "Another package, or where one is published: oci://…, hf://… or file:///…. The new package and this one are timed by "
            "turns."
        ),
        Panel.BUDGETS,
    ] = None
    baseline_key: Annotated[
        str | Path | None,
        Doc(
            "With --baseline: refuse it unless it is signed by the owner of this public key, or of a certificate of these "
            "authorities. A file in PEM."
        ),
        Panel.BUDGETS,
    ] = None
    max_regression: Annotated[
        float | None,
        Doc("With --baseline: the share by which the new package may be slower, as 5% or 0.05.  [default: 5%]"),
        Flag(parse=share_of, metavar="SHARE"),
        Panel.BUDGETS,
    ] = None
    at: Annotated[
        str | None,
        Doc(
            "With a pipeline that searches: ship the search's most accurate model of at most so many ms (6ms), or its model "
            "nearest to so many times as fast as the dense one in the target's precision (8x)."
        ),
        Panel.BUDGETS,
        Flag(metavar="LIMIT"),
    ] = None
    at_drop: Annotated[
        float | None,
        Doc(
            "With a pipeline that searches: ship the search's fastest model whose metric drops by at most this on the "
            "selection split, as 0.5% or 0.005."
        ),
        Flag(parse=drop_of, metavar="SHARE"),
        Panel.BUDGETS,
    ] = None
    report: Annotated[
        bool,
        Doc(
            "Whether a page to read, <package>.report.html, is written beside the package. It shows up to ten test texts; "
            "without it, build.json has none either."
        ),
        Flag(names=("--report/--no-report",)),
        Panel.OUTPUT,
    ] = True

    def __post_init__(self) -> None:
        """Raise UsageError for an option that would not be read."""
        if self.at is not None:
            rung_of(self.at)
            if self.at_drop is not None:
                raise UsageError("--at and --at-drop each name the model that is shipped; give one of them")
        if self.baseline_key is not None and self.baseline is None:
            raise UsageError("--baseline-key says who must have signed a baseline; give --baseline")
        if self.max_regression is not None and self.baseline is None:
            raise UsageError(
                "--max-regression says how much slower than a baseline the new package may be; give --baseline"
            )


@dataclass(frozen=True)
class OptionField:
    """Describe one option of a build."""

    name: str
    type: Any
    """The field's annotation without its metadata."""
    help: str
    panel: Panel
    """The part of the help that the option stands in."""
    flag: Flag
    default: object
    """`dataclasses.MISSING`: the option must be given."""

    @property
    def names(self) -> tuple[str, ...]:
        """The flag's names on the command line."""
        return self.flag.names or (f"--{self.name.replace('_', '-')}",)


@cache
def option_fields() -> tuple[OptionField, ...]:
    """List the fields of `BuildOptions` in their order, for code that makes flags or keywords of them."""
    hints = get_type_hints(BuildOptions, include_extras=True)
    found = []
    for field in fields(BuildOptions):
        kind, *metadata = get_args(hints[field.name])
        doc = next(one.documentation for one in metadata if isinstance(one, Doc))
        panel = next(one for one in metadata if isinstance(one, Panel))
        flag = next((one for one in metadata if isinstance(one, Flag)), Flag())
        found.append(OptionField(field.name, kind, doc, panel, flag, field.default))
    return tuple(found)
