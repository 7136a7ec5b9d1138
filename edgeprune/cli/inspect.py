"""Count a model's parts and draw what matters in it: `edgeprune inspect`."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeprune.cli.console import err, out
from edgeprune.cli.options import Json, refuse_unread, store_folder, with_build_options
from edgeprune.cli.progress import EventRenderer
from edgeprune.cli.render import print_inspection

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
            help="Tokens of the text that multiply-adds are counted for.  [default: 128; for images: their own]", min=1
        ),
    ] = None,
    importance: Annotated[
        bool,
        typer.Option(
            "--importance", help="Draw how much heads and neurons matter, to importance.png and importance.html."
        ),
    ] = False,
    attention: Annotated[
        str | None, typer.Option(help="Draw where every head attends in this text, to attention.html.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Data that importance is computed on. A pruned artifact and its package don't need it."),
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            help="How importance is computed: random, magnitude, taylor, fisher or activation.  [default: fisher]"
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder that pictures are written to.")] = Path(),
    *,
    options: Mapping[str, Any],
    as_json: Json = False,
) -> int:
    """Count a model's parameters and multiply-adds by part.

    The counts of a pruned model stand beside the counts of the dense model. With --importance or --attention, also draw
    what matters in the model.
    """
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
            "without --data importance is read, not computed; give --data, or leave this out",
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
