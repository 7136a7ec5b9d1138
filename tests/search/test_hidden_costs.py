"""edgeprune/search/hidden_costs.py: which hidden sizes a search has, and what models of each cost."""

import pytest

from edgeprune.models.record import LayerRecord, PruningRecord
from edgeprune.search.costs import Costs
from edgeprune.search.hidden_costs import HiddenCosts, hidden_sizes
from edgeprune.store.files import artifact_key

DENSE = Costs(unit="bytes", base=10, attention=(1, 4), widths=(0, 8), ffn=(0, 6))
SMALL = Costs(unit="bytes", base=5, attention=(0.5, 2), widths=(0, 8), ffn=(0, 3))
COSTS = HiddenCosts({32: DENSE, 16: SMALL})
WHOLE = PruningRecord(base_digest="", head_dim=8, layers=(LayerRecord(index=0, heads=(0,), neurons=tuple(range(8))),))


@pytest.mark.parametrize(
    ("dense", "keep", "align", "sizes"),
    [
        (384, (1,), 64, (384,)),
        (384, (1, 0.667), 64, (384, 256)),
        (768, (1, 0.75, 0.5), 64, (768, 576, 384)),
        (384, (1, 0.99, 0.34, 0.33), 64, (384, 128)),
        (48, (1, 0.5), 64, (48,)),
    ],
)
def test_sizes_are_aligned_and_each_is_there_once(
    dense: int, keep: tuple[float, ...], align: int, sizes: tuple[int, ...]
) -> None:
    assert hidden_sizes(dense, keep, align=align) == sizes


def test_a_model_costs_what_its_hidden_size_says() -> None:
    narrowed = WHOLE.model_copy(update={"hidden": tuple(range(0, 32, 2))})
    assert (COSTS.of(WHOLE), COSTS.of(narrowed)) == (20, 10)
    assert (COSTS.dense_size, COSTS.narrower, COSTS.dense, COSTS.unit) == (32, (16,), DENSE, "bytes")
    assert COSTS.least == SMALL.least == 5.5
    assert [size for size, _ in COSTS.at_most(32)] == [32, 16]
    assert list(COSTS.at_most(16)) == [(16, SMALL)]


def test_a_key_names_smaller_hidden_sizes_only_where_there_are_some() -> None:
    dense = {"costs": artifact_key(DENSE.model_dump(mode="json"))}
    assert HiddenCosts({32: DENSE}).fingerprint() == dense
    found = COSTS.fingerprint()
    assert found == dense | {"narrower": [[16, artifact_key(SMALL.model_dump(mode="json"))]]}
    assert HiddenCosts({32: DENSE, 24: SMALL}).fingerprint() != found
