import pytest

from edgeprune.profiles.precision import EmbeddingsType, Mode, Precision, PrecisionSettings, resolve_precision


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
    found = resolve_precision(Precision(mode="int8-dynamic", per_channel=False), arch=arch, isa=isa)
    assert found == PrecisionSettings(
        mode="int8-dynamic", weight_type="int8", reduce_range=reduce_range, per_channel=False, embeddings="int8"
    )


@pytest.mark.parametrize("reduce_range", [True, False])
@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_what_the_profile_says_wins(arch: str, reduce_range: bool):
    asked = Precision(mode="int8-dynamic", weight_type="uint8", reduce_range=reduce_range, per_channel=True)
    found = resolve_precision(asked, arch=arch, isa=())
    assert (found.weight_type, found.reduce_range, found.per_channel) == ("uint8", reduce_range, True)


@pytest.mark.parametrize("mode", ["fp32", "fp16"])
def test_floating_point_has_no_quantization_settings(mode: Mode):
    found = resolve_precision(Precision(mode=mode), arch="x86_64", isa=())
    assert found == PrecisionSettings(mode=mode)
    assert found.weight_type is None


@pytest.mark.parametrize(
    ("mode", "embeddings"), [("int8-static", "int8"), ("int8-weights", "int8"), ("int4-weights", "int4")]
)
def test_embeddings_follow_the_mode_unless_the_profile_says(mode: Mode, embeddings: str):
    def resolved(asked: EmbeddingsType | None) -> PrecisionSettings:
        return resolve_precision(Precision(mode=mode, embeddings=asked), arch="aarch64", isa=())

    assert resolved(None).embeddings == embeddings
    assert resolved("fp32").embeddings == "fp32"
    assert (resolved(None).weight_type is None) is (mode != "int8-static"), "inputs of products aren't quantized"


def test_a_precision_has_words():
    int8 = PrecisionSettings(
        mode="int8-dynamic", weight_type="int8", reduce_range=False, per_channel=True, embeddings="int8"
    )
    assert int8.words == "int8-dynamic"
    assert PrecisionSettings(mode="int4-weights", embeddings="int4").words == "int4-weights"
    other = int8.model_copy(update={"per_channel": False, "embeddings": "int4", "keep_fp32": ("a",)})
    assert other.words == "int8-dynamic (a scale a tensor; embeddings in int4; 1 product in fp32)"
    assert other.model_copy(update={"keep_fp32": ("a", "b")}).words.endswith("2 products in fp32)")
