"""`edgeprune doctor`: what is installed, what is missing with the command for it, what this machine can do."""

from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from edgeprune.ondevice.agent import device_info
from edgeprune.pipeline import doctor
from tests.support.e2e import call


def test_builds_work_where_tests_run(tmp_path: Path) -> None:
    done = call("doctor", "--store", tmp_path / "a" / "store", "--json")
    assert done.code == 0, done.err
    found = done.document
    assert found["edgeprune"] == version("edgeprune")
    assert {"torch", "onnxruntime", "typer"} <= {one["name"] for one in found["libraries"]}
    assert {"demo", "serve", "viz"} <= {one["name"] for one in found["extras"]}
    assert not {"dev", "docs"} & {one["name"] for one in found["extras"]}
    assert found["device"]["cores"] == device_info()["cores"]
    matched = {one["target"]: one["reasons"] for one in call("targets", "match", "--json").document["targets"]}
    assert found["targets"] == matched
    assert [one["name"] for one in found["reach"]] == ["ssh", "adb", "emulated ARM", "browser"]
    assert not list(tmp_path.iterdir())
    assert "builds work here" in call("doctor", "--store", tmp_path).out


def test_what_is_missing_or_too_old_is_named() -> None:
    missing = doctor._library(Requirement("edgeprune-nothing>=1"))
    assert (missing.installed, missing.fault) == (None, "edgeprune-nothing is not installed")
    old = doctor._library(Requirement("pydantic>=99"))
    assert old.fault == f"pydantic is {version('pydantic')}, but >=99 is needed"
    needs = [Requirement("edgeprune-nothing>=1; extra == 'more'"), Requirement("pydantic>=2")]
    extra = doctor._extra("more", needs)
    assert extra.missing == ["edgeprune-nothing is not installed"]
    assert extra.command == "pip install 'edgeprune[more]'"


def test_a_library_that_cannot_be_imported_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(name: str) -> None:
        raise ImportError(f"lib{name}.so: cannot open shared object file")

    monkeypatch.setattr(doctor, "import_module", broken)
    done = call("doctor", "--store", tmp_path)
    assert done.code == 2
    assert any("can't be imported: libtorch.so: cannot open" in complaint for complaint in done.complaints)
    assert "builds don't work here" in done.out


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = call("doctor", "--store", tmp_path / "file" / "store")
    assert done.code == 8
    assert "can't be written" in done.complaints[0]
