import pytest
from pydantic import TypeAdapter, ValidationError

from edgeprune.profiles.steps import GradientStep, Step

STEP: TypeAdapter[Step] = TypeAdapter(Step)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"method": "layers"}, "either drop"),
        ({"method": "layers", "drop": [1], "remove": 1}, "either drop"),
        ({"method": "magnitude"}, "either sparsity or threshold"),
        ({"method": "magnitude", "sparsity": 0.5, "threshold": 0.1}, "either sparsity or threshold"),
        ({"method": "n_m", "n": 4, "m": 4}, "n should be below m, but n is 4 and m is 4"),
        ({"method": "structured", "keep_heads": 0}, "greater than 0"),
        ({"method": "gradient", "sparsity": 1}, "less than 1"),
        ({"method": "movement"}, "method"),
    ],
)
def test_steps_that_say_nothing_or_too_much_are_refused(content: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        STEP.validate_python(content)


def test_a_gradient_is_never_of_one_batch_by_default():
    assert GradientStep(method="gradient", sparsity=0.5).batches > 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"importance": "magnitude"}, "which magnitude scores don't allow; use fisher or taylor"),
        ({"importance": "random"}, "which random scores don't allow"),
        ({"keep_heads": (0.5, 1.0)}, "give fractions, not lists"),
    ],
)
def test_multiply_adds_needs_scores_that_compare_and_fractions(values: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        STEP.validate_python({"method": "structured", "allocation": "multiply_adds", **values})


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"method": "structured", "importance": "magnitude", "signal": "labels"}, "signal has no effect on magnitude"),
        ({"method": "structured", "importance": "random", "samples": 8}, "samples has no effect on random scores"),
        ({"method": "structured", "allow_empty": True}, "allow_empty has no effect on uniform"),
        ({"method": "structured", "head_cost": 1.35}, "head_cost has no effect on uniform"),
        ({"method": "structured", "allocation": "global", "head_cost": 1.35}, "head_cost has no effect on global"),
        ({"method": "magnitude", "threshold": 0.1, "scope": "layer"}, "scope has no effect on a threshold"),
        ({"method": "magnitude", "sparsity": [0.1], "scope": "layer"}, "scope has no effect on a threshold or a list"),
        ({"method": "gradient", "sparsity": [0.1], "scope": "layer"}, "scope has no effect on a list"),
        ({"method": "structured", "scores": "s.safetensors", "samples": 8}, "samples has no effect on saved scores"),
        ({"method": "layers", "drop": [1], "samples": 8}, "choose, shortlist and samples have no effect on drop"),
        ({"method": "layers", "drop": [1], "choose": "metric"}, "choose, shortlist and samples have no effect on drop"),
        ({"method": "layers", "remove": 1, "shortlist": 2}, "shortlist and samples have no effect on spaced"),
        (
            {"method": "structured", "scores": "s.safetensors", "keep_hidden": 0.5},
            "saved scores are those of heads and neurons",
        ),
        ({"method": "layers", "drop": []}, "at least 1 item"),
        ({"method": "reconstruct", "ridge": 1e-9}, "greater than or equal to"),
        ({"method": "reconstruct", "ridge": float("inf")}, "finite number"),
    ],
)
def test_what_would_be_ignored_is_refused(step: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        STEP.validate_python(step)
