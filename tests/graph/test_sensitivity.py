"""edgeprune/graph/sensitivity.py: which products stay in fp32."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.graph.calibration_rows import mean_distance
from edgeprune.graph.quantization import quantized_products
from edgeprune.graph.sensitivity import Conversion, Kept, Nodes, keep_metric, products_to_keep
from edgeprune.profiles.variant import Variant
from tests.graph.test_quantization import Source, settings_of, source  # noqa: F401 (a fixture)

PRODUCTS = [f"p{number}" for number in range(16)]


def judge(costs: dict[str, float]) -> tuple[list[Nodes], "dict[str, object]"]:
    """Callbacks for products that cost so much each, and the sets whose drop was asked for."""
    asked: list[Nodes] = []

    def left(kept: Nodes) -> float:
        return sum(cost for name, cost in costs.items() if name not in kept)

    def drop(kept: Nodes) -> float:
        asked.append(kept)
        return left(kept)

    return asked, {"distance": left, "drop": drop}


def test_the_most_sensitive_one_is_enough() -> None:
    asked, callbacks = judge({name: 5.0 if name == "p7" else 0.1 for name in PRODUCTS})
    assert products_to_keep(PRODUCTS, **callbacks, limit=2.0) == Kept(("p7",), pytest.approx(1.5))  # type: ignore[arg-type]
    assert asked == [("p7",)]


def test_twice_as_many_are_tried_until_it_is_enough() -> None:
    costs = {name: float(number) for number, name in enumerate(PRODUCTS)}
    asked, callbacks = judge(costs)
    found = products_to_keep(PRODUCTS, **callbacks, limit=sum(costs.values()) - 50)  # type: ignore[arg-type]
    assert found == Kept(("p12", "p13", "p14", "p15"), 66.0)
    assert [len(kept) for kept in asked] == [1, 2, 4]


def test_a_quarter_is_the_most() -> None:
    asked, callbacks = judge(dict.fromkeys(PRODUCTS, 1.0))
    assert products_to_keep(PRODUCTS, **callbacks, limit=11.9) is None  # type: ignore[arg-type]
    assert max(map(len, asked)) == 4


def test_nothing_can_be_kept_of_nothing() -> None:
    _, callbacks = judge({})
    assert products_to_keep([], **callbacks, limit=1.0) is None  # type: ignore[arg-type]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40), st.floats(0, 100))
def test_what_is_kept_is_within_the_limit_and_most_sensitive(costs: list[float], limit: float) -> None:
    named = {f"p{number}": cost for number, cost in enumerate(costs)}
    _, callbacks = judge(named)
    found = products_to_keep(list(named), **callbacks, limit=limit)  # type: ignore[arg-type]
    if found is None:
        assert sum(sorted(costs)[: len(costs) - max(1, len(costs) // 4)]) > limit - 1e-6
    else:
        assert found.drop <= limit
        assert list(found.nodes) == [name for name in named if name in found.nodes]
        left = [cost for name, cost in named.items() if name not in found.nodes]
        assert len(found.nodes) <= max(1, len(named) // 4)
        # A product's cost disappears in the sum of the others' below the precision of a float.
        assert not left or min(named[name] for name in found.nodes) >= max(left) - 1e-9


class Distant(Conversion):
    """A conversion whose metric is how far its outputs are from fp32's, so that it has no steps."""

    def drop(self, path: Path) -> float:
        return mean_distance(self.outputs(path), self.outputs(self.exact))


@pytest.fixture
def distant(source: Source, tmp_path: Path) -> Distant:  # noqa: F811
    exact = tmp_path / "exact" / "model.onnx"
    exact.parent.mkdir()
    exact.write_bytes(source.path.read_bytes())
    variant = Variant(rewrites=(), precision=settings_of("int4-weights", "fp32"))
    return Distant(exact, variant, None, source.calibration, source.judged)  # type: ignore[arg-type]


def ignored(*_: object) -> None:
    pass


def test_a_model_that_loses_too_much_keeps_products_and_says_which(distant: Distant, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    distant.convert(path, ())
    plain, before = path.read_bytes(), distant.drop(path)
    limit = 0.9 * before
    steps: list[tuple[object, ...]] = []
    settings, sentence = keep_metric(distant, path, limit, lambda *step: steps.append(step))
    assert settings.keep_fp32
    assert settings == distant.variant.precision.model_copy(update={"keep_fp32": settings.keep_fp32})
    assert path.read_bytes() != plain
    assert distant.drop(path) <= limit
    products = quantized_products(distant.exact, distant.variant.precision)
    assert steps == [(number, len(products), "steps") for number in range(1, len(products) + 1)]
    assert sentence is not None
    assert sentence.startswith(f"int4-weights costs {before:.4f} on the selection split, fp32 0.0000; at most ")
    assert sentence.endswith(", ".join(settings.keep_fp32))


def test_a_model_within_its_limit_is_left_alone(distant: Distant, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    distant.convert(path, ())
    plain = path.read_bytes()
    assert keep_metric(distant, path, distant.drop(path), ignored) == (distant.variant.precision, None)
    assert path.read_bytes() == plain


def test_precision_is_not_blamed_for_what_fp32_loses(distant: Distant, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    distant.convert(path, ())
    assert keep_metric(distant, path, -1.0, ignored) == (distant.variant.precision, None)


def test_a_limit_that_a_quarter_cannot_keep_is_said(distant: Distant, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    distant.convert(path, ())
    plain = path.read_bytes()
    settings, sentence = keep_metric(distant, path, 1e-9, ignored)
    assert settings == distant.variant.precision
    assert sentence is not None
    assert sentence.endswith("A quarter of the products in fp32 isn't enough, so all products are quantized")
    assert path.read_bytes() == plain
