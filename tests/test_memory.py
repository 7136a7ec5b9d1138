import numpy as np

from edgeprune.memory import peak_memory_mb, release_memory, reset_peak


def test_the_peak_is_that_since_the_last_reset():
    release_memory()
    reset_peak()
    before = peak_memory_mb()
    block = np.ones(100_000_000, dtype=np.uint8)
    during = peak_memory_mb()
    del block
    release_memory()
    assert during >= before + 90
    assert peak_memory_mb() >= during - 1
    reset_peak()
    assert peak_memory_mb() <= during - 90
