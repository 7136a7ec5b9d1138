"""edgeprune/search/costs.py: what a whole model costs, and which tables are refused."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from edgeprune.base.errors import IntegrityError
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.variant import Variant
from edgeprune.search.costs import (
    Costs,
    CostTable,
    NarrowerCosts,
    TopCosts,
    ValidationRow,
    read_costs,
    top_flags,
)

PLAIN = Costs(unit="ms", base=1, attention=(0.25, 1, 2), widths=(0, 8, 16), ffn=(0, 4, 8))
NARROW = PLAIN.model_copy(update={"top": TopCosts(attention=(0.125, 0.5, 1), ffn=(0, 1, 2))})
TABLE = CostTable(
    p50=NARROW,
    p90=NARROW,
    layers=3,
    variant=Variant(rewrites=(), precision=PrecisionSettings(mode="fp32"), session=SessionOptions(threads=1)),
    samples=160,
    validation=(
        ValidationRow(layers=((2, 8),), predicted_ms=1.1, measured_ms=1),
        ValidationRow(layers=((1, 8),), predicted_ms=0.8, measured_ms=1),
    ),
)


def test_a_model_costs_its_base_and_its_layers() -> None:
    assert PLAIN.of([]) == 1
    assert PLAIN.of([(2, 16), (1, 0)]) == 1 + 2 + 8 + 1
    assert PLAIN.least == 1.25


def test_a_layer_is_a_top_one_if_none_above_it_has_heads() -> None:
    assert top_flags([(2, 8), (1, 8), (0, 8), (0, 0)]) == [False, True, True, True]
    assert top_flags([(0, 8), (0, 8)]) == [True, True]
    assert top_flags([]) == []


def test_top_layers_cost_less_where_one_token_is_read() -> None:
    assert NARROW.of([(2, 8), (1, 8), (0, 16)]) == 1 + (2 + 4) + (0.5 + 1) + (0.125 + 2)
    assert NARROW.least == 1.125
    assert NARROW.layer((2, 16), top=True) == 3
    assert NARROW.layer((2, 16), top=False) == PLAIN.layer((2, 16), top=True) == 10


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"widths": (0, 16, 8)}, "ascend from 0"),
        ({"widths": (8, 16, 24)}, "ascend from 0"),
        ({"ffn": (0, 4)}, "one cost each"),
        ({"attention": (2, 1, 3)}, "attention should not fall with more units"),
        ({"base": -1}, "greater than or equal to 0"),
        ({"top": {"attention": (1, 2), "ffn": (0, 1, 2)}}, "as many costs"),
        ({"top": {"attention": (1, 2, 3), "ffn": (3, 1, 2)}}, "ffn should not fall"),
    ],
)
def test_costs_that_make_no_sense_are_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Costs.model_validate(PLAIN.model_dump() | changes)


def test_the_error_of_predictions_is_the_largest() -> None:
    assert TABLE.prediction_error == pytest.approx(0.2)
    assert TABLE.model_copy(update={"validation": ()}).prediction_error == 0


def test_a_table_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text(TABLE.model_dump_json(), encoding="utf-8")
    assert read_costs(path, layers=3, heads=2, width=16) == TABLE


def test_a_table_of_smaller_hidden_sizes_is_read_again_and_one_without_them_is_older(tmp_path: Path) -> None:
    row = ValidationRow(layers=((2, 8),), predicted_ms=0.7, measured_ms=1)
    cheap = PLAIN.model_copy(update={"base": 0.5})
    table = TABLE.model_copy(update={"narrower": (NarrowerCosts(hidden=16, p50=cheap, p90=NARROW, validation=(row,)),)})
    assert table.prediction_error == pytest.approx(0.3)
    assert (TABLE.least_ms, table.least_ms) == ((1.125, 1.125), (0.75, 1.125))
    path = tmp_path / "costs.json"
    path.write_text(table.model_dump_json(), encoding="utf-8")
    assert read_costs(path, layers=3, heads=2, width=16, narrower=(16,)) == table
    with pytest.raises(
        IntegrityError, match=r"smaller hidden sizes \[24\], but holds those of \[16\]; remove its folder"
    ):
        read_costs(path, layers=3, heads=2, width=16, narrower=(24,))
    path.write_text(TABLE.model_dump_json(exclude={"narrower"}), encoding="utf-8")
    assert read_costs(path, layers=3, heads=2, width=16) == TABLE


@pytest.mark.parametrize("shape", [(2, 2, 16), (3, 4, 16), (3, 2, 32)])
def test_a_table_of_another_shape_is_refused(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    path = tmp_path / "costs.json"
    path.write_text(TABLE.model_dump_json(), encoding="utf-8")
    layers, heads, width = shape
    with pytest.raises(
        IntegrityError, match=r"holds ms of 3 layers of up to 2 heads and 16 neurons; remove its folder"
    ):
        read_costs(path, layers=layers, heads=heads, width=width)


@pytest.mark.parametrize("damage", ["{", '{"p50": 1}', "edited"])
def test_an_edited_table_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "costs.json"
    edited = json.loads(TABLE.model_dump_json())
    edited["p50"]["attention"][0] = 100
    path.write_text(json.dumps(edited) if damage == "edited" else damage, encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"is not the table that was measured: .*; remove its folder"):
        read_costs(path, layers=3, heads=2, width=16)
