"""Write the workflow that builds a project in CI: `edgeprune ci init github | gitlab`.

The workflow has a job for each target of edgeprune.yaml. A target that is an ARM server gets a hosted ARM runner.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from edgeprune.base.errors import StorageError, UsageError
from edgeprune.base.wording import quoted
from edgeprune.cli.console import out
from edgeprune.cli.options import add, group
from edgeprune.profiles.project import PROJECT_FILE, Project
from edgeprune.store.files import write_text

__all__ = ["ci_app"]

ci_app = group("Write the workflow that builds a project in CI.")


class _System(StrEnum):
    """Name a CI system."""

    GITHUB = "github"
    GITLAB = "gitlab"


_PLACES = {_System.GITHUB: Path(".github/workflows/edgeprune.yml"), _System.GITLAB: Path(".gitlab-ci.yml")}
"""Where each system looks for its workflow."""
_ELSEWHERE = {
    _System.GITHUB: "--output .github/workflows/another.yml",
    _System.GITLAB: "--output .gitlab/edgeprune.yml, and include that file",
}


@dataclass(frozen=True)
class _Job:
    """Describe the job that builds for one target."""

    name: str
    target: str
    github: str
    """The label of the hosted runner."""
    gitlab: str | None
    """The tag of the hosted runner; None: any runner will do."""


def init(
    system: Annotated[_System, typer.Argument(help="The CI system: github or gitlab.", metavar="SYSTEM")],
    output: Annotated[
        Path | None,
        typer.Option(
            help="File that the workflow is written to.  [default: .github/workflows/edgeprune.yml or .gitlab-ci.yml]"
        ),
    ] = None,
    install: Annotated[
        str | None,
        typer.Option(
            help="Requirement that pip installs there, such as ./edgeprune.  [default: edgeprune in this version]",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> int:
    """Write the workflow that builds the project of edgeprune.yaml in CI.

    It caches the store, gates by the budgets, shows verdicts and figures, and keeps packages and reports.
    """
    jobs = _jobs(_project())
    path = output or _PLACES[system]
    if path.exists() and not force:
        raise UsageError(
            f"{path} exists; write the workflow elsewhere ({_ELSEWHERE[system]}), or replace it with --force"
        )
    requirement = install or f"edgeprune=={version('edgeprune')}"
    for value in (requirement, *(job.target for job in jobs)):
        if "$" in value or not value.isprintable():
            raise UsageError(
                f"{quoted(value)} has a $ or a character that prints nothing, which CI systems replace; rename it"
            )
    text = _rendered(system, jobs, requirement)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise StorageError(f"could not write {path}: {error.strerror or error}; choose another --output") from error
    out.print(str(path), soft_wrap=True)
    return 0


def _project() -> Project:
    """Read the project file, and refuse what a CI system's machine can't have.

    Raises:
        UsageError: There is no project file, or it names files outside of the project.
    """
    from edgeprune.pipeline.project import read_project

    path = Path(PROJECT_FILE)
    if not path.exists():
        raise UsageError(f"there is no {path} in this folder, which says what is built; write it with edgeprune init")
    file = read_project(path)
    file.builds({})
    project, data = file.project, file.project.data
    named = (project.model, data.train, data.selection, data.test, data.unlabelled, project.baseline, *project.targets)
    for name in named:
        if name is not None and (name.startswith("~") or Path(name).is_absolute()):
            raise UsageError(
                f"{path} names {name}, which CI doesn't have; name a file of the project by its relative path"
            )
    return project


def _jobs(project: Project) -> list[_Job]:
    """Make a job for each target."""
    from edgeprune.profiles.runners import LocalConfig
    from edgeprune.profiles.shipped import load_target

    jobs = []
    for name in project.targets:
        target = None if name == "host" else load_target(name)
        on_arm = target is not None and target.device.arch == "aarch64" and isinstance(target.runner, LocalConfig)
        jobs.append(
            _Job(
                name="host" if target is None else target.name,
                target=name,
                github="ubuntu-24.04-arm" if on_arm else "ubuntu-24.04",
                gitlab="saas-linux-small-arm64" if on_arm else None,
            )
        )
    names = [job.name for job in jobs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{PROJECT_FILE}: several targets are called {', '.join(twice)}; give each a name of its own")
    return jobs


def _rendered(system: _System, jobs: list[_Job], install: str) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # noqa: S701 (not HTML: values are written as JSON, which YAML reads)
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.get_template(f"{system}.yml.j2").render(jobs=jobs, install=install)


add(ci_app, init, example="edgeprune ci init github")
