"""Count a model's parts and draw what matters in it: `edgeprune inspect`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgeprune.base.errors import UsageError
from edgeprune.cli.build import progress
from edgeprune.cli.options import (
    Json,
    LabelColumn,
    Offline,
    PairColumn,
    StoreOption,
    Task,
    TextColumn,
    data_spec,
    store_folder,
)
from edgeprune.cli.render import out

__all__ = ["inspect"]


def inspect(
    model: Annotated[str, typer.Argument(help="A model, an artifact's folder in the store, or a package.")],
    tokens: Annotated[
        int | None,
        typer.Option(
            help="Length of the text that multiply-adds are counted for.  [default: 128; an image's own]", min=1
        ),
    ] = None,
    importance: Annotated[
        bool, typer.Option("--importance", help="Draw how much heads and neurons matter: importance.png and .html.")
    ] = False,
    attention: Annotated[
        str | None, typer.Option(help="Draw where every head attends in this text: attention.html.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="What to compute importance on; not needed for a pruned artifact.")
    ] = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    task: Task = None,
    criterion: Annotated[
        str | None, typer.Option(help="random, magnitude, taylor, fisher or activation.  [default: fisher]")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder that pictures are written to.")] = Path(),
    store: StoreOption = None,
    offline: Offline = False,
    as_json: Json = False,
) -> int:
    """Parameters and multiply-adds by layer and part, dense beside pruned; pictures of importance and attention."""
    from edgeprune.cli.render import print_inspection
    from edgeprune.models.sizes import inspect_model
    from edgeprune.store.store import Store

    if not importance and (data is not None or criterion is not None):
        raise UsageError("--data and --criterion say how importance is computed; add --importance, or leave them out")
    opened = Store(store_folder(store))
    found = inspect_model(model, tokens=tokens, store=opened, offline=offline)
    written: list[Path] = []
    if importance:
        from edgeprune.pipeline.importance import draw_importance

        spec = None if data is None else data_spec(data, None, None, text_column, pair_column, label_column, None)
        with progress(stages=2) as renderer:
            written += draw_importance(
                model, spec, criterion=criterion, task=task, store=opened, output=output, offline=offline, emit=renderer
            )
    if attention is not None:
        from edgeprune.pipeline.importance import draw_attention

        written.append(draw_attention(model, attention, store=opened, output=output, offline=offline))
    if as_json:
        document = found.model_dump(mode="json") | {"pictures": [str(path) for path in written]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return 0
    print_inspection(out, found)
    for path in written:
        out.print(str(path), soft_wrap=True)
    return 0
