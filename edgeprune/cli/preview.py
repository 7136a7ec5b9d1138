"""Show what a build would do to people: `edgeprune build --plan`."""

from typing import TYPE_CHECKING

from rich.console import Console

from edgeprune.cli.budgets import limits_words
from edgeprune.cli.console import table

if TYPE_CHECKING:
    from edgeprune.pipeline.preview import Preview

__all__ = ["print_preview"]


def print_preview(console: Console, found: "Preview") -> None:
    """Print target, data, budgets, output and time, and a row for each stage."""
    threads = "1 thread" if found.threads == 1 else f"{found.threads} threads"
    columns = ", ".join(f"{role} from {column!r}" for role, column in found.columns.items())
    splits = ", ".join(f"{count:,} {split}" for split, count in found.rows.items())
    lines = {
        "target": f"{found.target}: {found.target_description}; {found.precision}, {threads}",
        "measured": "here" if found.not_measured is None else f"no: {found.not_measured}",
        "data": f"{found.data} for {found.task}: {columns}",
        "rows": splits,
        "budgets": limits_words(found.budget) or "none",
        "output": found.package,
        "time": _time(found),
    }
    width = max(map(len, lines))
    for name, words in lines.items():
        console.print(f"{name:<{width}}  {words}", soft_wrap=True)
    for note in found.notes:
        console.print(f"note: {note}", soft_wrap=True)
    console.print()
    rows = [
        [
            stage.stage,
            str(stage.round),
            "after the race" if stage.key is None else stage.key[:12],
            "in the store" if stage.in_store else "would run",
            "" if stage.last_duration_s is None else f"{stage.last_duration_s:.1f}",
        ]
        for stage in found.stages
    ]
    console.print(table(None, ["stage", "round", "key", "", "seconds last time"], rows))


def _time(found: "Preview") -> str:
    if found.searches:
        return "not known: the search decides how many models it makes"
    if found.expected_s is None:
        return "not known: some stages that would run have never run into this store"
    minutes, seconds = divmod(round(found.expected_s), 60)
    return f"about {f'{minutes} min {seconds} s' if minutes else f'{seconds} s'}, if stages take as long as last time"
