import pytest

from edgeprune.precision import Mode, PrecisionSettings, resolve_precision


@pytest.mark.parametrize(
    ("arch", "isa", "reduce_range"),
    [
        ("x86_64", (), True),
        ("x86_64", ("avx2", "fma"), True),
        ("x86_64", ("avx2", "fma", "avx512f", "avx512bw"), True),
        ("x86_64", ("avx512f", "avx512_vnni"), False),
        ("x86_64", ("avx2", "avx_vnni"), False),
        ("x86_64", ("amx_int8",), False),
        ("aarch64", ("asimd",), False),
        ("aarch64", ("asimd", "asimddp", "i8mm"), False),
    ],
)
def test_weights_keep_to_7_bits_where_the_instruction_set_saturates(
    arch: str, isa: tuple[str, ...], reduce_range: bool
):
    found = resolve_precision(
        "int8-dynamic", arch=arch, isa=isa, weight_type=None, reduce_range=None, per_channel=False
    )
    assert found == PrecisionSettings(
        mode="int8-dynamic", weight_type="int8", reduce_range=reduce_range, per_channel=False
    )


@pytest.mark.parametrize("reduce_range", [True, False])
@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_what_the_profile_says_wins(arch: str, reduce_range: bool):
    found = resolve_precision(
        "int8-dynamic", arch=arch, isa=(), weight_type="uint8", reduce_range=reduce_range, per_channel=True
    )
    assert (found.weight_type, found.reduce_range, found.per_channel) == ("uint8", reduce_range, True)


@pytest.mark.parametrize("mode", ["fp32", "fp16"])
def test_floating_point_has_no_quantization_settings(mode: Mode):
    found = resolve_precision(mode, arch="x86_64", isa=(), weight_type="int8", reduce_range=True, per_channel=True)
    assert found == PrecisionSettings(mode=mode)
    assert found.weight_type is None
