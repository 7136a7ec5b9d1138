from typing import Any

import pytest
from pydantic import ValidationError

from edgeprune.pruning.loss_table import LayerLosses

WHOLE: dict[str, Any] = {
    "index": 0, "attention": (2, 1, 0), "widths": (0, 1, 3), "ffn": (2, 1, 0), "dropped": 4, "heads": (1, 0),
    "neurons": (5, 1, 3),
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attention": (1, 0)}, "a loss for each number of heads"),
        ({"widths": (0, 2, 1)}, "widths should ascend"),
        ({"widths": (1, 2, 3)}, "widths should ascend"),
        ({"widths": (0, 1, 2)}, "widths should ascend"),
        ({"ffn": (1, 0)}, "with one loss each"),
    ],
)
def test_losses_that_do_not_fit_the_layer_are_refused(changes: dict[str, Any], words: str):
    LayerLosses(**WHOLE)
    with pytest.raises(ValidationError, match=words):
        LayerLosses(**WHOLE | changes)
