"""Write the project file of a folder: `edgeprune init`."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeprune.base.errors import UsageError, storage_errors
from edgeprune.cli.console import out
from edgeprune.cli.options import refuse_unread, with_build_options
from edgeprune.pipeline.options import Panel
from edgeprune.profiles.project import PROJECT_FILE, Project

__all__ = ["init"]

_FIELDS = (
    "model", "data", "selection_data", "test_data", "unlabelled", "text_column", "pair_column", "label_column", "task",
    "offline", "target", "pipeline", "release",
)  # fmt: skip


@with_build_options(only=_FIELDS, may_lack=("model", "data"))
def init(
    context: typer.Context,
    options: Mapping[str, Any],
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if there is one.", rich_help_panel=Panel.OUTPUT)
    ] = False,
    schema: Annotated[
        bool,
        typer.Option(
            "--schema",
            help="Write the JSON Schema of the file to standard output, for editors, and no file.",
            rich_help_panel=Panel.OUTPUT,
        ),
    ] = False,
) -> int:
    """Write edgeprune.yaml, which says what edgeprune build builds in this folder.

    What isn't named is searched for in the folder: a model, and files of data. Nothing is asked. The file says what
    its keys mean.
    """
    if schema:
        refuse_unread(context, [*_FIELDS, "force"], "--schema writes no file; leave this out")
        sys.stdout.write(json.dumps(Project.model_json_schema(), indent=2, sort_keys=True) + "\n")
        return 0
    from edgeprune.pipeline.starter import find_start
    from edgeprune.store.files import write_text

    path = Path(PROJECT_FILE)
    if os.path.lexists(path) and not force:
        raise UsageError(f"{path} is there already; --force replaces it")
    found = find_start(Path(), options)
    with storage_errors(path):
        write_text(path, found.as_yaml())
    columns = ", ".join(f"{role} from {name!r}" for role, name in found.columns.items())
    taken = {
        "model": f"{found.model}, a {found.architecture}",
        "task": found.task,
        "data": ", ".join(f"{split} {name}" for split, name in found.data.items()),
        "columns": columns,
        "pipeline": found.pipeline,
        "target": ", ".join(filter(None, (found.target, found.machine))),
    }
    out.print(f"{path} is written:")
    for name, words in taken.items():
        out.print(f"  {name:<8}  {words}", soft_wrap=True)
    if found.unread is not None:
        out.print(
            f"note: {found.task} doesn't read the labels in {found.unread!r}; for a classifier: edgeprune init --force --task "
            f"text-classification",
            soft_wrap=True,
        )
    out.print("check it with edgeprune build --plan, and build it with edgeprune build")
    return 0
