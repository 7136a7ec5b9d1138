import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from edgeprune.base.memory import discard_weights, peak_memory_mb, release_memory, reset_peak


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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes pages back")
@pytest.mark.parametrize("mapped", [True, False])
def test_discarded_weights_take_no_memory_even_where_something_holds_them(tmp_path: Path, mapped: bool):
    model = nn.Linear(5000, 5000)
    if mapped:
        save_file(model.state_dict(), tmp_path / "model.safetensors")
        model.load_state_dict(load_file(tmp_path / "model.safetensors"), assign=True)
    held = list(model.parameters())
    assert all(bool(parameter.isfinite().all()) for parameter in held)  # every page has been read
    reset_peak()
    before = peak_memory_mb()
    discard_weights(model)
    reset_peak()
    assert peak_memory_mb() <= before - 90
    if mapped:
        saved = load_file(tmp_path / "model.safetensors")
        assert torch.count_nonzero(saved["weight"]) > 0


def test_discarding_weights_leaves_other_tensors_alone():
    model = nn.ModuleList([nn.Linear(30, 30), nn.Linear(300, 300)])
    others = [torch.ones(300, 300) for _ in range(20)]
    discard_weights(model)
    assert all(bool((other == 1).all()) for other in others)
