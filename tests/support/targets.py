"""Targets as tests need them: one thread of an x86 CPU, and what the test changes."""

from typing import Any

from edgeprune.profiles.precision import Precision
from edgeprune.profiles.target import Budget, Device, Runtime, Target, Workload

__all__ = ["target_of"]


def target_of(**changes: Any) -> Target:
    """A target that has the fields of `changes`, and no runner of its own."""
    fields = {
        "schema_version": 1,
        "name": "here",
        "description": "A test's",
        "device": Device(arch="x86_64", isa=("avx512_vnni",)),
        "runtime": Runtime(threads=1),
        "precision": Precision(mode="int8-dynamic"),
        "workload": Workload(),
        "budget": Budget(),
        "runner": None,
    }
    return Target(**(fields | changes))
