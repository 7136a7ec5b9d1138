from importlib.metadata import version
from typing import Literal

import pytest

from edgeprune.ondevice.agent import device_info
from edgeprune.store.environment import environment, library_versions, numeric_mode


@pytest.mark.parametrize(
    ("precision", "bf16"),
    [("fp32", False), ("bf16", True), ("auto", bool({"avx512_bf16", "amx_bf16"} & set(device_info()["isa"])))],
)
def test_bf16_is_used_where_asked_for_or_where_the_cpu_multiplies_it(
    precision: Literal["auto", "fp32", "bf16"], bf16: bool
):
    mode = numeric_mode(precision)
    assert mode.bf16 is bf16
    assert mode.threads == device_info()["cores"]


def test_versions_have_no_local_part():
    found = library_versions(("torch", "numpy"))
    assert found["numpy"] == version("numpy")
    assert version("torch").startswith(found["torch"])
    assert "+" not in found["torch"]


def test_the_environment_is_this_process():
    found = environment(("numpy",))
    device = device_info()
    assert (found.arch, found.isa, found.python) == (device["arch"], tuple(device["isa"]), device["python"])
    assert found.libraries == {"numpy": version("numpy")}
