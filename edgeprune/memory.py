"""This process's memory: its peak since the last reset, so that a stage's own peak can be read."""

import ctypes
import gc
import sys
from pathlib import Path

from edgeprune.agent import peak_memory_bytes

__all__ = ["peak_memory_mb", "release_memory", "reset_peak"]


def release_memory() -> None:
    """Hand what earlier stages freed back to the operating system."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak() -> None:
    """Start a new peak from the present size; without effect where the system doesn't offer it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_memory_mb() -> float:
    """Largest resident size since the last reset, in 10^6 bytes; 0 where the system doesn't tell."""
    return round((peak_memory_bytes() or 0) / 1e6, 1)
