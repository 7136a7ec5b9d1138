"""From an instruction set to quantization settings; light, because they enter keys.

ONNX Runtime's dynamic quantization has uint8 activations. VNNI and ARM multiply them with int8 weights exactly; AVX2 and
AVX-512 without VNNI add pairs in 16 bits and saturate, silently, unless weights stay within 7 bits (`reduce_range`):
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html#when-and-why-do-i-need-to-try-u8u8
"""

from collections.abc import Sequence
from typing import Literal

from edgeprune.config import Frozen

__all__ = ["Mode", "PrecisionSettings", "resolve_precision", "saturates"]

Mode = Literal["int8-dynamic", "fp16", "fp32"]

_EXACT_INT8 = {"avx512_vnni", "avx_vnni", "amx_int8"}


class PrecisionSettings(Frozen):
    """The deliverable's numbers, everything resolved; the last three are None unless mode is int8-dynamic."""

    mode: Mode
    weight_type: Literal["int8", "uint8"] | None = None
    reduce_range: bool | None = None
    per_channel: bool | None = None


def saturates(arch: str, isa: Sequence[str]) -> bool:
    """Whether uint8 · int8 products saturate on an instruction set."""
    return arch == "x86_64" and not _EXACT_INT8 & set(isa)


def resolve_precision(
    mode: Mode,
    *,
    arch: str,
    isa: Sequence[str],
    weight_type: Literal["int8", "uint8"] | None,
    reduce_range: bool | None,
    per_channel: bool,
) -> PrecisionSettings:
    """Fill what a profile leaves open (None) from the instruction set."""
    if mode != "int8-dynamic":
        return PrecisionSettings(mode=mode)
    return PrecisionSettings(
        mode=mode,
        weight_type=weight_type or "int8",
        reduce_range=saturates(arch, isa) if reduce_range is None else reduce_range,
        per_channel=per_channel,
    )
