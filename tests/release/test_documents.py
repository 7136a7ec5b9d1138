"""edgeprune/release/bom.py and provenance.py, of builds that never ran; tests/pipeline/test_described_build.py has a real one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance

from edgeprune.release.bom import bill_of_materials
from edgeprune.release.made import Made, Material
from edgeprune.release.provenance import provenance
from edgeprune.store.records import Metric, StageMetrics

SHA = "ab" * 32
MakeMade = Callable[..., Made]


@pytest.fixture
def made(tmp_path: Path) -> MakeMade:
    """`made(licence=…, **fields)` → what a package was made from; other fields as in `Made`."""
    folder = tmp_path / "reviews-1-here"
    folder.mkdir()
    stage = {
        "id": "prepare", "stage": "prepare", "key": SHA, "parents": {}, "config": {"epochs": 2},
        "libraries": {"torch": "2.13.0", "numpy": "2.4.6"}, "files": {"model.onnx": SHA},
    }  # fmt: skip
    lineage = {"schema_version": 1, "seed": 7, "stages": [stage]}
    (folder / "lineage.json").write_text(json.dumps(lineage), encoding="utf-8")

    def make(*, licence: str | None = None, **fields: Any) -> Made:
        described = {
            "name": "reviews", "release": "1", "target": "here", "task": "text-classification",
            "outputs": ["logits"], "licence": licence,
        }  # fmt: skip
        metric = Metric(
            name="accuracy", value=0.9, samples=100, drop=-0.00001, drop_interval=(-0.02, 0.01), others={"F1": 0.8}
        )
        values: dict[str, Any] = {
            "folder": folder,
            "archive_sha256": SHA,
            "key": SHA,
            "model": "org-model",
            "family": "bert",
            "materials": (Material("model", "config.json", SHA), Material("train", "reviews.jsonl", SHA)),
            "reads": "text",
            "asked": {"data": "reviews.jsonl"},
            "builder": {"edgeprune": "0.1.0"},
            "libraries": {"onnxruntime": "1.31.1", "huggingface_hub": "2.4.0"},
            "dense": StageMetrics(parameters=200),
            "final": StageMetrics(parameters=100, metric=metric),
        }
        found = Made(**values | fields)
        vars(found)["description"] = described  # what the package's edgeprune.json would say
        return found

    return make


def accepted(bom: dict[str, Any]) -> dict[str, Any]:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bom)) is None
    return bom


@pytest.mark.parametrize(
    ("licence", "written"),
    [
        (None, None),
        ("apache-2.0", [{"expression": "Apache-2.0"}]),
        ("MIT", [{"expression": "MIT"}]),
        ("mit, see LICENSE", [{"license": {"name": "mit, see LICENSE"}}]),
        ("other", [{"license": {"name": "other"}}]),
    ],
)
def test_a_licence_is_spelled_as_spdx_does_where_it_is_one(
    made: MakeMade, licence: str | None, written: list[Any] | None
) -> None:
    bom = accepted(bill_of_materials(made(licence=licence)))
    assert bom["metadata"]["component"].get("licenses") == written


def test_numbers_are_texts_and_a_drop_of_nothing_has_no_sign(made: MakeMade) -> None:
    card = accepted(bill_of_materials(made()))["metadata"]["component"]["modelCard"]
    assert card["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "accuracy", "value": "0.9000", "slice": "100 test rows"},
        {"type": "F1", "value": "0.8000", "slice": "100 test rows"},
        {
            "type": "drop of accuracy from the dense model", "value": "0.0000", "slice": "100 test rows",
            "confidenceInterval": {"lowerBound": "-0.0200", "upperBound": "0.0100"},
        },
    ]  # fmt: skip


def test_a_bill_without_what_may_be_missing_is_valid_too(made: MakeMade) -> None:
    bom = accepted(bill_of_materials(made(family=None, final=StageMetrics(), dense=StageMetrics(), reads="image")))
    component = bom["metadata"]["component"]
    assert component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == []
    assert component["modelCard"]["modelParameters"]["inputs"] == [{"format": "image"}]
    assert [one["name"] for one in component["properties"]] == ["edgeprune:size_bytes"]


def test_another_package_has_another_serial_number(made: MakeMade) -> None:
    first, same, other = (bill_of_materials(made(archive_sha256=sha)) for sha in (SHA, SHA, "cd" * 32))
    assert first == same
    assert first["serialNumber"] != other["serialNumber"]


def test_libraries_of_all_stages_have_package_addresses(made: MakeMade) -> None:
    bom = accepted(bill_of_materials(made()))
    scopes = {one["purl"]: one["scope"] for one in bom["components"] if one["type"] == "library"}
    assert scopes == {
        "pkg:pypi/huggingface-hub@2.4.0": "excluded",
        "pkg:pypi/numpy@2.4.6": "required",
        "pkg:pypi/onnxruntime@1.31.1": "required",
        "pkg:pypi/torch@2.13.0": "excluded",
    }


def test_rows_of_a_dataset_are_not_passed_off_as_a_file(made: MakeMade) -> None:
    one = Material("train", "org/reviews", SHA, is_file=False)
    statement = provenance(made(materials=(one,)))
    predicate: Any = statement["predicate"]
    json_format.ParseDict(predicate, Provenance())
    first = predicate["buildDefinition"]["resolvedDependencies"][0]
    assert first == {"name": "org/reviews", "digest": {"rowsSha256": SHA}, "annotations": {"role": "train"}}
    (data,) = (
        one for one in accepted(bill_of_materials(made(materials=(one,))))["components"] if one["type"] == "data"
    )
    assert data["properties"] == [{"name": "edgeprune:hashed", "value": "the rows"}]
