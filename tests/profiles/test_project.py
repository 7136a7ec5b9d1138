from pathlib import Path

from pydantic import TypeAdapter

import edgeprune.profiles.project
from edgeprune.pipeline.options import option_fields
from edgeprune.profiles.project import Project
from tests.support.e2e import call


def test_the_schema_beside_the_module_is_the_models() -> None:
    """`edgeprune init --schema > edgeprune/profiles/project.schema.json` writes it anew."""
    beside = Path(edgeprune.profiles.project.__file__).with_name("project.schema.json")
    done = call("init", "--schema")
    assert done.code == 0
    assert done.out == beside.read_text(encoding="utf-8")
    assert done.document == TypeAdapter(Project).json_schema()


def test_every_key_is_described_for_editors() -> None:
    schema = Project.model_json_schema()
    for model in (schema, schema["$defs"]["ProjectData"], schema["$defs"]["ProjectColumns"]):
        assert all(value.get("description") for value in model["properties"].values())


def test_defaults_are_those_of_the_flags() -> None:
    flags = {one.name: one.default for one in option_fields()}
    project = Project.model_validate({"schema_version": 1, "model": "m", "data": {"train": "d"}})
    for name in ("task", "problem_type", "pipeline", "name", "release", "baseline", "max_regression"):
        assert getattr(project, name) == flags[name], name
    assert (project.targets, Path(project.output)) == ((flags["target"],), flags["output"])
