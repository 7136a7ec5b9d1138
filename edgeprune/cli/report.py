"""Write the page to read about builds: `edgeprune report`."""

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli.console import out

__all__ = ["report"]


def report(
    build_json: Annotated[list[Path], typer.Argument(help="build.json files that were made on any machine.")],
    output: Annotated[
        Path | None,
        typer.Option(
            help="File that the page is written to.  [default: <name>.report.html beside the build.json, for several "
            "builds comparison.report.html beside the first]"
        ),
    ] = None,
) -> int:
    """Write one HTML file about a build, or about several side by side.

    The page needs no network and no JavaScript. It is the page that build and compare write, so it is only needed for
    builds of other machines, or after --no-report.
    """
    from edgeprune.report.files import page_beside, read_build, write_page

    path = output or page_beside(build_json)
    write_page([read_build(one) for one in build_json], path)
    out.print(str(path), soft_wrap=True)
    return 0
