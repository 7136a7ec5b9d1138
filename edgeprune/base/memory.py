"""Read this process's peak memory since the last reset, so that a stage's own peak is known, and give memory back."""

import ctypes
import gc
import mmap
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.ondevice.agent import peak_memory_bytes

if TYPE_CHECKING:
    from torch import nn

__all__ = ["discard_weights", "peak_memory_mb", "release_memory", "reset_peak"]


def discard_weights(model: "nn.Module") -> None:
    """Hand the pages of a model's weights back to the operating system. The model must not be used afterwards.

    Deleting a model is not enough after an export: onnxscript's global rewrite rules keep the last graph, and through
    it every weight.
    """
    if sys.platform != "linux":
        return
    system = ctypes.CDLL(None)
    for tensor in model.state_dict().values():
        storage = tensor.untyped_storage()
        first = -(-storage.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (storage.data_ptr() + storage.nbytes()) // mmap.PAGESIZE * mmap.PAGESIZE
        if end > first:
            system.madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), mmap.MADV_DONTNEED)


def release_memory() -> None:
    """Hand the memory that earlier stages freed back to the operating system."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak() -> None:
    """Start a new peak at the present size. This has no effect where the system doesn't offer it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_memory_mb() -> float:
    """Return the largest resident size since the last reset, in 10^6 bytes; 0 where the system doesn't tell it."""
    return round((peak_memory_bytes() or 0) / 1e6, 1)
