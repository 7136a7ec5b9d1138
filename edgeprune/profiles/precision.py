"""Derive quantization settings from an instruction set. This module imports no heavy library: the settings enter keys.

ONNX Runtime's dynamic quantization has uint8 activations. VNNI and ARM multiply uint8 activations with int8 weights
exactly. AVX2, and AVX-512 without VNNI, add pairs of products in 16 bits, which saturate silently unless weights stay
within 7 bits (`reduce_range`):
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html#when-and-why-do-i-need-to-try-u8u8
"""

import math
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import model_validator

from edgeprune.base.strict_yaml import Frozen

__all__ = [
    "EmbeddingsType",
    "Mode",
    "Precision",
    "PrecisionSettings",
    "furthest_from_fp32",
    "has_int8_products",
    "is_quantized",
    "resolve_precision",
    "saturates",
    "tolerance_elsewhere",
]

Mode = Literal["int8-dynamic", "int8-static", "int8-weights", "int4-weights", "fp16", "fp32"]
EmbeddingsType = Literal["fp32", "int8", "int4", "int2"]

_TOLERANCE_ELSEWHERE: dict[Mode, float] = {"fp32": 1e-4, "fp16": 2e-2}
_QUANTIZED_TOLERANCE_ELSEWHERE = 1.5e-1
_FURTHEST: dict[Mode, float] = {"fp32": math.inf, "fp16": 5e-2, "int4-weights": 0.75}
_FURTHEST_INT8 = 0.5
_EXACT_INT8 = {"avx512_vnni", "avx_vnni", "amx_int8"}


class Precision(Frozen):
    """Say in which numbers the deliverable computes. What is null follows from the instruction set."""

    mode: Mode
    weight_type: Literal["int8", "uint8"] | None = None
    """Type of the weights. This field and the next two are for int8-dynamic and int8-static only."""
    reduce_range: bool | None = None
    per_channel: bool | None = None
    """Whether every channel has its own scale (null: it has), or the whole tensor has one."""
    embeddings: EmbeddingsType | None = None
    """Type of the embeddings; null: int8, or int4 with int4-weights. With int4 and int2, small tables are int8. Refused in
    floating point."""

    @model_validator(mode="after")
    def _settings_fit_mode(self) -> Self:
        if self.embeddings is not None and not is_quantized(self.mode):
            raise ValueError(f"embeddings is {self.embeddings}, but {self.mode} quantizes no weights; leave it out")
        of_products = ("weight_type", "reduce_range", "per_channel")
        unread = [name for name in of_products if getattr(self, name) is not None]
        if unread and not has_int8_products(self.mode):
            raise ValueError(
                f"{' and '.join(unread)} apply to int8-dynamic and int8-static only, but mode is {self.mode}"
            )
        return self


class PrecisionSettings(Precision):
    """Say in which numbers the deliverable computes, fully resolved. What is None has no meaning for the mode."""

    keep_fp32: tuple[str, ...] = ()
    """Nodes whose weights stay in fp32."""

    @property
    def words(self) -> str:
        """Describe the settings for people."""
        details = ["a scale a tensor"] * (self.per_channel is False)
        details += [f"embeddings in {self.embeddings}"] * (self.embeddings != _usual_embeddings(self.mode))
        kept = len(self.keep_fp32)
        details += [f"{kept} product{'s' * (kept > 1)} in fp32"] * (kept > 0)
        return f"{self.mode} ({'; '.join(details)})" if details else self.mode


def is_quantized(mode: Mode) -> bool:
    """Tell whether a mode turns weights into whole numbers."""
    return mode not in ("fp16", "fp32")


def has_int8_products(mode: Mode) -> bool:
    """Tell whether both sides of products are in 8 bits, so that the instruction set matters."""
    return mode in ("int8-dynamic", "int8-static")


def saturates(arch: str, isa: Sequence[str]) -> bool:
    """Tell whether uint8 · int8 products saturate on an instruction set."""
    return arch == "x86_64" and not _EXACT_INT8 & set(isa)


def tolerance_elsewhere(mode: Mode) -> float:
    """Return how far outputs may lie from another instruction set's outputs, relative to max(1, largest output)."""
    return _TOLERANCE_ELSEWHERE.get(mode, _QUANTIZED_TOLERANCE_ELSEWHERE)


def furthest_from_fp32(mode: Mode) -> float:
    """Return how far a sound graph's outputs may lie from fp32's outputs, as `parity.Agreement.distance`.

    A larger distance can't come from rounding. For fp32 itself there is no limit here: the export has its own
    tolerance.
    """
    return _FURTHEST.get(mode, _FURTHEST_INT8)


def resolve_precision(precision: Precision, *, arch: str, isa: Sequence[str]) -> PrecisionSettings:
    """Fill in, from the instruction set, what a profile leaves open (None)."""
    mode = precision.mode
    if not is_quantized(mode):
        return PrecisionSettings(mode=mode)
    embeddings = precision.embeddings or _usual_embeddings(mode)
    if not has_int8_products(mode):
        return PrecisionSettings(mode=mode, embeddings=embeddings)
    reduce_range = precision.reduce_range
    return PrecisionSettings(
        mode=mode,
        weight_type=precision.weight_type or "int8",
        reduce_range=saturates(arch, isa) if reduce_range is None else reduce_range,
        per_channel=precision.per_channel is not False,
        embeddings=embeddings,
    )


def _usual_embeddings(mode: Mode) -> EmbeddingsType | None:
    if not is_quantized(mode):
        return None
    return "int4" if mode == "int4-weights" else "int8"
