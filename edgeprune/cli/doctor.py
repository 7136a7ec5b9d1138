"""Say what is installed and what this machine can do: `edgeprune doctor`."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from edgeprune.cli.console import err, out, print_table
from edgeprune.cli.options import Json, store_folder, with_build_options

if TYPE_CHECKING:
    from edgeprune.pipeline.doctor import Checkup

__all__ = ["doctor"]


@with_build_options(only=("store",))
def doctor(options: Mapping[str, Any], as_json: Json = False) -> int:
    """Say what is installed, what is missing, and what this machine can measure.

    The exit code is 0 if builds work here.
    """
    from edgeprune.pipeline.doctor import examine

    found = examine(store_folder(options["store"]))
    if as_json:
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
    else:
        _show(found)
    faults = [one.fault for one in found.libraries if one.fault]
    for fault in faults:
        err.print(f"edgeprune: {fault}; pip install --upgrade edgeprune installs what is needed", style="red")
    if not found.store_is_writable:
        err.print(f"edgeprune: the store {found.store} can't be written; name another one with --store", style="red")
    return found.exit_code


def _show(found: "Checkup") -> None:
    device = found.device
    out.print(f"edgeprune {found.edgeprune}, Python {found.python}")
    out.print(
        f"{device.cpu or 'this CPU'}: {device.arch}, {device.cores} cores, {' '.join(device.isa)}", soft_wrap=True
    )
    out.print(f"ONNX Runtime's providers: {', '.join(found.providers) or 'none'}")
    out.print()
    rows: list[list[str | Text]] = [
        [one.name, one.installed or "–", one.needed, _mark(one.fault)] for one in found.libraries
    ]
    print_table(out, None, ["library", "installed", "needed", ""], rows)
    out.print()
    extras: list[list[str | Text]] = [
        [one.name, _mark("; ".join(one.missing)), one.command if one.missing else ""] for one in found.extras
    ]
    print_table(out, None, ["extra", "", "install it with"], extras)
    out.print()
    targets: list[list[str | Text]] = [
        [name, _mark("; ".join(reasons), well="fits")] for name, reasons in found.targets.items()
    ]
    print_table(out, None, ["target", "this machine"], targets)
    out.print()
    reach: list[list[str | Text]] = [[one.name, _mark(one.lacking)] for one in found.reach]
    print_table(out, None, ["reached by", ""], reach)
    out.print()
    out.print("builds work here" if found.exit_code == 0 else "builds don't work here", style="bold")


def _mark(fault: str | None, *, well: str = "ok") -> Text:
    return Text(fault, style="yellow") if fault else Text(well, style="green")
