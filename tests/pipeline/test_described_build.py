"""What lies beside the package of a whole build, and its signature: edgeprune/pipeline/describe.py, verify.py, checks.py."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement_pb2 import Statement

from edgeprune.store.files import file_digest, file_records
from edgeprune.store.records import Manifest
from edgeprune.store.store import Store
from tests.support.e2e import Built, call
from tests.support.keys import Pair


def beside(built: Built, suffix: str) -> Path:
    return built.package.with_name(f"{built.package.name}.{suffix}")


@pytest.fixture
def bom(built: Built) -> dict[str, Any]:
    return dict(json.loads(beside(built, "cdx.json").read_bytes()))


@pytest.fixture
def statement(built: Built) -> dict[str, Any]:
    return dict(json.loads(beside(built, "provenance.json").read_bytes()))


@pytest.fixture
def manifests(built: Built) -> dict[str, Manifest]:
    """The manifest of every ancestor of the package, by its id."""
    lineage = json.loads((built.package / "lineage.json").read_bytes())
    found = {one["id"]: Store(built.store).find(one["stage"], one["key"]) for one in lineage["stages"]}
    return {node: artifact.manifest for node, artifact in found.items() if artifact is not None}


def test_cyclonedx_accepts_the_bill_of_materials(built: Built) -> None:
    text = beside(built, "cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    damaged = text.replace('"performanceMetrics"', '"performance"')
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(damaged) is not None


def test_the_bill_names_the_package_the_model_the_data_and_the_libraries(
    built: Built, bom: dict[str, Any], manifests: dict[str, Manifest]
) -> None:
    package, components = bom["metadata"]["component"], {one["name"]: one for one in bom["components"]}
    assert package["hashes"] == [{"alg": "SHA-256", "content": file_digest(built.archive)}]
    model = components[built.model.name]
    assert {one["name"]: one["hashes"][0]["content"] for one in model["components"]} == {
        path.name: file_digest(path) for path in built.model.iterdir() if path.name != ".gitattributes"
    }
    assert components[built.data.name]["hashes"] == [{"alg": "SHA-256", "content": file_digest(built.data)}]
    libraries = {one["name"]: one for one in bom["components"] if one["type"] == "library"}
    made_with = {name: version for one in manifests.values() for name, version in one.environment.libraries.items()}
    assert made_with.items() <= {name: one["version"] for name, one in libraries.items()}.items()
    assert {name for name, one in libraries.items() if one["scope"] == "required"} == {
        "numpy", "onnxruntime", "tokenizers"
    }  # fmt: skip
    references = {package["bom-ref"], *(one["bom-ref"] for one in bom["components"])}
    assert set(bom["dependencies"][0]["dependsOn"]) < references


def test_the_bill_has_the_metrics_of_the_card_with_their_interval(built: Built, bom: dict[str, Any]) -> None:
    metrics = bom["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    metric = next(row for row in built.report["stages"] if row["stage"] == "package")["metric"]
    by_type = {one["type"]: one for one in metrics}
    assert by_type["accuracy"] == {
        "type": "accuracy", "value": f"{metric['value']:.4f}", "slice": f"{metric['samples']} test rows"
    }  # fmt: skip
    low, high = metric["drop_interval"]
    assert by_type["drop of accuracy from the dense model"]["confidenceInterval"] == {
        "lowerBound": f"{low:.4f}", "upperBound": f"{high:.4f}"
    }  # fmt: skip
    assert len(metrics) == 2 + len(metric["others"])


def test_in_toto_and_slsa_know_every_field_of_the_provenance(statement: dict[str, Any]) -> None:
    json_format.ParseDict(statement, Statement())
    predicate = json_format.ParseDict(statement["predicate"], Provenance())
    assert predicate.build_definition.build_type
    assert predicate.run_details.builder.id
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"


def test_the_provenance_names_what_came_out_and_what_went_in(
    built: Built, statement: dict[str, Any], manifests: dict[str, Manifest]
) -> None:
    out = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    assert out == {built.archive.name: file_digest(built.archive)} | {
        f"{built.package.name}/{one.path}": one.sha256 for one in file_records(built.package)
    }
    definition = statement["predicate"]["buildDefinition"]
    went_in = {one["name"]: one for one in definition["resolvedDependencies"]}
    assert len(went_in) == len(definition["resolvedDependencies"])
    assert went_in[built.data.name]["digest"] == {"sha256": file_digest(built.data)}
    weights = f"{built.model.name}/model.safetensors"
    assert went_in[weights]["digest"] == {"sha256": file_digest(built.model / "model.safetensors")}
    for stage, manifest in manifests.items():
        for file in manifest.files:
            assert went_in[f"{stage}/{file.path}"] == {
                "name": f"{stage}/{file.path}",
                "digest": {"sha256": file.sha256},
                "annotations": {"stage": manifest.stage, "key": manifest.key},
            }
    asked = definition["externalParameters"]
    assert asked["model"] == built.model.name
    assert asked["data"] == built.data.name
    assert asked["target"] == built.target.name
    assert not {"output", "store", "offline", "report"} & set(asked)
    package = next(row for row in built.report["stages"] if row["stage"] == "package")
    assert statement["predicate"]["runDetails"]["metadata"] == {"invocationId": package["key"]}


def test_the_same_inputs_give_the_same_documents_without_paths_or_times(built: Built, tmp_path: Path) -> None:
    again = built.again("--no-report", output=tmp_path / "again")
    assert again.code == 0, again.err
    for suffix in ("cdx.json", "provenance.json"):
        text = beside(built, suffix).read_text(encoding="utf-8")
        assert (tmp_path / "again" / f"{built.package.name}.{suffix}").read_text(encoding="utf-8") == text
        assert str(built.model.parent) not in text
        assert not {"timestamp", "startedOn", "finishedOn"} & set(text.split('"'))


def test_verify_says_what_it_checked(built: Built, tmp_path: Path) -> None:
    package = Path(shutil.copytree(built.package, tmp_path / built.package.name))
    owner, other = Pair(tmp_path, "owner"), Pair(tmp_path, "other")
    assert call("verify", package).out.splitlines()[1:] == [
        f"{package}: not signed: digests find accidents, but not attackers"
    ]
    assert call("sign", package, "--key", owner.private).code == 0
    said = call("verify", package)
    assert (said.code, said.out.splitlines()[1:]) == (0, [f"{package}: its signature was not checked: give --key"])
    document = call("verify", package, "--json").document
    assert (document["signature"], document["signed_by"]) == ("not checked", None)
    said = call("verify", package, "--key", owner.public)
    assert (said.code, said.out.splitlines()[1:]) == (0, [f"{package}: signed by the owner of {owner.public}"])
    document = call("verify", package, "--key", owner.public, "--json").document
    assert (document["signature"], document["signed_by"]) == ("verified", f"the owner of {owner.public}")
    refused = call("verify", package, "--key", other.public)
    assert (refused.code, refused.out) == (5, "")
    assert "was signed with another key than" in refused.complaints[0]


def test_a_build_may_insist_on_the_signature_of_its_baseline(built: Built, tmp_path: Path) -> None:
    package = Path(shutil.copytree(built.package, tmp_path / built.package.name))
    owner = Pair(tmp_path, "owner")
    arguments = (*built.arguments, "--store", built.store, "--plan", "--baseline", package)
    unsigned = call(*arguments, "--baseline-key", owner.public)
    assert (unsigned.code, unsigned.complaints[0].partition(";")[0]) == (5, f"edgeprune: {package} is not signed")
    call("sign", package, "--key", owner.private)
    assert call(*arguments, "--baseline-key", owner.public).code == 0
    wrong = call(*arguments, "--baseline-key", Pair(tmp_path, "other").public)
    assert wrong.code == 5
    assert "was signed with another key than" in wrong.complaints[0]
    assert call(*arguments, "--baseline-key", package / "README.md").code == 2


def test_a_new_build_takes_the_signature_of_the_old_one_away(built: Built, tmp_path: Path) -> None:
    output = tmp_path / "dist"
    assert built.again("--no-report", output=output).code == 0
    package, owner = output / built.package.name, Pair(tmp_path, "owner")
    call("sign", package, "--key", owner.private)
    files = {package / "model.sig", output / f"{package.name}.model.sig"}
    assert all(path.is_file() for path in files)
    assert built.again("--no-report", output=output).code == 0
    assert not any(path.exists() for path in files)
