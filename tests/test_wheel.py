import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import get_args

import pytest

from edgeprune.profiles.pipeline import ExampleLanguage
from tests.support.e2e import MAIN

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built and unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run_installed(installed: Path, *arguments: str) -> str:
    code = f"import edgeprune; assert edgeprune.__file__.startswith({str(installed)!r}), edgeprune.__file__; {MAIN}"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=installed.parent,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("kind", ["targets", "pipelines"])
def test_the_wheel_finds_its_own_definitions(installed: Path, kind: str) -> None:
    in_checkout = sorted(path.name for path in (CHECKOUT / kind).glob("*.yaml"))
    assert (
        sorted(path.name for path in (installed / "edgeprune" / "profiles" / "definitions" / kind).glob("*.yaml"))
        == in_checkout
    )
    listed = json.loads(run_installed(installed, kind, "list", "--json"))
    assert sorted(f"{one['name']}.yaml" for one in listed) == in_checkout
    for name in in_checkout:
        assert run_installed(installed, kind, "validate", name.removesuffix(".yaml")).endswith("valid\n")


def test_the_wheel_has_what_packages_carry(installed: Path) -> None:
    for name in ("ondevice/run.py", "ondevice/model_card.md", "ondevice/preprocess_image.py", "ondevice/agent.py"):
        assert (installed / "edgeprune" / name).read_bytes() == (CHECKOUT / "edgeprune" / name).read_bytes()


@pytest.mark.parametrize("room", ["report", "cli"])
def test_the_wheel_has_what_pages_and_workflows_are_made_of(installed: Path, room: str) -> None:
    folder = Path("edgeprune", room, "templates")
    for path in (CHECKOUT / folder).iterdir():
        assert (installed / folder / path.name).read_bytes() == path.read_bytes()


def test_the_wheel_has_the_schema_of_the_project_file(installed: Path) -> None:
    name = Path("edgeprune", "profiles", "project.schema.json")
    assert (installed / name).read_bytes() == (CHECKOUT / name).read_bytes()


def test_the_wheel_has_the_examples(installed: Path) -> None:
    folder = Path("edgeprune", "ondevice", "examples")
    files = [path.relative_to(CHECKOUT) for path in (CHECKOUT / folder).rglob("*") if path.is_file()]
    assert {path.relative_to(folder).parts[0] for path in files} == set(get_args(ExampleLanguage))
    for path in files:
        assert (installed / path).read_bytes() == (CHECKOUT / path).read_bytes()


def test_the_wheel_has_the_package_and_its_licence_only(installed: Path) -> None:
    assert {path.name for path in installed.iterdir()} == {"edgeprune", f"edgeprune-{_version(installed)}.dist-info"}
    assert (installed / f"edgeprune-{_version(installed)}.dist-info" / "licenses" / "LICENSE").is_file()


def _version(installed: Path) -> str:
    (folder,) = installed.glob("*.dist-info")
    return folder.name.removesuffix(".dist-info").removeprefix("edgeprune-")


def test_the_wheel_has_what_travels_to_devices_and_browsers(installed: Path) -> None:
    def files(root: Path) -> list[str]:
        folder = root / "edgeprune" / "ondevice"
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.suffix != ".pyc")

    assert files(installed) == files(CHECKOUT)
    assert {"browser/page/index.html", "browser/page/session.mjs"} <= set(files(installed))
