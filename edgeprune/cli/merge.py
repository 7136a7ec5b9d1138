"""Put packages together: `edgeprune package merge`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli.console import out
from edgeprune.cli.help import PanelledCommand
from edgeprune.cli.options import Json, group

__all__ = ["package_app"]


package_app = group("Put packages together.")


@package_app.callback()
def _package() -> None:
    """Keep the command a group while it has one command."""


@package_app.command("merge", cls=PanelledCommand)
def package_merge(
    packages: Annotated[
        list[Path], typer.Argument(help="Packages of one release, each for another target: folders or .tar.gz.")
    ],
    output: Annotated[Path, typer.Option(help="Folder that is written, or replaced if a merge wrote it.")],
    as_json: Json = False,
) -> int:
    """Write one of ONNX Runtime's model packages from packages for several targets.

    Every target becomes a variant with its graph and its session options. Where several variants are for one provider,
    ONNX Runtime takes the first, so their order matters.
    """
    from edgeprune.pipeline.merge import merge

    merged = merge(packages, output)
    if as_json:
        sys.stdout.write(merged.model_dump_json(indent=2) + "\n")
        return 0
    first = {variant.provider: variant.target for variant in merged.variants if variant.selected}
    out.print(f"{output}: {merged.name} {merged.release}, {merged.size_bytes / 1e6:.1f} MB")
    for variant in merged.variants:
        behind = "" if variant.selected else f"; ONNX Runtime takes {first[variant.provider]}, which comes first"
        out.print(f"  {variant.target}: {variant.provider}{behind}")
    return 0
