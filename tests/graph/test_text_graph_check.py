"""edgeprune/graph/text_graph_check.py"""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeprune.base.errors import ParityError
from edgeprune.graph.session import onnx_session
from edgeprune.graph.text_graph import text_session, write_text_graph
from edgeprune.graph.text_graph_check import require_same_readings
from edgeprune.models.spelling import spelling_of
from edgeprune.models.wordpiece import read_wordpiece
from edgeprune.ondevice.preprocess_text import Inputs
from edgeprune.profiles.session_options import SessionOptions
from tests.graph.test_text_graph import INPUTS, TEXTS, graph_of, spec_of
from tests.models.test_wordpiece import of_bert


def reader(folder: Path, max_length: int = 8) -> Inputs:
    of_bert().save(str(folder / "tokenizer.json"))
    config = {"inputs": INPUTS, "max_length": max_length, "pair": False, "truncation": "longest_first"}
    return Inputs(folder, config)


def compared(folder: Path, problem_type: str | None, *, factor: float = 1.0, max_length: int = 8) -> float:
    """How far a graph lies from one whose weights are `factor` times its own."""
    task = "feature-extraction" if problem_type is None else "text-classification"
    spec = spec_of(problem_type, task)
    whole = text_session(graph_of(folder, spec), SessionOptions(threads=1))
    model = onnx.load(folder / "model.onnx")
    table = next(one for one in model.graph.initializer if one.name == "table")
    table.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(table) * factor).astype(np.float32), "table"))
    onnx.save(model, folder / "other.onnx")
    alone = onnx_session(folder / "other.onnx")
    return require_same_readings(whole, alone, reader(folder, max_length), spec, TEXTS).relative_error


PROBLEMS = ["single_label_classification", "multi_label_classification", "regression", None]


@pytest.mark.parametrize("problem_type", PROBLEMS)
def test_one_model_in_both(tmp_path: Path, problem_type: str | None) -> None:
    assert compared(tmp_path, problem_type) < 1e-6


@pytest.mark.parametrize("problem_type", PROBLEMS)
def test_other_numbers(tmp_path: Path, problem_type: str | None) -> None:
    with pytest.raises(ParityError, match="the graph that reads texts against the package's graph: outputs differ"):
        compared(tmp_path, problem_type, factor=1.1)


@pytest.mark.parametrize("problem_type", PROBLEMS[:2])
def test_other_labels(tmp_path: Path, problem_type: str) -> None:
    with pytest.raises(ParityError, match=r"answers 'a' with .*, the package's graph with .*please report it"):
        compared(tmp_path, problem_type, factor=-1.0)


def test_other_tokens(tmp_path: Path) -> None:
    text = re.escape(repr(TEXTS[4][:60]))
    with pytest.raises(ParityError, match=f"makes other tokens of {text} than tokenizers does"):
        compared(tmp_path, "regression", max_length=9)


def test_the_states_of_tokens_beside_an_embedding_are_left_out(tmp_path: Path) -> None:
    spec = spec_of(None, "feature-extraction")
    model = onnx.load(graph_of(tmp_path, spec, output="sentence_embedding").with_name("model.onnx"))
    states = onnx.helper.make_tensor_value_info("last_hidden_state", onnx.TensorProto.FLOAT, ["batch", "sequence", 3])
    model.graph.node.append(onnx.helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"]))
    model.graph.output.insert(0, states)
    onnx.save(model, tmp_path / "model.onnx")
    tokenizer = of_bert()
    write_text_graph(
        tmp_path / "model.onnx", tmp_path / "text.onnx", spec, read_wordpiece(tokenizer), spelling_of(tokenizer),
        max_length=8, from_left=False,
    )  # fmt: skip
    whole = text_session(tmp_path / "text.onnx", SessionOptions(threads=1))
    assert [value.name for value in whole.get_outputs()] == ["sentence_embedding", "input_ids"]
    agreed = require_same_readings(whole, onnx_session(tmp_path / "model.onnx"), reader(tmp_path), spec, TEXTS)
    assert agreed.relative_error < 1e-6
