from edgeprune.report.device_words import device_words
from tests.support.reports import full_report

SAPPHIRE_RAPIDS = (
    "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16"
)  # fmt: skip


def test_amx_is_named_where_a_core_has_it() -> None:
    """It computes the int8 products there, though it is the last of the features."""
    made = full_report()
    assert made.device is not None
    words = device_words(made.model_copy(update={"device": made.device.model_copy(update={"isa": SAPPHIRE_RAPIDS})}))
    assert ", avx512_bf16, amx_int8, amx_bf16)" in words
    longer = (*SAPPHIRE_RAPIDS, "another")
    words = device_words(made.model_copy(update={"device": made.device.model_copy(update={"isa": longer})}))
    assert ", amx_bf16, …)" in words
