from typing import Any

import pytest

from edgeprune.base.errors import ModelError
from edgeprune.tasks.labels import require_label_names


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"id2label": None},
        {"id2label": {"0": "neg", "1": "pos"}, "label2id": {"neg": 0, "pos": 1}},
        {"id2label": {"1": "pos", "0": "neg"}},
        {"id2label": {"0": "neg", "1": "pos"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}},
        {"id2label": {"0": 0, "1": 1}},
    ],
)
def test_labels_that_name_each_output_once(config: dict[str, Any]) -> None:
    require_label_names(config, "config.json")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"id2label": {"0": "neg", "2": "pos"}}, "id2label has no name for output 1; number its 2 labels from 0 to 1"),
        ({"id2label": {"1": "neg", "2": "pos"}}, "id2label has no name for output 0"),
        ({"id2label": {"0": "neg", "00": "pos"}}, "id2label has no name for output 1"),
        ({"id2label": {"0": "pos", "1": "pos"}}, "id2label gives 2 outputs the name 'pos'"),
        ({"id2label": {"0": 1, "1": "1"}}, "id2label gives 2 outputs the name '1'"),
        (
            {"id2label": {"0": "neg", "1": "pos"}, "label2id": {"neg": 1, "pos": 0}},
            "'neg' is output 0 in id2label, but 1 in label2id; make them agree",
        ),
    ],
)
def test_labels_that_could_mean_two_outputs_or_none(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=f"config.json: {message}"):
        require_label_names(config, "config.json")
