"""edgeprune/store/ready.py; what builds do with it is in test_publish."""

import sys
from pathlib import Path

import pytest

from edgeprune.store.ready import made_ready


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a /proc, where nobody can make files")
def test_where_no_file_can_be_made_nobody_waits_for_a_lock() -> None:
    with pytest.raises(OSError, match="No such file"), made_ready(Path("/proc")):
        pass
