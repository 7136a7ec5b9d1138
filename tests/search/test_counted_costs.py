"""edgeprune/search/counted_costs.py: multiply-adds are those that `inspect` counts, and bytes those of a file."""

import pytest

from edgeprune.models.architectures import architecture_of
from edgeprune.models.checkpoint import count_parameters, empty_model, load_config
from edgeprune.models.record import LayerRecord, PruningRecord
from edgeprune.models.sizes import count_parts
from edgeprune.profiles.precision import Precision, resolve_precision
from edgeprune.search.counted_costs import byte_costs, multiply_add_costs
from tests.conftest import IMAGE_MODEL_TYPES, MODEL_TYPES, ModelFactory

SIZES = ((2, 48), (0, 0))
RECORD = PruningRecord(
    base_digest="",
    head_dim=8,
    layers=tuple(
        LayerRecord(index=index, heads=tuple(range(heads)), neurons=tuple(range(neurons)))
        for index, (heads, neurons) in enumerate(SIZES)
    ),
)
FAMILIES = [
    (model_type, "ForImageClassification" if model_type in IMAGE_MODEL_TYPES else "ForSequenceClassification")
    for model_type in (*MODEL_TYPES, *IMAGE_MODEL_TYPES)
    if model_type != "albert"  # its layers share their weights
]


@pytest.mark.parametrize(("model_type", "head"), FAMILIES)
def test_multiply_adds_are_those_of_the_pruned_model(
    tiny_model_folder: ModelFactory, model_type: str, head: str
) -> None:
    config = load_config(tiny_model_folder(model_type, head))
    costs = multiply_add_costs(config, tokens=17, align=16)
    assert costs.unit == "multiply-adds"
    for record, sizes in ((RECORD, SIZES), (None, [(4, 128)] * 2)):
        parts = count_parts(empty_model(config, record), 17, record)
        assert costs.of(sizes) == sum(part.multiply_adds for part in parts.values())


@pytest.mark.parametrize(("model_type", "head"), FAMILIES)
def test_bytes_are_those_of_the_weights(tiny_model_folder: ModelFactory, model_type: str, head: str) -> None:
    config = load_config(tiny_model_folder(model_type, head))
    fp32, fp16, int8, int4 = (
        byte_costs(config, resolve_precision(Precision(mode=mode), arch="x86_64", isa=("avx512_vnni",)), align=16)
        for mode in ("fp32", "fp16", "int8-dynamic", "int4-weights")
    )
    for record, sizes in ((RECORD, SIZES), (None, [(4, 128)] * 2)):
        parameters = count_parameters(empty_model(config, record))
        assert fp32.of(sizes) == pytest.approx(4 * parameters, rel=0.01), "one family's first layer lacks a norm"
        assert fp16.of(sizes) == pytest.approx(2 * parameters, rel=0.01)
        assert parameters < int8.of(sizes) < 2 * parameters
        assert int4.of(sizes) < int8.of(sizes)
    layers = empty_model(config, None).base_model.get_submodule(architecture_of(config).layers)
    assert fp32.of([(4, 128)] * 2) - fp32.base == pytest.approx(4 * count_parameters(layers), rel=0.01)


def test_a_pruned_model_has_as_many_sizes_as_are_left(tiny_model_folder: ModelFactory) -> None:
    config = load_config(tiny_model_folder())
    costs = multiply_add_costs(config, RECORD, tokens=17, align=16)
    assert (len(costs.attention), costs.widths) == (3, (0, 16, 32, 48))


def test_a_narrowed_model_costs_what_its_hidden_size_says(tiny_model_folder: ModelFactory) -> None:
    config, record = load_config(tiny_model_folder()), RECORD.model_copy(update={"hidden": tuple(range(16))})
    parts = count_parts(empty_model(config, record), 17, record)
    costs = multiply_add_costs(config, record, tokens=17, align=16)
    assert costs.of(SIZES) == sum(part.multiply_adds for part in parts.values())
    wide, narrow = (multiply_add_costs(config, one, tokens=17, align=16).ffn[-1] for one in (RECORD, record))
    assert narrow == wide / 2
