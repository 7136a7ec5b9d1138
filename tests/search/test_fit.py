"""edgeprune/search/fit.py and table_design.py: times of a few models give the costs of every size."""

import numpy as np
import pytest

from edgeprune.search.costs import Costs, TopCosts
from edgeprune.search.fit import fit_costs
from edgeprune.search.table_design import Design, Layers, Shape, design_for

MINILM = Shape(6, 12, 1536, 64)
SHAPES = [
    MINILM,
    Shape(12, 12, 3072, 64),
    Shape(2, 4, 128, 8),
    Shape(2, 1, 8, 8),
    Shape(3, 2, 20, 8),
    Shape(1, 2, 16, 8),
]


def true_costs(shape: Shape, *, narrowed: bool) -> Costs:
    """Costs as a CPU has them: steps where a part begins, and then lines."""
    widths = shape.widths
    return Costs(
        unit="ms",
        base=0.02,
        attention=tuple(0.026 + 0.0055 * heads + 0.02 * (heads > 0) for heads in range(shape.heads + 1)),
        widths=widths,
        ffn=tuple(0.1 * width / shape.width for width in widths),
        top=TopCosts(
            attention=tuple(0.01 + 0.003 * heads + 0.01 * (heads > 0) for heads in range(shape.heads + 1)),
            ffn=tuple(0.02 * width / shape.width for width in widths),
        )
        if narrowed
        else None,
    )


def others(shape: Shape, design: Design) -> list[Layers]:
    """Models of random sizes, empty layers among them."""
    generator, widths = np.random.default_rng(7), shape.widths
    drawn = [
        tuple(
            (int(generator.integers(shape.heads + 1)), int(generator.choice(widths)))
            for _ in range(generator.integers(1, shape.layers + 1))
        )
        for _ in range(50)
    ]
    return [*drawn, *design.all]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("narrowed", [True, False])
@pytest.mark.parametrize("coarse", [False, True])
def test_costs_are_found_again(shape: Shape, narrowed: bool, coarse: bool) -> None:
    narrowed = narrowed and shape.layers > 1
    true, design = true_costs(shape, narrowed=narrowed), design_for(shape, narrowed=narrowed, seed=0, coarse=coarse)
    found = fit_costs({layers: true.of(layers) for layers in design.fitted}, shape, narrowed=narrowed)
    assert (found.top is not None) == narrowed
    # Where one token is read, a model without any heads always says the same.
    assert found.least == pytest.approx(true.of([(int(narrowed), 0)]), rel=0.01)
    for layers in (one for one in others(shape, design) if any(heads for heads, _ in one) or not narrowed):
        assert found.of(layers) == pytest.approx(true.of(layers), rel=0.01), layers


def test_noise_is_averaged_and_a_disturbed_model_counts_little() -> None:
    true, design = true_costs(MINILM, narrowed=True), design_for(MINILM, narrowed=True, seed=0)
    generator = np.random.default_rng(0)
    times = {layers: true.of(layers) * (1 + 0.01 * generator.standard_normal()) for layers in design.fitted}
    times[(MINILM.middle,) * 6] *= 1.5
    found = fit_costs(times, MINILM, narrowed=True)
    errors = [abs(found.of(layers) / true.of(layers) - 1) for layers in design.validation]
    assert max(errors) < 0.04


def test_no_cost_falls_with_size_whatever_the_times() -> None:
    design = design_for(MINILM, narrowed=True, seed=0)
    generator = np.random.default_rng(0)
    times = {layers: float(generator.uniform(1, 2)) for layers in design.fitted}
    found = fit_costs(times, MINILM, narrowed=True)  # Costs refuse to fall
    assert found.base >= 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("narrowed", [True, False])
def test_a_design_is_small_and_holds_possible_models(shape: Shape, narrowed: bool) -> None:
    design = design_for(shape, narrowed=narrowed and shape.layers > 1, seed=0)
    assert len(design.all) == len(set(design.all)) <= 70
    assert not set(design.fitted) & set(design.validation)
    for layers in design.all:
        assert 1 <= len(layers) <= shape.layers
        assert all(0 <= heads <= shape.heads and width in shape.widths for heads, width in layers)
    assert ((shape.heads, shape.width),) * shape.layers in design.fitted


def test_a_coarse_design_has_about_half_of_the_models() -> None:
    fine, coarse = (design_for(MINILM, narrowed=True, seed=0, coarse=coarse) for coarse in (False, True))
    assert len(coarse.all) < 0.6 * len(fine.all)
    assert set(coarse.all) <= set(fine.all)


def test_widths_are_multiples_and_the_dense_one() -> None:
    assert Shape(1, 1, 20, 8).widths == (0, 8, 16, 20)
    assert Shape(1, 1, 16, 8).widths == (0, 8, 16)
    assert Shape.of([(1, 8), (2, 20)], align=8) == Shape(2, 2, 20, 8)
