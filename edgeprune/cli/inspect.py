"""Count a model's parts and draw what matters in it: `edgeprune inspect`."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeprune.cli.options import Json, refuse_unread, store_folder, with_build_options
from edgeprune.cli.progress import EventRenderer
from edgeprune.cli.render import err, out

__all__ = ["inspect"]

_OF_DATA = ("text_column", "pair_column", "label_column", "task")
"""Options that say how `--data` is read."""


@with_build_options(only=(*_OF_DATA, "store", "offline"))
def inspect(
    context: typer.Context,
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
        str | None, typer.Option(help="What to compute importance on; not needed for a pruned artifact.")
    ] = None,
    criterion: Annotated[
        str | None, typer.Option(help="random, magnitude, taylor, fisher or activation.  [default: fisher]")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder that pictures are written to.")] = Path(),
    *,
    options: Mapping[str, Any],
    as_json: Json = False,
) -> int:
    """Parameters and multiply-adds by layer and part, dense beside pruned; pictures of importance and attention."""
    from edgeprune.cli.render import print_inspection
    from edgeprune.models.sizes import inspect_model
    from edgeprune.store.store import Store

    if not importance:
        refuse_unread(
            context, ["data", "criterion", *_OF_DATA], "importance isn't computed; add --importance, or leave this out"
        )
    elif data is None:
        refuse_unread(
            context,
            ["criterion", *_OF_DATA],
            "without --data importance is not computed but read; give --data, or leave this out",
        )
    if not importance and attention is None:
        refuse_unread(context, ["output"], "no picture is drawn; add --importance or --attention, or leave this out")
    store, offline = Store(store_folder(options["store"])), options["offline"]
    found = inspect_model(model, tokens=tokens, store=store, offline=offline)
    written: list[Path] = []
    if importance:
        from edgeprune.data.table import DataSpec
        from edgeprune.pipeline.importance import draw_importance

        columns = {name: options[name] for name in ("text_column", "pair_column", "label_column")}
        spec = None if data is None else DataSpec(train=data, **columns)
        with EventRenderer(err, stages=2) as renderer:
            written += draw_importance(
                model,
                spec,
                criterion=criterion,
                task=options["task"],
                store=store,
                output=output,
                offline=offline,
                emit=renderer,
            )
    if attention is not None:
        from edgeprune.pipeline.importance import draw_attention

        written.append(draw_attention(model, attention, store=store, output=output, offline=offline))
    if as_json:
        document = found.model_dump(mode="json") | {"pictures": [str(path) for path in written]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return 0
    print_inspection(out, found)
    for path in written:
        out.print(str(path), soft_wrap=True)
    return 0
