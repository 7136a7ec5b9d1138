"""List, measure and clean what builds left behind: `edgeprune store list | size | gc`."""

import json
import math
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from edgeprune.cli.console import out, table
from edgeprune.cli.help import PanelledCommand
from edgeprune.cli.options import Json, group, store_folder, with_build_options

__all__ = ["store_app"]


store_app = group("List, measure and clean up what builds left behind.")


@store_app.command("list", cls=PanelledCommand)
@with_build_options(only=("store",))
def store_list(options: Mapping[str, Any], as_json: Json = False) -> int:
    """List every artifact in the store."""
    from edgeprune.store.store import Store

    found = list(Store(store_folder(options["store"])).artifacts())
    if as_json:
        sys.stdout.write(json.dumps([one.manifest.model_dump(mode="json") for one in found], indent=2) + "\n")
        return 0
    rows = [
        [
            one.manifest.stage,
            one.key[:12],
            one.manifest.started_at,
            f"{sum(record.size_bytes for record in one.manifest.files) / 1e6:.1f}",
            f"{one.manifest.duration_s:.1f}",
        ]
        for one in sorted(found, key=lambda artifact: artifact.manifest.started_at)
    ]
    out.print(table(None, ["stage", "key", "made", "MB", "seconds"], rows))
    return 0


@store_app.command("size", cls=PanelledCommand)
@with_build_options(only=("store",))
def store_size(options: Mapping[str, Any], as_json: Json = False) -> int:
    """Show how much the store holds, by stage."""
    from edgeprune.store.files import total_bytes

    root = store_folder(options["store"])
    sizes = {
        folder.name: total_bytes([folder])
        for folder in sorted(root.glob("*"))
        if folder.is_dir() and folder.name != "locks"
    }
    if as_json:
        sys.stdout.write(
            json.dumps({"store": str(root), "size_bytes": sum(sizes.values()), "stages": sizes}, indent=2) + "\n"
        )
        return 0
    rows = [[name, f"{size / 1e6:.1f}"] for name, size in sizes.items()]
    out.print(table(None, [str(root), "MB"], [*rows, ["total", f"{sum(sizes.values()) / 1e6:.1f}"]]))
    return 0


@store_app.command("gc", cls=PanelledCommand)
@with_build_options(only=("store",))
def store_gc(
    options: Mapping[str, Any],
    older_than_days: Annotated[
        float | None,
        typer.Option("--older-than", help="Also delete artifacts that were not used for so many days.", min=0),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: Json = False,
) -> int:
    """Delete what killed builds left behind.

    With --older-than, also delete artifacts that were not used for long.
    """
    from edgeprune.base.errors import UsageError, storage_errors
    from edgeprune.store.files import total_bytes
    from edgeprune.store.garbage import garbage
    from edgeprune.store.store import Store

    if older_than_days is not None and not math.isfinite(older_than_days):
        raise UsageError(f"--older-than is {older_than_days}; expected a number of days")
    opened = Store(store_folder(options["store"]))
    doomed, freed = [], 0
    with storage_errors(opened.root):
        for folder in garbage(opened, older_than_days):
            doomed.append(folder)
            freed += total_bytes([folder])
            if not dry_run:
                opened.remove(folder)
    if as_json:
        document = {"removed": [str(path) for path in doomed], "size_bytes": freed, "dry_run": dry_run}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        out.print(f"{len(doomed)} folders, {freed / 1e6:.1f} MB {'would be ' if dry_run else ''}deleted")
    return 0
