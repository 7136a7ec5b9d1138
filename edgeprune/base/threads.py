"""torch on a fixed number of threads: how sums are split changes their last bits, and so an artifact's bytes."""

import contextlib
from collections.abc import Iterator

__all__ = ["torch_threads"]


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Inside, torch computes with `count` threads whatever the environment says; afterwards as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
