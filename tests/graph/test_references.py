"""edgeprune/graph/references.py on the shared build's export."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeprune.graph import references
from edgeprune.graph.references import REFERENCES, Reference, load_references, save_references, worst_agreement
from edgeprune.graph.session import onnx_session
from edgeprune.models.text_reader import load_text_reader
from tests.conftest import ModelFactory
from tests.support.e2e import Built


@pytest.mark.parametrize(("longest", "expected"), [(64, 64), (2048, 100)])
def test_among_the_batches_is_a_text_as_long_as_the_model_takes_or_as_a_batch_may_be(
    tiny_model_folder: ModelFactory, longest: int, expected: int
):
    reader = load_text_reader(tiny_model_folder(), 16)
    rows = [{name: [5] * length for name in reader.inputs} for length in (3, 9, 12)]
    shapes = [batch["input_ids"].shape for batch in reader.varied(rows, 100, longest)]
    assert {(1, 3), (1, 9), (1, 12), (1, 16), (1, expected), (3, 12), (2, 16)} <= set(shapes)


def test_what_is_kept_is_what_was_computed(built: Built, tmp_path: Path):
    artifact = built.artifact("export")
    references = load_references(artifact.file(REFERENCES))
    assert len(references) == 8
    assert {one.inputs["input_ids"].shape[1] for one in references} >= {16, 66}
    assert [one.padded for one in references].count(False) >= 5
    save_references(references, tmp_path / "again.safetensors")
    for before, after in zip(references, load_references(tmp_path / "again.safetensors"), strict=True):
        np.testing.assert_array_equal(before.outputs, after.outputs)
        assert {name: values.tolist() for name, values in before.inputs.items()} == {
            name: values.tolist() for name, values in after.inputs.items()
        }


def test_a_graph_that_takes_no_padding_is_compared_on_whole_texts_only(built: Built):
    artifact = built.artifact("export")
    references = load_references(artifact.file(REFERENCES))
    session = onnx_session(artifact.file("model.onnx"))
    assert worst_agreement(session, references).max_error < 1e-5
    padded = [one for one in references if one.padded]
    for one in padded:
        one.outputs[...] += 1
    assert worst_agreement(session, references).max_error == pytest.approx(1, abs=1e-3)
    assert worst_agreement(session, references, with_padding=False).max_error < 1e-5


def test_a_text_whose_outputs_are_near_zero_is_not_far_by_itself(monkeypatch: pytest.MonkeyPatch):
    inputs = {"input_ids": np.array([[1, 2]])}
    expected = [Reference(inputs, np.array(values)) for values in ([[0.02, -0.02]], [[3.0, -4.0]])]
    rounded = [replace(one, outputs=one.outputs + 0.05) for one in expected]
    monkeypatch.setattr(references, "answered_by", lambda *_, **__: rounded)
    found = worst_agreement(None, expected)  # type: ignore[arg-type]
    assert found.distance == pytest.approx(0.02, rel=0.01)
    assert found.max_error == pytest.approx(0.05)
