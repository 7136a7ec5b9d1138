"""edgeprune/graph/text_graph_check.py"""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeprune.base.errors import ParityError
from edgeprune.graph.session import onnx_session
from edgeprune.graph.text_graph import text_session
from edgeprune.graph.text_graph_check import require_same_readings
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
