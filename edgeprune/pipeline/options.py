"""State everything that a build can be asked for, once.

Each field of `BuildOptions` is a flag of `edgeprune build` and a keyword of `edgeprune.build`: its name, its type, its
default and its sentence of help come from here. Light: no torch.

    options = BuildOptions("./my-model", data="reviews.jsonl", target="raspberry-pi-4", set_=["stages.finetune.epochs=1"])
"""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from typing_extensions import Doc

from edgeprune.base.errors import UsageError

__all__ = ["MAX_REGRESSION", "BuildOptions", "Flag", "OptionField", "flag_of", "option_fields", "share_of"]

MAX_REGRESSION = 0.05
"""The share by which a package may be slower than its baseline where the user names none."""


@dataclass(frozen=True)
class Flag:
    """Say how the command line writes a field that its name and type alone don't tell."""

    names: tuple[str, ...] = ()
    """The flag's names; empty: the field's name with hyphens."""
    parse: Callable[[str], object] | None = None
    """Makes the value out of what was typed; None: the type does."""
    metavar: str | None = None
    """What the help shows in the value's place; None: the type's name."""
    minimum: int | None = None
    """The smallest number; None: there is none."""


def share_of(text: str) -> float:
    """Read a share: `5%` and `0.05` are the same.

    Raises:
        UsageError: The text is no share from 0 to below 1.
    """
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise UsageError(f"--max-regression is {text}; give a share below 1, such as 5% or 0.05")
    return value


@dataclass(frozen=True)
class BuildOptions:
    """Hold what a build is asked for, as it was typed or passed: names and paths, nothing read yet."""

    model: Annotated[str, Doc("Local folder, hub id with @revision, or package:NAME/FOLDER.")]
    _: KW_ONLY
    data: Annotated[
        str, Doc("JSONL, CSV, TSV or Parquet file, or a dataset name or folder: the training rows, or all rows.")
    ]
    target: Annotated[
        str, Doc("Shipped target, path of a profile, or host: the best shipped match for this machine.")
    ] = "host"
    pipeline: Annotated[str, Doc("Shipped pipeline, or a path that ends in .yaml.")] = "structured"
    selection_data: Annotated[str | None, Doc("File for every choice.  [default: a tenth of --data]")] = None
    test_data: Annotated[str | None, Doc("File for reported figures and the gate.  [default: 15% of --data]")] = None
    text_column: Annotated[
        str | None,
        Doc("Column with the text, the words, the question or the image."),
        Flag(names=("--text-column", "--image-column")),
    ] = None
    pair_column: Annotated[
        str | None, Doc("Column with the second text of a row; the context of question answering.")
    ] = None
    label_column: Annotated[str | None, Doc("Column with the label, the labels of the words or the answers.")] = None
    max_rows: Annotated[int | None, Doc("Use a seeded subset of at most this many rows."), Flag(minimum=20)] = None
    task: Annotated[
        str | None,
        Doc(
            "text-classification, token-classification, question-answering, fill-mask, feature-extraction, "
            "image-classification or image-feature-extraction.  [default: from the checkpoint]"
        ),
    ] = None
    problem_type: Annotated[
        str | None, Doc("single_label_classification, multi_label_classification or regression.")
    ] = None
    name: Annotated[str | None, Doc("Name of the package.  [default: made of the model's]")] = None
    release: Annotated[str, Doc("Version of the package.")] = "0"
    output: Annotated[str | Path, Doc("Folder that packages are written to.")] = Path("dist")
    store: Annotated[str | Path | None, Doc("Where artifacts are kept.  [default: $EDGEPRUNE_STORE or .edgeprune]")] = (
        None
    )
    set_: Annotated[
        Sequence[str],
        Doc("Override, e.g. stages.finetune.epochs=1 or target.budget.size_mb=30."),
        Flag(names=("--set",)),
    ] = ()
    offline: Annotated[bool, Doc("Never ask the network for model or data."), Flag(names=("--offline",))] = False
    baseline: Annotated[str | Path | None, Doc("A package that the new one is timed against, by turns.")] = None
    max_regression: Annotated[
        float | None,
        Doc("With --baseline: how much slower the new one may be, as 5% or 0.05.  [default: 5%]"),
        Flag(parse=share_of, metavar="SHARE"),
    ] = None

    def __post_init__(self) -> None:
        """Raises UsageError for an option that would not be read."""
        if self.max_regression is not None and self.baseline is None:
            raise UsageError("--max-regression is of the new package against another; give --baseline")


@dataclass(frozen=True)
class OptionField:
    """Hold what is known of one of the options."""

    name: str
    type: Any
    """The annotation without its metadata."""
    help: str
    flag: Flag
    default: object
    """`dataclasses.MISSING`: the option must be given."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the flag is called on the command line."""
        return self.flag.names or (f"--{self.name.replace('_', '-')}",)


@cache
def option_fields() -> tuple[OptionField, ...]:
    """List the fields of `BuildOptions` in their order, for whoever makes flags or keys of them."""
    hints = get_type_hints(BuildOptions, include_extras=True)
    found = []
    for field in fields(BuildOptions):
        kind, *metadata = get_args(hints[field.name])
        doc = next(one.documentation for one in metadata if isinstance(one, Doc))
        flag = next((one for one in metadata if isinstance(one, Flag)), Flag())
        found.append(OptionField(field.name, kind, doc, flag, MISSING if field.default is MISSING else field.default))
    return tuple(found)


def flag_of(name: str) -> str:
    """Give the first name of an option's flag: `--text-column` of `text_column`."""
    return next(one.names[0] for one in option_fields() if one.name == name)
