"""What README.md, CONTRIBUTING.md and docs/ say is there: links, commands, options, definitions, figures' scripts.

Nothing is run: command lines are parsed by the real command line, definitions are read by the real models.
"""

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest
import yaml
from pydantic import TypeAdapter
from typer.main import get_command

import edgeprune
from edgeprune.cli.main import app
from edgeprune.pipeline.options import option_fields
from edgeprune.pipeline.project import read_project
from edgeprune.profiles.runners import RunnerConfig
from edgeprune.profiles.shipped import load_pipeline, load_target, shipped_names
from edgeprune.profiles.steps import Step

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
SITE = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [README, *ROOT.glob("CONTRIBUTING.md"), *SITE]
COMMANDS: Any = get_command(app)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
_OVERRIDE = re.compile(r"--set (?:\"([^\"]+)\"|'([^']+)'|(\S+))")


class Fence(NamedTuple):
    """A block of code."""

    language: str
    text: str


def fences(page: Path) -> list[Fence]:
    return [Fence(language, text) for _, language, text in _FENCE.findall(page.read_text(encoding="utf-8"))]


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def codes(page: Path) -> list[str]:
    """What stands in the text as code."""
    return _CODE.findall(prose(page).replace("\\|", "|"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them, and of the objects that it documents."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))


def shell_lines(page: Path) -> Iterator[str]:
    """The commands in blocks without a language, continued lines joined, and those of a workflow's steps."""
    for language, text in fences(page):
        if not language:
            yield from text.replace("\\\n", " ").splitlines()
        elif language == "yaml" and "steps:" in text and "runs-on" in text:
            for job in yaml.safe_load(text)["jobs"].values():
                yield from (step["run"] for step in job["steps"] if "run" in step)


def command_lines(page: Path) -> Iterator[list[str]]:
    """The arguments of every `edgeprune ...` in a block of code."""
    for line in shell_lines(page):
        found = re.search(
            rf"(?:^|[ /])edgeprune ((?:{'|'.join(COMMANDS.commands)})\b.*)",
            line,
        )
        if found:
            yield shlex.split(found[1].partition(" > ")[0], comments=True)


def command_of(arguments: list[str]) -> tuple[Any, list[str]]:
    """The command that arguments begin with, and the rest of them; fails where there is none."""
    command = COMMANDS
    while arguments and hasattr(command, "commands") and not arguments[0].startswith("-"):
        assert arguments[0] in command.commands, f"edgeprune has no command {arguments[0]}"
        command, arguments = command.commands[arguments[0]], arguments[1:]
    return command, arguments


def options_of(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts} | {"--help"}


def overrides(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8").replace("`", " ")
    return [next(filter(None, groups)) for groups in _OVERRIDE.findall(text)]


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for groups in _LINK.findall(_CODE.sub("", prose(page))):
        link = groups[0] or groups[1]
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{link} leads to no file"
        assert not anchor or anchor in anchors(there), f"{link} leads to no heading of {there.name}"


def test_the_site_has_every_page() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = [path for entry in site["nav"] for path in entry.values()]
    assert sorted(listed) == [page.relative_to(ROOT / "docs").as_posix() for page in SITE]


@each_page
def test_commands_in_blocks_can_be_parsed(page: Path) -> None:
    for arguments in command_lines(page):
        command, rest = command_of(arguments)
        context = command.make_context("edgeprune", rest)  # raises on an unknown option and on a missing one
        given = context.params
        for name in (given.get("target") or "", given.get("targets") or ""):
            for target in filter(None, name.split(",")):
                assert target in {"host", *shipped_names("targets")} or target.endswith(".yaml"), target
        pipeline = given.get("pipeline") or "structured"
        assert pipeline in shipped_names("pipelines") or pipeline.endswith(".yaml"), pipeline


@each_page
def test_commands_in_the_text_exist(page: Path) -> None:
    for code in codes(page):
        if code.startswith("edgeprune ") and not code.startswith("edgeprune --"):
            command, rest = command_of(code.split()[1:])
            unknown = {part.partition("=")[0] for part in rest if part.startswith("--")} - options_of(command)
            assert not unknown, f"`{code}`: no option {unknown}"


@each_page
def test_overrides_name_what_profiles_have(page: Path) -> None:
    for override in overrides(page):
        if override.startswith("target."):
            load_target("cpu-x86-avx2", [override])
        else:
            load_pipeline("structured", [override])


@each_page
def test_definitions_are_valid(page: Path, tmp_path: Path) -> None:
    for language, text in fences(page):
        if language != "yaml" or "runs-on" in text:
            continue
        content = yaml.safe_load(text)
        if "schema_version" not in content:
            TypeAdapter(RunnerConfig).validate_python(content["runner"])
            continue
        path = tmp_path / "definition.yaml"
        path.write_text(text, encoding="utf-8")
        if "model" in content:
            read_project(path)
        else:
            (load_pipeline if "stages" in content else load_target)(str(path))


@each_page
def test_steps_in_the_text_are_valid(page: Path) -> None:
    for code in codes(page):
        if code.startswith("{method:"):
            TypeAdapter(Step).validate_python(yaml.safe_load(code))


@pytest.mark.parametrize(("page", "column", "kind"), [("targets", 0, "targets"), ("pipelines", 2, "pipelines")])
def test_tables_name_shipped_definitions(page: str, column: int, kind: Any) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    header = {"targets": "| target |", "pipelines": "| step |"}[kind]
    table = text[text.index(header) :].partition("\n\n")[0].replace("\\|", "")
    named = {name for row in table.splitlines()[2:] for name in _CODE.findall(row.split("|")[column + 1])}
    assert named <= set(shipped_names(kind))
    assert all(f"`{name}`" in text for name in shipped_names(kind))


@each_page
def test_python_calls_take_the_arguments_they_are_given(page: Path) -> None:
    taken = {
        "edgeprune.build": {one.name for one in option_fields()} | {"emit"},
        **{
            f"edgeprune.{one.__name__}": {*inspect.signature(one).parameters}
            for one in (edgeprune.load, edgeprune.load_onnx)
        },
    }
    for language, text in fences(page):
        for node in ast.walk(ast.parse(text if language == "python" else "")):
            if isinstance(node, ast.Call) and (name := ast.unparse(node.func)).startswith("edgeprune."):
                assert {keyword.arg for keyword in node.keywords} <= taken[name], ast.unparse(node)


@each_page
def test_figures_have_scripts_and_make_has_targets(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in [*shell_lines(page), *codes(page)]:
        for script, options in re.findall(r"(benchmarks/[\w/]+\.py)([^#`]*)", line):
            assert (ROOT / script).is_file(), script
            source = (ROOT / script).read_text(encoding="utf-8")
            assert all(f'"{option}"' in source for option in re.findall(r"(?<= )--[\w-]+", options)), line
        for target in re.findall(r"^make ([\w-]+)", line):
            assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"make {target}"


def test_the_readme_describes_its_picture() -> None:
    """Whoever draws the picture again has README's words beside it to change."""
    alt = re.search(r'alt="([^"]+)"', README.read_text(encoding="utf-8"))
    assert alt is not None
    for theme in ("light", "dark"):
        texts = " ".join(ET.parse(ROOT / f"docs/images/movie-reviews-{theme}.svg").getroot().itertext())
        assert set(re.findall(r"\d+\.\d+", alt[1])) <= set(re.findall(r"\d+\.\d+", texts))
