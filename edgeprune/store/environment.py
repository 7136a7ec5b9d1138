"""Describe this machine: its environment, which manifests record, and its numeric mode, which enters keys.

The numeric mode is what changes the numbers that a training gives. It is read from the operating system, not from
torch, so that planning needs no heavy import.
"""

from functools import cache
from importlib.metadata import version
from typing import Literal

from edgeprune.base.strict_yaml import Frozen
from edgeprune.ondevice.agent import device_info
from edgeprune.store.records import Environment

__all__ = ["NumericMode", "environment", "library_versions", "numeric_mode"]

_FAST_BF16 = {"avx512_bf16", "amx_bf16"}
"""CPU features with bf16 matrix instructions; elsewhere autocast is emulated and slower than fp32."""


class NumericMode(Frozen):
    """Hold how training computes on this machine."""

    bf16: bool
    threads: int


def numeric_mode(precision: Literal["auto", "fp32", "bf16"]) -> NumericMode:
    """Find the numeric mode for a training's `precision`; `auto` is bf16 where the CPU multiplies bf16 in hardware."""
    device = device_info()
    fast = bool(_FAST_BF16 & set(device["isa"]))
    return NumericMode(bf16=precision == "bf16" or (precision == "auto" and fast), threads=device["cores"] or 1)


def library_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Look up installed versions, without their local parts: the CPU and CUDA builds of one release share keys."""
    return {name: _version(name) for name in names}


@cache
def _version(name: str) -> str:
    return version(name).split("+")[0]


def environment(libraries: tuple[str, ...]) -> Environment:
    """Describe where this process runs, for manifests."""
    device = device_info()
    return Environment(
        python=device["python"],
        platform=device["system"],
        arch=device["arch"],
        isa=tuple(device["isa"]),
        threads=device["cores"] or 1,
        libraries=library_versions(libraries),
    )
