"""Read the profiles that a build names, and write the command for the same build elsewhere. Light: no torch."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprune.base.errors import UsageError
from edgeprune.data.table import DataSpec
from edgeprune.devices.match import host_target, this_machine
from edgeprune.pipeline.baseline import find_baseline
from edgeprune.pipeline.options import MAX_REGRESSION, BuildOptions, option_fields, rung_of
from edgeprune.profiles.pipeline import Pipeline
from edgeprune.profiles.runners import EmulatedConfig
from edgeprune.profiles.shipped import is_path, load_pipeline, load_target
from edgeprune.profiles.target import Target
from edgeprune.search.choice import Asked
from edgeprune.store.store import default_store

__all__ = ["BuildRequest", "command_on_device", "read_request"]


@dataclass(frozen=True)
class BuildRequest:
    """Hold a build's options, and the pipeline and the target that they name, with overrides applied."""

    options: BuildOptions
    pipeline: Pipeline
    target: Target
    baseline: Path | None = None
    """The package that the new package is timed against, here on this machine; None: there is none."""

    @property
    def data(self) -> DataSpec:
        """The data: where its rows are, and which columns and splits are used."""
        options = self.options
        return DataSpec(
            train=options.data,
            selection=options.selection_data,
            test=options.test_data,
            text_column=options.text_column,
            pair_column=options.pair_column,
            label_column=options.label_column,
            max_rows=options.max_rows,
        )

    @property
    def unlabelled(self) -> DataSpec | None:
        """The rows without labels that the pruned model learns from; None: there are none."""
        options = self.options
        if options.unlabelled is None:
            return None
        return DataSpec(
            train=options.unlabelled,
            text_column=options.text_column,
            pair_column=options.pair_column,
            max_rows=options.max_rows,
        )

    @property
    def has_own_pipeline(self) -> bool:
        """Whether the pipeline is a file of the user, not a shipped pipeline."""
        return is_path(self.options.pipeline)

    @property
    def store(self) -> Path:
        """The folder of the store."""
        return default_store() if self.options.store is None else Path(self.options.store)

    @property
    def output(self) -> Path:
        """The folder that packages are written to."""
        return Path(self.options.output)

    @property
    def baseline_key(self) -> Path | None:
        """The key that the baseline must be signed with; None: it needs no signature."""
        return None if self.options.baseline_key is None else Path(self.options.baseline_key)

    @property
    def asked(self) -> Asked | None:
        """The model of a search that the user asked for; None: the objective decides."""
        if self.options.at is not None:
            return rung_of(self.options.at)
        drop = self.options.at_drop
        return None if drop is None else Asked(kind="drop", value=drop)

    @property
    def max_regression(self) -> float:
        """The share by which the new package may be slower than the baseline."""
        return MAX_REGRESSION if self.options.max_regression is None else self.options.max_regression


def read_request(options: BuildOptions) -> BuildRequest:
    """Read the pipeline and the target that options name, and fetch the baseline if it is a reference.

    Raises:
        IntegrityError: The baseline isn't what was published, or isn't signed as asked for.
        PlaceError: The place of the baseline can't be reached.
        ProfileError: The pipeline or the target doesn't exist or isn't valid, or no shipped target fits this machine.
        UsageError: `--at` or `--at-drop` is given for a pipeline without a search.
    """
    overrides = tuple(options.set_)
    pipeline = load_pipeline(options.pipeline, overrides)
    if pipeline.objective is None and (options.at is not None or options.at_drop is not None):
        flag = "--at" if options.at is not None else "--at-drop"
        raise UsageError(
            f"{flag} chooses among the models of a search, but the pipeline {pipeline.name} makes one model; use "
            f"--pipeline fit"
        )
    return BuildRequest(
        options=options,
        pipeline=pipeline,
        target=host_target(this_machine(), overrides)
        if options.target == "host"
        else load_target(options.target, overrides),
        baseline=find_baseline(options),
    )


def command_on_device(request: BuildRequest) -> str:
    """Write the command that makes the same package on the target itself and measures it there."""
    elsewhere = request.target.runner is None or isinstance(request.target.runner, EmulatedConfig)
    runner = ("target.runner={type: local}",) if elsewhere else ()
    values = {**vars(request.options), "set_": [*request.options.set_, *runner]}
    words = ["edgeprune", "build", request.options.model]
    for option in option_fields():
        value = values[option.name]
        if option.name not in ("model", "output", "store") and value is not None and value != option.default:
            words += _typed(option.names[0], value)
    return shlex.join(words)


def _typed(flag: str, value: object) -> list[str]:
    """Write a flag as it is typed: a switch alone, and any other flag once for each value."""
    if isinstance(value, bool):
        on, _, off = flag.partition("/")
        return [on if value else off]
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [word for one in values for word in (flag, str(one))]
